#include "cyray/core/link.h"

#include <sys/epoll.h>

#include <utility>

#include "core_generated.h"
#include "cyray/util/clock.h"
#include "cyray/wire/convert.h"
#include "local_generated.h"

namespace cyray::core {
namespace {

using flatbuffers::FlatBufferBuilder;
using wire::Frame;
using wire::FrameType;

constexpr size_t kGatherBytes = 64 << 10;

}  // namespace

LinkTable::LinkTable(SocketWatcher& poller, RayletOutbox& raylet, Events events)
    : poller_(poller), raylet_(raylet), events_(std::move(events)) {
  gone_.state = Link::State::kBroken;
}

int64_t LinkTable::NowNs() const { return MonotonicNs(); }

Link* LinkTable::Find(const WorkerId& worker) {
  auto it = links_.find(worker);
  return it == links_.end() ? nullptr : it->second.get();
}

Link& LinkTable::Add(const Address& peer) {
  auto& slot = links_[peer.worker];
  if (unused_.empty()) {
    slot = std::make_unique<Link>();
  } else {
    slot = std::move(unused_.back());
    unused_.pop_back();
  }
  slot->peer = peer;
  return *slot;
}

Link& LinkTable::To(const Address& peer) {
  if (Link* known = Find(peer.worker)) {
    if (known->state == Link::State::kBroken && !known->reset_sent) SendReset(*known);
    return *known;
  }
  if (IsDead(peer.worker)) return gone_;
  Link& link = Add(peer);
  // A process that leases itself, or an actor that calls itself, gets its frames back from the
  // raylet: a socket pair would have both its ends in this one link.
  if (peer.node != self_.node || peer.worker == self_.worker) {
    link.state = Link::State::kRelay;
    return link;
  }
  const uint64_t id = raylet_.NextRequestId();
  flatbuffers::FlatBufferBuilder b;
  b.Finish(wire::CreateConnectPeer(b, id, wire::ToWire(peer)));
  raylet_.Request(id, FrameType::kConnectPeer, b, [this, worker = peer.worker](Frame* frame) {
    Link* link = Find(worker);
    if (link == nullptr || link->state != Link::State::kConnecting) return;
    if (frame == nullptr) return Break(*link, "the raylet of this node is gone");
    const auto* reply = frame->As<wire::ConnectPeerReply>();
    if (!reply->ok() || frame->fds.size() != 1) {
      return Break(*link, reply->error() != nullptr ? reply->error()->str() : "no connection");
    }
    Open(*link, std::move(frame->fds[0]));
  });
  return link;
}

void LinkTable::Open(Link& link, UniqueFd socket) {
  link.channel = std::make_unique<wire::Channel>(std::move(socket));
  link.state = Link::State::kOpen;
  poller_.Watch(link.channel->fd(), EPOLLIN, &link);
  if (!link.waiting.empty()) {
    link.channel->SendRaw(link.waiting.data(), link.waiting.size());
    link.waiting = {};
    Flush(link);
  }
}

void LinkTable::OnPeerConnected(const Address& peer, UniqueFd socket) {
  if (IsDead(peer.worker)) return;
  Link* known = Find(peer.worker);
  Link& link = known != nullptr ? *known : Add(peer);
  // When both sides ask at once the raylet makes one pair: whoever asked second gets its end here,
  // before a reply without a descriptor.
  if (link.state == Link::State::kConnecting) Open(link, std::move(socket));
}

void LinkTable::MarkDirty(Link& link) {
  if (link.dirty) return;
  link.dirty = true;
  dirty_.push_back(&link);
}

void LinkTable::Send(Link& link, FrameType type, const flatbuffers::FlatBufferBuilder& builder) {
  switch (link.state) {
    case Link::State::kOpen:
      link.channel->Send(type, builder);
      MarkDirty(link);
      return;
    case Link::State::kConnecting:
      wire::AppendFrame(link.waiting, type, builder.GetBufferPointer(), builder.GetSize());
      return;
    case Link::State::kRelay: {
      wire::ByteBuffer frame;
      wire::AppendFrame(frame, type, builder.GetBufferPointer(), builder.GetSize());
      raylet_.Relay(self_, link.peer, frame.data(), frame.size());
      return;
    }
    case Link::State::kBroken:
      return;
  }
}

void LinkTable::FlushSoon(Link& link, int64_t gather_ns) {
  if (link.state == Link::State::kOpen) {
    if (MonotonicNs() - link.last_flush_ns > gather_ns || poller_.DriverBlocked() ||
        link.channel->unsent_bytes() > kGatherBytes) {
      Flush(link);
      return poller_.NoteActivity();
    }
  } else if (poller_.DriverBlocked()) {
    raylet_.Flush();
    return poller_.NoteActivity();
  }
  poller_.NoteGathered();
}

void LinkTable::Flush(Link& link) {
  // On its way through the raylet, or waiting for the connection that the raylet was asked for.
  if (link.state != Link::State::kOpen) return raylet_.Flush();
  link.last_flush_ns = MonotonicNs();
  // A broken socket is readable: OnReady finds the end, after the replies that the peer still sent.
  if (!link.channel->Flush().ok()) return;
  const bool wants_write = link.channel->HasUnsent();
  if (wants_write != link.wants_write) {
    link.wants_write = wants_write;
    poller_.Modify(link.channel->fd(), EPOLLIN | (wants_write ? EPOLLOUT : 0u), &link);
  }
}

bool LinkTable::HasUnsent(const Link& link) const {
  switch (link.state) {
    case Link::State::kOpen:
      return link.channel->HasUnsent();
    case Link::State::kConnecting:
      return !link.waiting.empty();
    case Link::State::kRelay:
      return raylet_.HasUnsent();
    case Link::State::kBroken:
      return false;
  }
  return false;
}

void LinkTable::FlushDirty(int64_t older_than_ns) {
  const int64_t now = older_than_ns > 0 ? MonotonicNs() : 0;
  size_t kept = 0;
  for (size_t i = 0; i < dirty_.size(); ++i) {
    Link* link = dirty_[i];
    if (now > 0 && now - link->last_flush_ns < older_than_ns) {
      dirty_[kept++] = link;
      continue;
    }
    link->dirty = false;
    Flush(*link);
  }
  dirty_.resize(kept);
  // No frame is being handled here.
  for (Link* link : broken_) {
    link->channel.reset();
    link->waiting = {};
  }
  broken_.clear();
  for (const WorkerId& worker : to_forget_) {
    auto node = links_.extract(worker);
    if (node.empty()) continue;
    if (node.mapped()->dirty) std::erase(dirty_, node.mapped().get());
    *node.mapped() = Link{};
    unused_.push_back(std::move(node.mapped()));
  }
  to_forget_.clear();
}

void LinkTable::Forget(const WorkerId& worker) {
  if (!dead_.Add(worker, {}, /*now_ms=*/0)) return;
  if (Find(worker) != nullptr) to_forget_.push_back(worker);
}

void LinkTable::OnReady(Link& link, uint32_t epoll_events) {
  if (link.state != Link::State::kOpen) return;
  if (epoll_events & EPOLLOUT) Flush(link);
  if (link.state != Link::State::kOpen || !(epoll_events & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
  Read(link);
}

bool LinkTable::Read(Link& link) {
  auto filled = link.channel->Fill();
  if (!filled) {
    Break(link, filled.error().message());
    return false;
  }
  while (link.state == Link::State::kOpen) {
    auto next = link.channel->Next();
    if (!next) {
      Break(link, next.error().message());
      return false;
    }
    if (!next->has_value()) return *filled > 0;
    events_.on_frame(link, **next);
  }
  return false;
}

void LinkTable::Drain(Link& link) {
  while (link.state == Link::State::kOpen && Read(link)) {
  }
}

void LinkTable::OnRelay(const Address& source, const uint8_t* bytes, size_t size) {
  if (size < wire::kFrameHeaderBytes) return;
  Link* known = Find(source.worker);
  wire::FrameHeader header;
  std::memcpy(&header, bytes, sizeof header);
  const bool is_last = static_cast<FrameType>(header.type) == FrameType::kLastAnswers;
  if (is_last && known == nullptr) return;  // nobody here waits for them
  Link& link = known != nullptr ? *known : To(source);
  std::vector<uint64_t> aligned;
  if (reinterpret_cast<uintptr_t>(bytes) % 8 != 0) {
    aligned.resize(size / 8 + 1);
    std::memcpy(aligned.data(), bytes, size);
    bytes = reinterpret_cast<const uint8_t*>(aligned.data());
  }
  if (header.body_bytes + wire::kFrameHeaderBytes != size || header.fd_count != 0) return;
  if (static_cast<FrameType>(header.type) == FrameType::kLinkReset) return OnReset(link);
  if (link.state == Link::State::kBroken && !is_last) {
    // Whoever sent it would wait for ever for what it asks.
    if (!link.reset_sent) SendReset(link);
    return;
  }
  const Frame frame{
      static_cast<FrameType>(header.type), bytes + wire::kFrameHeaderBytes, header.body_bytes, {}};
  events_.on_frame(link, frame);
}

void LinkTable::Break(Link& link, const std::string& reason) {
  if (link.state == Link::State::kBroken) return;
  link.state = Link::State::kBroken;
  if (link.channel) poller_.Unwatch(link.channel->fd());
  // The channel is closed later (FlushDirty): a frame of it may be in use up the stack.
  broken_.push_back(&link);
  events_.on_broken(link, reason);
}

bool LinkTable::IsWithoutNews(const Address& peer, int64_t broken_ns, int64_t now_ns) {
  if (!raylet_.connected()) return true;  // nobody will tell
  if (answered_ns_ >= NewsDueNs(peer, broken_ns)) return true;
  if (asked_raylet_ns_ == 0) AskRaylet(now_ns);
  return false;
}

void LinkTable::AskRaylet(int64_t now_ns) {
  asked_raylet_ns_ = now_ns;
  const uint64_t id = raylet_.NextRequestId();
  FlatBufferBuilder builder(64);
  builder.Finish(wire::CreatePing(builder, id));
  raylet_.Request(id, FrameType::kPing, builder,
                  [this](wire::Frame*) { answered_ns_ = std::exchange(asked_raylet_ns_, 0); });
}

void LinkTable::GiveUp(Link& link, const std::string& reason) {
  const bool was_relayed = link.state == Link::State::kRelay;
  Break(link, reason);
  if (was_relayed) SendReset(link);
}

void LinkTable::OnRelayFailed(const WorkerId& worker, const std::string& reason) {
  Link* link = Find(worker);
  if (link == nullptr) return;
  link->reset_sent = false;  // it may be what was lost
  Break(*link, reason);
}

void LinkTable::SendReset(Link& link) {
  if (&link == &gone_ || IsDead(link.peer.worker)) return;
  if (link.peer.node == self_.node) return;  // over a socket, which is closed
  link.reset_sent = true;
  flatbuffers::FlatBufferBuilder b(64);
  b.Finish(wire::CreateLinkReset(b));
  wire::ByteBuffer frame;
  wire::AppendFrame(frame, FrameType::kLinkReset, b.GetBufferPointer(), b.GetSize());
  raylet_.Relay(self_, link.peer, frame.data(), frame.size());
  poller_.NoteActivity();
}

void LinkTable::OnReset(Link& link) {
  if (&link == &gone_ || link.peer.node == self_.node) return;
  Break(link, "the process at the other end gave the connection up");
  if (!link.reset_sent) SendReset(link);
  // All that the other end sent before lies behind, and what it sent on the old link with it.
  link.reset_sent = false;
  link.sent_templates.clear();
  link.replies_sent = link.replies_read = 0;
  link.state = Link::State::kRelay;
}

}  // namespace cyray::core
