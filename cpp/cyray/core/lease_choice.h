// Which of a shape's workers takes the next task, and whether more of them would be of use.
//
// Tasks are pushed ahead on busy workers as far as their run times are known (decision 0007). How
// many workers a demand gets is bounded by what the nodes have of it. An empty demand (num_cpus=0)
// is bounded by nothing, and each worker costs a fork and its share of the processors: so a crew of
// a few takes short tasks of that kind. It grows while that brings more answers.
//
// Threading: pure functions of a shape and a time, under the core mutex.

#pragma once

#include <cstddef>
#include <cstdint>

#include "cyray/core/task_types.h"

namespace cyray::core {

// Tasks behind one that has run for so long go to another worker, which is asked for if need be.
inline constexpr int64_t kStealAfterNs = 2'000'000;
// How often it is looked again what waits.
inline constexpr int64_t kLookAgainNs = 10'000'000;

struct LeaseChoice {
  Lease* emptiest = nullptr;  // of those that may have one more task
  Lease* busy = nullptr;      // the emptiest that has tasks
};
// Those whose worker waits for something at `now_ns` are left out; at 0 that is not asked.
LeaseChoice ChooseLease(const Shape& shape, const TaskTemplate& tmpl, int64_t now_ns);

// One more run, of so many us.
void NoteRun(TaskTemplate& tmpl, double us);

// Whether it has not answered for long.
bool IsSlow(const Lease& lease, int64_t now_ns);
// Whether tasks wait behind what runs there, and no other worker is about to take them.
bool IsStuck(const Lease& lease, int64_t now_ns);
size_t CountStuck(const Shape& shape, int64_t now_ns);
// Whether what runs there seems to wait for something itself: it has not answered for longer than
// the machine alone keeps a process waiting.
bool Waits(const Lease& lease, int64_t now_ns);
// Those that take tasks, or will when they are done with those that they have.
size_t CountServing(const Shape& shape, int64_t now_ns);
// Those among them that have tasks.
size_t CountBusy(const Shape& shape, int64_t now_ns);

// The template of a task that waits for a worker, or at one behind another task; may be null.
const TaskTemplate* NextTemplate(const Shape& shape);
// Whether the crew of the shape takes such tasks, and no others.
bool UsesCrew(const Shape& shape, const TaskTemplate& tmpl);
// Once in a while: whether a larger one would be of use, or a smaller one suffices.
void AdjustCrew(Shape& shape, int64_t now_ns);

}  // namespace cyray::core
