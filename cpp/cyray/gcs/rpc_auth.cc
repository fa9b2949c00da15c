#include "cyray/gcs/rpc_auth.h"

#include <algorithm>
#include <array>

#include "cyray/common/ids.h"
#include "cyray/crypto/auth.h"
#include "cyray/crypto/key_schedule.h"

namespace cyray::gcs {
namespace {

constexpr std::string_view kProtocol = "cyray raylet to gcs 3";
constexpr size_t kNumberBytes = 8;
constexpr size_t kHeadBytes = 16;  // of a server's nonce: its number, random bytes

void WriteNumber(uint64_t number, char* bytes) {
  for (size_t i = 0; i < kNumberBytes; ++i) bytes[i] = static_cast<char>(number >> (8 * i));
}

std::string NumberBytes(uint64_t number) {
  std::string bytes(kNumberBytes, '\0');
  WriteNumber(number, bytes.data());
  return bytes;
}

uint64_t NumberFrom(std::string_view bytes) {
  uint64_t number = 0;
  for (size_t i = 0; i < kNumberBytes; ++i) {
    number |= uint64_t{static_cast<uint8_t>(bytes[i])} << (8 * i);
  }
  return number;
}

// Whether a server that listens at `address` may be who was dialed. One that listens at every
// address of its machine tells its port alone.
bool ListensAt(std::string_view address, std::string_view dialed) {
  constexpr std::string_view kAny = "0.0.0.0:";
  return dialed == address || (address.starts_with(kAny) &&
                               dialed.ends_with(":" + std::string(address.substr(kAny.size()))));
}

bool IsServers(RpcSession::What what) {
  return what == RpcSession::What::kReply || what == RpcSession::What::kAccepted ||
         what == RpcSession::What::kDown || what == RpcSession::What::kEnd;
}

}  // namespace

RpcSession::RpcSession(std::string_view token, std::string_view client_nonce,
                       std::string_view server_nonce, std::string_view server_address)
    : RpcSession(crypto::KeySchedule(token, kProtocol),
                 std::string(client_nonce).append(server_nonce),
                 crypto::Transcript().Add(client_nonce).Add(server_nonce).Add(server_address)) {}

RpcSession::RpcSession(const crypto::KeySchedule& keys, std::string nonces,
                       const crypto::Transcript& said)
    : nonces_(std::move(nonces)),
      server_proof_(keys.Derive("server's proof", said)),
      client_key_(keys.Derive("client's messages", said)),
      server_key_(keys.Derive("server's messages", said)) {}

std::string RpcSession::Tag(What what, Place place, std::string_view head,
                            std::string_view body) const {
  // Of a fixed size, so that what follows begins at one place; `what` tells how long `head` is.
  std::array<char, 1 + 2 * kNumberBytes> where;
  where[0] = static_cast<char>(what);
  WriteNumber(place.call, &where[1]);
  WriteNumber(place.message, &where[1 + kNumberBytes]);
  return (IsServers(what) ? server_key_ : client_key_)
      .Tag({{where.data(), where.size()}, head, body});
}

bool RpcSession::IsTag(std::string_view tag, What what, Place place, std::string_view head,
                       std::string_view body) const {
  return crypto::ConstantTimeEqual(tag, Tag(what, place, head, body));
}

std::string RpcSession::Opening(uint64_t call, std::string_view method) const {
  return nonces_ + NumberBytes(call) + Tag(What::kOpening, {call, 0}, method, {});
}

std::optional<OpeningParts> CutOpening(std::string_view opening) {
  if (opening.size() != 2 * crypto::kNonceBytes + kNumberBytes + kTagBytes) return std::nullopt;
  const auto take = [&](size_t size) {
    const std::string_view part = opening.substr(0, size);
    opening.remove_prefix(size);
    return part;
  };
  OpeningParts parts;
  parts.client_nonce = take(crypto::kNonceBytes);
  parts.server_nonce = take(crypto::kNonceBytes);
  parts.call = NumberFrom(take(kNumberBytes));
  parts.tag = take(kTagBytes);
  return parts;
}

// ------------------------------------------------------------------------------------------------

ServerNonces::ServerNonces() : secret_(crypto::RandomNonce()) {}

std::string ServerNonces::Bind(std::string_view head, std::string_view client_nonce,
                               std::string_view peer) const {
  crypto::Transcript bound;
  bound.Add(head).Add(client_nonce).Add(peer);
  return crypto::HmacSha256(secret_, bound.Hash()).substr(0, crypto::kNonceBytes - kHeadBytes);
}

std::string ServerNonces::Issue(std::string_view client_nonce, std::string_view peer) {
  std::string head = NumberBytes(++issued_);
  head.resize(kHeadBytes);
  FillRandom(head.data() + kNumberBytes, kHeadBytes - kNumberBytes);
  return head + Bind(head, client_nonce, peer);
}

uint64_t ServerNonces::NumberOf(std::string_view server_nonce, std::string_view client_nonce,
                                std::string_view peer) const {
  if (server_nonce.size() != crypto::kNonceBytes) return 0;
  const std::string_view head = server_nonce.substr(0, kHeadBytes);
  const bool ours =
      crypto::ConstantTimeEqual(server_nonce.substr(kHeadBytes), Bind(head, client_nonce, peer));
  return ours ? NumberFrom(head) : 0;
}

bool ReplayGuard::Accept(uint64_t session, uint64_t call) {
  const std::lock_guard lock(mutex_);
  if (session <= forgotten_ && !sessions_.contains(session)) return false;
  Calls& calls = sessions_[session];
  if (call > calls.highest) {
    if (call - calls.highest >= kWindow) {
      calls.seen.reset();
    } else {
      for (uint64_t i = calls.highest + 1; i <= call; ++i) calls.seen.reset(i % kWindow);
    }
    calls.highest = call;
  } else if (calls.highest - call >= kWindow || calls.seen.test(call % kWindow)) {
    return false;
  }
  calls.seen.set(call % kWindow);
  if (sessions_.size() > kSessions) {
    forgotten_ = std::max(forgotten_, sessions_.begin()->first);
    sessions_.erase(sessions_.begin());
  }
  return true;
}

// ------------------------------------------------------------------------------------------------

std::optional<std::string> RpcGate::Answer(std::string_view client_nonce, std::string_view peer) {
  if (client_nonce.size() != crypto::kNonceBytes) return std::nullopt;
  const std::string nonce = nonces_.Issue(client_nonce, peer);
  return nonce + RpcSession(token_, client_nonce, nonce, address_).server_proof() + address_;
}

std::optional<RpcGate::Opened> RpcGate::Open(std::string_view opening, std::string_view method,
                                             std::string_view peer) {
  const std::optional<OpeningParts> parts = CutOpening(opening);
  if (!parts) return std::nullopt;
  uint64_t number = NumberFrom(parts->server_nonce);
  std::shared_ptr<const RpcSession> session =
      FindProved(number, opening.substr(0, 2 * crypto::kNonceBytes), peer);
  const bool proved = session != nullptr;
  if (!proved) {
    number = nonces_.NumberOf(parts->server_nonce, parts->client_nonce, peer);
    if (number == 0) return std::nullopt;
    session =
        std::make_shared<RpcSession>(token_, parts->client_nonce, parts->server_nonce, address_);
  }
  const RpcSession::Place place{parts->call, 0};
  if (!session->IsTag(parts->tag, RpcSession::What::kOpening, place, method, {}) ||
      !guard_.Accept(number, parts->call)) {
    return std::nullopt;
  }
  if (!proved) Remember(number, {std::string(peer), session});
  return Opened{std::move(session), parts->call};
}

std::shared_ptr<const RpcSession> RpcGate::FindProved(uint64_t number, std::string_view nonces,
                                                      std::string_view peer) {
  const std::lock_guard lock(mutex_);
  const auto it = proved_.find(number);
  const bool is_it =
      it != proved_.end() && it->second.peer == peer && it->second.session->nonces() == nonces;
  return is_it ? it->second.session : nullptr;
}

void RpcGate::Remember(uint64_t number, Proved proved) {
  const std::lock_guard lock(mutex_);
  proved_.insert_or_assign(number, std::move(proved));
  if (proved_.size() > ReplayGuard::kSessions) proved_.erase(proved_.begin());
}

std::optional<RpcSession> ProvedSession(std::string_view token, std::string_view client_nonce,
                                        std::string_view answer, std::string_view dialed) {
  constexpr size_t kProofEnd = crypto::kNonceBytes + kTagBytes;
  if (answer.size() < kProofEnd) return std::nullopt;
  const std::string_view address = answer.substr(kProofEnd);
  RpcSession session(token, client_nonce, answer.substr(0, crypto::kNonceBytes), address);
  const std::string_view proof = answer.substr(crypto::kNonceBytes, kTagBytes);
  if (!crypto::ConstantTimeEqual(proof, session.server_proof())) return std::nullopt;
  return ListensAt(address, dialed) ? std::optional(std::move(session)) : std::nullopt;
}

}  // namespace cyray::gcs
