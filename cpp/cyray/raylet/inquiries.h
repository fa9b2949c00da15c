// Inquiries: a client asks what everybody does and waits for; this asks them.
//
// Of this node alone the raylet answers by itself. For all nodes each registered client here is
// asked for its report, and every other raylet, which asks its own clients. Who does not answer in
// time is named, and left out: {"nodes": [a dump of each, with the "processes" there and the pids
// of those that are "silent"], "silent_nodes": [...]}. Threading: confined to its runtime's loop.
// Invariant: every question is answered once, within kWholeLimitMs, unless the asker goes.

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "cyray/raylet/client_registry.h"
#include "cyray/raylet/peer_table.h"
#include "cyray/util/timer.h"
#include "local_generated.h"
#include "peer_generated.h"

namespace cyray::raylet {

class Inquiries {
 public:
  static constexpr int64_t kProcessLimitMs = 400;
  static constexpr int64_t kWholeLimitMs = 800;

  struct Parts {
    Runtime* runtime;
    ClientRegistry* clients;
    PeerTable* peers;
  };
  // `dump`: what this raylet itself knows of its node.
  Inquiries(Parts parts, std::function<nlohmann::json()> dump);

  // Frames of a client. False: the frame is bad.
  bool OnNodeInfo(ClientConnection& client, const wire::NodeInfo* request);
  bool OnProcessReport(ClientConnection& client, const wire::ProcessReport* report);
  void OnClientGone(uint64_t client_id);
  size_t open() const { return rounds_.size() + questions_.size(); }

 private:
  using json = nlohmann::json;
  // The clients of this node are asked, for somebody who wants this node's answer.
  struct Round {
    std::set<uint64_t> awaited;
    json processes = json::array();
    json silent = json::array();
    std::function<void(json)> on_done;
  };
  // Of a client of this node.
  struct Question {
    uint64_t client_id;
    uint64_t request_id;
    bool here = false;  // this node has answered
    std::set<NodeId> awaited;
    json nodes = json::array();
  };

  void RegisterPeerHandlers();
  void AskClients(std::function<void(json)> on_done);
  void FinishRound(uint64_t id);
  void AddNode(uint64_t question, json node);
  void AnswerIfDone(uint64_t question);
  void Answer(uint64_t question);
  void Reply(ClientConnection& client, uint64_t request_id, const json& answer);

  const Parts parts_;
  const std::function<json()> dump_;
  std::map<uint64_t, Round> rounds_;
  std::map<uint64_t, Question> questions_;
  uint64_t next_ = 1;

  Timers<uint64_t> limits_;
};

}  // namespace cyray::raylet
