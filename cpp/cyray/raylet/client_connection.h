// ClientConnection: one driver or worker, as its raylet sees it, and the channel to it.
//
// Until Register came, a connection accepted on the node's socket is nobody's; one made for a
// worker knows the worker that must register on it. Threading: confined to the raylet's loop; owned
// by ClientRegistry.

#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <utility>

#include "cyray/common/ids.h"
#include "cyray/wire/channel.h"
#include "local_generated.h"

namespace cyray::raylet {

class ClientConnection {
 public:
  ClientConnection(uint64_t id, UniqueFd socket, const WorkerId& expected)
      : id_(id), channel_(std::move(socket)), worker_id(expected) {}

  uint64_t id() const { return id_; }
  wire::Channel& channel() { return channel_; }
  bool is_driver() const { return kind == wire::ClientKind::Driver; }
  const WorkerId& worker() const { return worker_id; }

 private:
  friend class ClientRegistry;
  const uint64_t id_;
  wire::Channel channel_;
  bool closed_ = false;
  bool dirty_ = false;         // has frames that the end of this round will send
  bool has_turn_ = false;      // waits for its turn to be read
  bool wants_output_ = false;  // the socket was full
  bool paused_ = false;        // its frames are not read
  int64_t read_ms_ = 0;        // when it last took something
  // Frames in the channel that another node gets credit for when this process has taken them.
  struct Metered {
    uint64_t end;  // in all that was ever sent to it
    NodeId from;
    uint32_t bytes;
  };
  std::deque<Metered> metered_;
  size_t metered_bytes_ = 0;
  uint64_t taken_ = 0;  // bytes of the channel that went into the socket

 public:
  // Set by Register and when a job is assigned; the node's own facts about this process.
  wire::ClientKind kind = wire::ClientKind::Worker;
  bool registered = false;  // RegisterReply was sent
  WorkerId worker_id;
  int pid = 0;
  JobId job;
  std::string name_space;
  bool log_to_driver = false;
  bool blocked = false;
  uint64_t dropped_log_lines = 0;
};

}  // namespace cyray::raylet
