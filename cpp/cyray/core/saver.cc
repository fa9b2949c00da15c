#include "cyray/core/saver.h"

#include <utility>

#include "cyray/util/clock.h"
#include "cyray/wire/convert.h"

namespace cyray::core {

using wire::FrameType;

void Saver::Begin(const ActorId& actor, uint32_t incarnation, const SaveRules& rules,
                  std::string label) {
  std::lock_guard lock(process_.mutex());
  actor_ = actor;
  incarnation_ = incarnation;
  label_ = std::move(label);
  SavesOutbox& outbox = *this;
  saves_.emplace(rules, outbox, MonotonicNs());
  executor_.SetSaves(&*saves_);
  executor_.SetAfterReply([this] {
    if (saves_->NeedsLook()) Look();
  });
}

bool Saver::Restore(std::string_view calls) {
  std::lock_guard lock(process_.mutex());
  return saves_->Restore(calls);
}

std::string Saver::IncludedCalls() {
  std::lock_guard lock(process_.mutex());
  const wire::Bytes calls = saves_->Included();
  return {calls.begin(), calls.end()};
}

Status Saver::Taken(std::string_view state, int64_t taken_ms) {
  if (state.size() > kMaxStateBytes) {
    return Status(StatusCode::kInvalidArgument, "it takes " + std::to_string(state.size()) +
                                                    " bytes, and the GCS keeps at most " +
                                                    std::to_string(kMaxStateBytes) +
                                                    " for an actor");
  }
  wire::Bytes request = Request(state, taken_ms);
  std::lock_guard lock(process_.mutex());
  saves_->Taken(std::move(request), taken_ms, MonotonicNs());
  executor_.Hold(saves_->is_last());  // what began now would be in no save
  process_.poller().NoteTimer(saves_->NextTickNs());
  return Status::Ok();
}

wire::Bytes Saver::Request(std::string_view state, int64_t taken_ms) {
  std::unique_lock lock(process_.mutex());
  const wire::Bytes calls = saves_->Included();  // none begins or ends before Taken()
  const uint64_t number = saves_->last_number() + 1;
  lock.unlock();
  flatbuffers::FlatBufferBuilder b(state.size() + calls.size() + 256);
  const auto bytes = b.CreateVector(reinterpret_cast<const uint8_t*>(state.data()), state.size());
  b.Finish(wire::CreateSaveActorRequest(b, wire::ToWire(actor_), incarnation_, number, taken_ms,
                                        bytes, b.CreateVector(calls)));
  return wire::FinishedBytes(b);
}

void Saver::NotTaken(bool declined) {
  std::lock_guard lock(process_.mutex());
  saves_->NotTaken(declined ? ActorSaves::Why::kDeclined : ActorSaves::Why::kFailed, MonotonicNs());
  executor_.Hold(saves_->is_last());  // what began now would be in no save
  process_.poller().NoteTimer(saves_->NextTickNs());
}

Saver::Since Saver::SinceLast() {
  std::lock_guard lock(process_.mutex());
  return {saves_->unsaved(), MonotonicNs() - saves_->last_taken_ns(), saves_->last_number(),
          saves_->stored_number()};
}

Saver::Last Saver::BeginLast() {
  std::lock_guard lock(process_.mutex());
  const bool is_due = saves_->BeginLast();
  process_.poller().NoteTimer(saves_->NextTickNs());
  if (is_due && executor_.running() > 0) return Last::kCallRuns;
  executor_.Hold(true);
  return is_due ? Last::kDue : Last::kNothing;
}

Status Saver::AwaitSettled(int64_t deadline_ns) {
  ThisProcess::Lock lock(process_.mutex());
  Status waited = process_.Await(lock, deadline_ns, [this] { return saves_->IsSettled(); });
  if (waited.ok()) return refused_;
  return Status(waited.code(), "the GCS has not taken it in time");
}

void Saver::Look() {
  switch (saves_->Look(MonotonicNs(), executor_.running() == 0)) {
    case ActorSaves::Step::kNothing:
      break;
    case ActorSaves::Step::kHold:
      executor_.Hold(true);
      break;
    case ActorSaves::Step::kRelease:
      executor_.Hold(false);
      break;
    case ActorSaves::Step::kTake: {
      executor_.Hold(true);
      Event event;
      event.kind = Event::Kind::kSave;
      events_.Push(std::move(event));
      break;
    }
  }
  process_.poller().NoteTimer(saves_->NextTickNs());
}

void Saver::RunTimers(int64_t now_ns) {
  if (NextTimerNs() > now_ns) return;
  saves_->Tick(now_ns);
  Look();
}

// --- Callers ---

void Saver::OnAnswersRead(const Link& link, const wire::AnswersRead& read) {
  if (saves_) saves_->OnRead(link.peer.worker, read.number(), read.floor());
}

void Saver::OnSaveWanted(const Link& link) {
  if (!saves_) return;
  saves_->Want(link.peer.worker);
  Look();
}

void Saver::OnLinkBroken(const Link& link) {
  if (saves_) saves_->OnCallerLost(link.peer.worker);
}

void Saver::OnProcessDied(const WorkerId& worker) {
  if (saves_) saves_->OnCallerDied(worker);
}

void Saver::AskRead(const WorkerId& caller, uint64_t number) {
  // Answers wait for the owners of refs that their calls have kept.
  directory_.AfterRegistrations([this, caller, number] {
    builder_.Clear();
    builder_.Finish(wire::CreateAskRead(builder_, number));
    Send(caller, FrameType::kAskRead);
  });
}

void Saver::TellSaved(const WorkerId& caller, const CallSet& calls) {
  builder_.Clear();
  builder_.Finish(wire::CreateCallsSaved(builder_, builder_.CreateVectorOfStructs(calls.ranges())));
  Send(caller, FrameType::kCallsSaved);
}

void Saver::TellNeverQuiet(int64_t for_ns, uint64_t calls) {
  events_.PushWarning("the actor " + label_ + " (" + actor_.Hex() +
                      ") has had a call running all the time for " +
                      std::to_string(for_ns / 1'000'000'000) +
                      " s, so that its state cannot be taken. What its last " +
                      std::to_string(calls) + " calls did is in no save.");
}

void Saver::Send(const WorkerId& caller, FrameType type) {
  LinkTable& links = process_.links();
  Link* const link = links.Find(caller);
  if (link == nullptr || link->state == Link::State::kBroken) return saves_->OnCallerLost(caller);
  links.Send(*link, type, builder_);
  links.Flush(*link);
}

// --- The GCS ---

void Saver::TellRefused(const Status& why) {
  // Else the actor is dead, or has another life.
  if (why.code() != StatusCode::kOutOfMemory) return;
  refused_ = why;
  const int64_t now_ns = MonotonicNs();
  if (told_refused_ns_ != 0 && now_ns < told_refused_ns_ + kTellNs) return;
  told_refused_ns_ = now_ns;
  events_.PushWarning("the state of the actor " + label_ + " (" + actor_.Hex() +
                      ") is not saved, and its last save stays: " + why.message());
}

void Saver::Store(ActorSave& save) {
  refused_ = {};
  facts_.Tell(wire::GcsMethod::SaveActor, std::move(save.state), [this](const Status& status) {
    if (status.ok()) {
      saves_->OnStored(MonotonicNs());
    } else {
      saves_->OnRefused(MonotonicNs());
      TellRefused(status);
    }
    process_.poller().WakeWaiters();  // one may wait for the last save
    Look();
  });
  process_.raylet().Flush();
}

}  // namespace cyray::core
