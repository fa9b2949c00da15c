// BundleHost: the bundles of placement groups on this node, as the GCS commands.
//
//   PrepareBundles -> claimed (waits among the leases for room) -> reserved (BundlesReserved sent)
//   CommitBundles  -> open: what is to run in the group's bundles gets leases from them
//   GiveBackBundles ends what is not open; GroupGone ends all of the group, and what runs in it.
// A report that is lost with its stream is made up for by the next hello, which lists all of them.
// Threading: confined to its runtime's loop. Pure.

#pragma once

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/raylet/lease_request.h"
#include "cyray/wire/bytes.h"
#include "gcs_generated.h"

namespace cyray::raylet {

class BundleLeases {
 public:
  virtual ~BundleLeases() = default;
  // BundleHost::OnReserved follows, unless it is given back.
  virtual void Claim(std::shared_ptr<const BundleClaim> claim) = 0;
  virtual void OpenBundles(const PlacementGroupId& group, uint64_t attempt) = 0;
  virtual void GiveBackBundles(const PlacementGroupId& group, uint64_t attempt) = 0;
  // What runs in its bundles is killed, what waits for them is told.
  virtual void EndGroup(const PlacementGroupId& group) = 0;
  // In whose bundles something here is to run.
  virtual std::vector<PlacementGroupId> GroupsWaitedFor() const = 0;
};

class BundleHost {
 public:
  using Report = std::function<void(wire::Bytes)>;  // a finished NodeReport
  BundleHost(BundleLeases* leases, Report report) : leases_(leases), report_(std::move(report)) {}

  void OnPrepare(const wire::PrepareBundles& prepare);
  void OnCommit(const wire::CommitBundles& commit);
  void OnGiveBack(const wire::GiveBackBundles& give_back);
  void OnGone(const wire::GroupGone& gone);

  void OnReserved(const BundleClaim& claim);
  // Something is to run in bundles of a group that no node seems to have.
  void OnMissing(const PlacementGroupId& group);

  // For NodeHello.
  std::vector<flatbuffers::Offset<wire::BundlesHere>> WriteHere(
      flatbuffers::FlatBufferBuilder& builder) const;
  flatbuffers::Offset<flatbuffers::Vector<const wire::WirePlacementGroupId*>> WriteWaitedFor(
      flatbuffers::FlatBufferBuilder& builder) const;

 private:
  using Key = std::pair<PlacementGroupId, uint64_t>;  // group, attempt
  void Tell(const Key& key);

  BundleLeases* const leases_;
  const Report report_;
  std::map<Key, wire::BundlesState> here_;
};

}  // namespace cyray::raylet
