// The GCS's methods about placement groups.

#include <algorithm>

#include "cyray/gcs/codec.h"
#include "cyray/gcs/gcs_service.h"
#include "cyray/gcs/group_codec.h"
#include "cyray/gcs/methods.h"
#include "cyray/wire/convert.h"

namespace cyray::gcs {
namespace {

Result<wire::Bytes> NotStored(const Status& why) {
  return Fail(why.code(),
              "the GCS cannot store the placement group, so there is none: " + why.message());
}

}  // namespace

using flatbuffers::FlatBufferBuilder;
using wire::FromWireOrNil;
using wire::GcsMethod;

GcsService::Outcome GcsService::RegisterGroup(const wire::Bytes& payload) {
  // Who gives it a name waits for the answer, and is refused; others are not told
  // (core/gcs_facts.h), and have their group when the disk takes it.
  const auto* request = wire::VerifiedRoot<wire::RegisterGroupRequest>(payload);
  const bool named =
      request != nullptr && request->name() != nullptr && request->name()->size() > 0;
  const Status failing = storage_->Failure();
  if (named && !failing.ok()) return {NotStored(failing)};
  const Result<PlacementGroupId> id = cluster_.RegisterGroup(payload);
  if (!id.has_value()) return {Fail(id.error())};
  if (!named) return {EmptyReply()};
  return {EmptyReply(), [this, id = *id](const Status& why) {
            GroupDirector& groups = cluster_.groups();
            groups.Apply(groups.table().Remove(id));
            return NotStored(why);
          }};
}

Result<wire::Bytes> GcsService::RemoveGroup(const wire::Bytes& payload) {
  const auto* request = wire::VerifiedRoot<wire::RemoveGroupRequest>(payload);
  if (request == nullptr) return BadRequest();
  GroupDirector& groups = cluster_.groups();
  groups.Apply(groups.table().Remove(FromWireOrNil(request->group_id())));
  return EmptyReply();
}

wire::Bytes GcsService::GroupReplyOf(const PlacementGroupId& id) const {
  const GroupTable& table = cluster_.groups().table();
  FlatBufferBuilder builder(512);
  if (const GroupRecord* record = table.Find(id)) {
    return Finished(builder, wire::CreateGroupReply(builder, true,
                                                    WriteGroup(builder, *record, record->state())));
  }
  if (const GroupRecord* removed = table.FindRemoved(id)) {
    return Finished(
        builder, wire::CreateGroupReply(builder, true,
                                        WriteGroup(builder, *removed, wire::GroupState::Removed)));
  }
  return Finished(builder, wire::CreateGroupReply(builder, false));
}

Result<wire::Bytes> GcsService::FindGroup(const wire::Bytes& payload) const {
  const auto* request = wire::VerifiedRoot<wire::FindGroupRequest>(payload);
  if (request == nullptr) return BadRequest();
  PlacementGroupId id = FromWireOrNil(request->group_id());
  if (id.is_nil()) {
    const GroupRecord* record = cluster_.groups().table().FindByName(
        flatbuffers::GetString(request->namespace_()), flatbuffers::GetString(request->name()));
    if (record != nullptr) id = record->spec.id;
  }
  return GroupReplyOf(id);
}

Result<wire::Bytes> GcsService::ListGroups() const {
  FlatBufferBuilder builder;
  std::vector<flatbuffers::Offset<wire::GroupInfo>> groups;
  const GroupTable& table = cluster_.groups().table();
  for (const auto& [id, record] : table.groups()) {
    groups.push_back(WriteGroup(builder, record, record.state()));
  }
  table.removed().ForEach([&](const PlacementGroupId&, const GroupRecord& record) {
    if (record.spec.bundles.empty()) return;  // it never came
    groups.push_back(WriteGroup(builder, record, wire::GroupState::Removed));
  });
  const auto list = builder.CreateVector(groups);
  return Finished(builder, wire::CreateListGroupsReply(builder, list));
}

// For who waits: one that cannot come is gone, or he would ask again and again.
wire::Bytes GcsService::GroupAwaited(const PlacementGroupId& id) const {
  const GroupDirector& groups = cluster_.groups();
  const bool known =
      groups.table().Find(id) != nullptr || groups.table().FindRemoved(id) != nullptr;
  if (known || groups.MayCome(id)) return GroupReplyOf(id);
  GroupRecord never;
  never.spec.id = id;
  FlatBufferBuilder builder;
  return Finished(
      builder,
      wire::CreateGroupReply(builder, true, WriteGroup(builder, never, wire::GroupState::Removed)));
}

void GcsService::WaitGroup(const wire::Bytes& payload, const Reply& reply) {
  const auto* request = wire::VerifiedRoot<wire::WaitGroupRequest>(payload);
  if (request == nullptr) return reply(BadRequest());
  const PlacementGroupId id = FromWireOrNil(request->group_id());
  const GroupRecord* record = cluster_.groups().table().Find(id);
  const bool unknown = record == nullptr && !cluster_.groups().MayCome(id);
  const bool placed = record != nullptr && record->placed();
  if (unknown || placed || request->wait_ms() == 0) {
    AnswerGroup(reply, id);
    return commit_.End();
  }
  const uint64_t waiter = next_waiter_++;
  auto timer = std::make_unique<Timer>(runtime_);
  timer->Start(std::min(request->wait_ms(), kMaxFunctionWaitMs), [this, id, waiter] {
    auto node = group_waiters_.extract({id, waiter});
    AnswerGroup(node.mapped().reply, id);
    commit_.End();
  });
  group_waiters_.emplace(std::pair(id, waiter), Waiter{reply, std::move(timer)});
}

void GcsService::AnswerGroup(const Reply& reply, const PlacementGroupId& id) {
  commit_.Answer({Storage::Kind::kGroup}, [reply, answer = GroupAwaited(id)] { reply(answer); });
}

void GcsService::OnGroupChanged(const PlacementGroupId& id) {
  const GroupRecord* record = cluster_.groups().table().Find(id);
  if (record != nullptr && !record->placed()) return;
  while (true) {
    const auto it = group_waiters_.lower_bound({id, 0});
    if (it == group_waiters_.end() || it->first.first != id) return;
    const auto node = group_waiters_.extract(it);
    node.mapped().reply(GroupAwaited(id));
  }
}

}  // namespace cyray::gcs
