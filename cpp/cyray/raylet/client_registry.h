// ClientRegistry: the processes connected to this raylet; accepts, reads and writes their frames.
//
// Frames sent in one round of the event loop leave together at its end (FlushAll). A frame that its
// handler calls bad closes that connection and nothing else, as does a client that leaves much
// unread and does not read on. A slow one may have more: that is what it asked for. What other
// nodes' processes sent it is metered and bounded by credit, and does not count. Clients are
// read in turns, bounded by bytes, frames and time, and all turns of a round by time: however fast
// one sends, others are served and the raylet's timers and peers have their share. Threading:
// confined to the raylet's loop. Invariant: a connection is told as closed once, and lives until
// the end of that round, so that handlers on the stack may still look at it.

#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "cyray/raylet/client_connection.h"
#include "cyray/util/event_loop.h"
#include "cyray/util/status.h"
#include "cyray/util/timer.h"

namespace cyray::raylet {

class ClientRegistry {
 public:
  struct Callbacks {
    // False: the frame is bad, close the connection.
    std::function<bool(ClientConnection&, wire::Frame&)> on_frame;
    std::function<void(ClientConnection&, const std::string& reason)> on_closed;
  };

  static constexpr int64_t kPatienceMs = 10'000;

  ClientRegistry(EventLoop* loop, Callbacks callbacks, int64_t patience_ms = kPatienceMs);
  ~ClientRegistry();

  // Listens on a Unix socket that only this user may use.
  Status Listen(const std::string& path);
  void StopListening();
  // Takes a connected socket; `expected` is the worker at its other end, nil when yet unknown.
  ClientConnection* Add(UniqueFd socket, const WorkerId& expected);
  // Makes a connection findable by its worker id. False when the id is taken.
  bool Name(ClientConnection& client, const WorkerId& worker);

  ClientConnection* Find(const WorkerId& worker) const;
  ClientConnection* FindById(uint64_t id) const;

  void Send(ClientConnection& client, wire::FrameType type,
            const flatbuffers::FlatBufferBuilder& builder);
  void Send(ClientConnection& client, wire::FrameType type, const uint8_t* body, size_t size);
  void SendWithFds(ClientConnection& client, wire::FrameType type,
                   const flatbuffers::FlatBufferBuilder& builder, std::vector<UniqueFd> fds);
  // A frame that came from a process of node `from`, which is told when this one has taken it.
  void SendMetered(ClientConnection& client, const wire::Frame& frame, const NodeId& from);
  using TakenCallback =
      std::function<void(const WorkerId& worker, const NodeId& from, uint64_t bytes)>;
  void set_on_taken(TakenCallback callback) { on_taken_ = std::move(callback); }
  // Whether the frames of a client are read. It notices only that it cannot write on.
  void SetReading(uint64_t id, bool reading);
  // Handles all that the process at the other end, which has ended, said before, however much is
  // its turn's, and whether its frames are read or not.
  void ReadOut(ClientConnection& client);
  // To every registered client: at once, or in a moment when they were told something just now.
  // Each of them wakes for it, so that thousands of ends would cost millions of wakeups.
  void Announce(wire::FrameType type, const flatbuffers::FlatBufferBuilder& builder);
  void Close(ClientConnection& client, const std::string& reason);

  // Sends what gathered and buries the closed. Called at the end of each round of the loop.
  void FlushAll();

  uint64_t frames_handled() const { return frames_handled_; }
  template <class Visitor>
  void ForEach(Visitor visitor) const {
    for (const auto& [id, client] : clients_) {
      if (!client->closed_) visitor(*client);
    }
  }

 private:
  void Accept();
  void PauseAccepting(const Status& why);
  void OnReady(uint64_t id, uint32_t events);
  // Handles some of what it sent. True: there is more, for its next turn.
  bool Turn(ClientConnection& client);
  bool ReadSome(ClientConnection& client, int64_t until_ns);
  void Handle(ClientConnection& client, wire::Frame& frame);
  void AwaitTurn(ClientConnection& client);
  void GiveTurns();
  void Flush(ClientConnection& client);
  void SendNews();
  void MarkDirty(ClientConnection& client);
  void UpdateEvents(ClientConnection& client);
  void TakeMetered(ClientConnection& client);

  EventLoop* const loop_;
  const Callbacks callbacks_;
  const int64_t patience_ms_;  // with a client that reads nothing
  UniqueFd listener_;
  std::unordered_map<uint64_t, std::unique_ptr<ClientConnection>> clients_;
  std::unordered_map<WorkerId, uint64_t> by_worker_;
  std::vector<uint64_t> dirty_;
  std::vector<uint64_t> closed_;
  std::deque<uint64_t> turns_;  // who has sent more than a turn's worth
  bool turns_posted_ = false;
  int64_t round_ns_ = 0;  // spent on turns since the last FlushAll
  uint64_t next_id_ = 1;
  uint64_t frames_handled_ = 0;
  TakenCallback on_taken_;
  wire::ByteBuffer news_;  // frames for all
  int64_t next_news_ms_ = 0;

  Timer accept_pause_;
  Timer news_timer_;
  Posts posts_;
};

}  // namespace cyray::raylet
