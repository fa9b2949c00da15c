// The submitting half of a process, with the raylet and the workers played by the test over socket
// pairs. Nothing runs by itself: frames move when the test says so.

#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "cpp_tests/core/silent_outbox.h"
#include "cyray/common/encoding.h"
#include "cyray/common/resource_names.h"
#include "cyray/core/actor_submitter.h"
#include "cyray/core/dependent_tasks.h"
#include "cyray/core/link.h"
#include "cyray/core/poller.h"
#include "cyray/core/raylet_client.h"
#include "cyray/core/system_error.h"
#include "cyray/core/task_ids.h"
#include "cyray/core/task_submitter.h"
#include "cyray/wire/convert.h"

namespace cyray::core {

// A frame that arrived, copied.
struct GotFrame {
  wire::FrameType type;
  std::vector<uint64_t> bytes;
  template <class T>
  const T* As() const {
    return flatbuffers::GetRoot<T>(reinterpret_cast<const uint8_t*>(bytes.data()));
  }
};

// The far end of a connection of the process under test.
class FarEnd {
 public:
  explicit FarEnd(UniqueFd socket) : channel_(std::move(socket)) {}

  template <class Build>
  void Send(wire::FrameType type, Build build) {
    flatbuffers::FlatBufferBuilder b;
    b.Finish(build(b));
    channel_.Send(type, b);
    EXPECT_TRUE(channel_.Flush().ok());
  }
  // All that was sent is with the process, which reads it.
  void FlushAll() {
    while (channel_.HasUnsent()) ASSERT_TRUE(channel_.Flush().ok());
  }
  void SendRegistration(uint64_t arena_bytes = 0) {
    flatbuffers::FlatBufferBuilder b;
    b.Finish(wire::CreateRegisterReply(b, true, 0, nullptr, nullptr, arena_bytes));
    std::vector<UniqueFd> arena;
    for (int i = 0; i < 2; ++i) {
      arena.emplace_back(memfd_create("arena", 0));
      EXPECT_EQ(ftruncate(arena.back().get(), static_cast<off_t>(arena_bytes)), 0);
    }
    channel_.SendWithFds(wire::FrameType::kRegisterReply, b, std::move(arena));
    EXPECT_TRUE(channel_.Flush().ok());
  }
  // The frames of a type that have come and were not taken.
  std::vector<GotFrame> Take(wire::FrameType type) {
    Receive();
    std::vector<GotFrame> taken;
    std::erase_if(frames_, [&](GotFrame& frame) {
      if (frame.type != type) return false;
      taken.push_back(std::move(frame));
      return true;
    });
    return taken;
  }

 private:
  void Receive() {
    for (auto filled = channel_.Fill(); filled && *filled > 0; filled = channel_.Fill()) {
      for (auto next = channel_.Next(); next && next->has_value(); next = channel_.Next()) {
        GotFrame got{(*next)->type, std::vector<uint64_t>(((*next)->body_bytes + 7) / 8)};
        std::memcpy(got.bytes.data(), (*next)->body, (*next)->body_bytes);
        frames_.push_back(std::move(got));
      }
    }
  }
  wire::Channel channel_;
  std::vector<GotFrame> frames_;
};

class SubmitterFake : public testing::Test, public PollerHandler, public SilentOutbox {
 protected:
  SubmitterFake() {
    self_.node.bytes[0] = 1;
    self_.worker.bytes[0] = 1;
    auto [near, far] = SocketPair();
    raylet_end_ = std::make_unique<FarEnd>(std::move(far));
    raylet_end_->SendRegistration();
    EXPECT_TRUE(raylet_.Connect(std::move(near), {}).has_value());
    raylet_.SetHandlers([](wire::Frame&) {}, [this] { raylet_lost_ = true; });
    links_.SetIdentity(self_);
    objects_.SetIdentity(self_);
    completion_.SetIdentity(self_, JobId{});
    ids_.Reset(JobId{});
    slab_.set_tally(&tally_);
    tasks_.set_tally(&tally_);
    actors_.set_tally(&tally_);
  }
  ~SubmitterFake() override = default;

  static std::pair<UniqueFd, UniqueFd> SocketPair() {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    return {UniqueFd(ends[0]), UniqueFd(ends[1])};
  }

