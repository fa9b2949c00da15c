#include "cpp_tests/fuzz/schemas.h"

#include <flatbuffers/minireflect.h>

#include <cstring>

#include "cpp_tests/fuzz/schema_list.inc"

namespace cyray::fuzz {
namespace {

using flatbuffers::TypeTable;

uint64_t Digest(const uint8_t* data, size_t size) {
  uint64_t sum = size;
  for (size_t i = 0; i < size; ++i) sum = sum * 31 + data[i];
  return sum;
}

size_t InlineSize(flatbuffers::TypeCode code, const TypeTable* type) {
  if (code.base_type == flatbuffers::ET_SEQUENCE && code.sequence_ref >= 0) {
    const TypeTable* child = type->type_refs[code.sequence_ref]();
    if (child->st == flatbuffers::ST_STRUCT) {
      return static_cast<size_t>(child->values[child->num_elems]);
    }
  }
  return flatbuffers::InlineSize(static_cast<flatbuffers::ElementaryType>(code.base_type), nullptr);
}

bool IsOffset(flatbuffers::TypeCode code, const TypeTable* type) {
  if (code.base_type == flatbuffers::ET_STRING) return true;
  if (code.base_type != flatbuffers::ET_SEQUENCE) return false;
  return type->type_refs[code.sequence_ref]()->st != flatbuffers::ST_STRUCT;
}

uint64_t WalkString(const uint8_t* at) {
  const auto* text = reinterpret_cast<const flatbuffers::String*>(at);
  return Digest(reinterpret_cast<const uint8_t*>(text->c_str()), text->size() + 1);
}

uint64_t WalkOffset(flatbuffers::TypeCode code, const TypeTable* type, const uint8_t* target,
                    uint8_t union_member) {
  if (code.base_type == flatbuffers::ET_STRING) return WalkString(target);
  const TypeTable* child = type->type_refs[code.sequence_ref]();
  if (child->st == flatbuffers::ST_UNION) {
    if (union_member == 0 || union_member >= child->num_elems) return 1;  // of a newer peer
    child = child->type_refs[child->type_codes[union_member].sequence_ref]();
  }
  return WalkTable(child, reinterpret_cast<const flatbuffers::Table*>(target));
}

uint64_t WalkVector(flatbuffers::TypeCode code, const TypeTable* type, const uint8_t* at) {
  const auto count = flatbuffers::ReadScalar<flatbuffers::uoffset_t>(at);
  const uint8_t* first = at + sizeof(flatbuffers::uoffset_t);
  if (!IsOffset(code, type)) return Digest(first, size_t{count} * InlineSize(code, type));
  uint64_t sum = count;
  for (flatbuffers::uoffset_t i = 0; i < count; ++i) {
    const uint8_t* slot = first + i * sizeof(flatbuffers::uoffset_t);
    const uint8_t* target = slot + flatbuffers::ReadScalar<flatbuffers::uoffset_t>(slot);
    sum = sum * 31 + WalkOffset(code, type, target, 0);
  }
  return sum;
}

// --- Random messages ---

// Names, ids and numbers are often of a few, so that messages speak of the same things.
std::string RandomBytes(std::mt19937_64& rng, size_t most) {
  if (rng() % 2 == 0) return std::string(rng() % 2, static_cast<char>('a' + rng() % 3));
  std::string bytes(rng() % (most + 1), '\0');
  for (char& byte : bytes) byte = static_cast<char>(rng());
  return bytes;
}

class MessageBuilder {
 public:
  explicit MessageBuilder(std::mt19937_64& rng) : rng_(rng) {}

  flatbuffers::uoffset_t Table(const TypeTable* type, int depth) {
    std::vector<flatbuffers::uoffset_t> children(type->num_elems, 0);
    std::vector<uint8_t> union_members(type->num_elems, 0);
    for (size_t i = 0; i < type->num_elems; ++i) {
      const flatbuffers::TypeCode code = type->type_codes[i];
      if (rng_() % 8 == 0) continue;
      if (code.is_repeating) {
        children[i] = Vector(code, type, depth);
      } else if (IsOffset(code, type)) {
        children[i] = Child(code, type, depth, i > 0 ? &union_members[i - 1] : nullptr);
      }
    }
    const flatbuffers::uoffset_t start = builder_.StartTable();
    for (size_t i = 0; i < type->num_elems; ++i) {
      AddField(type, i, children[i], union_members[i]);
    }
    return builder_.EndTable(start);
  }

  std::vector<uint8_t> Finish(flatbuffers::uoffset_t root) {
    builder_.Finish(flatbuffers::Offset<void>(root));
    return {builder_.GetBufferPointer(), builder_.GetBufferPointer() + builder_.GetSize()};
  }

