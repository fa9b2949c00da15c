// PullTable: which objects are being fetched from other nodes, from whom, and how far they are.
//
// A pure state machine: events in, actions out. Holders are tried one after the other; each attempt
// has a request id of its own, so chunks of an attempt that was given up match nothing. When the
// connection to a holder was made anew, its pulls are asked again from where they are.
// At most kMaxPerNode pulls run per holder, the rest wait in order.
// Threading: confined to the raylet's loop.
// Invariants (CheckInvariants): request ids and objects map one to one; a running pull counts at
// its holder exactly once; a pull waits only while its holder is at the limit.

#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/util/status.h"

namespace cyray::raylet {

class PullTable {
 public:
  static constexpr size_t kMaxPerNode = 8;

  struct Pull {
    ObjectId id;
    uint64_t request_id = 0;  // of the running attempt, 0 while it waits for its turn
    NodeId holder;            // of the running or next attempt
    std::deque<NodeId> untried;
    std::vector<std::string> failures;  // one text per holder that was tried
    bool has_room = false;              // created in the store
    uint64_t offset = 0;                // of the object in the arena, once it has room
    uint64_t total = 0;
    uint64_t received = 0;
    bool started = false;  // `total` is known
  };
  struct Action {
    enum class Kind : uint8_t {
      kAsk,     // send PullObject to `node`, from `offset` on
      kCancel,  // send CancelPull to `node`
      kAbort,   // give back the room in the store, waiters stay
      kFail,    // fail the waiters with `status`
    };
    Kind kind;
    ObjectId id;
    NodeId node;
    uint64_t request_id;
    Status status;
    uint64_t offset = 0;
  };
  using Actions = std::vector<Action>;
  struct ChunkHeader {
    uint64_t request_id;
    ObjectId id;
    uint64_t total;
    uint64_t offset;
    uint32_t bytes;
    bool missing;
  };
  enum class Verdict : uint8_t { kTake, kDrop, kProtocolError };

  // Begins, or adds holders to the pull that runs.
  void Start(const ObjectId& id, const std::vector<NodeId>& holders, Actions& actions);
  // kTake: `pull` is the one; its received bytes grow by OnChunkEnd.
  Verdict OnChunk(const NodeId& from, const ChunkHeader& chunk, Actions& actions);
  // The bytes of the last taken chunk are there. The pull when it is complete: it has ended.
  std::optional<Pull> OnChunkEnd(uint64_t request_id, uint32_t bytes, Actions& actions);
  void SetRoom(uint64_t request_id, uint64_t offset);
  // Chunks that were on their way from there are lost.
  void OnReconnected(const NodeId& node, Actions& actions);
  void OnNodeLost(const NodeId& node, const std::string& reason, Actions& actions);
  // Ends a pull: with an error for its waiters, or silently.
  void Fail(const ObjectId& id, const Status& status, Actions& actions);
  void Cancel(const ObjectId& id, Actions& actions);

  const Pull* Find(uint64_t request_id) const;
  bool IsPulling(const ObjectId& id) const { return pulls_.contains(id); }
  std::vector<ObjectId> ids() const;
  size_t size() const { return pulls_.size(); }
  std::vector<std::string> Describe() const;
  std::string CheckInvariants() const;

 private:
  struct Holder {
    size_t running = 0;
    std::deque<ObjectId> queue;
  };
  // Runs the pull at its next holder, or fails it when there is none.
  void TryNext(Pull& pull, Actions& actions);
  void Run(Pull& pull, Actions& actions);
  // Ends the running attempt (if any) and lets the next in line run.
  void StopAttempt(Pull& pull, bool tell_holder, Actions& actions);
  void Erase(const ObjectId& id, bool tell_holder, Actions& actions);

  std::unordered_map<ObjectId, Pull> pulls_;
  std::unordered_map<uint64_t, ObjectId> by_request_;
  std::unordered_map<NodeId, Holder> holders_;
  uint64_t next_request_ = 1;
};

}  // namespace cyray::raylet
