// Tests of what the GCS does when somebody sets the clock on the wall: nothing rests on it.

#include <gtest/gtest.h>

#include <optional>

#include "cpp_tests/gcs/memory_storage.h"
#include "cpp_tests/gcs/payloads.h"
#include "cyray/gcs/gcs_service.h"
#include "cyray/sim/virtual_runtime.h"
#include "cyray/sim/virtual_time.h"

namespace cyray::gcs {
namespace {

constexpr int64_t kHourMs = 3'600'000;

class WallClockTest : public testing::Test {
 protected:
  WallClockTest() { Start(); }
  void Start() {
    service_.emplace(&runtime_, &storage_,
                     StreamOutlets{.send = [](StreamId, const wire::Bytes&) {},
                                   .accept = [](StreamId) {},
                                   .close = [](StreamId, const Status&) {}},
                     Membership::Timing{});
    EXPECT_TRUE(service_->Load().ok());
  }
  // Whether a key that is not there yet was added by that call.
  bool Adds(const std::string& key, const CallId& id) {
    bool added = false;
    service_->OnCall(static_cast<uint16_t>(wire::GcsMethod::KvPut), id,
                     KvPutPayload(key, "value", /*overwrite=*/false),
                     [&added](const Result<wire::Bytes>& reply) {
                       ASSERT_TRUE(reply.has_value());
                       added = wire::VerifiedRoot<wire::KvPutReply>(*reply)->added();
                     });
    storage_.Sync();
    return added;
  }

  sim::VirtualTime time_{1};
  sim::VirtualRuntime runtime_{&time_};
  MemoryDisk disk_;
  MemoryStorage storage_{&disk_};
  std::optional<GcsService> service_;
};

TEST_F(WallClockTest, ACallThatIsSentAgainIsDoneOnceWhateverTheClockSays) {
  const CallId id = CallId::Random();
  EXPECT_TRUE(Adds("key", id));
  for (const int64_t step_ms : {kHourMs, -2 * kHourMs}) {
    runtime_.StepWallClock(step_ms);
    EXPECT_TRUE(Adds(std::to_string(step_ms), CallId::Random())) << "which may forget old ones";
    EXPECT_TRUE(Adds("key", id)) << "it is told what it did";
    service_.reset();
    Start();
    EXPECT_TRUE(Adds("key", id)) << "also by the next GCS";
  }
  EXPECT_FALSE(Adds("key", CallId::Random()));
}

}  // namespace
}  // namespace cyray::gcs
