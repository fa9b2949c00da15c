#include "cyray/core/router.h"

#include <unistd.h>

#include <vector>

#include "core_generated.h"
#include "cyray/core/process_report.h"
#include "cyray/core/system_error.h"
#include "cyray/util/log.h"
#include "cyray/wire/convert.h"
#include "local_generated.h"

namespace cyray::core {

using wire::Frame;
using wire::FrameType;

// --- From other processes ---

void Router::OnLinkFrame(Link& link, const Frame& frame) {
  switch (frame.type) {
    case FrameType::kTemplate:
      if (const auto* tmpl = frame.As<wire::Template>()) {
        return parts_.executor.OnTemplate(link, *tmpl);
      }
      break;
    case FrameType::kPushTask:
      if (const auto* push = frame.As<wire::PushTask>()) {
        if (parts_.executor.OnPushTask(link, *push)) return;
      }
      break;
    case FrameType::kTaskReply:
      if (const auto* reply = frame.As<wire::TaskReply>()) {
        return parts_.submitter.OnTaskReply(link, *reply);
      }
      break;
    case FrameType::kLastAnswers:
      if (const auto* last = frame.As<wire::LastAnswers>()) return OnLastAnswers(link, *last);
      break;
    case FrameType::kTaskProgress:
      if (const auto* progress = frame.As<wire::TaskProgress>()) {
        return parts_.submitter.OnTaskProgress(link, *progress);
      }
      break;
    case FrameType::kStealTasks:
      if (const auto* steal = frame.As<wire::StealTasks>()) {
        return parts_.executor.OnSteal(link, *steal);
      }
      break;
    case FrameType::kCancelTask:
      if (const auto* cancel = frame.As<wire::CancelTask>()) return OnCancelTask(link, *cancel);
      break;
    case FrameType::kStreamItem:
      if (const auto* item = frame.As<wire::StreamItem>()) {
        return parts_.submitter.OnStreamItem(link, *item);
      }
      break;
    case FrameType::kTakeItem:
      if (const auto* take = frame.As<wire::TakeItem>()) {
        return parts_.items.OnTakeItem(link, *take);
      }
      break;
    case FrameType::kTakenItem:
      if (const auto* taken = frame.As<wire::TakenItem>()) {
        return parts_.items.OnTakenItem(link, *taken);
      }
      break;
    case FrameType::kItemsTaken:
      if (const auto* taken = frame.As<wire::ItemsTaken>()) {
        return parts_.executor.OnItemsTaken(link, *taken);
      }
      break;
    case FrameType::kCancelObject:
      if (const auto* cancel = frame.As<wire::CancelObject>()) {
        return parts_.submitter.OnCancelObject(*cancel);
      }
      break;
    default:
      if (OnSaveFrame(link, frame) || parts_.objects.OnFrame(link, frame)) return;
      if (parts_.submitter.permits().OnFrame(link, frame)) return;
  }
  parts_.process.links().GiveUp(link, "it sent a frame of type " +
                                          std::to_string(static_cast<int>(frame.type)) +
                                          " that is not valid");
}

bool Router::OnSaveFrame(Link& link, const Frame& frame) {
  switch (frame.type) {
    case FrameType::kAskRead:
      if (const auto* ask = frame.As<wire::AskRead>()) {
        parts_.submitter.OnAskRead(link, *ask);
        return true;
      }
      return false;
    case FrameType::kCallsSaved:
      if (const auto* saved = frame.As<wire::CallsSaved>()) {
        parts_.submitter.OnCallsSaved(link, *saved);
        return true;
      }
      return false;
    case FrameType::kAnswersRead:
      if (const auto* read = frame.As<wire::AnswersRead>()) {
        parts_.saver.OnAnswersRead(link, *read);
        return true;
      }
      return false;
    case FrameType::kSaveWanted:
      if (frame.As<wire::SaveWanted>() == nullptr) return false;
      parts_.saver.OnSaveWanted(link);
      return true;
    default:
      return false;
  }
}

void Router::OnCancelTask(Link& link, const wire::CancelTask& cancel) {
  const uint64_t number = parts_.executor.OnCancel(link, cancel);
  if (number == 0) return;
  if (cancel.recursive()) parts_.submitter.CancelChildren(number, cancel.force());
  if (cancel.force() && !parts_.executor.is_actor()) {
    parts_.executor.EndByForce("a task that ran there was cancelled by force");
  }
}

void Router::OnLastAnswers(Link& link, const wire::LastAnswers& last) {
  const std::string why = "its process has ended";
  parts_.submitter.StopPushing(link, why);
  parts_.process.links().Drain(link);  // what it wrote comes first
  parts_.submitter.OnLastAnswers(link, last);
  // What it holds, or is said to own, by these answers ends as all that of a link that broke.
  if (link.state == Link::State::kBroken) {
    parts_.directory.OnProcessDied(link.peer.worker,
                                   "the process " + link.peer.ToString() + " has ended");
  }
}

void Router::OnLinkBroken(Link& link, const std::string& reason) {
  parts_.objects.OnLinkBroken(link);
  parts_.executor.OnLinkBroken(link);
  parts_.items.OnLinkBroken(link, reason);
  parts_.submitter.OnLinkBroken(link, reason);
  parts_.saver.OnLinkBroken(link);
  parts_.directory.OnProcessDied(
      link.peer.worker, "the process " + link.peer.ToString() + " has ended (" + reason + ")");
}

// --- From the raylet ---

void Router::OnRayletFrame(Frame& frame) {
  if (OnPeerNews(frame)) return;
  switch (frame.type) {
    case FrameType::kReclaimLease:
      if (const auto* reclaim = frame.As<wire::ReclaimLease>()) {
        parts_.submitter.OnReclaim(*reclaim);
      }
      return;
    case FrameType::kActorUpdate:
      if (const auto* update = frame.As<wire::ActorUpdate>()) {
        parts_.submitter.OnActorUpdate(*update);
      }
      return;
    case FrameType::kAssignActor:
      if (const auto* assign = frame.As<wire::AssignActor>()) {
        OnAssignActor(*assign);
      }
      return;
    case FrameType::kReturnSpares:
      if (frame.As<wire::ReturnSpares>() != nullptr) parts_.store.OnReturnSpares();
      return;
    case FrameType::kAssignJob:
      if (const auto* assign = frame.As<wire::AssignJob>()) OnAssignJob(*assign);
      return;
    case FrameType::kExitWorker:
      if (const auto* exit = frame.As<wire::ExitWorker>()) OnExitWorker(*exit);
      return;
    case FrameType::kAskProcess:
      if (const auto* ask = frame.As<wire::AskProcess>()) Report(ask->request_id());
      return;
    case FrameType::kLogLines:
      if (const auto* log = frame.As<wire::LogLines>()) parts_.events.PushLogLines(*log);
      return;
    case FrameType::kWarning:
      if (const auto* warning = frame.As<wire::Warning>()) {
        parts_.events.PushWarning(flatbuffers::GetString(warning->text()));
      }
      return;
    default:
      CYRAY_LOG(kWarning) << "the raylet sent a frame of unknown type "
                          << static_cast<int>(frame.type);
  }
}

void Router::Report(uint64_t request_id) {
  flatbuffers::FlatBufferBuilder b;
  const auto json = b.CreateString(ProcessAsJson(
      {parts_.process, parts_.directory, parts_.executor, parts_.submitter, parts_.saver}));
  b.Finish(wire::CreateProcessReport(b, request_id, json));
  parts_.process.raylet().Send(FrameType::kProcessReport, b);
}

bool Router::OnPeerNews(Frame& frame) {
  LinkTable& links = parts_.process.links();
  switch (frame.type) {
    case FrameType::kPeerConnected:
      if (const auto* peer = frame.As<wire::PeerConnected>(); peer && frame.fds.size() == 1) {
        links.OnPeerConnected(wire::FromWireOrNil(peer->peer()), std::move(frame.fds[0]));
      }
      return true;
    case FrameType::kRelay:
      if (const auto* relay = frame.As<wire::Relay>(); relay && relay->frame() && relay->source()) {
        links.OnRelay(wire::FromWire(*relay->source()), relay->frame()->data(),
                      relay->frame()->size());
      }
      return true;
    case FrameType::kRelayFailed:
      if (const auto* failed = frame.As<wire::RelayFailed>(); failed && failed->destination()) {
        OnRelayFailed(*failed);
      }
      return true;
    case FrameType::kLeaseBroken:
      if (const auto* broken = frame.As<wire::LeaseBroken>()) OnLeaseBroken(*broken);
      return true;
    case FrameType::kProcessDied:
      if (const auto* died = frame.As<wire::ProcessDied>()) OnProcessDied(*died);
      return true;
    default:
      return false;
  }
}

void Router::OnRelayFailed(const wire::RelayFailed& failed) {
  const std::string why = flatbuffers::GetString(failed.reason());
  const Address peer = wire::FromWire(*failed.destination());
  parts_.process.links().OnRelayFailed(peer.worker, why);
  parts_.submitter.OnLeaseBroken(peer, why);
}

void Router::OnLeaseBroken(const wire::LeaseBroken& broken) {
  const Address worker = wire::FromWireOrNil(broken.worker());
  const std::string why = flatbuffers::GetString(broken.reason());
  LinkTable& links = parts_.process.links();
  if (Link* link = links.Find(worker.worker)) {
    parts_.submitter.StopPushing(*link, why);
    links.Drain(*link);
  }
  Submitter::Begun begun;
  if (broken.begun_known() && broken.begun() != nullptr) {
    begun.emplace(broken.begun()->begin(), broken.begun()->end());
  }
  if (broken.group_removed()) parts_.submitter.OnGroupRemoved(worker);
  parts_.submitter.OnLeaseBroken(worker, why, begun);
}

void Router::OnProcessDied(const wire::ProcessDied& died) {
  const Address address = wire::FromWireOrNil(died.address());
  const std::string reason = flatbuffers::GetString(died.reason());
  if (!address.worker.is_nil()) return OnPeerGone(address, reason);
  // A whole node: every process there, and every copy that was only there.
  std::vector<Address> gone;
  for (const auto& [worker, link] : parts_.process.links().all()) {
    if (link->peer.node == address.node) gone.push_back(link->peer);
  }
  for (const Address& peer : gone) OnPeerGone(peer, reason);
  parts_.directory.OnNodeDied(address.node, reason);
  parts_.submitter.permits().OnNodeDied(address.node);
}

void Router::OnPeerGone(const Address& peer, const std::string& reason) {
  LinkTable& links = parts_.process.links();
  if (Link* link = links.Find(peer.worker)) {
    parts_.submitter.StopPushing(*link, reason);
    links.Drain(*link);
    links.Break(*link, reason);
  } else {
    parts_.directory.OnProcessDied(
        peer.worker, "the process " + peer.ToString() + " has ended (" + reason + ")");
  }
  parts_.submitter.OnProcessDied(peer, reason);
  parts_.saver.OnProcessDied(peer.worker);
  links.Forget(peer.worker);
}

void Router::OnAssignJob(const wire::AssignJob& assign) {
  const JobId job = wire::FromWireOrNil(assign.job_id());
  parts_.process.SetJob(job);
  parts_.submitter.SetIdentity(parts_.process.address(), job, wire::FromWireOrNil(assign.driver()));
  Event event;
  event.kind = Event::Kind::kAssignJob;
  event.id = std::string(job.view());
  event.label = flatbuffers::GetString(assign.namespace_());
  if (assign.config() != nullptr) {
    event.text.assign(reinterpret_cast<const char*>(assign.config()->data()),
                      assign.config()->size());
  }
  parts_.events.Push(std::move(event));
}

bool Router::IsUsed() const { return parts_.directory.OwnsAny() || parts_.submitter.has_any(); }

void Router::SendStays() {
  builder_.Clear();
  builder_.Finish(wire::CreateWorkerStays(builder_));
  parts_.process.raylet().Send(FrameType::kWorkerStays, builder_);
}

void Router::OnAssignActor(const wire::AssignActor& assign) {
  if (IsUsed()) return SendStays();  // it would end with the actor
  parts_.executor.OnAssignActor(assign);
}

void Router::OnExitWorker(const wire::ExitWorker& exit) {
  if (exit.if_unused() && !parts_.executor.is_actor() && IsUsed()) {
    parts_.submitter.WantSaves(/*to_end=*/false);
    return SendStays();
  }
  Event event;
  event.kind = Event::Kind::kExit;
  event.flag = true;
  event.text = flatbuffers::GetString(exit.reason());
  parts_.events.Push(std::move(event));
}

void Router::OnRayletLost() {
  if (parts_.process.leaving()) return;
  if (!parts_.process.is_driver()) {
    // The node is over. Nothing of this process may outlive it, whatever Python is doing.
    ::_exit(1);
  }
  const ValuePtr error =
      SystemError(ErrorKind::kRayletDied, parts_.process.RayletIsGone().message());
  parts_.items.OnRayletLost();
  parts_.submitter.FailAll(error);
  parts_.directory.OnRayletLost(error);
  Event event;
  event.kind = Event::Kind::kRayletLost;
  parts_.events.Push(std::move(event));
}

}  // namespace cyray::core
