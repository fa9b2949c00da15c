// GcsBridge: everything between this raylet and the GCS.
//
// Forwards the calls that processes may make, keeps functions at hand, and carries the node stream,
// of which what becomes of actors goes to the clients that watch them (actor_news.h). Calls made
// before the node is registered wait; those of one process stand in a line (gcs_lines.h), and
// actors that it makes and drops in one round of the loop go together. Deaths of processes are
// reported as they happen and repeated in each hello, for the GCS may have been away. Threading:
// confined to the raylet's loop.

#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cyray/gcs/client.h"
#include "cyray/raylet/actor_news.h"
#include "cyray/raylet/client_registry.h"
#include "cyray/raylet/gcs_lines.h"
#include "cyray/raylet/node_options.h"
#include "cyray/util/recent.h"
#include "cyray/util/timer.h"
#include "gcs_generated.h"
#include "local_generated.h"

namespace cyray::raylet {

// Pickled functions by id, the least recently used leave first.
class FunctionCache {
 public:
  explicit FunctionCache(size_t limit_bytes) : limit_bytes_(limit_bytes) {}
  using Key = std::pair<JobId, FunctionId>;
  void Put(const Key& key, wire::Bytes pickled);
  const wire::Bytes* Find(const Key& key);

 private:
  const size_t limit_bytes_;
  size_t bytes_ = 0;
  std::list<std::pair<Key, wire::Bytes>> entries_;  // most recently used first
  std::map<Key, std::list<std::pair<Key, wire::Bytes>>::iterator> index_;
};

class GcsBridge {
 public:
  struct Callbacks {
    std::function<void(const wire::NodeCommand&)> on_command;  // all but ActorUpdate
    std::function<wire::Bytes()> make_hello;
    std::function<void(const Status&)> on_rejected;  // the GCS takes this node for dead
    std::function<void()> on_up;
    // What ClusterResources is answered with here, from what this raylet knows itself.
    std::function<wire::Bytes()> cluster_resources;
    // Whether frames of that process, of another node, may be on their way to that client.
    std::function<bool(const WorkerId& client, const Address& process)> talks =
        [](const WorkerId&, const Address&) { return false; };
  };

  GcsBridge(Runtime* runtime, const NodeOptions* options, ClientRegistry* clients,
            Callbacks callbacks);

  // Once the GCS's address is known; `connection`: another way there than gRPC.
  void Connect(const std::string& address,
               std::unique_ptr<gcs::GcsConnection> connection = nullptr);
  // Makes this node one of the cluster's.
  void Register(const flatbuffers::FlatBufferBuilder& builder,
                gcs::GcsConnection::ReplyCallback callback);
  // It is one by now: what was asked until then leaves.
  void OpenStream();
  const std::string& address() const { return address_; }

  void Call(wire::GcsMethod method, const flatbuffers::FlatBufferBuilder& builder,
            gcs::GcsConnection::ReplyCallback callback);
  // A finished NodeReport. Lost while the stream is down.
  void Report(wire::Bytes report);
  // A driver or worker of this node is gone.
  void ReportDeath(const Address& process, const std::string& reason, bool intended);
  // For NodeHello: who is connected here or `ending`, which is yet to be reported, and the latest
  // deaths.
  flatbuffers::Offset<flatbuffers::Vector<const wire::WireWorkerId*>> WriteProcesses(
      flatbuffers::FlatBufferBuilder& builder, const std::vector<WorkerId>& ending) const;
  std::vector<flatbuffers::Offset<wire::ReportWorkerDeathRequest>> WriteDeaths(
      flatbuffers::FlatBufferBuilder& builder) const;

  // Frames of a client. False: the frame is bad.
  bool OnGcsCall(ClientConnection& client, const wire::GcsCall* call);
  bool OnSubscribeActor(ClientConnection& client, const wire::SubscribeActor* subscribe);
  void OnClientGone(const WorkerId& client) { news_.OnClientGone(client); }
  // All that the process has said to that client was passed on, and its end.
  void OnTalkOver(const WorkerId& client, const Address& process) {
    news_.OnTalkOver(client, process);
  }
  // Calls that the GCS has not been asked yet: in their lines, or before it knows the node.
  size_t waiting_calls() const { return lines_.waiting() + queued_.size(); }

 private:
  struct QueuedCall {
    wire::GcsMethod method;
    wire::Bytes payload;
    gcs::GcsConnection::ReplyCallback callback;
  };

  void CallBytes(wire::GcsMethod method, wire::Bytes payload,
                 gcs::GcsConnection::ReplyCallback callback);
  void Reply(uint64_t client_id, uint64_t request_id, const Result<wire::Bytes>& result);
  // True when the call was answered here.
  bool AnswerHere(ClientConnection& client, const wire::GcsCall& call, wire::GcsMethod method);
  bool AnswerFunction(ClientConnection& client, const wire::GcsCall& call);
  void RememberFunction(const uint8_t* payload, size_t size);
  // What of its line may go now.
  void GoOn(uint64_t client_id);
  void EndRound();
  void AskForFunction(const ClientConnection& client, const wire::GcsCall& call);
  void OnCommand(const wire::NodeCommand* command);
  void SendWatch(const ActorId& actor, bool watch);
  void OnUp();

  Runtime* const runtime_;
  const NodeOptions* const options_;
  ClientRegistry* const clients_;
  const Callbacks callbacks_;
  std::string address_;
  std::unique_ptr<gcs::GcsConnection> client_;
  bool registered_ = false;
  std::vector<QueuedCall> queued_;
  FunctionCache functions_;
  struct Death {
    std::string reason;
    bool intended;
  };
  Recent<Address, Death> deaths_;
  GcsLines lines_;
  std::vector<uint64_t> gathering_;  // lines to which calls were added that others may join
  ActorNews news_;
  Posts posts_;
};

}  // namespace cyray::raylet
