// EventQueue: what Python has to do besides tasks, and the event loop of Python's that may have to
// be told.
//
// C++ never calls Python: what concerns it is queued here and taken by a thread of Python's. A
// driver's is a thread of its own (Next); a worker's main thread takes events between tasks
// (Take), and a thread of its own only the callbacks for futures that tasks may wait for,
// and what concerns calls on loops of concurrency groups.
// Threading: as this_process.h says; Next() sleeps on a condition of its own and never polls.

#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "cyray/core/external_loop.h"
#include "cyray/core/this_process.h"
#include "local_generated.h"

namespace cyray::core {

// Something Python has to do. `kind` tells which fields count.
struct Event {
  enum class Kind : uint8_t {
    kNone,
    kCallback,     // token: the object of AddCallback is here
    kLogLines,     // number: pid; label, text: node ip, lines, flag: stderr
    kWarning,      // text
    kSilence,      // text: the question that nobody has answered for long
    kAssignJob,    // id: job, label: namespace, text: config
    kBecomeActor,  // id: actor; number: incarnation; text: spec's extra; label: class name
    kExit,         // leave; flag: for good; text: why
    kRayletLost,
    kCancel,  // token: the number of an actor's call that runs and is cancelled
    kSave,    // the state of this actor is to be taken
    kRoom,    // token: the number of one that waits for its consumers and may go on
  };
  Kind kind = Kind::kNone;
  uint64_t token = 0;
  int64_t number = 0;
  bool flag = false;
  std::string id, label, text;
  std::vector<std::string> lines;
  size_t line_bytes = 0;
  std::vector<int> gpu_ids;
};

class EventQueue {
 public:
  EventQueue(ThisProcess& process, ExternalLoop& loop) : process_(process), loop_(loop) {}

  // Waits for an event without driving: for a thread that prints logs and completes futures. In
  // workers there are only callbacks. False when the time is over, or after Stop().
  bool Next(int64_t deadline_ns, Event* event);
  void Stop();

  // --- With the core mutex held ---

  void Push(Event event);
  // Concerns a call on the loop of a concurrency group: a worker's goes to whoever calls Next(),
  // for the main thread may be busy with a call of another one.
  void PushOfGroup(Event event);
  // From now on somebody calls Next() for such.
  void ServeGroups() { serves_groups_ = true; }
  // The object is here for which a future waits. With kThreadToken in it, a worker's goes to
  // whoever calls Next(); else, and in a driver always, it is an event like all others.
  void PushCallback(uint64_t token);
  // Lines beyond kMaxLineBacklogBytes are dropped, and counted in the next that are taken.
  void PushLogLines(const wire::LogLines& log);
  void PushWarning(std::string text);
  void PushSilence(const char* question);
  // For a worker's main thread.
  bool empty() const { return events_.empty(); }
  Event Take();
  void StopLocked();

 private:
  Event TakeFrom(std::deque<Event>& queue);

  ThisProcess& process_;
  ExternalLoop& loop_;
  std::deque<Event> events_;
  std::deque<Event> callbacks_;  // those of a worker's thread for futures and groups
  size_t line_bytes_ = 0;        // in events_
  uint64_t dropped_lines_ = 0;
  std::condition_variable ready_;
  bool stopped_ = false;
  bool serves_groups_ = false;
};

}  // namespace cyray::core
