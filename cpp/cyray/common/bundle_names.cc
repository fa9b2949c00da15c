#include "cyray/common/bundle_names.h"

namespace cyray {
namespace {

constexpr std::string_view kInfix = "_group_";
constexpr std::string_view kMarker = "bundle";
// So many tasks and actors may run in a bundle at once, and so much of it each of them takes.
constexpr int64_t kMarkers = 1'000 * kResourceUnit;
constexpr int64_t kMarkerOfOne = kResourceUnit / 1'000;
constexpr size_t kHexSize = 2 * PlacementGroupId::kSize;

std::string Name(std::string_view base, const PlacementGroupId& group) {
  return std::string(base) + std::string(kInfix) + group.Hex();
}

std::string Name(std::string_view base, const PlacementGroupId& group, uint32_t index) {
  return std::string(base) + std::string(kInfix) + std::to_string(index) + "_" + group.Hex();
}

// Where the part that names a bundle begins; npos for other resources.
size_t SuffixAt(std::string_view name) {
  if (name.size() < kInfix.size() + kHexSize) return std::string_view::npos;
  PlacementGroupId group;
  if (!HexToBytes(name.substr(name.size() - kHexSize), group.bytes.data(), group.kSize)) {
    return std::string_view::npos;
  }
  std::string_view head = name.substr(0, name.size() - kHexSize);
  if (head.ends_with(kInfix)) return head.size() - kInfix.size();
  if (!head.ends_with('_')) return std::string_view::npos;
  head.remove_suffix(1);
  const size_t digits = head.find_last_not_of("0123456789");
  if (digits == std::string_view::npos || digits + 1 == head.size()) return std::string_view::npos;
  head = head.substr(0, digits + 1);
  return head.ends_with(kInfix) ? head.size() - kInfix.size() : std::string_view::npos;
}

bool NamesOneBundle(std::string_view name, size_t suffix) {
  return name.size() - suffix > kInfix.size() + kHexSize;
}

}  // namespace

ResourceSet InBundle(const ResourceSet& demand, const PlacementGroupId& group, int32_t index) {
  ResourceSet inside;
  const auto add = [&](std::string_view base, int64_t amount) {
    inside.Set(Name(base, group), amount);
    if (index >= 0) inside.Set(Name(base, group, static_cast<uint32_t>(index)), amount);
  };
  for (const auto& [name, amount] : demand.amounts()) add(name, amount);
  add(kMarker, kMarkerOfOne);
  return inside;
}

ResourceSet OfBundle(const ResourceSet& resources, const PlacementGroupId& group, uint32_t index) {
  ResourceSet names;
  const auto add = [&](std::string_view base, int64_t amount) {
    names.Set(Name(base, group), amount);
    names.Set(Name(base, group, index), amount);
  };
  for (const auto& [name, amount] : resources.amounts()) add(name, amount);
  add(kMarker, kMarkers);
  return names;
}

std::optional<PlacementGroupId> GroupOf(const ResourceSet& demand) {
  // Whatever asks for something in a bundle asks for a marker, too.
  const std::string first = std::string(kMarker) + std::string(kInfix);
  for (auto it = demand.amounts().lower_bound(first);
       it != demand.amounts().end() && it->first.starts_with(first); ++it) {
    if (SuffixAt(it->first) != kMarker.size()) continue;
    return PlacementGroupId::FromHex(
        std::string_view(it->first).substr(it->first.size() - kHexSize));
  }
  return std::nullopt;
}

std::string_view BaseName(std::string_view name) { return name.substr(0, SuffixAt(name)); }

bool IsOfBundle(std::string_view name) { return SuffixAt(name) != std::string_view::npos; }

std::string MarkerOf(const PlacementGroupId& group) { return Name(kMarker, group); }

ResourceSet WithoutBundles(const ResourceSet& set) {
  ResourceSet plain;
  for (const auto& [name, amount] : set.amounts()) {
    const size_t suffix = SuffixAt(name);
    if (suffix == std::string_view::npos) {
      plain.Set(name, plain.Get(name) + amount);
      continue;
    }
    const std::string base(name.substr(0, suffix));
    if (base == kMarker || NamesOneBundle(name, suffix)) continue;  // its second name counts
    plain.Set(base, plain.Get(base) + amount);
  }
  return plain;
}

ResourceSet OutsideBundles(const ResourceSet& set) {
  ResourceSet plain;
  for (const auto& [name, amount] : set.amounts()) {
    if (!IsOfBundle(name)) plain.Set(name, amount);
  }
  return plain;
}

}  // namespace cyray
