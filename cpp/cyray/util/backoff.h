// Backoff: pauses between attempts that double up to a limit, with jitter, so that many who failed
// at one moment do not all come back at one moment.
//
// Pure: the random bits come from the caller (Runtime::Random). Threading: confined to its owner.

#pragma once

#include <algorithm>
#include <cstdint>

namespace cyray {

class Backoff {
 public:
  constexpr Backoff(int64_t first_ms, int64_t most_ms) : first_ms_(first_ms), most_ms_(most_ms) {}

  // The pause before the next attempt: between half of the present step and the whole of it.
  int64_t NextMs(uint64_t random) {
    const int64_t step = std::min(most_ms_, first_ms_ << std::min(attempts_, 20));
    ++attempts_;
    return step / 2 + static_cast<int64_t>(random % static_cast<uint64_t>(step / 2 + 1));
  }
  // An attempt has succeeded.
  void Reset() { attempts_ = 0; }
  int attempts() const { return attempts_; }

 private:
  int64_t first_ms_;
  int64_t most_ms_;
  int attempts_ = 0;
};

}  // namespace cyray
