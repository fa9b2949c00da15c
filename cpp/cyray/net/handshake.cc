#include "cyray/net/handshake.h"

#include <utility>

#include "cyray/crypto/auth.h"
#include "cyray/util/log.h"

namespace cyray::net {
namespace {

constexpr std::string_view kMagic = "CYRAYP02";
constexpr std::string_view kProtocol = "cyray raylet to raylet 2";
static_assert(kMagic.size() == Handshake::kMagicBytes);
static_assert(crypto::kNonceBytes == Handshake::kNonceBytes);
static_assert(crypto::kKeyBytes == Handshake::kProofBytes);

std::string PartyBytes(const Handshake::Party& party) {
  std::string bytes(party.node.view());
  for (int shift = 0; shift < 64; shift += 8) {
    bytes.push_back(static_cast<char>(party.incarnation >> shift));
  }
  return bytes;
}

// `bytes` has Handshake::kPartyBytes.
Handshake::Party PartyFrom(std::string_view bytes) {
  Handshake::Party party{NodeId::FromBytes(bytes.data()), 0};
  for (size_t i = 0; i < 8; ++i) {
    party.incarnation |= uint64_t{static_cast<uint8_t>(bytes[NodeId::kSize + i])} << (8 * i);
  }
  return party;
}

}  // namespace

Handshake::Handshake(std::string_view token, const Party& self, std::string nonce)
    : keys_(token, kProtocol), self_(self), nonce_(std::move(nonce)) {
  CYRAY_CHECK(nonce_.size() == kNonceBytes) << nonce_.size();
}

Handshake Handshake::Dialer(std::string_view token, const Party& self, const NodeId& target,
                            std::string nonce) {
  Handshake dialer(token, self, std::move(nonce));
  dialer.peer_.node = target;
  dialer.output_ = std::string(kMagic) + PartyBytes(self);
  dialer.output_.append(target.view()).append(dialer.nonce_);
  dialer.transcript_.Add(dialer.output_);
  dialer.Await(State::kAwaitAnswer, kAnswerBytes);
  return dialer;
}

Handshake Handshake::Listener(std::string_view token, const Party& self, std::string nonce) {
  Handshake listener(token, self, std::move(nonce));
  listener.Await(State::kAwaitHello, kHelloBytes);
  return listener;
}

void Handshake::Await(State state, size_t bytes) {
  state_ = state;
  wanted_ = bytes;
  input_.clear();
}

Status Handshake::Receive(std::span<const uint8_t> bytes) {
  if (state_ == State::kDone || state_ == State::kFailed) {
    return Failed(StatusCode::kProtocolError, "bytes after the end of the handshake");
  }
  if (bytes.size() > wanted()) {
    return Failed(StatusCode::kProtocolError, "a handshake message is too long");
  }
  input_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return wanted() == 0 ? Advance() : Status::Ok();
}

Status Handshake::Advance() {
  if (state_ != State::kAwaitProof && !input_.starts_with(kMagic)) {
    return Failed(StatusCode::kProtocolError, "not a raylet of this version");
  }
  switch (state_) {
    case State::kAwaitHello:
      return OnHello();
    case State::kAwaitAnswer:
      return OnAnswer();
    case State::kAwaitProof:
      return OnProof();
    default:
      return Failed(StatusCode::kInternal, "the handshake is over");
  }
}

// Of this role, over all that was said until now.
std::string Handshake::Proof(Role role) const {
  return keys_.Derive(role == Role::kDialer ? "dialer's proof" : "listener's proof", transcript_);
}

Status Handshake::OnHello() {
  const std::string_view in = input_;
  peer_ = PartyFrom(in.substr(kMagicBytes, kPartyBytes));
  const NodeId target = NodeId::FromBytes(in.data() + kMagicBytes + kPartyBytes);
  if (target != self_.node) {
    return Failed(StatusCode::kUnauthenticated, "it dials another node than this one");
  }
  if (peer_.node == self_.node || peer_.node.is_nil()) {
    return Failed(StatusCode::kUnauthenticated, "it says that it is this node, or none");
  }
  transcript_.Add(in);
  output_ = std::string(kMagic) + PartyBytes(self_) + nonce_;
  transcript_.Add(output_);
  const std::string proof = Proof(Role::kListener);
  transcript_.Add(proof);
  output_ += proof;
  Await(State::kAwaitProof, kProofBytes);
  return Status::Ok();
}

Status Handshake::OnAnswer() {
  const std::string_view in = input_;
  const Party answering = PartyFrom(in.substr(kMagicBytes, kPartyBytes));
  if (answering.node != peer_.node) {
    return Failed(StatusCode::kUnauthenticated, "another node answers at its address");
  }
  const std::string_view proof = in.substr(kAnswerBytes - kProofBytes);
  transcript_.Add(in.substr(0, kAnswerBytes - kProofBytes));
  if (!crypto::ConstantTimeEqual(proof, Proof(Role::kListener))) {
    return Failed(StatusCode::kUnauthenticated, "the peer does not hold this cluster's token");
  }
  peer_ = answering;
  transcript_.Add(proof);
  output_ = Proof(Role::kDialer);
  Await(State::kDone, 0);
  return Status::Ok();
}

Status Handshake::OnProof() {
  if (!crypto::ConstantTimeEqual(input_, Proof(Role::kDialer))) {
    return Failed(StatusCode::kUnauthenticated, "the peer does not hold this cluster's token");
  }
  Await(State::kDone, 0);
  return Status::Ok();
}

Status Handshake::Failed(StatusCode code, std::string why) {
  Await(State::kFailed, 0);
  output_.clear();
  return Status(code, std::move(why));
}

}  // namespace cyray::net
