#include "cyray/gcs/commit.h"

#include <algorithm>
#include <utility>

namespace cyray::gcs {

void Commit::Changes(Storage::Kind kind) {
  changed_ = true;
  newest_[static_cast<size_t>(kind)] = queued_ + 1;
}

void Commit::Put(Storage::Kind kind, std::string_view key, wire::Bytes value) {
  Changes(kind);
  storage_->Put(kind, key, std::move(value));
}

void Commit::Erase(Storage::Kind kind, std::string_view key) {
  Changes(kind);
  storage_->Erase(kind, key);
}

void Commit::Leave(Effect effect) { open_.effects.push_back(std::move(effect)); }

void Commit::Answer(std::initializer_list<Storage::Kind> kinds, Effect effect) {
  if (!storage_->Failure().ok()) return effect();
  uint64_t after = 0;
  for (const Storage::Kind kind : kinds) {
    after = std::max(after, newest_[static_cast<size_t>(kind)]);
  }
  answers_.emplace(after, std::move(effect));
}

void Commit::End() {
  if (std::exchange(changed_, false)) AwaitDisk(nullptr);
  Close();
}

void Commit::End(Storage::Callback outcome) {
  if (std::exchange(changed_, false)) {
    AwaitDisk(std::move(outcome));
    return Close();
  }
  Close();
  if (durable_ == queued_) return outcome(Status::Ok());
  storage_->OnDurable(std::move(outcome));
}

void Commit::Close() {
  if (!open_.effects.empty()) {
    open_.after = queued_;
    waiting_.push_back(std::exchange(open_, {}));
  }
  Release();
}

void Commit::AwaitDisk(Storage::Callback outcome) {
  ++queued_;
  storage_->OnDurable([this, change = queued_, outcome = std::move(outcome)](const Status& status) {
    // Who wants a refused change undone comes before those who read it, as it is the younger.
    if (outcome != nullptr && !status.ok()) outcome(status);
    OnOutcome(change, status);
    if (outcome != nullptr && status.ok()) outcome(status);
  });
}

void Commit::OnOutcome(uint64_t change, const Status& status) {
  if (status.ok()) {
    durable_ = std::max(durable_, change);
    trying_again_ = false;
    Release();
    return;
  }
  for (const auto& [after, answer] : std::exchange(answers_, {})) answer();
  // The storage tries again by itself; one callback for all that is queued by now is enough to
  // learn of its success.
  if (std::exchange(trying_again_, true)) return;
  storage_->OnDurable([this, all = queued_](const Status& again) {
    trying_again_ = false;
    OnOutcome(all, again);
  });
}

void Commit::Release() {
  if (std::exchange(releasing_, true)) return;  // an effect or an answer ended an event
  while (true) {
    if (!waiting_.empty() && waiting_.front().after <= durable_) {
      const Group group = std::move(waiting_.front());
      waiting_.pop_front();
      for (const Effect& effect : group.effects) effect();
    } else if (!answers_.empty() && answers_.begin()->first <= durable_) {
      const auto answer = answers_.extract(answers_.begin());
      answer.mapped()();
    } else {
      break;
    }
  }
  releasing_ = false;
}

size_t Commit::held() const {
  size_t count = answers_.size();
  for (const Group& group : waiting_) count += group.effects.size();
  return count;
}

}  // namespace cyray::gcs