 private:
  flatbuffers::uoffset_t Child(flatbuffers::TypeCode code, const TypeTable* type, int depth,
                               uint8_t* union_member) {
    if (code.base_type == flatbuffers::ET_STRING) {
      return builder_.CreateString(RandomBytes(rng_, 12)).o;
    }
    if (depth > 6) return 0;
    const TypeTable* child = type->type_refs[code.sequence_ref]();
    if (child->st != flatbuffers::ST_UNION) return Table(child, depth + 1);
    const auto member = static_cast<uint8_t>(1 + rng_() % (child->num_elems - 1));
    *union_member = member;
    return Table(child->type_refs[child->type_codes[member].sequence_ref](), depth + 1);
  }

  flatbuffers::uoffset_t Vector(flatbuffers::TypeCode code, const TypeTable* type, int depth) {
    const size_t count = rng_() % 4;
    if (!IsOffset(code, type)) {
      const size_t element = InlineSize(code, type);
      builder_.StartVector(count, element);
      builder_.ForceVectorAlignment(count, element, 8);
      for (size_t i = 0; i < count * element; ++i)
        builder_.PushElement(static_cast<uint8_t>(rng_()));
      return builder_.EndVector(count);
    }
    std::vector<flatbuffers::Offset<void>> offsets;
    for (size_t i = 0; i < count; ++i) {
      if (const auto child = Child(code, type, depth, nullptr)) offsets.emplace_back(child);
    }
    return builder_.CreateVector(offsets).o;
  }

  void AddField(const TypeTable* type, size_t index, flatbuffers::uoffset_t child, uint8_t member) {
    const flatbuffers::TypeCode code = type->type_codes[index];
    const auto slot = flatbuffers::FieldIndexToOffset(static_cast<flatbuffers::voffset_t>(index));
    if (code.is_repeating || IsOffset(code, type)) {
      if (child != 0) builder_.AddOffset(slot, flatbuffers::Offset<void>(child));
      return;
    }
    if (code.base_type == flatbuffers::ET_UTYPE) {
      builder_.AddElement<uint8_t>(slot, member, 0);
      return;
    }
    if (rng_() % 4 == 0) return;
    const size_t size = InlineSize(code, type);
    if (code.base_type == flatbuffers::ET_SEQUENCE) {
      builder_.Align(8);
      const bool random = rng_() % 4 == 0;
      const auto fill = static_cast<uint8_t>(rng_() % 4);
      for (size_t i = 0; i < size; ++i) {
        builder_.PushElement(random ? static_cast<uint8_t>(rng_()) : fill);
      }
      builder_.AddStructOffset(slot, builder_.GetSize());
      return;
    }
    const uint64_t value = rng_() % 4 == 0 ? rng_() : rng_() % 6;
    switch (size) {
      case 1:
        return builder_.AddElement<uint8_t>(slot, rng_() % 2, 0);
      case 2:
        return builder_.AddElement<uint16_t>(slot, static_cast<uint16_t>(value), 0);
      case 4:
        return builder_.AddElement<uint32_t>(slot, static_cast<uint32_t>(value), 0);
      default:
        return builder_.AddElement<uint64_t>(slot, value, 0);
    }
  }

  std::mt19937_64& rng_;
  flatbuffers::FlatBufferBuilder builder_;
};

}  // namespace

std::span<const Schema> AllSchemas() { return kSchemas; }

bool VerifyAs(const Schema& schema, const uint8_t* data, size_t size) {
  flatbuffers::Verifier verifier(data, size, /*max_depth=*/16, /*max_tables=*/4'000'000);
  return schema.verify(verifier);
}

uint64_t WalkTable(const TypeTable* type, const flatbuffers::Table* table) {
  uint64_t sum = 7;
  uint8_t previous = 0;  // the member number of the union that follows
  for (size_t i = 0; i < type->num_elems; ++i) {
    const auto slot = flatbuffers::FieldIndexToOffset(static_cast<flatbuffers::voffset_t>(i));
    const uint8_t* at = table->GetAddressOf(slot);
    const flatbuffers::TypeCode code = type->type_codes[i];
    const uint8_t member = previous;
    previous = 0;
    if (at == nullptr) continue;
    if (code.is_repeating) {
      sum = sum * 31 + WalkVector(code, type, at + flatbuffers::ReadScalar<uint32_t>(at));
    } else if (IsOffset(code, type)) {
      sum = sum * 31 + WalkOffset(code, type, at + flatbuffers::ReadScalar<uint32_t>(at), member);
    } else {
      if (code.base_type == flatbuffers::ET_UTYPE) previous = *at;
      sum = sum * 31 + Digest(at, InlineSize(code, type));
    }
  }
  return sum;
}

std::vector<uint8_t> RandomMessage(const Schema& schema, std::mt19937_64& rng) {
  MessageBuilder builder(rng);
  return builder.Finish(builder.Table(schema.type(), 0));
}

}  // namespace cyray::fuzz
