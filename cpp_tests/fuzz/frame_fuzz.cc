// A byte stream from a peer, as the channel reads it: whatever arrives in whatever pieces gives
// the same frames, or an error, and never a crash. The first byte sets the size of the pieces.

#include <sys/socket.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "cpp_tests/fuzz/seeds.h"
#include "cyray/wire/channel.h"

namespace {

using cyray::UniqueFd;
using cyray::wire::Channel;

struct Seen {
  std::vector<std::string> frames;
  bool broken = false;
  bool operator==(const Seen&) const = default;
};

constexpr uint32_t kMaxBodyBytes = 1 << 20;

void Drain(Channel& channel, Seen& seen) {
  while (!seen.broken) {
    auto next = channel.Next();
    if (!next.has_value()) {
      seen.broken = true;
    } else if (!next->has_value()) {
      return;
    } else {
      const auto& frame = **next;
      seen.frames.emplace_back(reinterpret_cast<const char*>(frame.body), frame.body_bytes);
      seen.frames.back() += static_cast<char>(frame.type);
    }
  }
}

Seen Parse(const uint8_t* data, size_t size, size_t piece) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) != 0) std::abort();
  UniqueFd writer(ends[1]);
  Channel channel{UniqueFd(ends[0]), kMaxBodyBytes};
  Seen seen;
  for (size_t at = 0; at < size && !seen.broken;) {
    const ssize_t sent = ::send(writer.get(), data + at, std::min(piece, size - at), MSG_NOSIGNAL);
    if (sent <= 0) std::abort();
    at += static_cast<size_t>(sent);
    while (true) {
      auto filled = channel.Fill();
      if (!filled.has_value() || *filled == 0) break;
      Drain(channel, seen);
    }
  }
  return seen;
}

}  // namespace

std::vector<uint8_t> cyray::fuzz::RandomSeed(std::mt19937_64& rng) {
  std::vector<uint8_t> input{static_cast<uint8_t>(rng())};
  const std::vector<uint8_t> frames = RandomFrames(rng);
  input.insert(input.end(), frames.begin(), frames.end());
  return input;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1 || size > (1 << 18)) return 0;
  const size_t piece = 1 + data[0];
  if (Parse(data + 1, size - 1, piece) != Parse(data + 1, size - 1, 1 << 15)) std::abort();
  return 0;
}
