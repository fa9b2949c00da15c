// What other workers may send to a driver or worker: frames of any content in any order, and valid
// ones of the raylet in between. Whatever comes, nothing crashes; a frame that is not valid breaks
// its link alone.
//
// An input is a byte for the process's kind and a row of frames: a byte that chooses the sender
// (raylet or one of two peers), one for the type, two for the size, and the body.

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <span>

#include "cpp_tests/fuzz/schemas.h"
#include "cpp_tests/fuzz/seeds.h"
#include "cyray/core/core_worker.h"
#include "cyray/store/arena.h"
#include "cyray/util/log.h"

namespace {

using namespace cyray;
using wire::Frame;
using wire::FrameType;

template <class T>
T IdOf(uint8_t fill) {  // as schemas.cc makes them
  T id;
  id.bytes.fill(fill);
  return id;
}
constexpr size_t kPeers = 2;
Address PeerAddress(size_t peer) {
  return {IdOf<NodeId>(1), IdOf<WorkerId>(static_cast<uint8_t>(2 + peer))};
}

std::array<UniqueFd, 2> SocketPair() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) != 0) std::abort();
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

struct Named {
  FrameType type;
  const char* table;
};
constexpr std::array kFromPeers{
    Named{FrameType::kTemplate, "Template"},
    Named{FrameType::kPushTask, "PushTask"},
    Named{FrameType::kTaskReply, "TaskReply"},
    Named{FrameType::kTaskReply, "TaskReply"},
    Named{FrameType::kStealTasks, "StealTasks"},
    Named{FrameType::kFetchObject, "FetchObject"},
    Named{FrameType::kObjectState, "ObjectState"},
    Named{FrameType::kAddBorrowers, "AddBorrowers"},
    Named{FrameType::kAddBorrowersAck, "AddBorrowersAck"},
    Named{FrameType::kRemoveBorrowers, "RemoveBorrowers"},
    Named{FrameType::kContainedTaken, "ContainedTaken"},
    Named{FrameType::kTaskProgress, "TaskProgress"},
};
constexpr std::array kFromRaylet{
    Named{FrameType::kReclaimLease, "ReclaimLease"}, Named{FrameType::kLeaseBroken, "LeaseBroken"},
    Named{FrameType::kRelayFailed, "RelayFailed"},   Named{FrameType::kActorUpdate, "ActorUpdate"},
    Named{FrameType::kAssignJob, "AssignJob"},       Named{FrameType::kProcessDied, "ProcessDied"},
    Named{FrameType::kReturnSpares, "ReturnSpares"}, Named{FrameType::kLogLines, "LogLines"},
};

// A worker whose raylet breaks the protocol ends itself; so here the raylet keeps to it.
bool RayletMaySend(FrameType type, std::span<const uint8_t> body) {
  for (const Named& named : kFromRaylet) {
    for (const fuzz::Schema& schema : fuzz::AllSchemas()) {
      if (named.type == type && schema.name == named.table) {
        return fuzz::VerifyAs(schema, body.data(), body.size());
      }
    }
  }
  return false;
}

// The process under test, its raylet, and two peers that are linked to it.
class World {
 public:
  explicit World(bool driver) : arena_(*store::Arena::Create(1 << 20)), driver_(driver) {
    auto ends = SocketPair();
    raylet_ = std::make_unique<wire::Channel>(std::move(ends[0]));
    AnswerRegistration();
    core::RegisterOptions options;
    options.is_driver = driver;
    options.worker_id = IdOf<WorkerId>(1);
    if (!core_.Connect(std::move(ends[1]), options).ok()) std::abort();
    for (size_t peer = 0; peer < kPeers; ++peer) {
      auto link = SocketPair();
      peers_[peer] = std::make_unique<wire::Channel>(std::move(link[0]));
      flatbuffers::FlatBufferBuilder builder;
      const Address address = PeerAddress(peer);
      builder.Finish(wire::CreatePeerConnected(builder, wire::ToWire(address)));
      std::vector<UniqueFd> fds;
      fds.push_back(std::move(link[1]));
      raylet_->SendWithFds(FrameType::kPeerConnected, builder, std::move(fds));
    }
    if (driver) SubmitSome();
    Settle();
  }
  ~World() {
    for (core::ObjectEntry* entry : returns_) core_.objects().Release(entry);
    core_.Disconnect();
  }

