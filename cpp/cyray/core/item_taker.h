// ItemTaker: takes items of generators for consumers of this process, and hands out its own ones'.
//
// Of a generator of this process the next item is taken at once, if it is there. For another one
// its owner is asked: it answers at once, with the item that is taken, or to be waited for, and
// holds it until who asked is registered as its borrower. What was taken for a consumer that was
// interrupted meanwhile is the next one's.
// Threading: as this_process.h says. Take blocks, for as long as an owner takes to answer.

#pragma once

#include <flatbuffers/flatbuffers.h>

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "core_generated.h"
#include "cyray/core/link.h"
#include "cyray/core/object_directory.h"
#include "cyray/core/submitter.h"
#include "cyray/core/this_process.h"

namespace cyray::core {

class ItemTaker {
 public:
  ItemTaker(ThisProcess& process, ObjectDirectory& directory, Submitter& submitter)
      : process_(process), directory_(directory), submitter_(submitter) {}

  using NextItem = Submitter::NextItem;
  // As Submitter::TakeItem, and never null. kUnavailable: the owner is gone, or has no such
  // generator any more. kCancelled: a signal handler raised.
  Result<NextItem> Take(ObjectEntry* generator, bool only_look);

  // --- With the core mutex held ---

  void OnTakeItem(Link& link, const wire::TakeItem& take);
  void OnTakenItem(Link& link, const wire::TakenItem& taken);
  void OnLinkBroken(const Link& link, const std::string& reason);
  void OnRayletLost();

 private:
  struct Asked {
    WorkerId owner;
    ObjectId generator;
    NextItem next;
    std::string error;  // not empty: there is none
    bool given_up = false;
  };
  NextItem TakeLeft(const ObjectId& generator, bool only_look);
  // What came for one who waits no more.
  void Leave(const Asked& asked);
  // Lets go of what is left of generators that this process has given up.
  void ForgetLeft();

  ThisProcess& process_;
  ObjectDirectory& directory_;
  Submitter& submitter_;
  // Guarded by the core mutex.
  uint64_t next_request_ = 1;
  std::unordered_map<uint64_t, std::shared_ptr<Asked>> asked_;
  std::unordered_map<ObjectId, std::vector<ObjectEntry*>> left_;  // by generator; one count each
  flatbuffers::FlatBufferBuilder builder_;
};

}  // namespace cyray::core
