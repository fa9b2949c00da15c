#include "cyray/net/handshake.h"

#include <utility>

#include "cyray/crypto/auth.h"
#include "cyray/util/log.h"

namespace cyray::net {
namespace {

constexpr std::string_view kMagic = "CYRAYP01";
constexpr std::string_view kPurpose = "raylet";
static_assert(kMagic.size() == Handshake::kMagicBytes);
static_assert(crypto::kNonceBytes == Handshake::kNonceBytes);

}  // namespace

Handshake::Handshake(Role role, std::string token, std::string nonce)
    : role_(role), token_(std::move(token)), nonce_(std::move(nonce)) {
  CYRAY_CHECK(nonce_.size() == kNonceBytes) << nonce_.size();
  if (role == Role::kDialer) {
    state_ = State::kAwaitAnswer;
    wanted_ = kMagicBytes + kNonceBytes + kProofBytes;
    output_ = std::string(kMagic) + nonce_;
  } else {
    state_ = State::kAwaitHello;
    wanted_ = kMagicBytes + kNonceBytes;
  }
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

Status Handshake::OnHello() {
  const std::string_view in = input_;
  if (in.substr(0, kMagicBytes) != kMagic) {
    return Failed(StatusCode::kProtocolError, "not a raylet of this version");
  }
  peer_nonce_ = in.substr(kMagicBytes);
  output_ =
      std::string(kMagic) + nonce_ + crypto::ServerProof(token_, kPurpose, peer_nonce_, nonce_);
  input_.clear();
  wanted_ = kProofBytes;
  state_ = State::kAwaitProof;
  return Status::Ok();
}

Status Handshake::OnAnswer() {
  const std::string_view in = input_;
  if (in.substr(0, kMagicBytes) != kMagic) {
    return Failed(StatusCode::kProtocolError, "not a raylet of this version");
  }
  peer_nonce_ = in.substr(kMagicBytes, kNonceBytes);
  const std::string_view proof = in.substr(kMagicBytes + kNonceBytes);
  if (!crypto::ConstantTimeEqual(proof,
                                 crypto::ServerProof(token_, kPurpose, nonce_, peer_nonce_))) {
    return Failed(StatusCode::kUnauthenticated, "the peer does not hold this cluster's token");
  }
  output_ = crypto::ClientProof(token_, kPurpose, nonce_, peer_nonce_);
  input_.clear();
  wanted_ = 0;
  state_ = State::kDone;
  return Status::Ok();
}

Status Handshake::OnProof() {
  if (!crypto::ConstantTimeEqual(input_,
                                 crypto::ClientProof(token_, kPurpose, peer_nonce_, nonce_))) {
    return Failed(StatusCode::kUnauthenticated, "the peer does not hold this cluster's token");
  }
  input_.clear();
  wanted_ = 0;
  state_ = State::kDone;
  return Status::Ok();
}

Status Handshake::Failed(StatusCode code, std::string why) {
  state_ = State::kFailed;
  input_.clear();
  output_.clear();
  wanted_ = 0;
  return Status(code, std::move(why));
}

}  // namespace cyray::net
