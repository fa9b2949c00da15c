// A stranger's bytes in the handshake between raylets: whoever does not know the token is never
// let in, and nothing is asked for beyond the fixed sizes. The first two bytes set role and pieces.
// The stranger may also have a second conversation with the same node, in the other role, as it
// would reflect what the one says to the other: a byte 0x80 and above at a piece's start takes what
// that one has said in place of the input's bytes.

#include <algorithm>
#include <cstdlib>

#include "cpp_tests/fuzz/seeds.h"
#include "cyray/net/handshake.h"

namespace {

using cyray::NodeId;
using cyray::net::Handshake;
const std::string kToken = "the cluster's token";

NodeId Node(uint8_t number) {
  NodeId node;
  node.bytes.fill(number);
  return node;
}

Handshake Make(bool dials, const std::string& token, uint8_t self, uint8_t target, char nonce) {
  std::string nonces(Handshake::kNonceBytes, nonce);
  return dials ? Handshake::Dialer(token, {Node(self), 1}, Node(target), nonces)
               : Handshake::Listener(token, {Node(self), 1}, nonces);
}

// One side, what it has said, and what it may never do.
class Victim {
 public:
  explicit Victim(Handshake handshake) : handshake_(std::move(handshake)) { Say(); }
  bool Wants() const { return handshake_.wanted() > 0; }
  void Hear(std::span<const uint8_t> bytes) {
    if (handshake_.wanted() > std::max(Handshake::kHelloBytes, Handshake::kAnswerBytes)) {
      std::abort();
    }
    (void)handshake_.Receive(bytes.first(std::min(bytes.size(), handshake_.wanted())));
    Say();
    if (handshake_.done()) std::abort();
  }
  std::span<const uint8_t> said() const { return said_; }

 private:
  void Say() {
    const std::string out = handshake_.TakeOutput();
    said_.insert(said_.end(), out.begin(), out.end());
  }
  Handshake handshake_;
  std::vector<uint8_t> said_;
};

}  // namespace

// What a raylet of another cluster would send, as the node that the victim dials or that dials it.
std::vector<uint8_t> cyray::fuzz::RandomSeed(std::mt19937_64& rng) {
  const auto role = static_cast<uint8_t>(rng() % 2);
  std::vector<uint8_t> input{role, static_cast<uint8_t>(rng())};
  // The victim is node 1: it dials node 2, or node 2 dials it.
  const uint8_t from = role == 0 ? 1 : 2;
  Handshake dialer = Make(true, "another token", from, 3 - from, 'n');
  Handshake listener = Make(false, "another token", 3 - from, from, 'n');
  const auto take = [&](Handshake& from, Handshake& to, bool to_target) {
    const std::string out = from.TakeOutput();
    const std::span bytes(reinterpret_cast<const uint8_t*>(out.data()), out.size());
    (void)to.Receive(bytes);
    if (to_target) input.insert(input.end(), bytes.begin(), bytes.end());
  };
  take(dialer, listener, role == 1);
  take(listener, dialer, role == 0);
  take(dialer, listener, role == 1);
  return input;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const bool dials = data[0] % 2 == 0;
  Victim first(Make(dials, kToken, 1, 2, 'm'));
  Victim second(Make(!dials, kToken, 1, 2, 'o'));
  std::span<const uint8_t> input(data + 2, size - 2);
  const size_t piece = 1 + data[1] % 64;
  while (!input.empty() && first.Wants()) {
    const bool reflect = input.front() >= 0x80 && second.Wants();
    const size_t n = std::min(piece, input.size());
    if (reflect) {
      second.Hear(first.said());
      first.Hear(second.said());
    } else {
      first.Hear(input.first(n));
    }
    input = input.subspan(n);
  }
  return 0;
}
