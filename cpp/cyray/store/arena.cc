#include "cyray/store/arena.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <string>

#include "cyray/util/log.h"
#include "cyray/util/machine.h"

namespace cyray::store {
namespace {

constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kBackStepBytes = 2 << 20;
// More than this is populated by the writer, on its own core, instead of on the raylet's loop.
constexpr uint64_t kMaxBackInline = 4 << 20;
constexpr uint64_t kWarmStepBytes = 4 << 20;
constexpr uint64_t kWarmAheadBytes = 64 << 20;
// Left to the rest of the machine.
constexpr uint64_t kReserveBytes = 64 << 20;
constexpr uint64_t kUnknown = MachineMemory::kUnknown;

uint64_t AvailableMemoryBytes() { return MemoryOfMachine().available_bytes; }

}  // namespace

Result<Arena> Arena::Create(uint64_t capacity_bytes) {
  const uint64_t capacity = capacity_bytes / kPageBytes * kPageBytes;
  if (capacity == 0) return Fail(StatusCode::kInvalidArgument, "the object store has no capacity");
  const uint64_t available = AvailableMemoryBytes();
  if (capacity > available) {
    CYRAY_LOG(kWarning) << "the object store's capacity (" << capacity
                        << " bytes) is more than the "
                        << "memory available now (" << available << " bytes)";
  }
  UniqueFd read_write(memfd_create("cyray-store", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!read_write.valid()) return Fail(Status::FromErrno("memfd_create"));
  if (fchmod(read_write.get(), 0600) != 0) return Fail(Status::FromErrno("fchmod of the arena"));
  if (ftruncate(read_write.get(), static_cast<off_t>(capacity)) != 0) {
    return Fail(Status::FromErrno("ftruncate of the arena"));
  }
  if (fcntl(read_write.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return Fail(Status::FromErrno("sealing the arena"));
  }
  const std::string path = "/proc/self/fd/" + std::to_string(read_write.get());
  UniqueFd read_only(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!read_only.valid()) return Fail(Status::FromErrno("opening the arena read-only"));
  return Arena(std::move(read_write), std::move(read_only), capacity);
}

Result<UniqueFd> Arena::DuplicateReadOnly() const {
  UniqueFd fd(fcntl(read_only_.get(), F_DUPFD_CLOEXEC, 3));
  if (!fd.valid()) return Fail(Status::FromErrno("dup of the arena"));
  return fd;
}

Result<UniqueFd> Arena::DuplicateReadWrite() const {
  UniqueFd fd(fcntl(read_write_.get(), F_DUPFD_CLOEXEC, 3));
  if (!fd.valid()) return Fail(Status::FromErrno("dup of the arena"));
  return fd;
}

Status Arena::BackUpTo(uint64_t end) {
  end = std::min(capacity_, (end + kBackStepBytes - 1) / kBackStepBytes * kBackStepBytes);
  if (end <= backed_end_) return Status::Ok();
  int failed;
  do {
    failed = fallocate(read_write_.get(), 0, static_cast<off_t>(backed_end_),
                       static_cast<off_t>(end - backed_end_));
  } while (failed != 0 && errno == EINTR);
  if (failed != 0) {
    return Status(StatusCode::kObjectStoreFull,
                  "the machine has no memory left for the object store: " +
                      Status::FromErrno("fallocate").message());
  }
  backed_end_ = end;
  return Status::Ok();
}

Status Arena::Back(uint64_t offset, uint64_t bytes) {
  const uint64_t end = offset + bytes;
  if (end <= backed_end_) return Status::Ok();
  const uint64_t cold = end - backed_end_;
  if (cold <= kMaxBackInline) return BackUpTo(end);
  const uint64_t available = AvailableMemoryBytes();
  if (available != kUnknown && cold + kReserveBytes > available) {
    return Status(StatusCode::kObjectStoreFull,
                  "the machine has no memory left for the object store: " + std::to_string(cold) +
                      " more bytes are needed and " + std::to_string(available) + " are available");
  }
  backed_end_ = std::min(capacity_, (end + kPageBytes - 1) / kPageBytes * kPageBytes);
  return Status::Ok();
}

bool Arena::WarmSome(uint64_t in_use_end) {
  const uint64_t goal = std::min(capacity_, in_use_end + kWarmAheadBytes);
  if (backed_end_ >= goal) return false;
  const uint64_t available = AvailableMemoryBytes();
  // Warming is a comfort: it takes nothing that somebody else may need soon.
  if (available != kUnknown && available / 4 < kWarmAheadBytes) return false;
  return BackUpTo(std::min(goal, backed_end_ + kWarmStepBytes)).ok();
}

}  // namespace cyray::store
