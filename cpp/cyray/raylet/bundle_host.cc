#include "cyray/raylet/bundle_host.h"

#include "cyray/gcs/codec.h"
#include "cyray/wire/convert.h"

namespace cyray::raylet {

using flatbuffers::FlatBufferBuilder;
using wire::BundlesState;
using wire::FromWireOrNil;
using wire::ToWire;

void BundleHost::Tell(const Key& key) {
  FlatBufferBuilder builder(128);
  report_(gcs::FinishReport(builder,
                            wire::CreateBundlesReserved(builder, ToWire(key.first), key.second)));
}

void BundleHost::OnPrepare(const wire::PrepareBundles& prepare) {
  const Key key{FromWireOrNil(prepare.group_id()), prepare.attempt()};
  if (key.first.is_nil() || prepare.bundles() == nullptr) return;
  const auto [it, added] = here_.try_emplace(key, BundlesState::Claimed);
  if (!added) {
    if (it->second == BundlesState::Reserved) Tell(key);
    return;
  }
  auto claim = std::make_shared<BundleClaim>();
  claim->group = key.first;
  claim->attempt = key.second;
  for (const wire::BundleAt* bundle : *prepare.bundles()) {
    claim->bundles[bundle->index()] = wire::FromWire(bundle->resources());
  }
  leases_->Claim(std::move(claim));
}

void BundleHost::OnReserved(const BundleClaim& claim) {
  const Key key{claim.group, claim.attempt};
  here_[key] = BundlesState::Reserved;
  Tell(key);
}

void BundleHost::OnCommit(const wire::CommitBundles& commit) {
  const auto it = here_.find({FromWireOrNil(commit.group_id()), commit.attempt()});
  if (it == here_.end() || it->second != BundlesState::Reserved) return;
  it->second = BundlesState::Open;
  leases_->OpenBundles(it->first.first, it->first.second);
}

void BundleHost::OnGiveBack(const wire::GiveBackBundles& give_back) {
  const auto it = here_.find({FromWireOrNil(give_back.group_id()), give_back.attempt()});
  if (it == here_.end() || it->second == BundlesState::Open) return;
  leases_->GiveBackBundles(it->first.first, it->first.second);
  here_.erase(it);
}

void BundleHost::OnGone(const wire::GroupGone& gone) {
  const PlacementGroupId group = FromWireOrNil(gone.group_id());
  std::erase_if(here_, [&](const auto& item) { return item.first.first == group; });
  leases_->EndGroup(group);
}

void BundleHost::OnMissing(const PlacementGroupId& group) {
  FlatBufferBuilder builder(64);
  report_(gcs::FinishReport(builder, wire::CreateAskGroup(builder, ToWire(group))));
}

std::vector<flatbuffers::Offset<wire::BundlesHere>> BundleHost::WriteHere(
    FlatBufferBuilder& builder) const {
  std::vector<flatbuffers::Offset<wire::BundlesHere>> here;
  for (const auto& [key, state] : here_) {
    here.push_back(wire::CreateBundlesHere(builder, ToWire(key.first), key.second, state));
  }
  return here;
}

flatbuffers::Offset<flatbuffers::Vector<const wire::WirePlacementGroupId*>>
BundleHost::WriteWaitedFor(FlatBufferBuilder& builder) const {
  std::vector<wire::WirePlacementGroupId> groups;
  for (const PlacementGroupId& group : leases_->GroupsWaitedFor()) groups.push_back(*ToWire(group));
  return builder.CreateVectorOfStructs(groups);
}

}  // namespace cyray::raylet
