// Links: channels to the core libraries of other processes.
//
// A link to a process of this node is a socket pair made by the raylet; to one of another node it
// is Relay frames through the raylets. Both keep frames in order and look the same to the rest of
// the core. Frames sent before the socket is there are kept. A link to another node that broke
// while both processes live comes back: both ends say LinkReset, behind which a new link begins.
// One whose process is dead is forgotten, and the process remembered for a while, so that what it
// sent on other ways does not bring it back. Guarded by the core mutex.

#pragma once

#include <flatbuffers/flatbuffers.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/core/outbox.h"
#include "cyray/util/recent.h"
#include "cyray/util/unique_fd.h"
#include "cyray/wire/channel.h"

namespace cyray::core {

struct ExecTemplate;
struct ObjectEntry;

// Results of short tasks wait so long for company while more tasks are ready; when the next one
// takes longer than it used to, the steward writes them with its next look. Half of what a
// submitter keeps queued on a worker (kAheadUs), so its queue does not run empty meanwhile. Were
// each result written by itself it would wake the submitter, which on a busy machine takes the
// processor from a worker: 16 us for each task of 200 us. Half as long costs 2 % of such work.
inline constexpr int64_t kReplyGatherNs = 1'000'000;

struct Link {
  enum class State : uint8_t { kConnecting, kOpen, kRelay, kBroken };

  Address peer;
  State state = State::kConnecting;
  bool dirty = false;        // has unflushed frames, is in LinkTable's dirty list
  bool wants_write = false;  // the socket was full: EPOLLOUT is on
  bool reset_sent = false;   // broken: the other end was told, and has not answered
  bool has_noted = false;    // answers on it are in this worker's task notes (untold.h)
  int64_t last_flush_ns = 0;
  uint64_t replies_sent = 0, replies_read = 0;  // TaskReplies, by each end since the link began
  std::unique_ptr<wire::Channel> channel;
  wire::ByteBuffer waiting;  // frames while connecting

  // Templates by id: the version of ours that the peer has (0: none), what the peer's ids mean
  // here.
  std::vector<uint32_t> sent_templates;
  std::unordered_map<uint32_t, ExecTemplate*> exec_templates;
  // Refs that the peer was given inside a value and has not taken.
  std::unordered_map<ObjectId, std::vector<ObjectEntry*>> given;
};

class LinkTable : public LinkOutbox {
 public:
  struct Events {
    std::function<void(Link&, const wire::Frame&)> on_frame;
    std::function<void(Link&, const std::string& reason)> on_broken;
  };
  using LinkOutbox::FlushSoon;
  LinkTable(SocketWatcher& poller, RayletOutbox& raylet, Events events);

  // Dead processes that are remembered.
  static constexpr size_t kMaxDead = 4'096;
  // The raylet tells of a death on this node in milliseconds, the GCS of one elsewhere in seconds.
  // After that this raylet is asked whether it stands still (or does not read this process, because
  // what it sends to another one waits): nobody is given up before it answers.
  static constexpr int64_t kNewsHereNs = 2'000'000'000;
  static constexpr int64_t kNewsElsewhereNs = 15'000'000'000;

  void SetIdentity(const Address& self) { self_ = self; }
  int64_t NowNs() const override;
  Link& To(const Address& peer) override;
  Link* Find(const WorkerId& worker) override;
  bool IsDead(const WorkerId& worker) const override { return dead_.Find(worker) != nullptr; }
  void Send(Link& link, wire::FrameType type,
            const flatbuffers::FlatBufferBuilder& builder) override;
  void FlushSoon(Link& link, int64_t gather_ns) override;
  void Flush(Link& link) override;
  bool HasUnsent(const Link& link) const override;
  // Writes all that gathered, on links whose last write is at least `older_than_ns` ago.
  void FlushDirty(int64_t older_than_ns = 0);

  // From the poller and the raylet.
  void OnReady(Link& link, uint32_t epoll_events);
  void OnPeerConnected(const Address& peer, UniqueFd socket);
  void OnRelay(const Address& source, const uint8_t* frame, size_t size);
  void Break(Link& link, const std::string& reason);
  // The same for a reason of this process's own: the other end is told.
  void GiveUp(Link& link, const std::string& reason);
  // The raylet cannot deliver what was sent to that process.
  void OnRelayFailed(const WorkerId& worker, const std::string& reason);
  void Drain(Link& link) override;
  int64_t NewsDueNs(const Address& peer, int64_t broken_ns) const override {
    return broken_ns + (peer.node == self_.node ? kNewsHereNs : kNewsElsewhereNs);
  }
  bool IsWithoutNews(const Address& peer, int64_t broken_ns, int64_t now_ns) override;
  // That process is dead, its link broken, and nobody holds the link: it goes with the next
  // FlushDirty.
  void Forget(const WorkerId& worker);
  const std::unordered_map<WorkerId, std::unique_ptr<Link>>& all() const { return links_; }

 private:
  Link& Add(const Address& peer);
  void Open(Link& link, UniqueFd socket);
  // False when there is nothing more to read.
  bool Read(Link& link);
  void MarkDirty(Link& link);
  void AskRaylet(int64_t now_ns);
  void SendReset(Link& link);
  void OnReset(Link& link);

  SocketWatcher& poller_;
  RayletOutbox& raylet_;
  const Events events_;
  Address self_;
  std::unordered_map<WorkerId, std::unique_ptr<Link>> links_;
  // Forgotten ones, for the next: an event that epoll has handed out may still name them.
  std::vector<std::unique_ptr<Link>> unused_;
  std::vector<Link*> dirty_;
  std::vector<Link*> broken_;  // their channels are still open
  std::vector<WorkerId> to_forget_;
  // When the raylet was asked whether it stands still; 0: it has answered. And when it was asked
  // what it answered last.
  int64_t asked_raylet_ns_ = 0;
  int64_t answered_ns_ = 0;
  Recent<WorkerId, std::monostate> dead_{kMaxDead};
  Link gone_;  // the link to each of them
};

}  // namespace cyray::core
