#include "cyray/core/core_worker.h"

#include <unistd.h>

#include <algorithm>

#include "cyray/core/gcs_requests.h"
#include "cyray/core/process_report.h"
#include "cyray/util/sentence.h"

namespace cyray::core {

CoreWorker::CoreWorker()
    : process_(*this,
               {[this](Link& link, const wire::Frame& frame) { router_.OnLinkFrame(link, frame); },
                [this](Link& link, const std::string& why) { router_.OnLinkBroken(link, why); }}),
      requests_(process_, [this](const char* question) { events_.PushSilence(question); }),
      facts_(
          [this](wire::GcsMethod method, const wire::Bytes& payload, auto on_answer) {
            requests_.TellGcs(method, payload, std::move(on_answer));
            process_.poller().NoteGathered();
          },
          [this] { return process_.links().NowNs(); }),
      control_(process_, requests_, facts_),
      loop_(process_),
      events_(process_, loop_),
      store_(process_, requests_, directory_),
      objects_(process_, directory_, {submitter_, executor_, events_}),
      directory_(objects_, store_),
      executor_(process_, directory_, events_, loop_),
      saver_(process_, directory_, facts_, executor_, events_),
      reader_(process_, directory_, store_, executor_),
      submitter_(process_, requests_, facts_, directory_),
      items_(process_, directory_, submitter_),
      router_({process_, directory_, objects_, store_, submitter_, items_, executor_, saver_,
               events_}) {
  executor_.set_cancel_children(
      [this](uint64_t number) { submitter_.CancelChildren(number, /*force=*/false); });
  submitter_.set_on_restart([this](const ActorClient& actor, const wire::ActorUpdate& update) {
    TellOfRestart(actor, update);
  });
  executor_.SetOnRetire([this] { submitter_.WantSaves(/*to_end=*/true); });
  submitter_.set_on_let_go([this](std::string text) { events_.PushWarning(std::move(text)); });
  executor_.SetInUse([this] { return directory_.LendsAny() || submitter_.has_any(); });
}

CoreWorker::~CoreWorker() {
  Disconnect(false);
  if (keep_views_) store_.DetachViews();  // before the raylet sees that this process is gone
}

Status CoreWorker::Connect(UniqueFd socket, const RegisterOptions& options) {
  std::shared_ptr<store::ArenaMapping> arena;
  std::optional<wire::TaskNotes> notes;
  CYRAY_RETURN_IF_ERROR(process_.Register(std::move(socket), options, &arena, &notes));
  store_.SetArena(std::move(arena));
  std::lock_guard lock(process_.mutex());
  if (notes) {
    submitter_.SetTally(&notes->tally());
    executor_.SetTaskNotes(std::move(*notes));
  }
  process_.SetJob(registration().job_id);
  directory_.SetIdentity(address());
  if (process_.is_driver()) directory_.unread().Enable();
  executor_.SetIdentity(address());
  if (registration().arena_bytes > 0) {
    submitter_.SetMostKeptObjectBytes(registration().arena_bytes / 4);
  }
  executor_.SetAheadBytes(std::clamp(registration().arena_bytes / 4, ItemStream::kMinAheadBytes,
                                     ItemStream::kMaxAheadBytes));
  submitter_.SetIdentity(address(), process_.job_id(), /*driver=*/{});
  process_.Listen([this](wire::Frame& frame) { router_.OnRayletFrame(frame); },
                  [this] { router_.OnRayletLost(); });
  return Status::Ok();
}

void CoreWorker::Disconnect(bool keep_views) {
  {
    std::lock_guard lock(process_.mutex());
    if (process_.leaving()) return;
    keep_views_ = keep_views;
    process_.Leave();
    FlushAll();
    events_.StopLocked();
  }
  process_.poller().StopSteward();
}

JobId CoreWorker::job_id() {
  std::lock_guard lock(process_.mutex());
  return process_.job_id();
}

// --- What drives the core ---

void CoreWorker::OnReady(void* cookie, uint32_t events) {
  if (cookie == &process_.raylet()) {
    process_.raylet().OnReady();
  } else {
    process_.links().OnReady(*static_cast<Link*>(cookie), events);
  }
}

void CoreWorker::FlushAll() {
  process_.links().FlushDirty();
  store_.SendReleases();
  process_.raylet().Flush();
}

void CoreWorker::FlushStale() {
  process_.links().FlushDirty(kReplyGatherNs);
  store_.SendReleases();
  process_.raylet().Flush();
}

int64_t CoreWorker::NextTimerNs() {
  return std::min({submitter_.NextTimerNs(), executor_.NextTimerNs(), facts_.NextTickNs(),
                   saver_.NextTimerNs(), directory_.NextTickNs(), store_.NextTimerNs()});
}

void CoreWorker::RunTimers(int64_t now_ns) {
  submitter_.RunTimers(now_ns);
  executor_.RunTimers(now_ns);
  facts_.Tick(now_ns);
  saver_.RunTimers(now_ns);
  directory_.Tick(now_ns);
  store_.RunTimers(now_ns);
}

// --- For people ---

Status CoreWorker::KillActor(const ActorId& id, bool no_restart, std::string_view reason) {
  uint32_t least_incarnation = 0;
  CYRAY_RETURN_IF_ERROR(core::KillActor(control_, id, no_restart, reason, &least_incarnation));
  submitter_.HoldCalls(id, least_incarnation);  // what was killed may be there a while yet
  return Status::Ok();
}

std::string CoreWorker::Describe() {
  std::lock_guard lock(process_.mutex());
  std::string out = "process " + address().ToString() + " pid " + std::to_string(::getpid()) +
                    ": " + std::to_string(directory_.size()) + " objects, " +
                    std::to_string(submitter_.pending()) + " pending tasks, " +
                    std::to_string(executor_.queued()) + " tasks queued here, " +
                    std::to_string(executor_.running()) + " running, " +
                    std::to_string(process_.raylet().pending_requests()) +
                    " requests at the raylet, " + std::to_string(process_.links().all().size()) +
                    " links, " + std::to_string(submitter_.actors()) + " actors known\n";
  store_.Describe(out);
  process_.waits().Describe(out,
                            [this](const ObjectEntry& entry) { return DescribeMissing(entry); });
  submitter_.Describe(out);
  return out;
}

std::string CoreWorker::DescribeMissing(ObjectEntry* const* entries, size_t size) {
  constexpr size_t kMostObjects = 3;
  std::lock_guard lock(process_.mutex());
  std::string out;
  size_t described = 0;
  for (size_t i = 0; i < size; ++i) {
    if (entries[i]->local()) continue;
    if (++described > kMostObjects) return out + "  and others\n";
    out += "  " + DescribeMissing(*entries[i]) + "\n";
  }
  return out;
}

std::string CoreWorker::ReportMissing(ObjectEntry* const* entries, size_t size) {
  std::lock_guard lock(process_.mutex());
  return MissingAsJson({process_, directory_, executor_, submitter_, saver_}, entries, size);
}

std::string CoreWorker::ReportWaits(int64_t for_ms, uint64_t after) {
  std::lock_guard lock(process_.mutex());
  if (!process_.waits().any()) return "[]";
  return WaitsAsJson({process_, directory_, executor_, submitter_, saver_}, for_ms, after);
}

Submitter::Unfinished CoreWorker::CountUnfinished() {
  std::lock_guard lock(process_.mutex());
  return submitter_.CountUnfinished();
}

size_t CoreWorker::TakeUnreadErrors(bool all, size_t most, std::vector<ReadView>* errors) {
  std::lock_guard lock(process_.mutex());
  const UnreadErrors::Taken taken = directory_.unread().Take(all, most);
  for (const ValuePtr& error : taken.errors) {
    error->Ref();
    errors->push_back({error->data(), error->size(), true, error.get(), nullptr});
  }
  return taken.left_out;
}

// The driver is told of restarts that its calls may notice.
void CoreWorker::TellOfRestart(const ActorClient& actor, const wire::ActorUpdate& update) {
  if (!process_.is_driver()) return;
  const std::string name = actor.name.empty() ? "" : " \"" + actor.name + "\"";
  const std::string how = FirstLine(flatbuffers::GetString(update.death_cause()));
  const int left = update.restarts_left();
  const std::string more = left < 0    ? "It may be restarted any number of times."
                           : left == 1 ? "1 restart is left."
                                       : std::to_string(left) + " restarts are left.";
  events_.PushWarning("the actor " + actor.class_name + name +
                      " is restarted, as its process has ended: " + (how.empty() ? "" : how + " ") +
                      more);
}

std::string CoreWorker::DescribeMissing(const ObjectEntry& entry) {
  std::string out = "object " + entry.id.Hex();
  if (entry.state == ObjectState::kStored) {
    out += ": it is in the store of";
    for (const NodeId& node : entry.extra->locations) out += " node " + node.Hex();
    return out + (entry.pulling ? ", asked for" : "");
  }
  if (!entry.owned) {
    return out + ": its owner " + directory_.OwnerOf(&entry).ToString() + " was asked";
  }
  return entry.maker == nullptr ? out : out + ": the result of " + DescribeTask(*entry.maker);
}

}  // namespace cyray::core