  void Receive(uint8_t sender, FrameType type, std::span<uint8_t> body) {
    if (sender % 3 == 0) {
      if (!RayletMaySend(type, body)) return;
      raylet_->Send(type, body.data(), body.size());
    } else {
      if (type == FrameType::kTaskReply) NameATask(body);
      peers_[sender % kPeers]->Send(type, body.data(), body.size());
    }
    Settle();
  }

 private:
  void AnswerRegistration() {
    flatbuffers::FlatBufferBuilder builder;
    const NodeId node = IdOf<NodeId>(1);
    const JobId job = IdOf<JobId>(1);
    wire::RegisterReplyBuilder reply(builder);
    reply.add_ok(true);
    reply.add_node_id(wire::ToWire(node));
    reply.add_job_id(wire::ToWire(job));
    reply.add_arena_bytes(arena_.capacity_bytes());
    builder.Finish(reply.Finish());
    std::vector<UniqueFd> fds;
    fds.push_back(*arena_.DuplicateReadOnly());
    fds.push_back(*arena_.DuplicateReadWrite());
    raylet_->SendWithFds(FrameType::kRegisterReply, builder, std::move(fds));
    if (!raylet_->Flush().ok()) std::abort();
  }
  void SubmitSome() {
    core::TaskTemplate* tmpl = core_.submitter().AddTemplate(
        {.function_id = IdOf<FunctionId>(1), .name = "f", .max_retries = 1});
    for (int i = 0; i < 4; ++i) {
      core::ObjectEntry* entry = nullptr;
      core::Submission submission;
      submission.tmpl = tmpl;
      submission.args = core::ValuePtr(core::Value::Copy("args", 4));
      core_.submitter().Submit(std::move(submission), nullptr, &entry);
      returns_.push_back(entry);
    }
  }
  // A few turns of everybody: the process, the raylet that lends it a peer, the peers that read.
  void Settle() {
    for (int i = 0; i < 3; ++i) {
      Flush(*raylet_);
      for (auto& peer : peers_) Flush(*peer);
      core_.loop().PollNow();
      if (!driver_) RunTasks();
      Drain(*raylet_, [this](const Frame& frame) { Serve(frame); });
      for (auto& peer : peers_) {
        Drain(*peer, [this](const Frame& frame) {
          const auto* push =
              frame.type == FrameType::kPushTask ? frame.As<wire::PushTask>() : nullptr;
          if (push != nullptr) tags_.push_back(push->tag());
        });
      }
    }
  }
  static void Flush(wire::Channel& channel) {
    if (channel.fd() >= 0) (void)channel.Flush();
  }
  template <class Visitor>
  void Drain(wire::Channel& channel, Visitor visitor) {
    while (true) {
      const auto filled = channel.Fill();
      if (!filled.has_value() || *filled == 0) return;
      for (auto next = channel.Next(); next.has_value() && next->has_value();
           next = channel.Next()) {
        visitor(**next);
      }
    }
  }
  void Serve(const Frame& frame) {
    flatbuffers::FlatBufferBuilder builder;
    if (const auto* request =
            frame.type == FrameType::kRequestLease ? frame.As<wire::RequestLease>() : nullptr) {
      const Address worker = PeerAddress(leases_ % kPeers);
      wire::LeaseReplyBuilder reply(builder);
      reply.add_request_id(request->request_id());
      reply.add_ok(leases_ < 6);
      reply.add_lease_id(++leases_);
      reply.add_worker(wire::ToWire(worker));
      builder.Finish(reply.Finish());
      raylet_->Send(FrameType::kLeaseReply, builder);
    } else if (const auto* get =
                   frame.type == FrameType::kGetObject ? frame.As<wire::GetObject>() : nullptr) {
      builder.Finish(wire::CreateGetObjectReply(builder, get->request_id(), true, 0, 0, 0, 64));
      raylet_->Send(FrameType::kGetObjectReply, builder);
    }
  }
  // As Python does, with results of a byte.
  void RunTasks() {
    core::Event event;
    while (auto task = core_.executor().TryNextTask(&event)) {
      std::vector<core::Outcome> outcomes(
          static_cast<size_t>(std::clamp(task->tmpl->num_returns, 0, 3)));
      for (core::Outcome& outcome : outcomes) {
        outcome.value = core::ValuePtr(core::Value::Copy("r", 1));
      }
      core_.executor().Reply(std::move(task), true, std::move(outcomes), false);
    }
    core_.loop().EndTurn();
  }
  // A reply names one of the tasks that were pushed.
  void NameATask(std::span<uint8_t> body) {
    flatbuffers::Verifier verifier(body.data(), body.size());
    if (tags_.empty() || body.empty() || !verifier.VerifyBuffer<wire::TaskReply>(nullptr)) return;
    auto* table = flatbuffers::GetMutableRoot<flatbuffers::Table>(body.data());
    const auto tag = table->GetField<uint64_t>(wire::TaskReply::VT_TAG, 0);
    if (tag < 8) table->SetField<uint64_t>(wire::TaskReply::VT_TAG, tags_[tag % tags_.size()], 0);
  }

