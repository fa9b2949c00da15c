// What a raylet that has proved who it is may claim and send in a session: positions, packets of
// both lanes in any pieces, while this side sends, and connections that end and begin. Whatever
// comes, the session keeps its invariants and forgets nothing that is unacknowledged.

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "cpp_tests/fuzz/seeds.h"
#include "cyray/net/peer_session.h"
#include "cyray/util/log.h"

namespace {

using namespace cyray;
using net::Lane;

constexpr size_t kStepBytes = 18;  // what is done, how much, and two numbers

struct Step {
  uint8_t what;
  uint8_t size;
  net::Position position;
};

Step StepOf(const uint8_t* data) {
  Step step{data[0], data[1], {}};
  std::memcpy(&step.position, data + 2, sizeof step.position);
  return step;
}

}  // namespace

std::vector<uint8_t> cyray::fuzz::RandomSeed(std::mt19937_64& rng) {
  std::vector<uint8_t> input;
  for (uint64_t i = 0, count = 1 + rng() % 40; i < count; ++i) {
    input.push_back(static_cast<uint8_t>(rng()));
    input.push_back(static_cast<uint8_t>(rng()));
    const net::Position position{rng() % 512, rng() % 4096};
    const auto* bytes = reinterpret_cast<const uint8_t*>(&position);
    input.insert(input.end(), bytes, bytes + sizeof position);
    const auto frame =
        RandomFrame(static_cast<uint16_t>(wire::FrameType::kForwardCancel), "ForwardCancel", rng);
    input.insert(input.end(), frame.begin(), frame.end());
  }
  return input;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  SetMinLogLevel(LogLevel::kFatal);
  net::PeerSession session;
  uint64_t handled = 0;
  const auto handler = [&](const wire::Frame& frame) {
    handled += wire::kFrameHeaderBytes + frame.body_bytes;
    return frame.type != wire::FrameType::kRegister;
  };
  std::span<const uint8_t> input(data, size);
  while (input.size() >= kStepBytes) {
    const Step step = StepOf(input.data());
    input = input.subspan(kStepBytes);
    const Lane lane = step.what % 2 == 0 ? Lane::kControl : Lane::kRelay;
    const std::vector<uint8_t> body(size_t{step.size} * 64, 'b');
    const size_t n = std::min<size_t>(step.size, input.size());
    switch (step.what / 2 % 5) {
      case 0:
        session.Send(lane, wire::FrameType::kRelay, body.data(), body.size());
        break;
      case 1:
        (void)session.Next(lane);
        break;
      case 2:
        (void)session.OnAck(step.position);
        break;
      case 3:
        (void)session.Resume(step.position);
        break;
      default:
        (void)session.OnBytes(lane, input.first(n), handler);
        input = input.subspan(n);
    }
    const std::string wrong = session.CheckInvariants();
    CYRAY_CHECK(wrong.empty()) << wrong;
    CYRAY_CHECK(handled <= session.received()[0] + session.received()[1]) << handled;
  }
  return 0;
}
