// Between wire structs and the value types of common/: same bytes, other names.

#pragma once

#include "cyray/common/ids.h"
#include "cyray/common/labels.h"
#include "cyray/common/resources.h"
#include "ids_generated.h"

namespace cyray::wire {

inline NodeId FromWire(const WireNodeId& id) { return NodeId::FromBytes(&id); }
inline WorkerId FromWire(const WireWorkerId& id) { return WorkerId::FromBytes(&id); }
inline JobId FromWire(const WireJobId& id) { return JobId::FromBytes(&id); }
inline ActorId FromWire(const WireActorId& id) { return ActorId::FromBytes(&id); }
inline TaskId FromWire(const WireTaskId& id) { return TaskId::FromBytes(&id); }
inline PlacementGroupId FromWire(const WirePlacementGroupId& id) {
  return PlacementGroupId::FromBytes(&id);
}
inline FunctionId FromWire(const WireFunctionId& id) { return FunctionId::FromBytes(&id); }
inline ObjectId FromWire(const WireObjectId& id) {
  return ObjectId(Id<20, struct ObjectTag>::FromBytes(&id));
}
inline Address FromWire(const WireAddress& address) {
  return {FromWire(address.node()), FromWire(address.worker())};
}
// Optional fields: an absent id is the nil one.
template <class Wire>
auto FromWireOrNil(const Wire* value) {
  using Value = decltype(FromWire(*value));
  return value != nullptr ? FromWire(*value) : Value{};
}

// The views below live as long as the id does: FlatBuffers builders copy them at once.
inline const WireNodeId* ToWire(const NodeId& id) {
  return reinterpret_cast<const WireNodeId*>(id.data());
}
inline const WireWorkerId* ToWire(const WorkerId& id) {
  return reinterpret_cast<const WireWorkerId*>(id.data());
}
inline const WireJobId* ToWire(const JobId& id) {
  return reinterpret_cast<const WireJobId*>(id.data());
}
inline const WireActorId* ToWire(const ActorId& id) {
  return reinterpret_cast<const WireActorId*>(id.data());
}
inline const WireTaskId* ToWire(const TaskId& id) {
  return reinterpret_cast<const WireTaskId*>(id.data());
}
inline const WirePlacementGroupId* ToWire(const PlacementGroupId& id) {
  return reinterpret_cast<const WirePlacementGroupId*>(id.data());
}
inline const WireFunctionId* ToWire(const FunctionId& id) {
  return reinterpret_cast<const WireFunctionId*>(id.data());
}
inline const WireObjectId* ToWire(const ObjectId& id) {
  return reinterpret_cast<const WireObjectId*>(id.data());
}
static_assert(sizeof(Address) == sizeof(WireAddress));
inline const WireAddress* ToWire(const Address& a) {
  return reinterpret_cast<const WireAddress*>(&a);
}

using WireResources = flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<ResourceAmount>>>;
WireResources ToWire(flatbuffers::FlatBufferBuilder& builder, const ResourceSet& set);
ResourceSet FromWire(const flatbuffers::Vector<flatbuffers::Offset<ResourceAmount>>* amounts);

using WireLabels = flatbuffers::Vector<flatbuffers::Offset<Label>>;
using WireLabelChoice = flatbuffers::Vector<flatbuffers::Offset<LabelSelector>>;
flatbuffers::Offset<WireLabels> ToWire(flatbuffers::FlatBufferBuilder& builder,
                                       const Labels& labels);
Labels FromWire(const WireLabels* labels);
flatbuffers::Offset<LabelSelector> ToWire(flatbuffers::FlatBufferBuilder& builder,
                                          const cyray::LabelSelector& selector);
cyray::LabelSelector FromWire(const LabelSelector* selector);
// Nothing for an empty one.
flatbuffers::Offset<WireLabelChoice> ToWire(flatbuffers::FlatBufferBuilder& builder,
                                            const LabelChoice& choice);
LabelChoice FromWire(const WireLabelChoice* choice);

}  // namespace cyray::wire
