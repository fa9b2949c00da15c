// GcsService: answers calls: finds the table that a method is about, and says when the answer may
// leave.
//
// Threading: confined to the GCS's state loop.
// Invariants: every answer leaves when what it rests on is on disk (commit.h): a change, and what a
// read saw. A call that IsOnce() is done once, however often it is sent.
// When the disk refuses a change, a request is taken back and answered with the reason, and the
// next ones are refused before they change anything. What tells of something that has happened
// already (a death, an end) stays, and is written as soon as the disk takes it.

#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "cyray/gcs/call_log.h"
#include "cyray/gcs/cluster.h"
#include "cyray/gcs/commit.h"
#include "cyray/gcs/function_table.h"
#include "cyray/gcs/kv_table.h"
#include "cyray/gcs/rpc_server.h"
#include "cyray/gcs/storage.h"
#include "cyray/util/timer.h"

namespace cyray::gcs {

class GcsService : public RpcHandler {
 public:
  GcsService(Runtime* runtime, Storage* storage, StreamOutlets streams, Membership::Timing timing,
             ClusterMemory memory = {});
  ~GcsService() override;

  // Reads everything that was stored. Before the first call.
  Status Load();
  void CheckInvariants() const {
    functions_.CheckInvariants();
    cluster_.CheckInvariants();
  }
  // Answers those who wait for something that may never come.
  void FailWaiters();

  void OnCall(uint16_t method, const CallId& id, wire::Bytes payload, Reply reply) override;
  void OnStreamMessage(StreamId stream, const wire::Bytes& message) override;
  void OnStreamClosed(StreamId stream) override;

 private:
  struct Waiter {
    Reply reply;
    std::unique_ptr<Timer> timer;
  };

  // What a change answers, and what becomes of it when the disk refuses it.
  struct Outcome {
    // Takes it back, and says what to answer then.
    using Undo = std::function<Result<wire::Bytes>(const Status& why)>;
    Outcome(Result<wire::Bytes> answer, Undo undo_it = nullptr)
        : reply(std::move(answer)), undo(std::move(undo_it)) {}
    Result<wire::Bytes> reply;
    Undo undo;                    // null: it stays
    std::vector<ActorId> actors;  // that it registers
    // Not null: it changes nothing, and its answer says what others have changed, so it leaves when
    // that is stored, however long the disk refuses it.
    std::function<Result<wire::Bytes>()> when_stored;
  };

  Result<wire::Bytes> Read(wire::GcsMethod method, const wire::Bytes& payload);
  void Change(wire::GcsMethod method, const CallId& id, const wire::Bytes& payload, Reply reply);
  Outcome Apply(wire::GcsMethod method, const wire::Bytes& payload);
  // Whether it registers again what is registered, because its caller saw no reply.
  bool IsRepeated(wire::GcsMethod method, const wire::Bytes& payload) const;
  void RememberCall(const CallId& id, const Result<wire::Bytes>& reply);
  void ForgetCall(const CallId& id);

  Outcome KvPut(const wire::Bytes& payload);
  Result<wire::Bytes> KvGet(const wire::Bytes& payload);
  Outcome KvDelete(const wire::Bytes& payload);
  Result<wire::Bytes> KvKeys(const wire::Bytes& payload);
  void StoreKv(const std::string& space, const std::string& key, wire::Bytes value);
  Result<wire::Bytes> PutFunction(const wire::Bytes& payload);
  void GetFunction(const wire::Bytes& payload, const Reply& reply);
  void AnswerFunction(const Reply& reply, const wire::Bytes* pickled);
  void AnswerWaiter(uint64_t waiter, const wire::Bytes* pickled);
  void DropFunctions(const JobId& job);
  Outcome RegisterActor(const wire::Bytes& payload);
  // It was registered, and the disk refused that.
  void TakeBackActor(const ActorId& actor);
  Result<wire::Bytes> GetActorByName(const wire::Bytes& payload);
  Result<wire::Bytes> ActorArgumentsReady(const wire::Bytes& payload);
  Result<wire::Bytes> KillActor(const wire::Bytes& payload);
  Outcome ChangeActors(const wire::Bytes& payload);
  Result<wire::Bytes> SaveActor(const wire::Bytes& payload);
  Result<wire::Bytes> GetActorSave(const wire::Bytes& payload) const;
  Result<wire::Bytes> ListActors();
  Outcome RegisterGroup(const wire::Bytes& payload);
  Result<wire::Bytes> RemoveGroup(const wire::Bytes& payload);
  Result<wire::Bytes> FindGroup(const wire::Bytes& payload) const;
  Result<wire::Bytes> ListGroups() const;
  void WaitGroup(const wire::Bytes& payload, const Reply& reply);
  void AnswerGroup(const Reply& reply, const PlacementGroupId& id);
  wire::Bytes GroupReplyOf(const PlacementGroupId& id) const;
  wire::Bytes GroupAwaited(const PlacementGroupId& id) const;
  void OnGroupChanged(const PlacementGroupId& id);
  Result<wire::Bytes> ListNodes();
  Result<wire::Bytes> ListJobs();
  Result<wire::Bytes> ClusterResources();
  Outcome RegisterNode(const wire::Bytes& payload);
  Result<wire::Bytes> NodeLeaves(const wire::Bytes& payload);
  Outcome RegisterJob(const wire::Bytes& payload);
  Result<wire::Bytes> FinishJob(const wire::Bytes& payload);
  Result<wire::Bytes> ReportWorkerDeath(const wire::Bytes& payload);

  Runtime* const runtime_;
  Storage* const storage_;
  Commit commit_;
  KvTable kv_;
  FunctionTable functions_;
  CallLog calls_;
  std::unordered_set<ActorId> unstored_;  // their registrations wait for the disk
  std::unordered_map<uint64_t, Waiter> function_waiters_;
  std::map<std::pair<PlacementGroupId, uint64_t>, Waiter> group_waiters_;  // and a number
  uint64_t next_waiter_ = 1;
  Cluster cluster_;
};

}  // namespace cyray::gcs
