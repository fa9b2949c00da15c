#include "cyray/sched/choose_node.h"

#include <algorithm>
#include <string>
#include <tuple>

#include "cyray/common/resource_names.h"

namespace cyray::sched {

double UseAfter(const ResourceSet& total, const ResourceSet& available, const ResourceSet& demand) {
  double use = 0;
  auto consider = [&](const std::string& name, int64_t more) {
    const auto all = static_cast<double>(total.Get(name));
    if (all > 0) use = std::max(use, 1 - static_cast<double>(available.Get(name) - more) / all);
  };
  for (const auto& [name, amount] : demand.amounts()) consider(name, amount);
  consider(kCpu, demand.Get(kCpu));
  return use;
}

std::optional<size_t> ChooseNode(std::span<const Place> places, const ResourceSet& demand,
                                 Policy policy, uint64_t random) {
  using Score = std::tuple<double, bool, double>;
  std::optional<size_t> chosen;
  Score best;
  uint64_t equal = 0;  // as good as the best, so far
  for (size_t i = 0; i < places.size(); ++i) {
    const Place& place = places[i];
    const double use = UseAfter(*place.total, *place.available, demand);
    const bool packs = policy == Policy::kPack && use <= kPackBelow;
    const bool away = policy == Policy::kPack && !place.preferred;
    const Score score{packs ? 0 : use, away, use};
    if (chosen && score > best) continue;
    equal = chosen && score == best ? equal + 1 : 1;
    // Each of n equals is chosen with one n-th: the n-th takes the place of the one before.
    random = random * 6364136223846793005u + 1442695040888963407u;
    if (equal == 1 || (random >> 33) % equal == 0) chosen = i;
    best = score;
  }
  return chosen;
}

}  // namespace cyray::sched
