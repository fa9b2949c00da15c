#include "cyray/core/untold.h"

#include <algorithm>
#include <utility>

namespace cyray::core {
namespace {

// Notes of so many bytes go at the next task, if they are written: they stay in a cache then.
constexpr size_t kForgetBytes = 16 << 10;

}  // namespace

Untold::Task Untold::Begin(const WorkerId& submitter, uint64_t tag) {
  if (!notes_) return {};
  if (!unwritten_.empty()) EndWritten();
  if (notes_->answers_bytes() > kForgetBytes) Forget(/*write=*/false);
  return {.noted = true, .place = notes_->Begin(submitter, tag)};
}

void Untold::Answered(Task task, Link& link, const uint8_t* reply, size_t size, Way way) {
  if (!notes_) return;
  if (!unwritten_.empty()) EndWritten();
  const bool noted = way == Way::kNoted && Note(link, reply, size);
  if (!task.noted) return;
  if (!noted) {
    links_.Flush(link);
    if (links_.HasUnsent(link)) return unwritten_.push_back({task, link.peer.worker});
  }
  notes_->End(task.place);
}

void Untold::Drop(Task task) {
  if (task.noted) notes_->End(task.place);
}

bool Untold::Note(Link& link, const uint8_t* reply, size_t size) {
  if (size > wire::TaskNotes::kMaxAnswerBytes) return false;
  if (!notes_->NoteAnswer(link.peer, link.replies_sent, reply, size)) {
    if (!Forget(/*write=*/true) || !notes_->NoteAnswer(link.peer, link.replies_sent, reply, size))
      return false;
  }
  if (!std::exchange(link.has_noted, true)) noted_for_.push_back(link.peer.worker);
  return true;
}

bool Untold::Forget(bool write) {
  for (const WorkerId& worker : noted_for_) {
    Link* const link = links_.Find(worker);
    if (link == nullptr || !links_.HasUnsent(*link)) continue;
    if (!write || link->wants_write) return false;
    links_.Flush(*link);
    if (links_.HasUnsent(*link)) return false;
  }
  notes_->ForgetAnswers();
  for (const WorkerId& worker : noted_for_) {
    if (Link* const link = links_.Find(worker)) link->has_noted = false;
  }
  noted_for_.clear();
  return true;
}

void Untold::EndWritten() {
  std::erase_if(unwritten_, [this](const Unwritten& answer) {
    const Link* const link = links_.Find(answer.submitter);
    if (link != nullptr && links_.HasUnsent(*link)) return false;
    notes_->End(answer.task.place);
    return true;
  });
}

void Untold::OnLinkBroken(const WorkerId& worker) {
  if (!notes_) return;
  notes_->ForgetAnswersTo(worker);
  if (!unwritten_.empty()) EndWritten();  // a broken link has nothing to send
}

}  // namespace cyray::core
