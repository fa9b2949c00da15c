#include "cyray/raylet/driver_feed.h"

#include <set>
#include <utility>

#include "cyray/common/dropped_lines.h"
#include "cyray/util/log.h"
#include "cyray/wire/convert.h"

namespace cyray::raylet {
namespace {

using flatbuffers::FlatBufferBuilder;
using wire::FrameType;
using wire::FromWireOrNil;
using wire::ToWire;

constexpr int64_t kFlushLimitMs = 100;  // a driver leaves within 0.3 s

// `dropped` becomes a line of its own before the others.
flatbuffers::Offset<wire::LogLines> WriteLines(FlatBufferBuilder& builder,
                                               const std::string& node_ip,
                                               const WorkerLogs::Lines& lines, uint64_t dropped) {
  std::vector<flatbuffers::Offset<flatbuffers::String>> texts;
  texts.reserve(lines.lines.size() + 1);
  if (dropped > 0) {
    texts.push_back(builder.CreateString(DroppedLines(dropped)));
  }
  for (const std::string& line : lines.lines) texts.push_back(builder.CreateString(line));
  const auto ip = builder.CreateString(node_ip);
  const auto label = builder.CreateString(lines.label);
  const auto vector = builder.CreateVector(texts);
  return wire::CreateLogLines(builder, lines.pid, ip, label, lines.is_stderr, vector);
}

}  // namespace

DriverFeed::DriverFeed(Parts parts, std::function<void(const JobId&)> drain)
    : parts_(parts), drain_(std::move(drain)), limits_(parts.runtime) {
  RegisterPeerHandlers();
}

void DriverFeed::RegisterPeerHandlers() {
  PeerTable& peers = *parts_.peers;
  peers.On<wire::ForwardLogLines>(
      FrameType::kForwardLogLines,
      [this](const NodeId&, const wire::ForwardLogLines& forward) { OnForwardLogLines(forward); });
  peers.On<wire::ForwardWarning>(FrameType::kForwardWarning,
                                 [this](const NodeId&, const wire::ForwardWarning& forward) {
                                   DeliverWarning(FromWireOrNil(forward.driver()).worker,
                                                  flatbuffers::GetString(forward.text()));
                                 });
  peers.On<wire::ForwardFlushOutput>(
      FrameType::kForwardFlushOutput,
      [this](const NodeId& from, const wire::ForwardFlushOutput& forward) {
        drain_(FromWireOrNil(forward.job_id()));
        FlatBufferBuilder builder;
        builder.Finish(wire::CreateForwardFlushOutputReply(builder, forward.request_id()));
        (void)parts_.peers->Send(from, FrameType::kForwardFlushOutputReply, builder);
      });
  peers.On<wire::ForwardFlushOutputReply>(
      FrameType::kForwardFlushOutputReply,
      [this](const NodeId&, const wire::ForwardFlushOutputReply& reply) {
        OnNodeFlushed(reply.request_id());
      });
}

Address DriverFeed::DriverOf(const JobId& job) const {
  const Job* known = parts_.jobs->Find(job);
  return known == nullptr || known->ended ? Address{} : known->driver;
}

// --- Lines ------------------------------------------------------------------------------------

void DriverFeed::SendLines(const JobId& job, const WorkerLogs::Lines& lines) {
  const Address driver = DriverOf(job);
  if (driver.is_nil()) return;
  if (driver.node == parts_.options->node_id) {
    Deliver(driver.worker, parts_.options->node_ip, lines);
  } else {
    Forward(driver, lines);
  }
}

void DriverFeed::Deliver(const WorkerId& driver, const std::string& node_ip,
                         const WorkerLogs::Lines& lines) {
  ClientConnection* client = parts_.clients->Find(driver);
  if (client == nullptr || !client->is_driver() || !client->log_to_driver) return;
  if (client->channel().unsent_bytes() > kMaxLineBacklogBytes) {
    client->dropped_log_lines += lines.lines.size();
    return;
  }
  FlatBufferBuilder builder;
  builder.Finish(WriteLines(builder, node_ip, lines, std::exchange(client->dropped_log_lines, 0)));
  parts_.clients->Send(*client, FrameType::kLogLines, builder);
}

void DriverFeed::Forward(const Address& driver, const WorkerLogs::Lines& lines) {
  if (!parts_.peers->Knows(driver.node)) {
    dropped_.erase(driver.node);
    return;
  }
  if (parts_.peers->unsent_relay_bytes(driver.node) > kMaxLineBacklogBytes) {
    dropped_[driver.node] += lines.lines.size();
    return;
  }
  const auto dropped = dropped_.extract(driver.node);
  FlatBufferBuilder builder;
  const auto table =
      WriteLines(builder, parts_.options->node_ip, lines, dropped.empty() ? 0 : dropped.mapped());
  builder.Finish(wire::CreateForwardLogLines(builder, ToWire(driver), table));
  (void)parts_.peers->Send(driver.node, FrameType::kForwardLogLines, builder);
}

void DriverFeed::OnForwardLogLines(const wire::ForwardLogLines& forward) {
  const wire::LogLines* wire = forward.lines();
  if (wire == nullptr || wire->lines() == nullptr) return;
  WorkerLogs::Lines lines{
      WorkerId::Nil(), wire->pid(), flatbuffers::GetString(wire->label()), wire->is_stderr(), {}};
  for (const auto* line : *wire->lines()) lines.lines.push_back(line->str());
  Deliver(FromWireOrNil(forward.driver()).worker, flatbuffers::GetString(wire->node_ip()), lines);
}

// --- Warnings ---------------------------------------------------------------------------------

void DriverFeed::Warn(const JobId& job, const std::string& text) {
  CYRAY_LOG(kWarning) << text;
  const Address driver = DriverOf(job);
  if (driver.is_nil()) return;
  if (driver.node == parts_.options->node_id) {
    DeliverWarning(driver.worker, text);
    return;
  }
  FlatBufferBuilder builder;
  const auto string = builder.CreateString(text);
  builder.Finish(wire::CreateForwardWarning(builder, ToWire(driver), string));
  (void)parts_.peers->Send(driver.node, FrameType::kForwardWarning, builder);
}

void DriverFeed::WarnHere(const NodeId& except, const std::string& text) {
  std::set<JobId> jobs;
  parts_.clients->ForEach([&](const ClientConnection& client) { jobs.insert(client.job); });
  std::erase_if(jobs, [&](const JobId& job) {
    const Address driver = DriverOf(job);
    return driver.is_nil() || driver.node == except;
  });
  if (jobs.empty()) {
    CYRAY_LOG(kWarning) << text;
  }
  for (const JobId& job : jobs) Warn(job, text);
}

void DriverFeed::DeliverWarning(const WorkerId& driver, const std::string& text) {
  ClientConnection* client = parts_.clients->Find(driver);
  if (client == nullptr || !client->is_driver()) return;
  FlatBufferBuilder builder;
  builder.Finish(wire::CreateWarning(builder, builder.CreateString(text)));
  parts_.clients->Send(*client, FrameType::kWarning, builder);
}

// --- A driver leaves --------------------------------------------------------------------------

bool DriverFeed::OnFlushOutput(ClientConnection& driver, const wire::FlushOutput* request) {
  if (request == nullptr || !driver.is_driver()) return false;
  drain_(driver.job);
  const uint64_t id = next_flush_++;
  Flush& flush = flushes_[id];
  flush = {driver.id(), request->request_id(), 1};
  FlatBufferBuilder builder;
  builder.Finish(wire::CreateForwardFlushOutput(builder, id, ToWire(driver.job)));
  // A node that was never met has never run anything for this one.
  for (const NodeId& node : parts_.peers->Met()) {
    if (parts_.peers->Send(node, FrameType::kForwardFlushOutput, builder)) ++flush.awaited;
  }
  limits_.Start(id, kFlushLimitMs, [this, id] { AnswerFlush(id); });
  OnNodeFlushed(id);  // this one
  return true;
}

void DriverFeed::OnNodeFlushed(uint64_t id) {
  const auto it = flushes_.find(id);
  if (it != flushes_.end() && --it->second.awaited == 0) AnswerFlush(id);
}

void DriverFeed::AnswerFlush(uint64_t id) {
  const auto node = flushes_.extract(id);
  if (node.empty()) return;
  limits_.Stop(id);
  ClientConnection* driver = parts_.clients->FindById(node.mapped().client_id);
  if (driver == nullptr) return;
  FlatBufferBuilder builder;
  builder.Finish(wire::CreateFlushOutputReply(builder, node.mapped().request_id));
  parts_.clients->Send(*driver, FrameType::kFlushOutputReply, builder);
}

}  // namespace cyray::raylet
