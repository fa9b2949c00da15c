#include "cyray/store/arena_mapping.h"

#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace cyray::store {
namespace {

constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kGranuleBytes = 64 << 10;

// Gives memory back and keeps the addresses: another mapping there would be unmapped with ours.
void Reserve(uint8_t* base, uint64_t bytes) {
  if (bytes == 0) return;
  ::mmap(base, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

// `ulimit -v` of a shell or a batch system forbids what the machine has room for.
Status MappingFailed(const char* what, uint64_t bytes) {
  Status failed = Status::FromErrno(what);
  rlimit limit;
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return failed;
  return Status(failed.code(),
                failed.message() + ": it takes the address space of its " + std::to_string(bytes) +
                    " bytes two times, and this process may have " +
                    std::to_string(limit.rlim_cur) +
                    " bytes (RLIMIT_AS, `ulimit -v`). Raise that limit, or give a smaller "
                    "object_store_memory.");
}

}  // namespace

WritableView& WritableView::operator=(WritableView&& other) noexcept {
  if (this != &other) {
    Unmap();
    base_ = std::exchange(other.base_, nullptr);
    mapped_ = other.mapped_;
    data_ = other.data_;
    bytes_ = other.bytes_;
  }
  return *this;
}

void WritableView::Unmap() {
  if (base_ != nullptr) ::munmap(std::exchange(base_, nullptr), mapped_);
}

void WritableView::Detach() {
  if (base_ == nullptr || ::madvise(base_, mapped_, MADV_POPULATE_WRITE) == 0) return;
  auto* bytes = static_cast<volatile uint8_t*>(base_);  // a kernel before 5.14
  for (size_t at = 0; at < mapped_; at += kPageBytes) bytes[at] = bytes[at];
}

ArenaMapping::Touched::Touched(uint64_t bytes)
    : words_(new std::atomic<uint64_t>[(bytes / kGranuleBytes) / 64 + 1]()) {}

bool ArenaMapping::Touched::Covers(uint64_t first, uint64_t last) const {
  for (uint64_t granule = first; granule <= last; ++granule) {
    const uint64_t word = words_[granule / 64].load(std::memory_order_relaxed);
    if (granule % 64 == 0 && word == ~uint64_t{0}) {
      granule += 63;
    } else if ((word >> (granule % 64) & 1) == 0) {
      return false;
    }
  }
  return true;
}

void ArenaMapping::Touched::Mark(uint64_t first, uint64_t last) {
  for (uint64_t granule = first; granule <= last; ++granule) {
    words_[granule / 64].fetch_or(uint64_t{1} << (granule % 64), std::memory_order_relaxed);
  }
}

ArenaMapping::ArenaMapping(UniqueFd read_only, uint8_t* read_base, uint8_t* write_base,
                           uint64_t bytes)
    : read_only_(std::move(read_only)),
      read_base_(read_base),
      write_base_(write_base),
      bytes_(bytes),
      read_touched_(bytes),
      write_touched_(bytes) {}

ArenaMapping::~ArenaMapping() {
  ::munmap(read_base_, bytes_);
  ::munmap(write_base_, bytes_);
}

Result<std::unique_ptr<ArenaMapping>> ArenaMapping::Map(UniqueFd read_only, UniqueFd read_write,
                                                        uint64_t bytes) {
  void* read_base =
      ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED | MAP_NORESERVE, read_only.get(), 0);
  if (read_base == MAP_FAILED) return Fail(MappingFailed("mapping the arena read-only", bytes));
  void* write_base = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
                            read_write.get(), 0);
  if (write_base == MAP_FAILED) {
    Status failed = MappingFailed("mapping the arena", bytes);
    ::munmap(read_base, bytes);
    return Fail(std::move(failed));
  }
  // Huge pages where the machine allows them for shared memory; core dumps without the store.
  for (void* base : {read_base, write_base}) {
    ::madvise(base, bytes, MADV_HUGEPAGE);
    ::madvise(base, bytes, MADV_DONTDUMP);
  }
  return std::unique_ptr<ArenaMapping>(new ArenaMapping(std::move(read_only),
                                                        static_cast<uint8_t*>(read_base),
                                                        static_cast<uint8_t*>(write_base), bytes));
}

