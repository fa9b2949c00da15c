// Handshake: how two raylets prove to each other that they hold the cluster token.
//
//   dialer   -> listener   magic (8)  dialer's nonce (32)
//   listener -> dialer     magic (8)  listener's nonce (32)  listener's proof (32)
//   dialer   -> listener   dialer's proof (32)
//
// A proof is an HMAC over both nonces, keyed with the token (crypto/auth.h): the token never
// travels and what was recorded once is worth nothing on another connection. Every message has a
// fixed size, and a side that fails says nothing and is closed. A pure state machine: bytes in,
// bytes out; no socket, clock or random source. Threading: confined to its connection.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "cyray/util/status.h"

namespace cyray::net {

class Handshake {
 public:
  enum class Role : uint8_t { kDialer, kListener };
  static constexpr size_t kNonceBytes = 32;
  static constexpr size_t kProofBytes = 32;
  static constexpr size_t kMagicBytes = 8;

  // `nonce` must be fresh random bytes of kNonceBytes.
  Handshake(Role role, std::string token, std::string nonce);

  // What must be sent now; empties it.
  std::string TakeOutput() { return std::exchange(output_, {}); }
  // How many bytes of the peer are awaited; 0 when done or failed. Read no more than these: what
  // follows them belongs to the frames.
  size_t wanted() const { return wanted_ - input_.size(); }
  bool done() const { return state_ == State::kDone; }
  bool failed() const { return state_ == State::kFailed; }

  // Takes at most wanted() bytes. An error is final; no reason is ever sent to the peer.
  Status Receive(std::span<const uint8_t> bytes);

 private:
  enum class State : uint8_t { kAwaitHello, kAwaitAnswer, kAwaitProof, kDone, kFailed };
  Status Advance();
  Status OnHello();
  Status OnAnswer();
  Status OnProof();
  Status Failed(StatusCode code, std::string why);

  const Role role_;
  const std::string token_;
  const std::string nonce_;
  State state_;
  std::string peer_nonce_;
  std::string input_;
  std::string output_;
  size_t wanted_;
};

}  // namespace cyray::net
