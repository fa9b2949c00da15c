// PermitTable: how many tasks of a function with max_running run at once, counted for a whole job.
//
// A holder is one kind of tasks (shape) of one process of the job. It says how many permits it
// would like to have in all and how many it has returned, ever; it is told how many it was granted,
// ever, and how many it is to have returned, so that nothing is lost or counted twice when a
// message is said again. Whoever wants one and holds the fewest is next, then who has waited
// longest. Where somebody would hold fewer than another one could spare, that one is asked for
// some; not for somebody whose limit is lower than what others hold, who waits for these.
//
// Threading: confined to its owner. Pure. Invariant: no permit is granted while as many as the
// limit of who wants it are held.

#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <unordered_map>
#include <vector>

#include "cyray/common/ids.h"

namespace cyray::core {

class PermitTable {
 public:
  struct Holder {
    Address process;
    uint32_t number = 0;  // among those of the process
    auto operator<=>(const Holder&) const = default;
  };
  struct Wish {
    uint32_t limit = 0;     // of all that are held
    uint32_t wanted = 0;    // in all
    uint64_t returned = 0;  // ever
  };
  struct Answer {
    Holder holder;
    FunctionId function;
    uint64_t granted = 0;   // ever
    uint64_t returned = 0;  // ever, as far as is known here
    uint64_t recalled = 0;  // so many are to be returned, ever
  };
  using Answers = std::vector<Answer>;
  // Nobody has use for more workers at once.
  static constexpr uint32_t kMostWanted = 10'000;

  // `granted_before`: by another table. What became of it, and of others if that is news.
  Answers Tell(const FunctionId& function, const Holder& holder, const Wish& wish,
               uint64_t granted_before = 0);
  Answers Gone(const Address& process);

  size_t held(const FunctionId& function) const;
  size_t functions() const { return functions_.size(); }
  void CheckInvariants() const;

 private:
  struct Entry {
    Wish wish;
    uint64_t granted = 0;
    uint64_t recalled = 0;
    uint64_t since = 0;  // when it began to wait, or returned one, as a number that grows
    bool news = false;   // to be told
    uint64_t held() const { return granted - wish.returned; }
    uint64_t asked_back() const { return recalled > wish.returned ? recalled - wish.returned : 0; }
    bool wants() const { return held() < wish.wanted; }
  };
  using Entries = std::map<Holder, Entry>;
  Answers Settle(const FunctionId& function);
  static void Grant(Entries& entries);
  static void Recall(Entries& entries);

  std::unordered_map<FunctionId, Entries> functions_;
  uint64_t told_ = 0;  // what `since` counts
};

}  // namespace cyray::core
