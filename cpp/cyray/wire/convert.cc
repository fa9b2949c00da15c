#include "cyray/wire/convert.h"

#include <vector>

namespace cyray::wire {

WireResources ToWire(flatbuffers::FlatBufferBuilder& builder, const ResourceSet& set) {
  std::vector<flatbuffers::Offset<ResourceAmount>> amounts;
  for (const auto& [name, amount] : set.amounts()) {
    amounts.push_back(CreateResourceAmount(builder, builder.CreateString(name), amount));
  }
  return builder.CreateVector(amounts);
}

ResourceSet FromWire(const flatbuffers::Vector<flatbuffers::Offset<ResourceAmount>>* amounts) {
  ResourceSet set;
  if (amounts == nullptr) return set;
  for (const ResourceAmount* amount : *amounts) set.Set(amount->name()->str(), amount->amount());
  return set;
}

}  // namespace cyray::wire
