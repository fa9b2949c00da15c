// Router: which part a frame concerns, and what concerns several of them: that a process is gone, a
// job that begins, an exit that is asked for.
//
// "A process is gone" is told in one order everywhere: nothing more goes there; what came from it
// is read (its last replies); its link breaks; then its tasks, actors and objects learn of it.
// Threading: everything here runs with the core mutex held, as this_process.h says.

#pragma once

#include <flatbuffers/flatbuffers.h>

#include <string>

#include "cyray/core/event_queue.h"
#include "cyray/core/executor.h"
#include "cyray/core/item_taker.h"
#include "cyray/core/objects.h"
#include "cyray/core/saver.h"
#include "cyray/core/store_client.h"
#include "cyray/core/submitter.h"
#include "cyray/core/this_process.h"

namespace cyray::core {

class Router {
 public:
  struct Parts {
    ThisProcess& process;
    ObjectDirectory& directory;
    Objects& objects;
    StoreClient& store;
    Submitter& submitter;
    ItemTaker& items;
    Executor& executor;
    Saver& saver;
    EventQueue& events;
  };
  explicit Router(const Parts& parts) : parts_(parts) {}

  // From another process.
  void OnLinkFrame(Link& link, const wire::Frame& frame);
  void OnLinkBroken(Link& link, const std::string& reason);
  // From the raylet, in the name of a dead one.
  void OnLastAnswers(Link& link, const wire::LastAnswers& last);
  // From the raylet.
  void OnRayletFrame(wire::Frame& frame);
  void OnRayletLost();

 private:
  // False: of no type that concerns links to other processes, or connections to them.
  bool OnPeerNews(wire::Frame& frame);
  void Report(uint64_t request_id);
  // Whether it is one, and valid.
  bool OnSaveFrame(Link& link, const wire::Frame& frame);
  void OnCancelTask(Link& link, const wire::CancelTask& cancel);
  void OnRelayFailed(const wire::RelayFailed& failed);
  void OnLeaseBroken(const wire::LeaseBroken& broken);
  void OnAssignJob(const wire::AssignJob& assign);
  void OnAssignActor(const wire::AssignActor& assign);
  // Whether somebody would miss what this process owns or has begun.
  bool IsUsed() const;
  void SendStays();
  void OnExitWorker(const wire::ExitWorker& exit);
  void OnProcessDied(const wire::ProcessDied& died);
  void OnPeerGone(const Address& peer, const std::string& reason);

  const Parts parts_;
  flatbuffers::FlatBufferBuilder builder_;
};

}  // namespace cyray::core
