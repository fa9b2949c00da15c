#include "cyray/gcs/group_codec.h"

#include <map>
#include <vector>

#include "cyray/wire/convert.h"

namespace cyray::gcs {
namespace {

using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;
using wire::FromWireOrNil;
using wire::ToWire;

Offset<wire::RegisterGroupRequest> WriteSpec(FlatBufferBuilder& builder, const GroupSpec& spec) {
  const auto name = builder.CreateString(spec.name);
  const auto ns = builder.CreateString(spec.ns);
  std::vector<Offset<wire::BundleAt>> bundles;
  for (uint32_t index = 0; index < spec.bundles.size(); ++index) {
    const auto resources = ToWire(builder, spec.bundles[index]);
    const auto selector = spec.selectors.empty() ? 0 : ToWire(builder, spec.selectors[index]);
    bundles.push_back(wire::CreateBundleAt(builder, index, resources, selector));
  }
  const auto all = builder.CreateVector(bundles);
  return wire::CreateRegisterGroupRequest(builder, ToWire(spec.id), ToWire(spec.creator),
                                          ToWire(spec.creator_actor), name, ns, spec.detached,
                                          spec.policy, all, ToWire(spec.soft_target));
}

auto WriteSeats(FlatBufferBuilder& builder, const std::vector<Seat>& seats) {
  std::vector<Offset<wire::BundleSeat>> all;
  for (const Seat& seat : seats) {
    all.push_back(wire::CreateBundleSeat(builder, ToWire(seat.node), seat.attempt));
  }
  return builder.CreateVector(all);
}

}  // namespace

Result<GroupSpec> ReadGroupSpec(const wire::RegisterGroupRequest& request) {
  GroupSpec spec;
  spec.id = FromWireOrNil(request.group_id());
  spec.creator = FromWireOrNil(request.creator());
  if (spec.id.is_nil() || spec.creator.is_nil()) {
    return Fail(StatusCode::kInvalidArgument, "RegisterGroup without group id or creator");
  }
  spec.creator_actor = FromWireOrNil(request.creator_actor());
  spec.name = flatbuffers::GetString(request.name());
  spec.ns = flatbuffers::GetString(request.namespace_());
  spec.detached = request.detached();
  spec.policy = request.policy();
  spec.soft_target = FromWireOrNil(request.soft_target());
  if (request.bundles() == nullptr || request.bundles()->size() == 0 ||
      spec.policy > wire::GroupPolicy::StrictSpread) {
    return Fail(StatusCode::kInvalidArgument, "RegisterGroup without bundles or with a bad policy");
  }
  for (const wire::BundleAt* bundle : *request.bundles()) {
    ResourceSet resources = wire::FromWire(bundle->resources());
    for (const auto& [name, amount] : resources.amounts()) {
      if (amount < 0) return Fail(StatusCode::kInvalidArgument, "a bundle of less than nothing");
    }
    if (resources.empty() || bundle->index() != spec.bundles.size()) {
      return Fail(StatusCode::kInvalidArgument, "an empty bundle, or one out of order");
    }
    spec.bundles.push_back(std::move(resources));
    if (bundle->selector() == nullptr) continue;
    spec.selectors.resize(request.bundles()->size());
    spec.selectors[bundle->index()] = wire::FromWire(bundle->selector());
  }
  return spec;
}

Offset<wire::GroupInfo> WriteGroup(FlatBufferBuilder& builder, const GroupRecord& record,
                                   wire::GroupState state) {
  const auto request = WriteSpec(builder, record.spec);
  const auto seats = WriteSeats(builder, record.seats);
  const auto waits = builder.CreateString(record.waits);
  return wire::CreateGroupInfo(builder, request, state, seats, waits);
}

wire::Bytes StoredGroupOf(const GroupRecord& record) {
  FlatBufferBuilder inner;
  inner.Finish(WriteSpec(inner, record.spec));
  FlatBufferBuilder builder;
  const auto request = builder.CreateVector(inner.GetBufferPointer(), inner.GetSize());
  const auto seats = WriteSeats(builder, record.seats);
  builder.Finish(wire::CreateStoredGroup(builder, request, seats, record.was_placed));
  return wire::FinishedBytes(builder);
}

bool ReadStoredGroup(const wire::Bytes& bytes, GroupRecord& record) {
  const auto* stored = wire::VerifiedRoot<wire::StoredGroup>(bytes);
  if (stored == nullptr || stored->request() == nullptr || stored->seats() == nullptr) return false;
  const wire::Bytes request_bytes = wire::BytesOrEmpty(stored->request());
  const auto* request = wire::VerifiedRoot<wire::RegisterGroupRequest>(request_bytes);
  if (request == nullptr) return false;
  Result<GroupSpec> spec = ReadGroupSpec(*request);
  if (!spec.has_value() || spec->bundles.size() != stored->seats()->size()) return false;
  record.spec = std::move(*spec);
  record.was_placed = stored->was_placed();
  for (const wire::BundleSeat* seat : *stored->seats()) {
    record.seats.push_back({FromWireOrNil(seat->node()), seat->attempt()});
  }
  return true;
}

const char* PolicyText(wire::GroupPolicy policy) {
  switch (policy) {
    case wire::GroupPolicy::Pack:
      return "PACK";
    case wire::GroupPolicy::Spread:
      return "SPREAD";
    case wire::GroupPolicy::StrictPack:
      return "STRICT_PACK";
    case wire::GroupPolicy::StrictSpread:
      return "STRICT_SPREAD";
  }
  return "?";
}

std::string BundlesText(const GroupSpec& spec) {
  std::map<ResourceSet, int> kinds;
  for (const ResourceSet& bundle : spec.bundles) ++kinds[bundle];
  std::string text;
  for (const auto& [bundle, count] : kinds) {
    if (!text.empty()) text += ", ";
    text += std::to_string(count) + (count == 1 ? " bundle of {" : " bundles of {") +
            bundle.ToString() + "}";
  }
  return text;
}

}  // namespace cyray::gcs
