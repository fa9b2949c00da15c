// Messages: typed messages over one connection of the simulated network, for both ends of the way
// to the GCS: [u32 size][u8 type][u64 id][body].
// Threading: confined to the loop of whoever owns it.

#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>

#include "cyray/util/unique_fd.h"
#include "cyray/wire/bytes.h"

namespace cyray::sim {

enum class MessageType : uint8_t {
  kCall,      // id: of the call on this connection; u16 method, 16 bytes of call id, request
  kReply,     // u8 code, reply or the error's text
  kReport,    // of the node stream; the first has the hello
  kAccepted,  // the hello was
  kCommand,
  kClosed,  // the stream: u8 code, text
  kPing,
};

class Messages {
 public:
  using Handler = std::function<void(MessageType, uint64_t id, wire::Bytes body)>;

  explicit Messages(UniqueFd socket) : socket_(std::move(socket)) {}
  int fd() const { return socket_.get(); }
  bool HasUnsent() const { return !out_.empty(); }

  void Send(MessageType type, uint64_t id, const wire::Bytes& body) {
    const auto size = static_cast<uint32_t>(sizeof id + 1 + body.size());
    out_.append(reinterpret_cast<const char*>(&size), sizeof size);
    out_.push_back(static_cast<char>(type));
    out_.append(reinterpret_cast<const char*>(&id), sizeof id);
    out_.append(reinterpret_cast<const char*>(body.data()), body.size());
  }
  // False: the connection is over.
  bool Flush() {
    while (!out_.empty()) {
      const ssize_t n =
          ::send(socket_.get(), out_.data(), out_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n < 0) return errno == EAGAIN;
      out_.erase(0, static_cast<size_t>(n));
    }
    return true;
  }
  // Handles what is there. False: the connection is over.
  bool Read(const Handler& handler) {
    char buffer[16 << 10];
    ssize_t n;
    while ((n = ::recv(socket_.get(), buffer, sizeof buffer, MSG_DONTWAIT)) > 0) {
      in_.append(buffer, static_cast<size_t>(n));
    }
    const bool over = n == 0 || errno != EAGAIN;
    uint32_t size;
    while (in_.size() >= sizeof size &&
           (std::memcpy(&size, in_.data(), sizeof size), in_.size() >= sizeof size + size)) {
      const std::string message = in_.substr(sizeof size, size);
      in_.erase(0, sizeof size + size);
      uint64_t id;
      std::memcpy(&id, message.data() + 1, sizeof id);
      handler(static_cast<MessageType>(message[0]), id,
              wire::Bytes(message.begin() + 1 + sizeof id, message.end()));
    }
    return !over;
  }

 private:
  UniqueFd socket_;
  std::string out_, in_;
};

}  // namespace cyray::sim
