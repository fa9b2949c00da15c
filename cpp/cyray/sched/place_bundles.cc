#include "cyray/sched/place_bundles.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <tuple>

#include "cyray/sched/choose_node.h"

namespace cyray::sched {
namespace {

using Seats = std::vector<size_t>;

double UseOf(const Site& site, const ResourceSet& demand) {
  return UseAfter(*site.total, site.available, demand);
}

// The largest first: what is hard to place is placed while there is room. Its measure is the sum of
// its shares of what the sites have of each resource.
Seats LargestFirst(const std::vector<Site>& sites, std::span<const ResourceSet> bundles) {
  std::vector<double> sizes;
  for (const ResourceSet& bundle : bundles) {
    double size = 0;
    for (const auto& [name, amount] : bundle.amounts()) {
      int64_t most = 1;
      for (const Site& site : sites) most = std::max(most, site.total->Get(name));
      size += static_cast<double>(amount) / static_cast<double>(most);
    }
    sizes.push_back(size);
  }
  Seats order(bundles.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return sizes[a] > sizes[b]; });
  return order;
}

std::optional<Seats> OnOne(const std::vector<Site>& sites, std::span<const ResourceSet> bundles,
                           const MayBeAt& may_be_at) {
  ResourceSet sum;
  for (const ResourceSet& bundle : bundles) sum.Add(bundle);
  const bool bound =
      std::any_of(sites.begin(), sites.end(), [](const Site& site) { return site.bundles > 0; });
  std::optional<size_t> best;
  std::tuple<bool, double> best_score;
  for (size_t i = 0; i < sites.size(); ++i) {
    if (bound && sites[i].bundles == 0) continue;
    if (!sites[i].available.Covers(sum)) continue;
    bool may = true;
    for (size_t bundle = 0; bundle < bundles.size(); ++bundle) may = may && may_be_at(bundle, i);
    if (!may) continue;
    // The fullest that has room: large rooms stay for large groups.
    const std::tuple score(sites[i].preferred, UseOf(sites[i], sum));
    if (best && score <= best_score) continue;
    best = i;
    best_score = score;
  }
  if (!best) return std::nullopt;
  return Seats(bundles.size(), *best);
}

// Each bundle where `score(site, bundle)` is least, in the given order.
template <class Score>
std::optional<Seats> Greedy(std::vector<Site>& sites, std::span<const ResourceSet> bundles,
                            const MayBeAt& may_be_at, Score score) {
  Seats seats(bundles.size());
  for (const size_t bundle : LargestFirst(sites, bundles)) {
    std::optional<size_t> best;
    for (size_t i = 0; i < sites.size(); ++i) {
      if (!sites[i].available.Covers(bundles[bundle]) || !may_be_at(bundle, i)) continue;
      if (!best || score(sites[i], bundles[bundle]) < score(sites[*best], bundles[bundle]))
        best = i;
    }
    if (!best) return std::nullopt;
    sites[*best].available.Subtract(bundles[bundle]);
    ++sites[*best].bundles;
    seats[bundle] = *best;
  }
  return seats;
}

std::optional<Seats> OnOneEach(const std::vector<Site>& sites, std::span<const ResourceSet> bundles,
                               const MayBeAt& may_be_at) {
  std::vector<size_t> free;  // the least used first
  for (size_t i = 0; i < sites.size(); ++i) {
    if (sites[i].bundles == 0) free.push_back(i);
  }
  std::stable_sort(free.begin(), free.end(),
                   [&](size_t a, size_t b) { return UseOf(sites[a], {}) < UseOf(sites[b], {}); });
  constexpr size_t kNobody = SIZE_MAX;
  Seats taken_by(sites.size(), kNobody);
  std::vector<bool> looked;
  const std::function<bool(size_t)> seat = [&](size_t bundle) {
    for (const size_t site : free) {
      if (looked[site] || !sites[site].available.Covers(bundles[bundle])) continue;
      if (!may_be_at(bundle, site)) continue;
      looked[site] = true;
      if (taken_by[site] != kNobody && !seat(taken_by[site])) continue;
      taken_by[site] = bundle;
      return true;
    }
    return false;
  };
  for (const size_t bundle : LargestFirst(sites, bundles)) {
    looked.assign(sites.size(), false);
    if (!seat(bundle)) return std::nullopt;
  }
  Seats seats(bundles.size());
  for (size_t site = 0; site < sites.size(); ++site) {
    if (taken_by[site] != kNobody) seats[taken_by[site]] = site;
  }
  return seats;
}

}  // namespace

std::optional<Seats> PlaceBundles(std::vector<Site> sites, std::span<const ResourceSet> bundles,
                                  GroupPolicy policy, const MayBeAt& may_be_at) {
  switch (policy) {
    case GroupPolicy::kStrictPack:
      return OnOne(sites, bundles, may_be_at);
    case GroupPolicy::kStrictSpread:
      return OnOneEach(sites, bundles, may_be_at);
    case GroupPolicy::kPack:
      if (auto seats = OnOne(sites, bundles, may_be_at)) return seats;
      return Greedy(sites, bundles, may_be_at, [](const Site& site, const ResourceSet& bundle) {
        return std::tuple(site.bundles == 0, -UseOf(site, bundle));
      });
    case GroupPolicy::kSpread:
      return Greedy(sites, bundles, may_be_at, [](const Site& site, const ResourceSet& bundle) {
        return std::tuple(site.bundles, UseOf(site, bundle));
      });
  }
  return std::nullopt;
}

}  // namespace cyray::sched
