// What a Player does as an actor that is saved, or restarted from a save. Its state is which calls
// it has counted.

#include <algorithm>

#include "cpp_tests/sim/book.h"
#include "cpp_tests/sim/player.h"
#include "cyray/core/gcs_requests.h"
#include "cyray/util/log.h"

namespace cyray::sim {
namespace {

constexpr size_t kEntryBytes = WorkerId::kSize + TaskId::kSize;

}  // namespace

uint64_t Player::Count(const core::ExecTask& task) {
  CYRAY_CHECK(saved_every_ > 0);
  const auto of_caller = [&](const auto& entry) { return entry.first == task.submitter; };
  const auto before = std::count_if(counted_.begin(), counted_.end(), of_caller);
  if (!counted_.emplace(task.submitter, task.id).second) {
    Book::Get().NeverTwice(task.id);
  }
  return static_cast<uint64_t>(before);
}

void Player::TakeState() {
  std::string state;
  for (const auto& [caller, task] : counted_) {
    state.append(caller.view());
    state.append(task.view());
  }
  CYRAY_CHECK(core_.saver().Taken(state, 0).ok());
}

void Player::BeginSaves() {
  core_.saver().Begin(actor_, incarnation_, {.calls = saved_every_, .every_ns = 500'000'000}, "");
  core::SavedActor saved;
  while (incarnation_ > 0 &&
         core::GetActorSave(core_.control(), actor_, &saved).code() == StatusCode::kUnavailable) {
  }
  if (!saved.found) return;
  for (size_t at = 0; at < saved.state.size(); at += kEntryBytes) {
    counted_.emplace(WorkerId::FromBytes(saved.state.data() + at),
                     TaskId::FromBytes(saved.state.data() + at + WorkerId::kSize));
  }
  CYRAY_CHECK(core_.saver().Restore(saved.calls));
}

}  // namespace cyray::sim
