#include "cyray/core/gcs_groups.h"

#include "cyray/core/gcs_call.h"

namespace cyray::core {
namespace {

using flatbuffers::FlatBufferBuilder;
using wire::GcsMethod;
using wire::ToWire;

GroupRow RowOf(const wire::GroupInfo& info) {
  GroupRow row;
  row.state = wire::EnumNameGroupState(info.state());
  row.waits = flatbuffers::GetString(info.waits());
  if (const wire::RegisterGroupRequest* request = info.request()) {
    const PlacementGroupId id = wire::FromWireOrNil(request->group_id());
    row.group_id = id.Hex();
    row.job_id = id.Hex().substr(2 * (PlacementGroupId::kSize - JobId::kSize));
    row.name = flatbuffers::GetString(request->name());
    row.name_space = flatbuffers::GetString(request->namespace_());
    row.policy = wire::EnumNameGroupPolicy(request->policy());
    row.detached = request->detached();
    const ActorId creator = wire::FromWireOrNil(request->creator_actor());
    if (!creator.is_nil()) row.creator_actor = creator.Hex();
    if (request->bundles() != nullptr) {
      for (const wire::BundleAt* bundle : *request->bundles()) {
        row.bundles.push_back(wire::FromWire(bundle->resources()).amounts());
      }
    }
  }
  row.nodes.resize(row.bundles.size());
  for (size_t i = 0; info.seats() != nullptr && i < row.nodes.size() && i < info.seats()->size();
       ++i) {
    const NodeId node = wire::FromWireOrNil(info.seats()->Get(static_cast<uint32_t>(i))->node());
    if (!node.is_nil()) row.nodes[i] = node.Hex();
  }
  return row;
}

Status AskForOne(Control& control, GcsMethod method, const FlatBufferBuilder& request,
                 std::vector<GroupRow>* rows) {
  return CallGcs<wire::GroupReply>(control, method, request, [&](const auto& reply) {
    if (reply.found() && reply.group() != nullptr) rows->push_back(RowOf(*reply.group()));
  });
}

}  // namespace

Status RegisterGroup(Control& control, const GroupOrder& order) {
  CYRAY_RETURN_IF_ERROR(FitsGcs(GcsMethod::RegisterGroup, {order.name, order.name_space}));
  FlatBufferBuilder b;
  const auto name = b.CreateString(order.name);
  const auto name_space = b.CreateString(order.name_space);
  std::vector<flatbuffers::Offset<wire::BundleAt>> bundles;
  for (uint32_t index = 0; index < order.bundles.size(); ++index) {
    const auto resources = ToWire(b, order.bundles[index]);
    const auto selector = order.selectors.empty() ? 0 : ToWire(b, order.selectors[index]);
    bundles.push_back(wire::CreateBundleAt(b, index, resources, selector));
  }
  const auto all = b.CreateVector(bundles);
  b.Finish(wire::CreateRegisterGroupRequest(
      b, ToWire(order.id), ToWire(order.creator), ToWire(order.creator_actor), name, name_space,
      order.detached, static_cast<wire::GroupPolicy>(order.policy), all,
      ToWire(order.soft_target)));
  if (order.name.empty()) {
    control.Tell(GcsMethod::RegisterGroup, b);
    return Status::Ok();
  }
  const auto answer = control.Ask(GcsMethod::RegisterGroup, b);
  return answer ? Status::Ok() : answer.error();
}

Status RemoveGroup(Control& control, const PlacementGroupId& id, bool wait) {
  FlatBufferBuilder b;
  b.Finish(wire::CreateRemoveGroupRequest(b, ToWire(id)));
  if (!wait) {
    control.Tell(GcsMethod::RemoveGroup, b);
    return Status::Ok();
  }
  const auto answer = control.Ask(GcsMethod::RemoveGroup, b);
  return answer ? Status::Ok() : answer.error();
}

Status WaitGroup(Control& control, const PlacementGroupId& id, uint32_t wait_ms,
                 std::vector<GroupRow>* rows) {
  FlatBufferBuilder b;
  b.Finish(wire::CreateWaitGroupRequest(b, ToWire(id), wait_ms));
  return AskForOne(control, GcsMethod::WaitGroup, b, rows);
}

Status FindGroup(Control& control, const PlacementGroupId& id, std::string_view name,
                 std::string_view name_space, std::vector<GroupRow>* rows) {
  CYRAY_RETURN_IF_ERROR(FitsGcs(GcsMethod::FindGroup, {name, name_space}));
  FlatBufferBuilder b;
  const auto n = b.CreateString(name);
  const auto s = b.CreateString(name_space);
  b.Finish(wire::CreateFindGroupRequest(b, ToWire(id), n, s));
  return AskForOne(control, GcsMethod::FindGroup, b, rows);
}

Status ListGroups(Control& control, std::vector<GroupRow>* rows) {
  FlatBufferBuilder b;
  b.Finish(wire::CreateEmpty(b));
  return CallGcs<wire::ListGroupsReply>(control, GcsMethod::ListGroups, b, [&](const auto& reply) {
    if (reply.groups() == nullptr) return;
    for (const wire::GroupInfo* info : *reply.groups()) rows->push_back(RowOf(*info));
  });
}

}  // namespace cyray::core
