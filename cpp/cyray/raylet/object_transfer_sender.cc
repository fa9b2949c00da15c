#include "cyray/raylet/object_transfer_sender.h"

#include <algorithm>
#include <utility>

#include "cyray/wire/convert.h"

namespace cyray::raylet {

void ObjectSender::OnPull(const NodeId& from, uint64_t request_id, const ObjectId& id,
                          uint64_t offset) {
  if (store_->Contains(id)) {
    auto view = store_->TryGet(store::kRaylet, id);
    if (view) Begin(from, {request_id, id, {}, *view, {}, offset});
    return;
  }
  if (!store_->IsBeingWritten(id)) {
    SendMissing(from, request_id, id);
    return;
  }
  // The owner heard of it on another socket than the one that will bring its Seal.
  receivers_[from].awaited.insert(request_id);
  store_->Get(store::kRaylet, id, [=, this](Result<store::ObjectView> view) {
    auto receiver = receivers_.find(from);
    const bool wanted =
        receiver != receivers_.end() && receiver->second.awaited.erase(request_id) > 0;
    if (view && wanted) {
      Begin(from, {request_id, id, {}, *view, {}, offset});
    } else if (view) {
      (void)store_->Release(store::kRaylet, id);
    } else if (wanted) {
      SendMissing(from, request_id, id);
    }
  });
}

void ObjectSender::Begin(const NodeId& to, Job job) {
  const ObjectId id = job.id;
  // One pin per job, given back when the job and all its queued chunks are gone.
  job.pin = std::shared_ptr<const void>(
      mapping_, [store = store_, id](const void*) { (void)store->Release(store::kRaylet, id); });
  if (job.sent > 0 && job.sent >= job.view.bytes) return SendMissing(to, job.request_id, id);
  NoteCopy(to, id);
  job.owner = store_->OwnerOf(id).value_or(Address{});
  receivers_[to].jobs.push_back(std::move(job));
  Pump(to);
}

void ObjectSender::NoteCopy(const NodeId& to, const ObjectId& id) {
  std::vector<NodeId>& nodes = copies_[id];
  if (std::find(nodes.begin(), nodes.end(), to) == nodes.end()) nodes.push_back(to);
  if (copies_.size() < prune_copies_at_) return;
  std::erase_if(copies_, [this](const auto& item) { return !store_->Contains(item.first); });
  prune_copies_at_ = 2 * copies_.size() + 1'024;
}

std::vector<NodeId> ObjectSender::TakeCopies(const ObjectId& id) {
  auto node = copies_.extract(id);
  return node.empty() ? std::vector<NodeId>{} : std::move(node.mapped());
}

void ObjectSender::SendMissing(const NodeId& to, uint64_t request_id, const ObjectId& id) {
  flatbuffers::FlatBufferBuilder builder(128);
  wire::ObjectChunkBuilder chunk(builder);
  chunk.add_request_id(request_id);
  chunk.add_object_id(wire::ToWire(id));
  chunk.add_missing(true);
  builder.Finish(chunk.Finish());
  (void)peers_->SendBulk(to, builder, {});  // when it is lost the receiver asks again
}

void ObjectSender::OnCancel(const NodeId& from, uint64_t request_id) {
  auto it = receivers_.find(from);
  if (it == receivers_.end()) return;
  it->second.awaited.erase(request_id);
  std::erase_if(it->second.jobs, [&](const Job& job) { return job.request_id == request_id; });
}

void ObjectSender::Pump(const NodeId& node) {
  auto it = receivers_.find(node);
  if (it == receivers_.end()) return;
  auto& jobs = it->second.jobs;
  while (!jobs.empty() && peers_->unsent_bulk_bytes(node) < kMaxQueuedBytes) {
    Job job = std::move(jobs.front());
    jobs.pop_front();
    if (!SendChunk(node, job)) continue;  // without a connection: it will be asked for again
    if (job.sent < job.view.bytes) jobs.push_back(std::move(job));
  }
  if (jobs.empty() && it->second.awaited.empty()) receivers_.erase(it);
}

bool ObjectSender::SendChunk(const NodeId& to, Job& job) {
  const uint64_t bytes = std::min(peers_->chunk_bytes(to), job.view.bytes - job.sent);
  flatbuffers::FlatBufferBuilder builder(192);
  wire::ObjectChunkBuilder chunk(builder);
  chunk.add_request_id(job.request_id);
  chunk.add_object_id(wire::ToWire(job.id));
  chunk.add_total_bytes(job.view.bytes);
  chunk.add_offset(job.sent);
  chunk.add_raw_bytes(static_cast<uint32_t>(bytes));
  chunk.add_owner(wire::ToWire(job.owner));
  builder.Finish(chunk.Finish());
  const uint8_t* data = mapping_->read(job.view.offset + job.sent);
  job.sent += bytes;
  return peers_->SendBulk(to, builder, {{data, bytes}, job.pin});
}

}  // namespace cyray::raylet
