// CallSet: numbers of calls, as ranges. Calls end nearly in order, so it is one range most of the
// time, and adding one costs a comparison.
// Guarded by the core mutex. Pure.
// Invariant: its ranges are not empty, in order, and do not touch.

#pragma once

#include <flatbuffers/flatbuffers.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core_generated.h"

namespace cyray::core {

class CallSet {
 public:
  void Add(uint64_t call) { AddRange(call, call + 1); }
  // From `begin` on, before `end`.
  void AddRange(uint64_t begin, uint64_t end);
  bool Has(uint64_t call) const;
  // Those below go.
  void DropBelow(uint64_t floor);
  bool empty() const { return ranges_.empty(); }
  // Of one that is not empty: the first number from its lowest on that is not in it.
  uint64_t FirstMissing() const { return ranges_.front().end(); }
  uint64_t lowest() const { return ranges_.front().begin(); }
  const std::vector<wire::CallRange>& ranges() const { return ranges_; }

  // Those that a peer or a disk tells of; what makes no sense is left out.
  static CallSet Read(const flatbuffers::Vector<const wire::CallRange*>* ranges);

 private:
  std::vector<wire::CallRange> ranges_;
};

}  // namespace cyray::core
