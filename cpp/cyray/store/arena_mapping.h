// ArenaMapping: the object store's arena as one process maps it, once.
//
// Two views of the same memory: read() through the read-only descriptor, which no code of this
// process can make writable, and write() for the creator of an object that is not sealed yet.
// Whoever reads holds a pin, whoever writes has created the object; this class checks neither.
// PrepareWrite and PrepareRead fault pages in by the system call instead of one by one, and
// remember per 64 KiB what this process has faulted in, so that repeating costs nothing. Threading:
// thread-safe after Map(). Needs nothing but libc.

#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "cyray/util/status.h"
#include "cyray/util/unique_fd.h"

namespace cyray::store {

// A private, copy-on-write view of an object: writes stay in this process. Unmaps on destruction.
class WritableView {
 public:
  WritableView() = default;
  WritableView(WritableView&& other) noexcept
      : base_(std::exchange(other.base_, nullptr)),
        mapped_(other.mapped_),
        data_(other.data_),
        bytes_(other.bytes_) {}
  WritableView& operator=(WritableView&& other) noexcept;
  WritableView(const WritableView&) = delete;
  WritableView& operator=(const WritableView&) = delete;
  ~WritableView() { Unmap(); }

  uint8_t* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  // Copies what was not written yet, so that the object below may go.
  void Detach();

 private:
  friend class ArenaMapping;
  void Unmap();

  void* base_ = nullptr;
  size_t mapped_ = 0;
  uint8_t* data_ = nullptr;
  size_t bytes_ = 0;
};

class ArenaMapping {
 public:
  // Takes the descriptors of RegisterReply. `bytes` is its arena_bytes.
  static Result<std::unique_ptr<ArenaMapping>> Map(UniqueFd read_only, UniqueFd read_write,
                                                   uint64_t bytes);
  ~ArenaMapping();
  ArenaMapping(const ArenaMapping&) = delete;
  ArenaMapping& operator=(const ArenaMapping&) = delete;

  uint64_t bytes() const { return bytes_; }
  // Whether [offset, offset + bytes) lies within the arena: to be asked of every range from a peer.
  bool Contains(uint64_t offset, uint64_t bytes) const {
    return offset <= bytes_ && bytes <= bytes_ - offset;
  }
  const uint8_t* read(uint64_t offset) const { return read_base_ + offset; }
  uint8_t* write(uint64_t offset) const { return write_base_ + offset; }

  // Must come before the first write to a range. ObjectStoreFull when the machine has no memory for
  // it: then abort the object. Without this call a write could end in SIGBUS.
  Status PrepareWrite(uint64_t offset, uint64_t bytes);
  // Optional; makes the first read of a large object faster.
  void PrepareRead(uint64_t offset, uint64_t bytes);

  // The object must stay pinned as long as the view lives, or until it is detached.
  Result<WritableView> MapPrivate(uint64_t offset, uint64_t bytes) const;

  // The process leaves the store: the `kept` ranges become private copies where they are, so that
  // whoever reads them goes on and does not see what the store does with the memory; everything
  // else is let go of and must not be touched any more. Nobody may write meanwhile.
  struct Range {
    uint64_t offset = 0;
    uint64_t bytes = 0;
  };
  void Detach(std::vector<Range> kept);

 private:
  // One bit per granule, set once the pages are in this process's page table.
  class Touched {
   public:
    explicit Touched(uint64_t bytes);
    bool Covers(uint64_t first, uint64_t last) const;
    void Mark(uint64_t first, uint64_t last);

   private:
    std::unique_ptr<std::atomic<uint64_t>[]> words_;
  };

  ArenaMapping(UniqueFd read_only, uint8_t* read_base, uint8_t* write_base, uint64_t bytes);
  // 0 or errno.
  int Populate(uint8_t* base, Touched& touched, int advice, uint64_t offset, uint64_t bytes);
  void CopyInPlace(uint64_t begin, uint64_t end);

  UniqueFd read_only_;
  uint8_t* const read_base_;
  uint8_t* const write_base_;
  const uint64_t bytes_;
  Touched read_touched_;
  Touched write_touched_;
};

}  // namespace cyray::store
