// The routing half of CoreWorker: frames that arrive, and what the parts ask to be sent.
// Everything here runs with the core mutex held.

#include <algorithm>

#include "cyray/common/encoding.h"
#include "cyray/core/core_worker.h"
#include "cyray/util/clock.h"
#include "cyray/util/log.h"
#include "gcs_generated.h"

namespace cyray::core {

using wire::Frame;
using wire::FrameType;

void CoreWorker::OnReady(void* cookie, uint32_t events) {
  if (cookie == &raylet_) {
    raylet_.OnReady();
  } else {
    links_.OnReady(*static_cast<Link*>(cookie), events);
  }
}

void CoreWorker::FlushAll() {
  links_.FlushDirty();
  SendReleases();
  raylet_.Flush();
}

void CoreWorker::FlushStale() {
  links_.FlushDirty(kReplyGatherNs);
  SendReleases();
  raylet_.Flush();
}

int64_t CoreWorker::NextTimerNs() {
  return std::min(
      {tasks_.NextTickNs(), actors_.NextTickNs(), objects_.NextTickNs(), spares_.NextIdleNs()});
}

void CoreWorker::RunTimers(int64_t now_ns) {
  if (tasks_.NextTickNs() <= now_ns) tasks_.Tick(now_ns);
  if (actors_.NextTickNs() <= now_ns) actors_.Tick(now_ns);
  objects_.Tick(now_ns);
  GiveBack(spares_.TakeIdle(now_ns));
}

// --- From other processes ---

void CoreWorker::OnCoreFrame(Link& link, const Frame& frame) {
  switch (frame.type) {
    case FrameType::kTemplate:
      if (const auto* t = frame.As<wire::Template>()) return execution_.OnTemplate(link, *t);
      break;
    case FrameType::kPushTask:
      if (const auto* push = frame.As<wire::PushTask>()) {
        if (!execution_.OnPushTask(link, *push)) break;
        return WakeExternalLoop();
      }
      break;
    case FrameType::kTaskReply:
      if (const auto* reply = frame.As<wire::TaskReply>()) {
        PendingTask* task = slab_.Find(reply->tag());
        if (task == nullptr) return completion_.Disregard(link, nullptr, *reply);
        if (task->actor != nullptr) return actors_.OnTaskReply(link, task, *reply);
        return tasks_.OnTaskReply(link, task, *reply);
      }
      break;
    case FrameType::kTaskProgress:
      if (const auto* progress = frame.As<wire::TaskProgress>()) {
        PendingTask* task = slab_.Find(progress->tag());
        if (task != nullptr) tasks_.OnTaskProgress(link, task, progress->begun());
        return;
      }
      break;
    case FrameType::kStealTasks:
      if (const auto* steal = frame.As<wire::StealTasks>()) return execution_.OnSteal(link, *steal);
      break;
    default:
      return OnObjectFrame(link, frame);
  }
  links_.GiveUp(link, "it sent a frame of type " + std::to_string(static_cast<int>(frame.type)) +
                          " that is not valid");
}

void CoreWorker::OnObjectFrame(Link& link, const Frame& frame) {
  const WorkerId& peer = link.peer.worker;
  switch (frame.type) {
    case FrameType::kFetchObject:
      if (const auto* fetch = frame.As<wire::FetchObject>(); fetch && fetch->object_id()) {
        return objects_.OnFetch(peer, fetch->request_id(), wire::FromWire(*fetch->object_id()));
      }
      break;
    case FrameType::kObjectState:
      if (const auto* state = frame.As<wire::ObjectState>(); state && state->object_id()) {
        ObjectDirectory::StateUpdate update;
        update.known = state->known();
        update.pending = state->pending();
        update.is_error = state->is_error();
        update.stored_bytes = state->stored_bytes();
        if (state->value() != nullptr) {
          update.value = ValuePtr(Value::Copy(state->value()->data(), state->value()->size()));
        }
        if (state->locations() != nullptr) {
          for (const auto* node : *state->locations())
            update.locations.push_back(wire::FromWire(*node));
        }
        return objects_.OnState(wire::FromWire(*state->object_id()), std::move(update));
      }
      break;
    case FrameType::kAddBorrowers:
      if (const auto* add = frame.As<wire::AddBorrowers>(); add && add->object_ids()) {
        for (const auto* id : *add->object_ids()) objects_.OnAddBorrower(peer, wire::FromWire(*id));
        builder_.Clear();
        builder_.Finish(wire::CreateAddBorrowersAck(builder_, add->request_id()));
        return links_.Send(link, FrameType::kAddBorrowersAck, builder_);
      }
      break;
    case FrameType::kAddBorrowersAck:
      if (const auto* ack = frame.As<wire::AddBorrowersAck>()) {
        return objects_.OnRegistered(ack->request_id());
      }
      break;
    case FrameType::kRemoveBorrowers:
      if (const auto* remove = frame.As<wire::RemoveBorrowers>(); remove && remove->object_ids()) {
        for (const auto* id : *remove->object_ids()) {
          objects_.OnRemoveBorrower(peer, wire::FromWire(*id));
        }
        return;
      }
      break;
    case FrameType::kContainedTaken:
      if (const auto* taken = frame.As<wire::ContainedTaken>(); taken && taken->object_id()) {
        auto node = link.given.extract(wire::FromWire(*taken->object_id()));
        if (node.empty()) return;
        for (ObjectEntry* entry : node.mapped()) objects_.Release(entry);
        return;
      }
      break;
    default:
      break;
  }
  links_.GiveUp(link, "it sent a frame of type " + std::to_string(static_cast<int>(frame.type)) +
                          " that is not valid");
}

void CoreWorker::OnLinkBroken(Link& link, const std::string& reason) {
  auto given = std::move(link.given);
  link.given.clear();
  for (auto& [outer, entries] : given) {
    for (ObjectEntry* entry : entries) objects_.Release(entry);
  }
  execution_.OnLinkBroken(link);
  tasks_.OnLinkBroken(link, reason);
  actors_.OnLinkBroken(link, reason);
  objects_.OnProcessDied(link.peer.worker,
                         "the process " + link.peer.ToString() + " died (" + reason + ")");
}

// --- From the raylet ---

void CoreWorker::OnRayletFrame(Frame& frame) {
  switch (frame.type) {
    case FrameType::kPeerConnected:
      if (const auto* peer = frame.As<wire::PeerConnected>(); peer && frame.fds.size() == 1) {
        links_.OnPeerConnected(wire::FromWireOrNil(peer->peer()), std::move(frame.fds[0]));
      }
      return;
    case FrameType::kRelay:
      if (const auto* relay = frame.As<wire::Relay>(); relay && relay->frame() && relay->source()) {
        links_.OnRelay(wire::FromWire(*relay->source()), relay->frame()->data(),
                       relay->frame()->size());
      }
      return;
    case FrameType::kRelayFailed:
      if (const auto* failed = frame.As<wire::RelayFailed>(); failed && failed->destination()) {
        const std::string why = failed->reason() != nullptr ? failed->reason()->str() : "";
        const Address peer = wire::FromWire(*failed->destination());
        links_.OnRelayFailed(peer.worker, why);
        tasks_.OnLeaseBroken(peer, why);
      }
      return;
    case FrameType::kReclaimLease:
      if (const auto* reclaim = frame.As<wire::ReclaimLease>()) {
        tasks_.OnReclaim(reclaim->lease_id(), wire::FromWireOrNil(reclaim->worker()));
      }
      return;
    case FrameType::kLeaseBroken:
      if (const auto* broken = frame.As<wire::LeaseBroken>()) {
        const Address worker = wire::FromWireOrNil(broken->worker());
        const std::string why = broken->reason() != nullptr ? broken->reason()->str() : "";
        if (Link* link = links_.Find(worker.worker)) {
          tasks_.OnLinkBroken(*link, why);  // nothing more goes there while its answers are read
          links_.Drain(*link);
        }
        tasks_.OnLeaseBroken(worker, why);
      }
      return;
    case FrameType::kActorUpdate:
      if (const auto* update = frame.As<wire::ActorUpdate>()) actors_.OnActorUpdate(*update);
      return;
    case FrameType::kAssignActor:
      if (const auto* assign = frame.As<wire::AssignActor>()) OnAssignActor(*assign);
      return;
    case FrameType::kReturnSpares:
      if (frame.As<wire::ReturnSpares>() != nullptr) {
        PublishAll();
        objects_.TrimWarmPins(0);
        GiveBack(spares_.TakeAll());
        SendReleases();
        raylet_.Flush();
      }
      return;
    case FrameType::kProcessDied:
      if (const auto* died = frame.As<wire::ProcessDied>()) {
        OnProcessDied(wire::FromWireOrNil(died->address()),
                      died->reason() != nullptr ? died->reason()->str() : "");
      }
      return;
    default:
      OnRayletEvent(frame);
  }
}

void CoreWorker::OnRayletEvent(Frame& frame) {
  Event event;
  if (frame.type == FrameType::kAssignJob) {
    const auto* assign = frame.As<wire::AssignJob>();
    if (assign == nullptr) return;
    job_id_ = wire::FromWireOrNil(assign->job_id());
    task_ids_.Reset(job_id_);
    completion_.SetIdentity(address_, job_id_);
    event.kind = Event::Kind::kAssignJob;
    event.id = std::string(job_id_.view());
    if (assign->namespace_() != nullptr) event.label = assign->namespace_()->str();
    if (assign->config() != nullptr) {
      event.text.assign(reinterpret_cast<const char*>(assign->config()->data()),
                        assign->config()->size());
    }
  } else if (frame.type == FrameType::kExitWorker) {
    const auto* exit = frame.As<wire::ExitWorker>();
    if (exit == nullptr) return;
    if (exit->if_unused() && (objects_.OwnsAny() || slab_.live() > 0)) {
      builder_.Clear();
      builder_.Finish(wire::CreateWorkerStays(builder_));
      raylet_.Send(FrameType::kWorkerStays, builder_);
      return;
    }
    event.kind = Event::Kind::kExit;
    event.flag = exit->graceful();
    if (exit->reason() != nullptr) event.text = exit->reason()->str();
  } else if (frame.type == FrameType::kLogLines) {
    const auto* log = frame.As<wire::LogLines>();
    if (log == nullptr || log->lines() == nullptr) return;
    event.kind = Event::Kind::kLogLines;
    event.number = log->pid();
    event.flag = log->is_stderr();
    if (log->label() != nullptr) event.label = log->label()->str();
    if (log->node_ip() != nullptr) event.text = log->node_ip()->str();
    for (const auto* line : *log->lines()) event.lines.push_back(line->str());
  } else if (frame.type == FrameType::kWarning) {
    const auto* warning = frame.As<wire::Warning>();
    if (warning == nullptr || warning->text() == nullptr) return;
    event.kind = Event::Kind::kWarning;
    event.text = warning->text()->str();
  } else {
    CYRAY_LOG(kWarning) << "the raylet sent a frame of unknown type "
                        << static_cast<int>(frame.type);
    return;
  }
  PushEvent(std::move(event));
}

void CoreWorker::OnAssignActor(const wire::AssignActor& assign) {
  if (assign.spec() == nullptr || assign.actor_id() == nullptr) return;
  flatbuffers::Verifier verifier(assign.spec()->data(), assign.spec()->size());
  if (!verifier.VerifyBuffer<wire::ActorSpec>(nullptr)) return;
  const auto* spec = flatbuffers::GetRoot<wire::ActorSpec>(assign.spec()->data());
  ExecTemplate tmpl;
  tmpl.function_id = wire::FromWireOrNil(spec->class_id());
  tmpl.job_id = wire::FromWireOrNil(spec->job_id());
  if (spec->class_name() != nullptr) tmpl.name = spec->class_name()->str();
  tmpl.max_concurrency = std::max(1u, spec->max_concurrency());
  Event event;
  event.kind = Event::Kind::kBecomeActor;
  event.id = std::string(wire::FromWire(*assign.actor_id()).view());
  event.number = assign.incarnation();
  event.label = tmpl.name;
  event.token = tmpl.max_concurrency;
  if (spec->extra() != nullptr) {
    event.text.assign(reinterpret_cast<const char*>(spec->extra()->data()), spec->extra()->size());
  }
  if (assign.gpu_ids() != nullptr) {
    event.gpu_ids.assign(assign.gpu_ids()->begin(), assign.gpu_ids()->end());
  }
  execution_.BecomeActor(true);
  execution_.PushCreation(*spec, execution_.Intern(std::move(tmpl)));
  PushEvent(std::move(event));
}

void CoreWorker::OnProcessDied(const Address& address, const std::string& reason) {
  if (!address.worker.is_nil()) return OnPeerGone(address, reason);
  // A whole node: every process there, and every copy that was only there.
  std::vector<Address> gone;
  for (const auto& [worker, link] : links_.all()) {
    if (link->peer.node == address.node) gone.push_back(link->peer);
  }
  for (const Address& peer : gone) OnPeerGone(peer, reason);
  objects_.OnNodeDied(address.node, reason);
}

void CoreWorker::OnPeerGone(const Address& peer, const std::string& reason) {
  if (Link* link = links_.Find(peer.worker)) {
    tasks_.OnLinkBroken(*link, reason);  // nothing more goes there while its answers are read
    links_.Drain(*link);
    links_.Break(*link, reason);
  } else {
    objects_.OnProcessDied(peer.worker,
                           "the process " + peer.ToString() + " died (" + reason + ")");
  }
  tasks_.OnLeaseBroken(peer, reason);
  actors_.OnProcessDied(peer.worker);
  links_.Forget(peer.worker);
}

void CoreWorker::OnRayletLost() {
  raylet_lost_ = true;
  if (disconnecting_) return;
  if (!is_driver_) {
    // The node is over. Nothing of this process may outlive it, whatever Python is doing.
    ::_exit(1);
  }
  const ValuePtr error =
      MakeError(static_cast<uint8_t>(ErrorKind::kRayletDied),
                "The raylet of this node died: the session is over. Its log is in " +
                    registration_.session_dir + "/logs/raylet.out.");
  tasks_.FailAll(error);
  actors_.FailAll(error);
  objects_.OnRayletLost(error);
  Event event;
  event.kind = Event::Kind::kRayletLost;
  PushEvent(std::move(event));
}

// --- What the directory sends ---

void CoreWorker::SendFetch(const Address& owner, uint64_t request_id, const ObjectId& id) {
  builder_.Clear();
  builder_.Finish(wire::CreateFetchObject(builder_, request_id, wire::ToWire(id)));
  SendToPeer(owner, FrameType::kFetchObject);
}

void CoreWorker::SendToPeer(const Address& peer, FrameType type) {
  Link& link = links_.To(peer);
  if (link.state == Link::State::kBroken) {
    return objects_.OnProcessDied(peer.worker, "the process " + peer.ToString() + " died");
  }
  links_.Send(link, type, builder_);
  links_.FlushSoon(link);
}

void CoreWorker::SendState(const WorkerId& to, uint64_t request_id, const ObjectId& id,
                           const ObjectEntry* entry) {
  Link* link = links_.Find(to);
  if (link == nullptr) return;
  flatbuffers::FlatBufferBuilder b;
  flatbuffers::Offset<flatbuffers::Vector<uint8_t>> value;
  flatbuffers::Offset<flatbuffers::Vector<const wire::WireNodeId*>> locations;
  uint64_t stored = 0;
  if (entry != nullptr && entry->state == ObjectState::kInline) {
    value = b.CreateVector(entry->value->data(), entry->value->size());
  } else if (entry != nullptr && entry->extra) {
    stored = entry->extra->stored_bytes;
    std::vector<wire::WireNodeId> nodes;
    for (const NodeId& node : entry->extra->locations) nodes.push_back(*wire::ToWire(node));
    locations = b.CreateVectorOfStructs(nodes);
  }
  b.Finish(wire::CreateObjectState(b, request_id, wire::ToWire(id), entry != nullptr, value,
                                   entry != nullptr && entry->is_error, stored, locations,
                                   entry != nullptr && !entry->ready()));
  links_.Send(*link, FrameType::kObjectState, b);
  links_.FlushSoon(*link);
}

void CoreWorker::SendAddBorrower(const Address& owner, uint64_t request_id, const ObjectId& id) {
  builder_.Clear();
  auto ids = builder_.CreateVectorOfStructs(wire::ToWire(id), 1);
  builder_.Finish(wire::CreateAddBorrowers(builder_, request_id, ids));
  SendToPeer(owner, FrameType::kAddBorrowers);
}

void CoreWorker::SendRemoveBorrower(const Address& owner, const ObjectId& id) {
  Link& link = links_.To(owner);
  if (link.state == Link::State::kBroken) return;
  builder_.Clear();
  auto ids = builder_.CreateVectorOfStructs(wire::ToWire(id), 1);
  builder_.Finish(wire::CreateRemoveBorrowers(builder_, ids));
  links_.Send(link, FrameType::kRemoveBorrowers, builder_);
  links_.FlushSoon(link);
}

void CoreWorker::SendContainedTaken(const Address& giver, const ObjectId& outer) {
  Link& link = links_.To(giver);
  if (link.state == Link::State::kBroken) return;
  builder_.Clear();
  builder_.Finish(wire::CreateContainedTaken(builder_, wire::ToWire(outer)));
  links_.Send(link, FrameType::kContainedTaken, builder_);
  links_.FlushSoon(link);
}

void CoreWorker::PullToStore(ObjectEntry* entry) {
  Publish(entry->id);  // the raylet is asked for it by its name
  const uint64_t request = raylet_.NextRequestId();
  builder_.Clear();
  std::vector<wire::WireNodeId> nodes;
  for (const NodeId& node : entry->extra->locations) nodes.push_back(*wire::ToWire(node));
  auto locations = builder_.CreateVectorOfStructs(nodes);
  const Address owner = objects_.OwnerOf(entry);
  builder_.Finish(wire::CreateGetObject(builder_, request, wire::ToWire(entry->id),
                                        wire::ToWire(owner), locations));
  raylet_.Request(request, FrameType::kGetObject, builder_, [this, id = entry->id](Frame* frame) {
    using Failure = ObjectDirectory::PullFailure;
    if (frame == nullptr) return;  // OnRayletLost tells everybody
    const auto* reply = frame->As<wire::GetObjectReply>();
    if (reply->ok() && arena_->Contains(reply->offset(), reply->bytes())) {
      return objects_.OnPinned(id, reply->offset(), reply->bytes());
    }
    const bool full = static_cast<StatusCode>(reply->code()) == StatusCode::kObjectStoreFull;
    objects_.OnPullFailed(id, full ? Failure::kNoRoom : Failure::kMissing,
                          reply->error() != nullptr ? reply->error()->str() : "no such object",
                          MonotonicNs());
  });
  raylet_.Flush();
}

bool CoreWorker::IsWaitedFor(const ObjectEntry* entry, bool to_read) {
  return waits_.IsWaitedFor(entry, to_read);
}

void CoreWorker::ForEachWaitedFor(const std::function<void(ObjectEntry*)>& visit) {
  waits_.ForEachEntry(visit);
}

void CoreWorker::ActorOutOfScope(const ActorId& id) {
  flatbuffers::FlatBufferBuilder b;
  b.Finish(wire::CreateKillActorRequest(b, wire::ToWire(id), true, /*out_of_scope=*/true));
  raylet_.CallGcs(static_cast<uint16_t>(wire::GcsMethod::KillActor), b.GetBufferPointer(),
                  b.GetSize(), [](Frame*) {});
  poller_.NoteGathered();
}

void CoreWorker::OnObjectReady(ObjectEntry*, std::vector<uint64_t> dependents,
                               std::vector<uint64_t> callbacks) {
  if (!dependents.empty()) dependents_.Tell(dependents);
  for (const uint64_t token : callbacks) {
    if ((token & kExecToken) != 0) {
      execution_.OnArgumentHere(token & ~kExecToken);
      continue;
    }
    Event event;
    event.kind = Event::Kind::kCallback;
    event.token = token;
    if (is_driver_ || (token & kThreadToken) == 0) {
      PushEvent(std::move(event));
    } else {
      callbacks_.push_back(std::move(event));
      events_ready_.notify_one();
    }
  }
}

namespace {

// An encoded error of cyray's own: its tag, kind, actor id, text.
ValuePtr EncodeError(uint8_t kind, const ActorId& actor, const std::string& message) {
  Value* value = Value::New(2 + ActorId::kSize + message.size());
  value->data()[0] = static_cast<uint8_t>(ValueTag::kSystemError);
  value->data()[1] = kind;
  std::memcpy(value->data() + 2, actor.data(), ActorId::kSize);
  std::memcpy(value->data() + 2 + ActorId::kSize, message.data(), message.size());
  return ValuePtr(value);
}

}  // namespace

ValuePtr CoreWorker::MakeError(uint8_t kind, const std::string& message) {
  return EncodeError(kind, ActorId{}, message);
}

ValuePtr CoreWorker::MakeActorError(uint8_t kind, const std::string& message,
                                    const ActorId& actor) {
  return EncodeError(kind, actor, message);
}

}  // namespace cyray::core