  store::Arena arena_;
  const bool driver_;
  std::unique_ptr<wire::Channel> raylet_;
  std::array<std::unique_ptr<wire::Channel>, kPeers> peers_;
  core::CoreWorker core_;
  std::vector<core::ObjectEntry*> returns_;
  std::vector<uint64_t> tags_;
  uint64_t leases_ = 0;
};

constexpr size_t kHeadBytes = 4;

}  // namespace

std::vector<uint8_t> cyray::fuzz::RandomSeed(std::mt19937_64& rng) {
  std::vector<uint8_t> input{static_cast<uint8_t>(rng())};
  for (uint64_t i = 0, count = 1 + rng() % 12; i < count; ++i) {
    const bool from_peer = rng() % 5 != 0;
    const Named& named =
        from_peer ? kFromPeers[rng() % kFromPeers.size()] : kFromRaylet[rng() % kFromRaylet.size()];
    const std::vector<uint8_t> table = RandomTable(named.table, rng);
    input.push_back(from_peer ? static_cast<uint8_t>(1 + rng() % 2) : 0);
    input.push_back(static_cast<uint8_t>(named.type));
    input.push_back(static_cast<uint8_t>(table.size()));
    input.push_back(static_cast<uint8_t>(table.size() >> 8));
    input.insert(input.end(), table.begin(), table.end());
  }
  return input;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  SetMinLogLevel(LogLevel::kFatal);
  World world(/*driver=*/data[0] % 2 == 0);
  for (std::span<const uint8_t> input(data + 1, size - 1); input.size() > kHeadBytes;) {
    const uint8_t sender = input[0];
    const auto type = static_cast<FrameType>(input[1]);
    uint16_t bytes;
    std::memcpy(&bytes, &input[2], sizeof bytes);
    input = input.subspan(kHeadBytes);
    const size_t n = std::min<size_t>(bytes, input.size());
    // FlatBuffers are aligned.
    std::vector<uint64_t> body((n + 7) / 8);
    if (n > 0) std::memcpy(body.data(), input.data(), n);
    world.Receive(sender, type, {reinterpret_cast<uint8_t*>(body.data()), n});
    input = input.subspan(n);
  }
  return 0;
}
