// Frames: what travels on every cyray socket.
//
//   offset 0  u32  size of the body in bytes, little endian, a multiple of 8
//   offset 4  u16  FrameType
//   offset 6  u8   number of file descriptors that come with the frame (Unix sockets only)
//   offset 7  u8   0
//   offset 8       the body: a FlatBuffers table of schema local.fbs, core.fbs or peer.fbs
//
// Frames are multiples of 8 bytes, so bodies that start aligned stay aligned and are read in place.
// A body is verified before it is read (Frame::As); a frame that does not verify closes its
// connection and nothing else.

#pragma once

#include <flatbuffers/flatbuffers.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "cyray/util/fd_message.h"

namespace cyray::wire {

inline constexpr size_t kFrameHeaderBytes = 8;
inline constexpr uint32_t kMaxFrameBytes = 512u << 20;
inline constexpr size_t kMaxFdsPerFrame = kMaxMessageFds;

enum class FrameType : uint16_t {
  // local.fbs, client and raylet
  kRegister = 1,
  kRegisterReply,
  kRequestLease,
  kLeaseReply,
  kCancelLease,
  kReturnLease,
  kReclaimLease,
  kLeaseBroken,
  kBlocked,
  kConnectPeer,
  kConnectPeerReply,
  kPeerConnected,
  kRelay,
  kRelayFailed,
  kCreateObject,
  kCreateObjectReply,
  kSealObject,
  kAbortObject,
  kGetObject,
  kGetObjectReply,
  kReleaseObjects,
  kFreeObjects,
  kGcsCall,
  kGcsReply,
  kSubscribeActor,
  kActorUpdate,
  kAssignActor,
  kActorReady,
  kExitWorker,
  kWorkerStays,
  kWorkerExiting,
  kProcessDied,
  kLogLines,
  kWarning,
  kNodeInfo,
  kNodeInfoReply,
  kAssignJob,
  kSealAs,
  kReturnSpares,
  kFlushOutput,
  kFlushOutputReply,
  kPing,
  kPong,
  kSetResource,
  kSetResourceReply,
  kAskProcess,
  kProcessReport,
  // core.fbs, Python process and Python process
  kTemplate = 64,
  kPushTask,
  kTaskReply,
  kStealTasks,
  kTaskProgress,
  kFetchObject,
  kObjectState,
  kAddBorrowers,
  kAddBorrowersAck,
  kRemoveBorrowers,
  kContainedTaken,
  kLinkReset,
  kLastAnswers,
  kCancelTask,
  kCancelObject,
  kStreamItem,
  kItemsTaken,
  kTakeItem,
  kTakenItem,
  kObjectFreed,
  kHoldPermits,
  kGrantPermits,
  kAskRead,
  kAnswersRead,
  kCallsSaved,
  kSaveWanted,
  // peer.fbs, raylet and raylet
  kForwardLease = 128,
  kForwardLeaseReply,
  kForwardReturnLease,
  kForwardReclaim,
  kForwardBroken,
  kForwardCancel,
  kForwardFree,
  kPullObject,
  kObjectChunk,
  kCancelPull,
  kForwardLogLines,
  kForwardWarning,
  kForwardFlushOutput,
  kForwardFlushOutputReply,
  kAskWitness,
  kTestimony,
  kForwardProcessDied,
  kRelayCredit,
  kWatchProcess,
  kForwardNodeInfo,
  kForwardNodeInfoReply,
};

struct FrameHeader {
  uint32_t body_bytes;
  uint16_t type;
  uint8_t fd_count;
  uint8_t reserved;
};
static_assert(sizeof(FrameHeader) == kFrameHeaderBytes);

// A received frame. `body` points into its reader's buffer and is valid until the next read.
struct Frame {
  FrameType type;
  const uint8_t* body;
  uint32_t body_bytes;
  std::vector<UniqueFd> fds;

  // The body as table T, or nullptr when its bytes are not one.
  template <class T>
  const T* As() const {
    flatbuffers::Verifier verifier(body, body_bytes, /*max_depth=*/16, /*max_tables=*/4'000'000);
    if (!verifier.VerifyBuffer<T>(nullptr)) return nullptr;
    return flatbuffers::GetRoot<T>(body);
  }
};

// Appends one frame with the finished buffer of `builder` as body to `out`.
template <class Buffer>
void AppendFrame(Buffer& out, FrameType type, const uint8_t* body, size_t size, uint8_t fds = 0) {
  const size_t padded = (size + 7) & ~size_t{7};
  const FrameHeader header{static_cast<uint32_t>(padded), static_cast<uint16_t>(type), fds, 0};
  const size_t at = out.size();
  out.resize(at + kFrameHeaderBytes + padded);
  std::memcpy(out.data() + at, &header, sizeof header);
  if (size > 0) std::memcpy(out.data() + at + kFrameHeaderBytes, body, size);
  if (padded != size) std::memset(out.data() + at + kFrameHeaderBytes + size, 0, padded - size);
}

}  // namespace cyray::wire
