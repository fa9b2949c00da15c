#include "cyray/core/this_process.h"

#include <sys/epoll.h>

#include <algorithm>

#include "cyray/core/requests.h"
#include "cyray/util/clock.h"

namespace cyray::core {

Status ThisProcess::Register(UniqueFd socket, const RegisterOptions& options,
                             std::shared_ptr<store::ArenaMapping>* arena,
                             std::optional<wire::TaskNotes>* notes) {
  // A driver's becomes a request to the GCS.
  CYRAY_RETURN_IF_ERROR(CheckGcsRequestSize(
      "the registration of this process",
      options.name_space.size() + options.entrypoint.size() + options.job_config.size()));
  RegisterOptions mine = options;
  if (mine.worker_id.is_nil()) mine.worker_id = WorkerId::Random();
  auto registration = raylet_.Connect(std::move(socket), mine);
  if (!registration) return registration.error();
  registration_ = std::move(*registration);
  is_driver_ = mine.is_driver;
  interrupted_ = mine.interrupted;
  address_ = {registration_.node_id, mine.worker_id};
  auto mapped =
      store::ArenaMapping::Map(std::move(registration_.arena_read),
                               std::move(registration_.arena_write), registration_.arena_bytes);
  if (!mapped) return mapped.error();
  *arena = std::move(*mapped);
  if (registration_.task_notes.valid()) {
    auto shared = wire::TaskNotes::Map(std::exchange(registration_.task_notes, {}));
    if (!shared) return shared.error();
    notes->emplace(std::move(*shared));
  }
  return Status::Ok();
}

void ThisProcess::Listen(RayletClient::FrameHandler on_frame, std::function<void()> on_lost) {
  links_.SetIdentity(address_);
  raylet_.SetHandlers(std::move(on_frame), std::move(on_lost));
  poller_.Watch(raylet_.fd(), EPOLLIN, &raylet_);
  raylet_.SetWriteHandler([this](bool wants_write) {
    poller_.Modify(raylet_.fd(), EPOLLIN | (wants_write ? EPOLLOUT : 0u), &raylet_);
  });
  raylet_.OnReady();  // frames that came together with the registration
  poller_.StartSteward();
}

void ThisProcess::SetJob(const JobId& job) {
  job_id_ = job;
  ids_.Reset(job);
}

void ThisProcess::Leave() {
  leaving_ = true;
  poller_.WakeWaiters();
}

void ThisProcess::AbandonAfterFork() {
  leaving_ = true;
  poller_.AbandonAfterFork();
}

bool ThisProcess::WaitAttentively(Lock& lock, int64_t deadline_ns,
                                  const std::function<bool()>& over) {
  constexpr int64_t kSliceNs = 100'000'000;
  if (interrupted_ == nullptr) return poller_.WaitUntil(lock, deadline_ns, over);
  while (true) {
    const int64_t slice = MonotonicNs() + kSliceNs;
    if (poller_.WaitUntil(lock, std::min(slice, deadline_ns), over)) return true;
    if (deadline_ns <= slice) return false;
    lock.unlock();
    const bool interrupted = interrupted_();
    lock.lock();
    if (interrupted) return false;
  }
}

Status ThisProcess::Await(Lock& lock, int64_t deadline_ns, const std::function<bool()>& done) {
  bool ready = false;
  if (!WaitAttentively(lock, deadline_ns, [&] { return (ready = done()) || leaving_; })) {
    if (MonotonicNs() >= deadline_ns) return Status(StatusCode::kTimedOut, "the time is over");
    return Status(StatusCode::kCancelled, "interrupted");
  }
  return ready ? Status::Ok() : ShutDown();
}

}  // namespace cyray::core
