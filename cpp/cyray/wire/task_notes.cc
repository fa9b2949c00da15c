#include "cyray/wire/task_notes.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>

namespace cyray::wire {

struct TaskNotes::Shared {
  struct Place {
    std::atomic<uint64_t> tag_and_one;  // 0: free
    WorkerId submitter;
  };
  std::atomic<uint32_t> answers_end;
  std::atomic<uint32_t> places_end;  // those behind it were never used
  std::atomic<uint32_t> without_place;
  alignas(64) TaskTally tally;
  alignas(64) Place places[kPlaces];
  alignas(8) uint8_t answers[kAnswersBytes];
};

// Before each answer; its body follows, and then as many bytes as make it a multiple of 8.
struct TaskNotes::AnswerHeader {
  uint64_t number;
  Address to;  // nil: forgotten
  uint32_t body_bytes;
};

namespace {

constexpr size_t Padded(size_t size) { return (size + 7) & ~size_t{7}; }

}  // namespace

Result<UniqueFd> TaskNotes::CreateMemory() {
  static_assert(std::atomic<uint64_t>::is_always_lock_free);
  static_assert(sizeof(AnswerHeader) % 8 == 0);
  UniqueFd memory(memfd_create("cyray-task-notes", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memory.valid()) return Fail(Status::FromErrno("memfd_create"));
  if (ftruncate(memory.get(), sizeof(Shared)) != 0) return Fail(Status::FromErrno("ftruncate"));
  if (fcntl(memory.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return Fail(Status::FromErrno("sealing the memory of a worker's task notes"));
  }
  return memory;
}

Result<TaskNotes> TaskNotes::Map(const UniqueFd& memory) {
  void* const at =
      mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, memory.get(), 0);
  if (at == MAP_FAILED) return Fail(Status::FromErrno("mapping a worker's task notes"));
  return TaskNotes(static_cast<Shared*>(at));
}

void TaskNotes::Unmap::operator()(Shared* shared) const { munmap(shared, sizeof *shared); }

TaskTally& TaskNotes::tally() const { return shared_->tally; }

std::optional<uint16_t> TaskNotes::Begin(const WorkerId& submitter, uint64_t tag) {
  uint32_t at = shared_->places_end.load(std::memory_order_relaxed);
  if (!free_places_.empty()) {
    at = free_places_.back();
    free_places_.pop_back();
  } else if (at >= kPlaces) {
    shared_->without_place.fetch_add(1, std::memory_order_release);
    return std::nullopt;
  } else {
    shared_->places_end.store(at + 1, std::memory_order_release);
  }
  shared_->places[at].submitter = submitter;
  shared_->places[at].tag_and_one.store(tag + 1, std::memory_order_release);
  return static_cast<uint16_t>(at);
}

void TaskNotes::End(std::optional<uint16_t> place) {
  if (!place) {
    shared_->without_place.fetch_sub(1, std::memory_order_release);
    return;
  }
  shared_->places[*place].tag_and_one.store(0, std::memory_order_release);
  free_places_.push_back(*place);
}

size_t TaskNotes::answers_bytes() const {
  return shared_->answers_end.load(std::memory_order_relaxed);
}

bool TaskNotes::NoteAnswer(const Address& to, uint64_t number, const uint8_t* frame_body,
                           size_t size) {
  const uint32_t at = shared_->answers_end.load(std::memory_order_relaxed);
  const size_t end = at + sizeof(AnswerHeader) + Padded(size);
  if (size > kMaxAnswerBytes || end > kAnswersBytes) return false;
  const AnswerHeader header{number, to, static_cast<uint32_t>(size)};
  std::memcpy(shared_->answers + at, &header, sizeof header);
  std::memcpy(shared_->answers + at + sizeof header, frame_body, size);
  shared_->answers_end.store(static_cast<uint32_t>(end), std::memory_order_release);
  return true;
}

void TaskNotes::ForgetAnswers() { shared_->answers_end.store(0, std::memory_order_release); }

void TaskNotes::ForgetAnswersTo(const WorkerId& worker) {
  const uint32_t end = shared_->answers_end.load(std::memory_order_relaxed);
  AnswerHeader header;
  for (uint32_t at = 0; at < end;) {
    uint8_t* const bytes = shared_->answers + at;
    std::memcpy(&header, bytes, sizeof header);
    at += static_cast<uint32_t>(sizeof header + Padded(header.body_bytes));
    if (header.to.worker != worker) continue;
    header.to = {};
    std::memcpy(bytes, &header, sizeof header);
  }
}

TaskNotes::Noted TaskNotes::Read() const {
  Noted noted;
  const size_t end =
      std::min<size_t>(shared_->answers_end.load(std::memory_order_acquire), kAnswersBytes);
  AnswerHeader header;
  for (size_t at = 0; at + sizeof header <= end;) {
    std::memcpy(&header, shared_->answers + at, sizeof header);
    at += sizeof header;
    if (header.body_bytes > end - at) break;  // nobody of ours wrote that
    const uint8_t* const body = shared_->answers + at;
    at += Padded(header.body_bytes);
    if (header.to.worker.is_nil()) continue;
    noted.answers.push_back({header.to, header.number, {body, body + header.body_bytes}});
  }
  noted.begun_known = shared_->without_place.load(std::memory_order_acquire) == 0;
  const size_t places =
      std::min<size_t>(shared_->places_end.load(std::memory_order_acquire), kPlaces);
  for (size_t i = 0; i < places; ++i) {
    const uint64_t tag_and_one = shared_->places[i].tag_and_one.load(std::memory_order_acquire);
    if (tag_and_one != 0) noted.begun.push_back({shared_->places[i].submitter, tag_and_one - 1});
  }
  return noted;
}

}  // namespace cyray::wire
