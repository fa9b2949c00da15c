// Handshake: how two raylets prove to each other who they are.
//
//   dialer   -> listener   magic (8)  dialer's node (20)  its incarnation (8)  the node that it
//                          dials (20)  dialer's nonce (32)
//   listener -> dialer     magic (8)  listener's node (20)  its incarnation (8)
//                          listener's nonce (32)  listener's proof (32)
//   dialer   -> listener   dialer's proof (32)
//
// A proof is derived from the cluster token for one role and everything said before it
// (crypto/key_schedule.h). So it names both ends, what each of them is here and this conversation:
// the token never travels, a proof holds for nobody else and at no other time, and one that this
// node made is not one that it takes. A listener answers nobody who dials another node.
// Every message has a fixed size, and a side that fails says nothing and is closed. Who is a member
// is not known here: the owner asks for peer() when done. A pure state machine: bytes in, bytes
// out; no socket, clock or random source. Threading: confined to its connection.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "cyray/common/ids.h"
#include "cyray/crypto/key_schedule.h"
#include "cyray/util/status.h"

namespace cyray::net {

class Handshake {
 public:
  enum class Role : uint8_t { kDialer, kListener };
  struct Party {
    NodeId node;
    uint64_t incarnation = 0;
    bool operator==(const Party&) const = default;
  };
  static constexpr size_t kMagicBytes = 8;
  static constexpr size_t kPartyBytes = NodeId::kSize + 8;
  static constexpr size_t kNonceBytes = 32;
  static constexpr size_t kProofBytes = 32;
  static constexpr size_t kHelloBytes = kMagicBytes + kPartyBytes + NodeId::kSize + kNonceBytes;
  static constexpr size_t kAnswerBytes = kMagicBytes + kPartyBytes + kNonceBytes + kProofBytes;

  // `nonce` must be fresh random bytes of kNonceBytes.
  static Handshake Dialer(std::string_view token, const Party& self, const NodeId& target,
                          std::string nonce);
  static Handshake Listener(std::string_view token, const Party& self, std::string nonce);

  // What must be sent now; empties it.
  std::string TakeOutput() { return std::exchange(output_, {}); }
  // How many bytes of the peer are awaited; 0 when done or failed. Read no more than these: what
  // follows them belongs to the frames.
  size_t wanted() const { return wanted_ - input_.size(); }
  bool done() const { return state_ == State::kDone; }
  bool failed() const { return state_ == State::kFailed; }
  // Who is at the other end. Once done(): proved.
  const Party& peer() const { return peer_; }

  // Takes at most wanted() bytes. An error is final; no reason is ever sent to the peer.
  Status Receive(std::span<const uint8_t> bytes);

 private:
  enum class State : uint8_t { kAwaitHello, kAwaitAnswer, kAwaitProof, kDone, kFailed };
  Handshake(std::string_view token, const Party& self, std::string nonce);
  void Await(State state, size_t bytes);
  Status Advance();
  Status OnHello();
  Status OnAnswer();
  Status OnProof();
  std::string Proof(Role role) const;
  Status Failed(StatusCode code, std::string why);

  const crypto::KeySchedule keys_;
  const Party self_;
  const std::string nonce_;
  Party peer_;  // a dialer's: whom it dials
  State state_ = State::kFailed;
  crypto::Transcript transcript_;  // both sides' messages, in order
  std::string input_;
  std::string output_;
  size_t wanted_ = 0;
};

}  // namespace cyray::net
