#include "cyray/raylet/outage_watch.h"

#include <utility>

namespace cyray::raylet {
namespace {

std::string Seconds(int64_t ms) { return std::to_string((ms + 500) / 1000) + " s"; }

std::string NameOf(const NodeId& node) { return "node " + node.Hex().substr(0, 8); }

}  // namespace

OutageWatch::OutageWatch(Runtime* runtime, PeerTable* peers, Warn warn)
    : runtime_(runtime), peers_(peers), warn_(std::move(warn)), patience_(runtime) {
  peers_->set_outage_callback([this](const NodeId& node) { OnOutage(node); });
  peers_->AddLostCallback([this](const NodeId& node, const std::string&) {
    patience_.Stop(node);
    told_.erase(node);
  });
}

void OutageWatch::OnOutage(const NodeId& node) {
  if (const auto outage = peers_->OutageOf(node)) {
    return patience_.Allow(node, kPatienceMs - outage->for_ms, [this, node] { Look(node); });
  }
  patience_.Stop(node);
  const auto told = told_.extract(node);
  if (told.empty()) return;
  warn_(node, "The connection to " + NameOf(node) + " is back after " +
                  Seconds(runtime_->NowMs() - told.mapped()) + "; what waited for it goes on.");
}

void OutageWatch::Look(const NodeId& node) {
  const auto outage = peers_->OutageOf(node);
  if (!outage) return;
  if (!outage->awaited) {
    return patience_.Allow(node, kLookAgainMs, [this, node] { Look(node); });
  }
  told_[node] = runtime_->NowMs() - outage->for_ms;
  warn_(node, "No connection to " + NameOf(node) + " (" + outage->address.ip + ":" +
                  std::to_string(outage->address.port) + ") for " + Seconds(outage->for_ms) + ": " +
                  outage->why +
                  ". Tasks, calls and objects there wait, as the GCS says that the node lives.");
}

}  // namespace cyray::raylet
