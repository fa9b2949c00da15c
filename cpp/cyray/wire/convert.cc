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

flatbuffers::Offset<WireLabels> ToWire(flatbuffers::FlatBufferBuilder& builder,
                                       const Labels& labels) {
  std::vector<flatbuffers::Offset<Label>> all;
  for (const auto& [key, value] : labels) {
    const auto key_text = builder.CreateString(key);
    all.push_back(CreateLabel(builder, key_text, builder.CreateString(value)));
  }
  return builder.CreateVector(all);
}

Labels FromWire(const WireLabels* labels) {
  Labels read;
  if (labels == nullptr) return read;
  for (const Label* label : *labels) {
    read[label->key()->str()] = flatbuffers::GetString(label->value());
  }
  return read;
}

flatbuffers::Offset<LabelSelector> ToWire(flatbuffers::FlatBufferBuilder& builder,
                                          const cyray::LabelSelector& selector) {
  std::vector<flatbuffers::Offset<LabelTerm>> terms;
  for (const cyray::LabelTerm& term : selector) {
    const auto key = builder.CreateString(term.key);
    const auto values = builder.CreateVectorOfStrings(term.values);
    terms.push_back(CreateLabelTerm(builder, key, static_cast<uint8_t>(term.op), values));
  }
  return CreateLabelSelector(builder, builder.CreateVector(terms));
}

cyray::LabelSelector FromWire(const LabelSelector* selector) {
  cyray::LabelSelector read;
  if (selector == nullptr || selector->terms() == nullptr) return read;
  for (const LabelTerm* wire : *selector->terms()) {
    // An unknown condition is one that nothing meets.
    cyray::LabelTerm term{wire->key()->str(), LabelOp::kIn, {}};
    if (wire->op() <= static_cast<uint8_t>(LabelOp::kDoesNotExist)) {
      term.op = static_cast<LabelOp>(wire->op());
      if (wire->values() != nullptr) {
        for (const auto* value : *wire->values()) term.values.push_back(value->str());
      }
    }
    read.push_back(std::move(term));
  }
  return read;
}

flatbuffers::Offset<WireLabelChoice> ToWire(flatbuffers::FlatBufferBuilder& builder,
                                            const LabelChoice& choice) {
  if (choice.empty()) return {};
  std::vector<flatbuffers::Offset<LabelSelector>> selectors;
  for (const cyray::LabelSelector& selector : choice) {
    selectors.push_back(ToWire(builder, selector));
  }
  return builder.CreateVector(selectors);
}

LabelChoice FromWire(const WireLabelChoice* choice) {
  LabelChoice read;
  if (choice == nullptr) return read;
  for (const LabelSelector* selector : *choice) read.push_back(FromWire(selector));
  return read;
}

}  // namespace cyray::wire
