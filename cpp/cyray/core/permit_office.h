// PermitOffice: where a process gets the permits for tasks with max_running, and, in a job's
// driver, where the others get theirs.
//
// The driver counts for its job. When it has died and this process outlives it, which only detached
// actors and what they start do, each such process counts for itself from then on.
//
// Guarded by the core mutex.

#pragma once

#include <flatbuffers/flatbuffers.h>

#include <deque>
#include <functional>
#include <utility>

#include "core_generated.h"
#include "cyray/core/outbox.h"
#include "cyray/core/permit_table.h"
#include "cyray/wire/channel.h"

namespace cyray::core {

class PermitOffice {
 public:
  struct Hooks {
    // For a holder of this process.
    std::function<void(const PermitTable::Answer&)> on_answer;
    // What this process has told may be lost, or another one counts now: all is to be told again.
    std::function<void()> on_tell_again;
    // TellAgain is to be called soon.
    std::function<void()> on_untold;
  };
  explicit PermitOffice(LinkOutbox& links) : links_(links) {}
  void set_hooks(Hooks hooks) { hooks_ = std::move(hooks); }

  // `driver` nil: there is none any more.
  void SetIdentity(const Address& self, const Address& driver) {
    self_ = self;
    home_ = driver.is_nil() ? self : driver;
  }
  // Answered by on_answer, most often before it returns where this process counts itself.
  void Tell(uint32_t number, const FunctionId& function, const PermitTable::Wish& wish,
            uint64_t granted);

  // From another process. False: it is none that concerns permits, or not valid.
  bool OnFrame(Link& link, const wire::Frame& frame);
  void OnHoldPermits(Link& link, const wire::HoldPermits& hold);
  void OnGrantPermits(const Link& link, const wire::GrantPermits& grant);
  void OnLinkBroken(const Link& link);
  void OnProcessDied(const Address& process);
  void OnNodeDied(const NodeId& node);
  // What could not be told, or may be lost. False: it cannot be yet, try again later.
  bool TellAgain();

 private:
  bool is_home() const { return home_ == self_; }
  void BecomeHome();
  void NoteUntold();
  void Deliver(const PermitTable::Answers& answers);

  LinkOutbox& links_;
  Hooks hooks_;
  Address self_;
  Address home_;  // who counts
  PermitTable table_;
  std::deque<PermitTable::Answer> undelivered_;  // the oldest first
  bool delivering_ = false;
  bool untold_ = false;
  flatbuffers::FlatBufferBuilder builder_;
};

}  // namespace cyray::core
