// A stranger's bytes where GCS and raylets prove themselves: openings at the server, answers to a
// challenge at the client, messages of a session at both. Whoever does not know the token gets
// nothing accepted. The first byte says which of them the input is.

#include <algorithm>
#include <cstdlib>
#include <string>

#include "cpp_tests/fuzz/seeds.h"
#include "cyray/crypto/auth.h"
#include "cyray/gcs/rpc.h"

namespace {

using cyray::gcs::ProvedSession;
using cyray::gcs::RpcGate;
using cyray::gcs::RpcSession;
constexpr char kAddress[] = "127.0.0.1:6379";
constexpr char kPeer[] = "ipv4:127.0.0.1:50000";
constexpr char kMethod[] = "/cyray.Gcs/Call";
const std::string kNonce(cyray::crypto::kNonceBytes, 'n');

}  // namespace

// What a holder of another cluster's token would send.
std::vector<uint8_t> cyray::fuzz::RandomSeed(std::mt19937_64& rng) {
  const std::string token = "another token";
  RpcGate gate(token, kAddress);
  const std::string answer = *gate.Answer(kNonce, kPeer);
  const RpcSession session = *ProvedSession(token, kNonce, answer, kAddress);
  const auto kind = static_cast<uint8_t>(rng() % 3);
  std::string text = answer;
  if (kind == 0) text = session.Opening(rng() % 4, kMethod);
  if (kind == 2) {
    const std::string body(rng() % 64, 'b');
    text = body + session.Tag(RpcSession::What::kRequest, {1, 0}, {}, body);
  }
  std::vector<uint8_t> input(1 + text.size());
  input[0] = kind;
  std::copy(text.begin(), text.end(), input.begin() + 1);
  return input;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static RpcGate gate("the cluster's token", kAddress);
  static const RpcSession session("the cluster's token", kNonce, kNonce, kAddress);
  if (size < 1) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  cyray::wire::Bytes body;
  uint8_t header[8];
  const bool taken =
      data[0] % 3 == 0 ? gate.Open(text, kMethod, kPeer).has_value()
      : data[0] % 3 == 1
          ? ProvedSession("the cluster's token", kNonce, text, kAddress).has_value()
          : cyray::gcs::Unseal({session, RpcSession::What::kRequest, {1, 0}},
                               cyray::gcs::ToMessage(text), header, sizeof header, body);
  if (taken) std::abort();
  return 0;
}
