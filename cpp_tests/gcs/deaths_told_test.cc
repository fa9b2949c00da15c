// What the GCS tells nodes of processes that ended, when those that report them come back again and
// again.

#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "cpp_tests/gcs/memory_storage.h"
#include "cpp_tests/gcs/payloads.h"
#include "cyray/gcs/gcs_service.h"
#include "cyray/sim/virtual_runtime.h"

namespace cyray::gcs {
namespace {

constexpr int64_t kLongMs = 3'600'000;
constexpr int64_t kMinuteNs = 60'000'000'000;

class DeathsTold : public testing::Test {
 protected:
  DeathsTold() {
    EXPECT_TRUE(service_.Load().ok());
    for (const NodeId& node : {here_, there_}) {
      service_.OnCall(static_cast<uint16_t>(wire::GcsMethod::RegisterNode), CallId::Random(),
                      RegisterNodePayload(node, Cpus(1)), [](const Result<wire::Bytes>&) {});
    }
    storage_.Sync();
  }

  // On a new stream; with the process that ended, if it has.
  void Hello(const NodeId& node, const Address& ended = {}) {
    flatbuffers::FlatBufferBuilder builder;
    std::vector<flatbuffers::Offset<wire::ReportWorkerDeathRequest>> deaths;
    if (!ended.is_nil()) {
      const auto reason = builder.CreateString("killed");
      deaths.push_back(
          wire::CreateReportWorkerDeathRequest(builder, wire::ToWire(ended), reason, false));
    }
    const auto list = builder.CreateVector(deaths);
    service_.OnStreamMessage(
        ++stream_,
        FinishReport(builder, wire::CreateNodeHello(builder, wire::ToWire(node), 0, 0, list)));
    storage_.Sync();
    of_[stream_] = node;
  }
  size_t TakeDeathsToldTo(const NodeId& node) {
    size_t count = 0;
    for (const auto& [stream, message] : sent_) {
      const auto* command = wire::VerifiedRoot<wire::NodeCommand>(message);
      if (of_[stream] == node) count += command->body_as_ProcessDied() != nullptr ? 1 : 0;
    }
    sent_.clear();
    return count;
  }

  const NodeId here_ = NodeId::Random(), there_ = NodeId::Random();
  sim::VirtualTime time_{1};
  sim::VirtualRuntime runtime_{&time_};
  MemoryDisk disk_;
  MemoryStorage storage_{&disk_};
  StreamId stream_ = 0;
  std::map<StreamId, NodeId> of_;
  std::vector<std::pair<StreamId, wire::Bytes>> sent_;
  GcsService service_{&runtime_, &storage_,
                      StreamOutlets{.send =
                                        [this](StreamId stream, const wire::Bytes& message) {
                                          sent_.emplace_back(stream, message);
                                        },
                                    .accept = [](StreamId) {},
                                    .close = [](StreamId, const Status&) {}},
                      Membership::Timing{kLongMs, kLongMs, kLongMs, kLongMs}};
};

TEST_F(DeathsTold, ADeathIsNewsOnceHoweverOftenItsNodeComesBack) {
  const Address worker{here_, WorkerId::Random()};
  Hello(there_);
  Hello(here_, worker);
  EXPECT_EQ(TakeDeathsToldTo(there_), 1u);
  for (int minute = 0; minute < 10; ++minute) {
    Hello(here_, worker);
    EXPECT_EQ(TakeDeathsToldTo(there_), 0u) << minute;
    time_.RunFor(kMinuteNs);
  }
}

TEST_F(DeathsTold, WhoComesBackHearsOfTheLatestAlone) {
  Hello(there_);
  Hello(here_, {here_, WorkerId::Random()});
  Hello(there_);
  EXPECT_EQ(TakeDeathsToldTo(there_), 2u) << "on both streams";
  time_.RunFor(2 * kMinuteNs);
  Hello(there_);
  EXPECT_EQ(TakeDeathsToldTo(there_), 0u);
}

}  // namespace
}  // namespace cyray::gcs
