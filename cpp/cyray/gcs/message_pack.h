// Several messages of a node stream in one of gRPC's: each with its size (u32, little endian)
// before it. What is sent while the stream is busy leaves together, so many messages of one round
// cost little more than one. Threading: MessagePacks belongs to its owner; Unpack is a function
// without state.

#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "cyray/wire/bytes.h"

namespace cyray::gcs {

inline constexpr size_t kPackedSizeBytes = 4;  // of a message, before it

// What waits to be sent, oldest first.
class MessagePacks {
 public:
  static constexpr size_t kPackBytes = 64 << 10;  // but a longer message, which goes alone

  void Add(const wire::Bytes& message) {
    const bool fits =
        !packs_.empty() && packs_.back().size() + kPackedSizeBytes + message.size() <= kPackBytes;
    if (!fits) packs_.emplace_back();
    std::string& pack = packs_.back();
    for (size_t i = 0; i < kPackedSizeBytes; ++i) {
      pack.push_back(static_cast<char>(message.size() >> (8 * i)));
    }
    pack.append(reinterpret_cast<const char*>(message.data()), message.size());
  }
  bool empty() const { return packs_.empty(); }
  void Clear() { packs_.clear(); }
  // There must be one.
  std::string Take() {
    std::string pack = std::move(packs_.front());
    packs_.pop_front();
    return pack;
  }

 private:
  std::deque<std::string> packs_;
};

// False when the bytes are no pack of one message or more.
inline bool Unpack(const wire::Bytes& pack, std::vector<wire::Bytes>& messages) {
  size_t at = 0;
  while (at < pack.size()) {
    if (pack.size() - at < kPackedSizeBytes) return false;
    size_t size = 0;
    for (size_t i = 0; i < kPackedSizeBytes; ++i) size |= size_t{pack[at + i]} << (8 * i);
    at += kPackedSizeBytes;
    if (size > pack.size() - at) return false;
    const auto begin = pack.begin() + static_cast<ptrdiff_t>(at);
    messages.emplace_back(begin, begin + static_cast<ptrdiff_t>(size));
    at += size;
  }
  return !messages.empty();
}

}  // namespace cyray::gcs