  // A worker with its link open; `number` is its address.
  FarEnd& AddWorker(uint8_t number) {
    auto [near, far] = SocketPair();
    links_.OnPeerConnected(WorkerAddress(number), std::move(near));
    worker_ends_[number] = std::make_unique<FarEnd>(std::move(far));
    return *worker_ends_[number];
  }
  Address WorkerAddress(uint8_t number) const {
    Address address = self_;
    address.worker.bytes[0] = number;
    return address;
  }
  Link& LinkTo(uint8_t number) { return links_.To(WorkerAddress(number)); }
  static ResourceSet OneCpu() {
    ResourceSet demand;
    demand.Set(kCpu, kResourceUnit);
    return demand;
  }
  TaskTemplate* MakeTemplate(int max_retries = 0, const ResourceSet& demand = OneCpu()) {
    TaskTemplate* tmpl = slab_.templates().Take();
    tmpl->max_retries = max_retries;
    tmpl->shape = tasks_.FindShape({.demand = demand});
    return tmpl;
  }
  // The task's one result, with the test's count.
  ObjectEntry* Submit(TaskTemplate* tmpl, std::vector<ObjectEntry*> refs = {},
                      ActorClient* actor = nullptr, const std::string& args = "") {
    PendingTask* task = slab_.New();
    if (!args.empty()) task->args = ValuePtr(Value::Copy(args.data(), args.size()));
    task->id = ids_.Next();
    task->tmpl = tmpl;
    TemplateTable::Use(tmpl);
    task->retries_left = tmpl->max_retries;
    for (ObjectEntry* entry : refs) objects_.AddRef(entry);
    task->refs = std::move(refs);
    ObjectEntry* entry = objects_.NewOwned(ObjectId(task->id, 1));
    objects_.AddRef(entry);
    task->Makes(entry);
    if (actor != nullptr) {
      actors_.Submit(actor, task, objects_);
    } else {
      tasks_.Submit(task);
    }
    return entry;
  }
  std::vector<GotFrame> FromProcess(wire::FrameType type) {
    raylet_.Flush();
    return raylet_end_->Take(type);
  }
  template <class Build>
  void FromRaylet(wire::FrameType type, Build build) {
    raylet_end_->Send(type, build);
    raylet_.OnReady();
  }
  // It does not stand still.
  void RayletAnswers() {
    for (auto pings = FromProcess(wire::FrameType::kPing); !pings.empty();
         pings = FromProcess(wire::FrameType::kPing)) {
      const uint64_t id = pings[0].As<wire::Ping>()->request_id();
      FromRaylet(wire::FrameType::kPong, [id](auto& b) { return wire::CreatePong(b, id); });
    }
  }
  void Grant(const GotFrame& request, uint64_t lease_id, uint8_t worker) {
    const uint64_t id = request.As<wire::RequestLease>()->request_id();
    const Address address = WorkerAddress(worker);
    FromRaylet(wire::FrameType::kLeaseReply, [&](auto& b) {
      return wire::CreateLeaseReply(b, id, true, 0, lease_id, wire::ToWire(address));
    });
  }
  // Asks for no lease in vain: grants the first request to `worker`. Where none is new, as a busy
  // machine made a worker look slow and no earlier one was cancelled for that, one of those.
  void GrantFirst(uint64_t lease_id, uint8_t worker) {
    auto requests = FromProcess(wire::FrameType::kRequestLease);
    if (requests.empty()) requests = std::exchange(earlier_requests_, {});
    ASSERT_FALSE(requests.empty());
    Grant(requests[0], lease_id, worker);
    earlier_requests_.assign(requests.begin() + 1, requests.end());
  }
  // Tags of the tasks that were pushed on the worker since the last call, in order.
  std::vector<uint64_t> Pushed(uint8_t worker) {
    links_.FlushDirty();
    std::vector<uint64_t> tags;
    const Link* link = links_.Find(WorkerAddress(worker).worker);
    do {
      if (link != nullptr) links_.OnReady(LinkTo(worker), EPOLLOUT);  // the socket has room again
      for (const GotFrame& frame : worker_ends_[worker]->Take(wire::FrameType::kPushTask)) {
        tags.push_back(frame.As<wire::PushTask>()->tag());
      }
    } while (link != nullptr && link->channel != nullptr && link->channel->HasUnsent());
    return tags;
  }
  // Tags of the tasks that the worker was asked to cancel since the last call.
  std::vector<uint64_t> AskedToCancel(uint8_t worker) {
    std::vector<uint64_t> tags;
    for (const GotFrame& frame : worker_ends_[worker]->Take(wire::FrameType::kCancelTask)) {
      tags.push_back(frame.As<wire::CancelTask>()->tag());
    }
    return tags;
  }
  void SendReply(uint8_t worker, uint64_t tag, wire::TaskStatus status, bool retry = false,
                 uint32_t run_us = 10) {
    worker_ends_[worker]->Send(wire::FrameType::kTaskReply, [&](auto& b) {
      const uint8_t bytes[] = {7};
      const auto value = wire::CreateReturnValue(b, b.CreateVector(bytes, 1), 0, nullptr,
                                                 status == wire::TaskStatus::Error);
      return wire::CreateTaskReply(b, tag, status, b.CreateVector(&value, 1), 0, run_us, retry);
    });
  }
  // A reply whose value holds a ref to an object of that worker.
  void ReplyWithRef(uint8_t worker, uint64_t tag, const TaskId& task, bool retry = false) {
    worker_ends_[worker]->Send(wire::FrameType::kTaskReply, [&](auto& b) {
      const uint8_t bytes[] = {7};
      const Address owner = WorkerAddress(worker);
      const ObjectId inner(ids_.Next(), 1);
      const wire::RefWithOwner ref(*wire::ToWire(inner), *wire::ToWire(owner));
      const auto value = wire::CreateReturnValue(b, b.CreateVector(bytes, 1), 0, nullptr, retry,
                                                 b.CreateVectorOfStructs(&ref, 1));
      const auto status = retry ? wire::TaskStatus::Error : wire::TaskStatus::Ok;
      return wire::CreateTaskReply(b, tag, status, b.CreateVector(&value, 1), 0, 10, retry,
                                   wire::ToWire(task));
    });
    links_.OnReady(LinkTo(worker), EPOLLIN);
  }
  // What the worker was told to let go of.
  std::vector<ObjectId> Disregarded(uint8_t worker) {
    links_.FlushDirty();
    std::vector<ObjectId> ids;
    for (const GotFrame& frame : worker_ends_[worker]->Take(wire::FrameType::kContainedTaken)) {
      ids.push_back(wire::FromWire(*frame.As<wire::ContainedTaken>()->object_id()));
    }
    return ids;
  }
  void Reply(uint8_t worker, uint64_t tag, wire::TaskStatus status = wire::TaskStatus::Ok,
             bool retry = false, uint32_t run_us = 10) {
    SendReply(worker, tag, status, retry, run_us);
    links_.OnReady(LinkTo(worker), EPOLLIN);
  }
  void Progress(uint8_t worker, uint64_t tag, bool begun) {
    worker_ends_[worker]->Send(wire::FrameType::kTaskProgress,
                               [&](auto& b) { return wire::CreateTaskProgress(b, tag, begun); });
    links_.OnReady(LinkTo(worker), EPOLLIN);
  }
  // A reply that says that the result is in the store of a node.
  void ReplyStored(uint8_t worker, uint64_t tag, const TaskId& task, const NodeId& node) {
    worker_ends_[worker]->Send(wire::FrameType::kTaskReply, [&](auto& b) {
      const auto value = wire::CreateReturnValue(b, 0, 100, wire::ToWire(node));
      return wire::CreateTaskReply(b, tag, wire::TaskStatus::Ok, b.CreateVector(&value, 1), 0, 10,
                                   false, wire::ToWire(task));
    });
    links_.OnReady(LinkTo(worker), EPOLLIN);
  }
  void Kill(uint8_t worker) {
    worker_ends_.erase(worker);
    links_.OnReady(LinkTo(worker), EPOLLIN | EPOLLHUP);
  }
  // Its process is dead: what it had answered is read first.
  void BreakLease(uint8_t worker) {
    Link& link = LinkTo(worker);
    tasks_.OnLinkBroken(link, "killed");
    links_.Drain(link);
    tasks_.OnLeaseBroken(WorkerAddress(worker), "killed");
  }
  void Release(std::initializer_list<ObjectEntry*> entries) {
    for (ObjectEntry* entry : entries) objects_.Release(entry);
  }
  // What the raylet reads is what there is.
  void ExpectTallied() const {
    uint64_t pushed = 0;
    slab_.ForEach([&](const PendingTask& task) {
      pushed += task.place == Place::kInFlight && !task.answered ? 1 : 0;
      return true;
    });
    EXPECT_EQ(tally_.Read()[wire::TaskCount::kUnfinished], slab_.pending());
    EXPECT_EQ(tally_.Read()[wire::TaskCount::kPushed], pushed);
  }
  void ExpectAllAnswered() {
    EXPECT_EQ(slab_.live(), 0u);
    ExpectTallied();
    objects_.CheckInvariants();
  }

