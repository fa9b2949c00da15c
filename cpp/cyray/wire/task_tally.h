// TaskTally: how many tasks of a process are where: words in the memory that it shares with its
// raylet (task_notes.h), which reads them whenever somebody wants to know (docs/decisions/0021).
//
// Counting is a load and a store, without a lock, a fence or a message.
// Threading: the process writes with its core mutex held; the raylet reads on its loop at any time.
// What is read there may be off by what happens just then, and is a peer's: numbers, nothing more.

#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace cyray::wire {

enum class TaskCount : uint8_t {
  // Of what this process has submitted, calls of actors too:
  kUnfinished,  // it has no result yet
  kPushed,      // and is in the hands of a worker
  // Of what was pushed to this process, the creation of an actor too:
  kQueued,
  kRunning,
  kFinished,  // ever; without an error
  kFailed,    // ever
};
inline constexpr size_t kTaskCounts = 6;

// What was read of one process, or the sum of several.
class TaskCounts {
 public:
  uint64_t& operator[](TaskCount what) { return counts_[static_cast<size_t>(what)]; }
  uint64_t operator[](TaskCount what) const { return counts_[static_cast<size_t>(what)]; }
  TaskCounts& operator+=(const TaskCounts& other) {
    for (size_t i = 0; i < kTaskCounts; ++i) counts_[i] += other.counts_[i];
    return *this;
  }

 private:
  std::array<uint64_t, kTaskCounts> counts_{};
};

class TaskTally {
 public:
  void Add(TaskCount what, int64_t by = 1) {
    std::atomic<uint64_t>& word = words_[static_cast<size_t>(what)];
    word.store(word.load(std::memory_order_relaxed) + static_cast<uint64_t>(by),
               std::memory_order_relaxed);
  }
  TaskCounts Read() const {
    TaskCounts counts;
    for (size_t i = 0; i < kTaskCounts; ++i) {
      counts[static_cast<TaskCount>(i)] = words_[i].load(std::memory_order_relaxed);
    }
    return counts;
  }

 private:
  std::array<std::atomic<uint64_t>, kTaskCounts> words_{};
};

}  // namespace cyray::wire
