#include "cyray/raylet/gcs_lines.h"

#include <map>
#include <string>
#include <utility>

#include "cyray/gcs/codec.h"
#include "cyray/wire/convert.h"

namespace cyray::raylet {
namespace {

using flatbuffers::FlatBufferBuilder;
using wire::Bytes;
using wire::GcsMethod;
using wire::VerifiedRoot;

// Of one line, at the GCS. What is larger than all of it goes alone.
constexpr size_t kCallsAtOnce = 32;
constexpr size_t kBytesAtOnce = 8u << 20;
constexpr size_t kChangesAtOnce = 2;
// Of one ChangeActors: the GCS is not busy with it for long.
constexpr size_t kPartsOfChange = 1024;
constexpr size_t kBytesOfChange = 1u << 20;
// As long as a call that has gone is tried.
constexpr int64_t kGiveUpMs = 60'000;

Bytes EmptyReply() {
  FlatBufferBuilder builder(32);
  builder.Finish(wire::CreateEmpty(builder));
  return wire::FinishedBytes(builder);
}

// What ChangeActors was answered.
struct Changed {
  Result<Bytes> others;                // of registrations: all but the refused
  std::map<uint32_t, Status> refused;  // by their place among the registrations
  Result<Bytes> dropped;
};

Changed ReadChanged(const Result<Bytes>& reply) {
  const auto status_of = [](const wire::ActorRefusal& refusal) {
    return Status(gcs::CodeFromWire(refusal.code()), flatbuffers::GetString(refusal.error()));
  };
  if (!reply) return {reply, {}, reply};
  const auto* answer = VerifiedRoot<wire::ChangeActorsReply>(*reply);
  if (answer == nullptr) {
    const Status wrong(StatusCode::kProtocolError,
                       "the GCS answered ChangeActors with something else");
    return {Fail(wrong), {}, Fail(wrong)};
  }
  Changed changed{EmptyReply(), {}, EmptyReply()};
  if (answer->dropped() != nullptr) changed.dropped = Fail(status_of(*answer->dropped()));
  if (answer->refused() == nullptr) return changed;
  for (const auto* one : *answer->refused()) {
    changed.refused.emplace(one->index(), status_of(*one));
  }
  return changed;
}

}  // namespace

GcsLines::Kind GcsLines::KindOf(const Ask& ask, bool* named, ActorId* registers) {
  if (ask.method == GcsMethod::RegisterActor) {
    const auto* request = VerifiedRoot<wire::RegisterActorRequest>(ask.payload);
    if (request == nullptr) return Kind::kPlain;
    *named = request->name() != nullptr && request->name()->size() > 0;
    *registers = wire::FromWireOrNil(request->actor_id());
    return Kind::kRegister;
  }
  if (ask.method != GcsMethod::KillActor) return Kind::kPlain;
  const auto* request = VerifiedRoot<wire::KillActorRequest>(ask.payload);
  const bool drop = request != nullptr && request->out_of_scope() && request->actor_id() != nullptr;
  return drop ? Kind::kDrop : Kind::kPlain;
}

bool GcsLines::Add(Ask ask, int64_t now_ms) {
  bool named = false;
  ActorId registers;
  const Kind kind = KindOf(ask, &named, &registers);
  if (!registers.is_nil()) registering_.insert(registers);
  Line& line = lines_[ask.client];
  Waiting* last = line.waiting.empty() ? nullptr : &line.waiting.back();
  const bool joins = kind != Kind::kPlain && last != nullptr && !last->plain &&
                     last->parts.size() < kPartsOfChange &&
                     last->bytes + ask.payload.size() <= kBytesOfChange && !(named && last->drops);
  if (!joins) {
    last = &line.waiting.emplace_back(
        Waiting{.method = ask.method, .since_ms = now_ms, .plain = kind == Kind::kPlain});
  }
  last->since_ms = now_ms;
  last->bytes += ask.payload.size();
  last->drops = last->drops || kind == Kind::kDrop;
  last->parts.push_back({ask.request, kind, std::move(ask.payload), registers});
  ++waiting_;
  return kind != Kind::kPlain;
}

bool GcsLines::MayGo(const Line& line, const Waiting& next) {
  if (line.calls == 0) return true;
  if (line.calls >= kCallsAtOnce || line.bytes + next.bytes > kBytesAtOnce) return false;
  return next.plain || line.changes < kChangesAtOnce;
}

std::vector<GcsLines::Call> GcsLines::GoOn(uint64_t client) {
  std::vector<Call> calls;
  const auto it = lines_.find(client);
  if (it == lines_.end()) return calls;
  Line& line = it->second;
  while (!line.waiting.empty() && MayGo(line, line.waiting.front())) {
    Waiting next = std::move(line.waiting.front());
    line.waiting.pop_front();
    ++line.calls;
    line.changes += next.plain ? 0 : 1;
    line.bytes += next.bytes;
    waiting_ -= next.parts.size();
    calls.push_back(Send(client, std::move(next)));
  }
  if (line.calls == 0) lines_.erase(it);
  return calls;
}

GcsLines::Call GcsLines::Send(uint64_t client, Waiting waiting) {
  Call call{.id = next_call_++, .method = waiting.method, .payload = {}};
  if (waiting.parts.size() == 1) {
    call.payload = std::exchange(waiting.parts[0].payload, {});
  } else {
    call.method = GcsMethod::ChangeActors;
    FlatBufferBuilder builder(waiting.bytes + 64 * waiting.parts.size() + 64);
    std::vector<flatbuffers::Offset<wire::ActorRegistration>> registrations;
    std::vector<wire::WireActorId> dropped;
    for (Part& part : waiting.parts) {
      const Bytes payload = std::exchange(part.payload, {});
      if (part.kind == Kind::kRegister) {
        registrations.push_back(
            wire::CreateActorRegistration(builder, builder.CreateVector(payload)));
      } else {
        dropped.push_back(*VerifiedRoot<wire::KillActorRequest>(payload)->actor_id());
      }
    }
    const auto list = builder.CreateVector(registrations);
    const auto drops = builder.CreateVectorOfStructs(dropped);
    builder.Finish(wire::CreateChangeActorsRequest(builder, list, drops));
    call.payload = wire::FinishedBytes(builder);
  }
  sent_[call.id] = {client, waiting.plain, waiting.bytes, std::move(waiting.parts)};
  return call;
}

std::vector<GcsLines::Answer> GcsLines::OnReply(uint64_t call, const Result<Bytes>& reply,
                                                int64_t now_ms) {
  std::vector<Answer> answers;
  const auto node = sent_.extract(call);
  if (node.empty()) return answers;
  const Sent& sent = node.mapped();
  Line& line = lines_[sent.client];
  --line.calls;
  line.changes -= sent.plain ? 0 : 1;
  line.bytes -= sent.bytes;
  const Changed changed = sent.parts.size() > 1 ? ReadChanged(reply) : Changed{reply, {}, reply};
  uint32_t registration = 0;
  for (const Part& part : sent.parts) {
    Result<Bytes> result = part.kind == Kind::kDrop ? changed.dropped : changed.others;
    if (part.kind == Kind::kRegister) {
      const auto refused = changed.refused.find(registration++);
      if (refused != changed.refused.end()) result = Fail(refused->second);
    }
    answers.push_back(AnswerTo(sent.client, part, std::move(result)));
  }
  if (!reply && reply.error().code() == StatusCode::kUnavailable) {
    Expire(sent.client, reply.error(), now_ms, answers);
  }
  return answers;
}

GcsLines::Answer GcsLines::AnswerTo(uint64_t client, const Part& part, Result<Bytes> result) {
  if (const auto it = registering_.find(part.registers); it != registering_.end()) {
    registering_.erase(it);
  }
  return {client, part.request, std::move(result), part.registers};
}

// The GCS is away: who has waited here as long as a call is tried waits no longer.
void GcsLines::Expire(uint64_t client, const Status& why, int64_t now_ms,
                      std::vector<Answer>& answers) {
  std::deque<Waiting>& waiting = lines_[client].waiting;
  while (!waiting.empty() && waiting.front().since_ms + kGiveUpMs <= now_ms) {
    for (const Part& part : waiting.front().parts) {
      answers.push_back(AnswerTo(client, part, Fail(why)));
    }
    waiting_ -= waiting.front().parts.size();
    waiting.pop_front();
  }
}

}  // namespace cyray::raylet
