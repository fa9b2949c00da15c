#include "cyray/raylet/inquiries.h"

#include <utility>

#include "cyray/wire/convert.h"

namespace cyray::raylet {
namespace {

using flatbuffers::FlatBufferBuilder;
using nlohmann::json;
using wire::FrameType;

constexpr size_t kMostReportBytes = 1 << 20;

std::string Text(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

// What another process wrote; null when it is no JSON.
json Parsed(const flatbuffers::String* text) {
  if (text == nullptr || text->size() > kMostReportBytes) return {};
  json value = json::parse(text->begin(), text->end(), nullptr, /*allow_exceptions=*/false);
  return value.is_object() ? value : json();
}

}  // namespace

Inquiries::Inquiries(Parts parts, std::function<json()> dump)
    : parts_(parts), dump_(std::move(dump)), limits_(parts.runtime) {
  RegisterPeerHandlers();
}

void Inquiries::RegisterPeerHandlers() {
  PeerTable& peers = *parts_.peers;
  peers.On<wire::ForwardNodeInfo>(
      FrameType::kForwardNodeInfo, [this](const NodeId& from, const wire::ForwardNodeInfo& asked) {
        AskClients([this, from, request = asked.request_id()](const json& node) {
          FlatBufferBuilder builder;
          const auto text = builder.CreateString(Text(node));
          builder.Finish(wire::CreateForwardNodeInfoReply(builder, request, text));
          (void)parts_.peers->Send(from, FrameType::kForwardNodeInfoReply, builder);
        });
      });
  peers.On<wire::ForwardNodeInfoReply>(
      FrameType::kForwardNodeInfoReply,
      [this](const NodeId& from, const wire::ForwardNodeInfoReply& reply) {
        const auto question = questions_.find(reply.request_id());
        if (question == questions_.end() || question->second.awaited.erase(from) == 0) return;
        AddNode(reply.request_id(), Parsed(reply.json()));
      });
}

// --- Questions of clients ---------------------------------------------------------------------

bool Inquiries::OnNodeInfo(ClientConnection& client, const wire::NodeInfo* request) {
  if (request == nullptr) return false;
  if (!request->everywhere()) {
    Reply(client, request->request_id(), dump_());
    return true;
  }
  const uint64_t id = next_++;
  Question& question = questions_[id];
  question.client_id = client.id();
  question.request_id = request->request_id();
  FlatBufferBuilder builder;
  builder.Finish(wire::CreateForwardNodeInfo(builder, id));
  for (const NodeId& node : parts_.peers->Known()) {
    if (parts_.peers->Send(node, FrameType::kForwardNodeInfo, builder)) {
      question.awaited.insert(node);
    }
  }
  limits_.Start(id, kWholeLimitMs, [this, id] { Answer(id); });
  AskClients([this, id](json node) {
    const auto asked = questions_.find(id);
    if (asked == questions_.end()) return;
    asked->second.here = true;
    AddNode(id, std::move(node));
  });
  return true;
}

void Inquiries::AddNode(uint64_t id, json node) {
  Question& question = questions_.at(id);
  if (!node.is_null()) question.nodes.push_back(std::move(node));
  AnswerIfDone(id);
}

void Inquiries::AnswerIfDone(uint64_t id) {
  const Question& question = questions_.at(id);
  if (question.here && question.awaited.empty()) Answer(id);
}

void Inquiries::Answer(uint64_t id) {
  const auto node = questions_.extract(id);
  if (node.empty()) return;
  limits_.Stop(id);
  Question& question = node.mapped();
  ClientConnection* client = parts_.clients->FindById(question.client_id);
  if (client == nullptr) return;
  json silent = json::array();
  for (const NodeId& other : question.awaited) silent.push_back(other.Hex());
  Reply(*client, question.request_id,
        {{"nodes", std::move(question.nodes)}, {"silent_nodes", std::move(silent)}});
}

void Inquiries::Reply(ClientConnection& client, uint64_t request_id, const json& answer) {
  FlatBufferBuilder builder;
  const auto text = builder.CreateString(Text(answer));
  builder.Finish(wire::CreateNodeInfoReply(builder, request_id, text));
  parts_.clients->Send(client, FrameType::kNodeInfoReply, builder);
}

// --- Reports of this node's processes ---------------------------------------------------------

void Inquiries::AskClients(std::function<void(json)> on_done) {
  const uint64_t id = next_++;
  Round& round = rounds_[id];
  round.on_done = std::move(on_done);
  FlatBufferBuilder builder;
  builder.Finish(wire::CreateAskProcess(builder, id));
  parts_.clients->ForEach([&](const ClientConnection& client) {
    if (client.registered) round.awaited.insert(client.id());
  });
  for (const uint64_t client_id : round.awaited) {
    parts_.clients->Send(*parts_.clients->FindById(client_id), FrameType::kAskProcess, builder);
  }
  if (round.awaited.empty()) return FinishRound(id);
  limits_.Start(id, kProcessLimitMs, [this, id] { FinishRound(id); });
}

bool Inquiries::OnProcessReport(ClientConnection& client, const wire::ProcessReport* report) {
  if (report == nullptr) return false;
  const auto round = rounds_.find(report->request_id());
  if (round == rounds_.end() || round->second.awaited.erase(client.id()) == 0) return true;
  json said = Parsed(report->json());
  if (!said.is_null()) {
    said["pid"] = client.pid;  // whose it is, the connection says
    said["worker_id"] = client.worker().Hex();
    round->second.processes.push_back(std::move(said));
  }
  if (round->second.awaited.empty()) FinishRound(round->first);
  return true;
}

void Inquiries::OnClientGone(uint64_t client_id) {
  std::vector<uint64_t> done;
  for (auto& [id, round] : rounds_) {
    if (round.awaited.erase(client_id) > 0 && round.awaited.empty()) done.push_back(id);
  }
  for (const uint64_t id : done) FinishRound(id);
}

void Inquiries::FinishRound(uint64_t id) {
  auto entry = rounds_.extract(id);
  if (entry.empty()) return;
  limits_.Stop(id);
  Round& round = entry.mapped();
  for (const uint64_t client_id : round.awaited) {
    if (const ClientConnection* client = parts_.clients->FindById(client_id)) {
      round.silent.push_back(client->pid);
    }
  }
  json node = dump_();
  node["processes"] = std::move(round.processes);
  node["silent"] = std::move(round.silent);
  round.on_done(std::move(node));
}

}  // namespace cyray::raylet