  void OnStreamItem(Link& link, const wire::StreamItem& item) {
    PendingTask* task = slab_.Find(item.tag());
    if (task == nullptr) return completion_.RefuseItem(link, item);
    const bool is_there = task->lease != nullptr && task->lease->link == &link;
    completion_.AddItem(link, task, is_there, item);
  }

  // PollerHandler
  void OnReady(void*, uint32_t) override {}
  void FlushAll() override {}
  int64_t NextTimerNs() override { return kForever; }
  void RunTimers(int64_t) override {}
  // SilentOutbox
  bool SendFetch(const Address& owner, uint64_t, const ObjectId&) override {
    return dead_owner != owner.worker;
  }
  void FreeStray(const ObjectId& id, const NodeId& node) override { strays_.push_back({id, node}); }
  void OnObjectReady(ObjectEntry*, std::vector<uint64_t> dependents,
                     std::vector<uint64_t>) override {
    dependents_.Tell(dependents);
  }
  static ErrorKind KindOf(const ObjectEntry* entry) {
    EXPECT_TRUE(entry->is_error);
    return static_cast<ErrorKind>(entry->value->data()[1]);
  }

  Address self_;
  std::mutex mutex_;
  std::unique_ptr<FarEnd> raylet_end_;
  std::map<uint8_t, std::unique_ptr<FarEnd>> worker_ends_;
  bool raylet_lost_ = false;
  std::vector<GotFrame> earlier_requests_;  // for leases, not granted
  WorkerId dead_owner;
  std::function<void()> on_broken_;
  std::vector<std::pair<ObjectId, NodeId>> strays_;  // that were to be freed
  Poller poller_{mutex_, *this};
  RayletClient raylet_;
  ObjectDirectory objects_{*this, *this};
  wire::TaskTally tally_;
  TaskSlab slab_;
  TaskIds ids_;
  LinkTable links_{poller_,
                   raylet_,
                   {[this](Link& link, const wire::Frame& frame) {
                      if (frame.type == wire::FrameType::kTaskProgress) {
                        const auto* progress = frame.As<wire::TaskProgress>();
                        PendingTask* task = slab_.Find(progress->tag());
                        if (task == nullptr) return;
                        return tasks_.OnTaskProgress(link, task, progress->begun());
                      }
                      if (frame.type == wire::FrameType::kStreamItem) {
                        return OnStreamItem(link, *frame.As<wire::StreamItem>());
                      }
                      const auto* reply = frame.As<wire::TaskReply>();
                      ASSERT_NE(reply, nullptr);
                      PendingTask* task = slab_.Find(reply->tag());
                      if (task == nullptr) return completion_.Disregard(link, nullptr, *reply);
                      if (task->actor != nullptr) return actors_.OnTaskReply(link, task, *reply);
                      tasks_.OnTaskReply(link, task, *reply);
                    },
                    [this](Link& link, const std::string& reason) {
                      if (on_broken_) on_broken_();
                      tasks_.OnLinkBroken(link, reason);
                      actors_.OnLinkBroken(link, reason);
                    }}};
  TaskCompletion completion_{objects_, links_, slab_};
  TaskSubmitter tasks_{objects_, links_, raylet_, completion_, slab_};
  ActorSubmitter actors_{links_, raylet_, completion_};
  UnreadyActors unready_{[](const ActorId&) {}};
  DependentTasks dependents_{slab_, unready_, [this](PendingTask* task) {
                               if (task->actor != nullptr) return actors_.OnArgumentReady(task);
                               tasks_.OnArgumentReady(task);
                             }};
};

}  // namespace cyray::core
