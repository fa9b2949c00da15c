#include "cyray/common/infeasible.h"

#include <map>

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

}  // namespace

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
  return who + " cannot be scheduled: it needs " + Braced(demand, demand) +
         ", the cluster's nodes have " + (have.empty() ? "nothing" : have) +
         ". It waits until a node that has enough joins.";
}

}  // namespace cyray
