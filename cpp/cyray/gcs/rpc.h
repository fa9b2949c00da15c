// The form of the GCS's gRPC traffic, shared by client and server.
//
// Service cyray.Gcs, messages are plain bytes:
// - Challenge. Metadata: the client's nonce. Reply: the server's nonce and proof, 32 bytes each.
// - Call. Request: CallHeader and a request table. Reply: ReplyHeader and a reply table or, when
//   the code is not kOk, the error's text.
// - Stream. The client sends NodeReports, the first with a NodeHello; an empty message is a
//   heartbeat. The server sends NodeCommands. Initial metadata comes when the hello was accepted.
// Call and Stream carry nonces and the client's proof in their metadata (auth.h).
// Threading: functions without state.

#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <string_view>

#include "cyray/common/ids.h"
#include "cyray/util/status.h"
#include "cyray/wire/bytes.h"

namespace cyray::gcs {

inline constexpr char kChallengeMethod[] = "/cyray.Gcs/Challenge";
inline constexpr char kCallMethod[] = "/cyray.Gcs/Call";
inline constexpr char kStreamMethod[] = "/cyray.Gcs/Stream";
inline constexpr char kClientNonceKey[] = "cyray-client-nonce-bin";
inline constexpr char kServerNonceKey[] = "cyray-server-nonce-bin";
inline constexpr char kProofKey[] = "cyray-proof-bin";
inline constexpr char kAuthPurpose[] = "gcs";
inline constexpr int kMaxMessageBytes = 512 << 20;
inline constexpr int64_t kHeartbeatMs = 1000;
// The longest that the server holds a GetFunction.
inline constexpr uint32_t kMaxFunctionWaitMs = 50'000;

using CallId = Id<16, struct CallTag>;  // random

// Little endian.
struct CallHeader {
  uint16_t method;
  uint16_t reserved[3];
  uint8_t call_id[16];
};
static_assert(sizeof(CallHeader) == 24);
struct ReplyHeader {
  uint8_t code;  // StatusCode
  uint8_t reserved[7];
};
static_assert(sizeof(ReplyHeader) == 8);

// `header` and `body` as one message.
grpc::ByteBuffer ToMessage(std::string_view header, const uint8_t* body, size_t size);
grpc::ByteBuffer ToMessage(const wire::Bytes& body);
// Takes the first `header_bytes` of `message` to `header` and returns the rest; false when it is
// shorter.
bool FromMessage(const grpc::ByteBuffer& message, void* header, size_t header_bytes,
                 wire::Bytes& body);

// A code that a peer sent; unknown ones are kInternal.
StatusCode CodeFromWire(uint8_t code);

}  // namespace cyray::gcs
