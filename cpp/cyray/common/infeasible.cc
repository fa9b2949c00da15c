#include "cyray/common/infeasible.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <string_view>

namespace cyray {
namespace {

constexpr size_t kMaxKindsNamed = 8;

std::string Braced(const ResourceSet& amounts, const ResourceSet& names) {
  std::string out;
  for (const auto& [name, amount] : names.amounts()) {
    ResourceSet one;
    one.Set(name, amounts.Get(name));
    out += (out.empty() ? "" : ", ") + (one.empty() ? name + ": 0" : one.ToString());
  }
  return "{" + out + "}";
}

// Of several resources those of which no node has enough, however little of it is in use.
std::string OnNone(const ResourceSet& demand, const std::vector<ResourceSet>& totals) {
  std::string out;
  size_t missing = 0;
  for (const auto& [name, amount] : demand.amounts()) {
    const auto has_enough = [&](const ResourceSet& has) { return has.Get(name) >= amount; };
    if (std::ranges::any_of(totals, has_enough)) continue;
    out += (missing++ == 0 ? "" : ", ") + name;
  }
  return missing < demand.amounts().size() ? out : "";
}

bool EqualInAnyCase(std::string_view one, std::string_view other) {
  const auto lower = [](unsigned char c) { return std::tolower(c); };
  return std::ranges::equal(one, other, {}, lower, lower);
}

}  // namespace

std::string MeantNames(const ResourceSet& demand, const std::vector<ResourceSet>& totals) {
  std::string out;
  for (const auto& [name, amount] : demand.amounts()) {
    for (const char* known : {"CPU", "GPU", "memory"}) {
      if (name == known || !EqualInAnyCase(name, known)) continue;
      if (std::ranges::any_of(totals, [&](const auto& has) { return has.Get(name) > 0; })) continue;
      out += " Did you mean " + std::string(known) + " by '" + name + "'?";
    }
  }
  return out;
}

std::string InfeasibleWarning(const std::string& who, const ResourceSet& demand,
                              const std::vector<ResourceSet>& totals) {
  std::map<std::string, size_t> kinds;  // of nodes, as far as the demand can tell them apart
  for (const ResourceSet& total : totals) ++kinds[Braced(total, demand)];
  std::string have;
  size_t named = 0;
  for (const auto& [kind, count] : kinds) {
    if (named++ == kMaxKindsNamed) {
      have += " and others";
      break;
    }
    have += (have.empty() ? "" : ", ") + kind;
    if (count > 1) have += " (" + std::to_string(count) + " nodes)";
  }
  const std::string missing = OnNone(demand, totals);
  return who + " cannot be scheduled: it needs " + Braced(demand, demand) +
         ", the cluster's nodes have " + (have.empty() ? "nothing" : have) +
         (missing.empty() ? "" : "; none has enough " + missing) +
         ". It waits until a node that has enough joins." + MeantNames(demand, totals);
}

}  // namespace cyray
