// GcsLines: what processes ask of the GCS, each process in a line of its own.
//
// Of one line few calls are at the GCS at once; the others wait here. So whoever asks little does
// not stand behind all that another one asks, neither on the way nor in the GCS. Registrations of
// actors and drops (an actor's last handle went) that wait together go as one call, ChangeActors:
// a process that makes and drops thousands of actors costs a call for each few hundred of them.
// A line is FIFO but for one thing: in a ChangeActors the registrations come before the drops. A
// registration that needs a name, which a drop before it may free, therefore joins no drops.
// Threading: confined to its owner. Pure: time is given to it (monotonic milliseconds).
// Invariant: every ask is answered exactly once, unless its line never gets an answer.

#pragma once

#include <cstdint>
#include <deque>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/util/status.h"
#include "cyray/wire/bytes.h"
#include "gcs_generated.h"

namespace cyray::raylet {

class GcsLines {
 public:
  struct Ask {
    uint64_t client = 0;
    uint64_t request = 0;
    wire::GcsMethod method = wire::GcsMethod::None;
    wire::Bytes payload;
  };
  // Goes to the GCS now; its reply is to come to OnReply.
  struct Call {
    uint64_t id = 0;
    wire::GcsMethod method = wire::GcsMethod::None;
    wire::Bytes payload;
  };
  struct Answer {
    uint64_t client = 0;
    uint64_t request = 0;
    Result<wire::Bytes> result;
    ActorId registered = {};  // that this was about, or nil
  };

  // True: it may be joined by others until the round is over. Otherwise its line is to go on.
  bool Add(Ask ask, int64_t now_ms);
  // What of this line may go now.
  std::vector<Call> GoOn(uint64_t client);
  // Its line is to go on, then: that of the answers, which are all of one client.
  std::vector<Answer> OnReply(uint64_t call, const Result<wire::Bytes>& reply, int64_t now_ms);
  // Its registration waits here or is not answered yet: the GCS may not know it.
  bool IsRegistering(const ActorId& actor) const { return registering_.contains(actor); }
  // Asks that wait here.
  size_t waiting() const { return waiting_; }

 private:
  enum class Kind : uint8_t { kPlain, kRegister, kDrop };
  struct Part {  // of a call
    uint64_t request;
    Kind kind;
    wire::Bytes payload;
    ActorId registers;  // or nil
  };
  struct Waiting {
    wire::GcsMethod method;  // of the first part
    int64_t since_ms;        // the youngest
    size_t bytes = 0;
    bool plain = true;  // joined by none
    bool drops = false;
    std::vector<Part> parts = {};
  };
  struct Line {
    std::deque<Waiting> waiting;
    // At the GCS.
    size_t calls = 0;
    size_t changes = 0;
    size_t bytes = 0;
  };
  struct Sent {
    uint64_t client;
    bool plain;
    size_t bytes;
    std::vector<Part> parts;  // without their payloads
  };
  static Kind KindOf(const Ask& ask, bool* named, ActorId* registers);
  // `result`: of that part.
  Answer AnswerTo(uint64_t client, const Part& part, Result<wire::Bytes> result);
  static bool MayGo(const Line& line, const Waiting& next);
  Call Send(uint64_t client, Waiting waiting);
  void Expire(uint64_t client, const Status& why, int64_t now_ms, std::vector<Answer>& answers);

  std::unordered_map<uint64_t, Line> lines_;
  std::unordered_map<uint64_t, Sent> sent_;
  uint64_t next_call_ = 1;
  size_t waiting_ = 0;
  std::unordered_multiset<ActorId> registering_;
};

}  // namespace cyray::raylet
