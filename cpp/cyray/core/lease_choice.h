// Which of a shape's workers takes the next task, and whether more of them would be of use.
//
// Tasks are pushed ahead on busy workers as far as their run times are known (decision 0007). A
// demand that asks for CPUs is bounded by the nodes' CPUs; one that asks for none is bounded by
// nothing, and each worker costs a fork and its share of the processors. So few workers take short
// tasks of that kind; these are more when the tasks themselves wait for something. Threading: pure
// functions of a shape and a time, under the core mutex.

#pragma once

#include <cstddef>
#include <cstdint>

#include "cyray/core/task_types.h"

namespace cyray::core {

// Tasks behind one that has run for so long go to another worker, which is asked for if need be.
inline constexpr int64_t kStealAfterNs = 2'000'000;
// How many workers short tasks that ask for no CPU keep busy to begin with, and when it is looked
// whether one more would be of use.
inline constexpr size_t kFewWorkers = 4;
inline constexpr int64_t kLookNs = 10'000'000;

struct LeaseChoice {
  Lease* emptiest = nullptr;  // of those that may have one more task
  Lease* busy = nullptr;      // the emptiest that has tasks
};
LeaseChoice ChooseLease(const Shape& shape, const TaskTemplate& tmpl);

// The moving average of run times with one more.
double NextAverageUs(double average_us, double us);

// Whether it has not answered for long.
bool IsSlow(const Lease& lease, int64_t now_ns);
// Leases where tasks wait behind what runs there, and no other worker is about to take them.
size_t CountStuck(const Shape& shape, int64_t now_ns);
// Those that take tasks, or will when they are done with those that they have.
size_t CountServing(const Shape& shape, int64_t now_ns);
// Those among them that have tasks.
size_t CountBusy(const Shape& shape, int64_t now_ns);

// Of a task that waits for a worker, or at one behind another task.
const TaskTemplate* Waiting(const Shape& shape);
// Whether a few workers take such tasks as fast as they come.
bool TakesFew(const Shape& shape, const TaskTemplate& tmpl);
// Sets how many these are, from what `serving` workers ran since it was looked last.
void LookWhetherFewSuffice(Shape& shape, int64_t now_ns, size_t serving);

}  // namespace cyray::core
