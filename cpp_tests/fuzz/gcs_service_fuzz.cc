// What authenticated peers may send to the GCS: calls with any bytes and messages on node streams,
// in any order. Whatever comes, the tables keep their invariants and nothing crashes.
//
// An input is a row of events: a byte that chooses (call, stream message, stream end), two bytes
// for the method or stream, two for the size, and that many bytes.

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <span>

#include "cpp_tests/fuzz/seeds.h"
#include "cyray/gcs/gcs_service.h"
#include "cyray/gcs/sqlite_storage.h"
#include "cyray/util/log.h"

namespace {

using namespace cyray;
using wire::GcsMethod;

struct Event {
  uint8_t kind;
  uint16_t target;
  std::span<const uint8_t> bytes;
};
constexpr size_t kHeadBytes = 5;

bool TakeEvent(std::span<const uint8_t>& input, Event& event) {
  if (input.size() < kHeadBytes) return false;
  uint16_t size;
  event.kind = input[0];
  std::memcpy(&event.target, &input[1], 2);
  std::memcpy(&size, &input[3], 2);
  input = input.subspan(kHeadBytes);
  event.bytes = input.first(std::min<size_t>(size, input.size()));
  input = input.subspan(event.bytes.size());
  return true;
}

struct Named {
  GcsMethod method;
  const char* table;
};
constexpr std::array kRequests{
    Named{GcsMethod::KvPut, "KvPutRequest"},
    Named{GcsMethod::KvGet, "KvGetRequest"},
    Named{GcsMethod::KvDelete, "KvDeleteRequest"},
    Named{GcsMethod::KvKeys, "KvKeysRequest"},
    Named{GcsMethod::PutFunction, "PutFunctionRequest"},
    Named{GcsMethod::GetFunction, "GetFunctionRequest"},
    Named{GcsMethod::RegisterActor, "RegisterActorRequest"},
    Named{GcsMethod::GetActorByName, "GetActorByNameRequest"},
    Named{GcsMethod::ActorArgumentsReady, "ActorArgumentsReadyRequest"},
    Named{GcsMethod::KillActor, "KillActorRequest"},
    Named{GcsMethod::ListActors, "Empty"},
    Named{GcsMethod::ListNodes, "Empty"},
    Named{GcsMethod::ListJobs, "Empty"},
    Named{GcsMethod::ClusterResources, "Empty"},
    Named{GcsMethod::RegisterNode, "RegisterNodeRequest"},
    Named{GcsMethod::RegisterJob, "RegisterJobRequest"},
    Named{GcsMethod::FinishJob, "FinishJobRequest"},
    Named{GcsMethod::ReportWorkerDeath, "ReportWorkerDeathRequest"},
    Named{GcsMethod::ChangeActors, "ChangeActorsRequest"},
};

void AppendEvent(std::vector<uint8_t>& input, uint8_t kind, uint16_t target,
                 const std::vector<uint8_t>& bytes) {
  const auto size = static_cast<uint16_t>(bytes.size());
  input.push_back(kind);
  for (const uint16_t number : {target, size}) {
    input.push_back(static_cast<uint8_t>(number));
    input.push_back(static_cast<uint8_t>(number >> 8));
  }
  input.insert(input.end(), bytes.begin(), bytes.end());
}

}  // namespace

std::vector<uint8_t> cyray::fuzz::RandomSeed(std::mt19937_64& rng) {
  std::vector<uint8_t> input;
  for (uint64_t i = 0, count = 1 + rng() % 12; i < count; ++i) {
    const auto stream = static_cast<uint16_t>(rng() % 3);
    const uint64_t kind = rng() % 8;
    if (kind == 0) {
      AppendEvent(input, 2, stream, {});
    } else if (kind < 4) {
      AppendEvent(input, 1, stream, RandomTable("NodeReport", rng));
    } else {
      const Named& request = kRequests[rng() % kRequests.size()];
      AppendEvent(input, 0, static_cast<uint16_t>(request.method), RandomTable(request.table, rng));
    }
  }
  return input;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  SetMinLogLevel(LogLevel::kFatal);
  EventLoop loop;
  auto storage = gcs::SqliteStorage::Open(":memory:", &loop);
  if (!storage.has_value()) std::abort();
  {
    gcs::GcsService service(&loop, storage->get(),
                            gcs::StreamOutlets{.send = [](uint64_t, const wire::Bytes&) {},
                                               .accept = [](uint64_t) {},
                                               .close = [](uint64_t, const Status&) {}},
                            gcs::Membership::Timing{});
    if (!service.Load().ok()) std::abort();
    std::span<const uint8_t> input(data, size);
    for (Event event; TakeEvent(input, event);) {
      wire::Bytes bytes(event.bytes.begin(), event.bytes.end());
      const uint16_t stream = event.target % 3 + 1;
      if (event.kind % 3 == 0) {
        service.OnCall(event.target, gcs::CallId::Random(), std::move(bytes),
                       [](const Result<wire::Bytes>&) {});
      } else if (event.kind % 3 == 1) {
        service.OnStreamMessage(stream, bytes);
      } else {
        service.OnStreamClosed(stream);
      }
      service.CheckInvariants();
    }
    loop.RunOnce(0);
    service.CheckInvariants();
  }
  storage->reset();
  return 0;
}