void ArenaMapping::Detach(std::vector<Range> kept) {
  std::sort(kept.begin(), kept.end(),
            [](const Range& a, const Range& b) { return a.offset < b.offset; });
  uint64_t done = 0;
  for (const Range& range : kept) {
    const uint64_t begin = std::max(done, range.offset / kPageBytes * kPageBytes);
    const uint64_t end =
        std::min(bytes_, (range.offset + range.bytes + kPageBytes - 1) / kPageBytes * kPageBytes);
    if (end <= begin) continue;
    Reserve(read_base_ + done, begin - done);
    CopyInPlace(begin, end);
    done = end;
  }
  Reserve(read_base_ + done, bytes_ - done);
  Reserve(write_base_, bytes_);
  read_only_ = UniqueFd();
}

void ArenaMapping::CopyInPlace(uint64_t begin, uint64_t end) {
  const size_t bytes = end - begin;
  void* copy = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (copy == MAP_FAILED) return;  // then it stays the store's
  std::memcpy(copy, read_base_ + begin, bytes);
  ::mprotect(copy, bytes, PROT_READ);
  // In one step: other threads may be reading there.
  void* moved = ::mremap(copy, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, read_base_ + begin);
  if (moved == MAP_FAILED) ::munmap(copy, bytes);
}

int ArenaMapping::Populate(uint8_t* base, Touched& touched, int advice, uint64_t offset,
                           uint64_t bytes) {
  if (bytes == 0) return 0;
  const uint64_t first = offset / kGranuleBytes;
  const uint64_t last = (offset + bytes - 1) / kGranuleBytes;
  if (touched.Covers(first, last)) return 0;
  const uint64_t begin = first * kGranuleBytes;
  const uint64_t end = std::min(bytes_, (last + 1) * kGranuleBytes);
  while (::madvise(base + begin, end - begin, advice) != 0) {
    if (errno != EINTR && errno != EAGAIN) return errno;
  }
  touched.Mark(first, last);
  return 0;
}

Status ArenaMapping::PrepareWrite(uint64_t offset, uint64_t bytes) {
  if (!Contains(offset, bytes)) {
    return Status(StatusCode::kInvalidArgument, "a range outside of the object store");
  }
  const int error = Populate(write_base_, write_touched_, MADV_POPULATE_WRITE, offset, bytes);
  // EINVAL: a kernel before 5.14, which faults pages in one by one.
  if (error == 0 || error == EINVAL) return Status::Ok();
  return Status(StatusCode::kObjectStoreFull,
                "the machine has no memory left for an object of " + std::to_string(bytes) +
                    " bytes: " + Status::FromErrno("populating it", error).message());
}

void ArenaMapping::PrepareRead(uint64_t offset, uint64_t bytes) {
  if (!Contains(offset, bytes) || bytes < kGranuleBytes) return;
  Populate(read_base_, read_touched_, MADV_POPULATE_READ, offset, bytes);
}

Result<WritableView> ArenaMapping::MapPrivate(uint64_t offset, uint64_t bytes) const {
  if (!Contains(offset, bytes)) {
    return Fail(StatusCode::kInvalidArgument, "a range outside of the object store");
  }
  const uint64_t begin = offset / kPageBytes * kPageBytes;
  WritableView view;
  view.mapped_ = std::max<uint64_t>(offset + bytes - begin, 1);
  void* base = ::mmap(nullptr, view.mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE,
                      read_only_.get(), static_cast<off_t>(begin));
  if (base == MAP_FAILED) return Fail(Status::FromErrno("mapping an object copy-on-write"));
  view.base_ = base;
  view.data_ = static_cast<uint8_t*>(base) + (offset - begin);
  view.bytes_ = bytes;
  return view;
}

}  // namespace cyray::store
