// A stranger's bytes in the handshake between raylets: whoever does not know the token is never
// let in, and nothing is asked for beyond the fixed sizes. The first two bytes set role and pieces.

#include <algorithm>
#include <cstdlib>

#include "cpp_tests/fuzz/seeds.h"
#include "cyray/net/handshake.h"

namespace {

using cyray::net::Handshake;
constexpr size_t kMostBytes =
    Handshake::kMagicBytes + Handshake::kNonceBytes + Handshake::kProofBytes;

}  // namespace

// What a raylet of another cluster would send.
std::vector<uint8_t> cyray::fuzz::RandomSeed(std::mt19937_64& rng) {
  const auto role = static_cast<uint8_t>(rng() % 2);
  std::vector<uint8_t> input{role, static_cast<uint8_t>(rng())};
  const std::string nonce(Handshake::kNonceBytes, 'n');
  Handshake dialer(Handshake::Role::kDialer, "another token", nonce);
  Handshake listener(Handshake::Role::kListener, "another token", nonce);
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
  Handshake handshake(data[0] % 2 == 0 ? Handshake::Role::kDialer : Handshake::Role::kListener,
                      "the cluster's token", std::string(Handshake::kNonceBytes, 'm'));
  std::span<const uint8_t> input(data + 2, size - 2);
  const size_t piece = 1 + data[1] % 64;
  while (!input.empty() && !handshake.failed()) {
    if (handshake.done() || handshake.wanted() == 0 || handshake.wanted() > kMostBytes)
      std::abort();
    const size_t n = std::min({piece, input.size(), handshake.wanted()});
    (void)handshake.Receive(input.first(n));
    (void)handshake.TakeOutput();
    input = input.subspan(n);
  }
  if (handshake.done()) std::abort();
  return 0;
}
