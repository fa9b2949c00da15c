// GcsService: answers calls: finds the table that a method is about, and says when the answer may
// leave.
//
// Threading: confined to the GCS's state loop.
// Invariants: what changes something is answered after the change is on disk, what only reads at
// once. A call of kOnceMethods is done once, however often it is sent.

#pragma once

#include <functional>
#include <unordered_map>

#include "cyray/gcs/call_log.h"
#include "cyray/gcs/cluster.h"
#include "cyray/gcs/function_table.h"
#include "cyray/gcs/kv_table.h"
#include "cyray/gcs/rpc_server.h"
#include "cyray/gcs/storage.h"

namespace cyray::gcs {

class GcsService : public RpcHandler {
 public:
  GcsService(EventLoop* loop, Storage* storage, RpcServer* server, NodeTable::Timing timing);
  ~GcsService() override;

  // Reads everything that was stored. Before the first call.
  Status Load();
  // Answers those who wait for something that may never come.
  void FailWaiters();

  void OnCall(uint16_t method, const CallId& id, Bytes payload, Reply reply) override;
  void OnStreamMessage(StreamId stream, const Bytes& message) override;
  void OnStreamClosed(StreamId stream) override;

 private:
  struct FunctionWaiter {
    Reply reply;
    EventLoop::TimerId timer;
  };

  Result<Bytes> Read(wire::GcsMethod method, const Bytes& payload);
  Result<Bytes> Change(wire::GcsMethod method, const Bytes& payload);
  void ChangeOnce(wire::GcsMethod method, const CallId& id, const Bytes& payload, Reply reply);

  Result<Bytes> KvPut(const Bytes& payload);
  Result<Bytes> KvGet(const Bytes& payload);
  Result<Bytes> KvDelete(const Bytes& payload);
  Result<Bytes> KvKeys(const Bytes& payload);
  Result<Bytes> PutFunction(const Bytes& payload);
  void GetFunction(const Bytes& payload, const Reply& reply);
  void AnswerWaiter(uint64_t waiter, const Bytes* pickled);
  void DropFunctions(const JobId& job);
  Result<Bytes> GetActorByName(const Bytes& payload);
  Result<Bytes> KillActor(const Bytes& payload);
  Result<Bytes> ListActors();
  Result<Bytes> ListNodes();
  Result<Bytes> ListJobs();
  Result<Bytes> ClusterResources();
  Result<Bytes> RegisterNode(const Bytes& payload);
  Result<Bytes> RegisterJob(const Bytes& payload);
  Result<Bytes> FinishJob(const Bytes& payload);
  Result<Bytes> ReportWorkerDeath(const Bytes& payload);

  EventLoop* const loop_;
  Storage* const storage_;
  KvTable kv_;
  FunctionTable functions_;
  CallLog calls_;
  std::unordered_map<uint64_t, FunctionWaiter> function_waiters_;
  uint64_t next_waiter_ = 1;
  Cluster cluster_;
};

}  // namespace cyray::gcs
