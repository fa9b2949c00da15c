// The form of the GCS's gRPC traffic, shared by client and server.
//
// Service cyray.Gcs, messages are plain bytes:
// - Challenge. Metadata: the client's nonce. Reply: the server's nonce and proof, 32 bytes each,
//   and the address at which it listens.
// - Call. Request: CallHeader and a request table. Reply: ReplyHeader and a reply table or, when
//   the code is not kOk, the error's text.
// - Stream. The client sends NodeReports, the first with a NodeHello. The server sends
//   NodeCommands. Initial metadata comes when the hello was accepted.
// Call and Stream carry an opening in their metadata; each of their messages, and a stream's
// acceptance and end, has a tag (rpc_auth.h).
// Threading: functions without state.

#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/status.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "cyray/common/ids.h"
#include "cyray/gcs/rpc_auth.h"
#include "cyray/util/status.h"
#include "cyray/wire/bytes.h"

namespace cyray::gcs {

inline constexpr char kChallengeMethod[] = "/cyray.Gcs/Challenge";
inline constexpr char kCallMethod[] = "/cyray.Gcs/Call";
inline constexpr char kStreamMethod[] = "/cyray.Gcs/Stream";
inline constexpr char kClientNonceKey[] = "cyray-client-nonce-bin";
inline constexpr char kOpeningKey[] = "cyray-opening-bin";
// Of a stream, in its initial and in its trailing metadata.
inline constexpr char kAcceptedKey[] = "cyray-accepted-bin";
inline constexpr char kEndKey[] = "cyray-end-bin";
inline constexpr int kMaxMessageBytes = 512 << 20;
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

grpc::ByteBuffer ToMessage(std::string_view text);
wire::Bytes FromMessage(const grpc::ByteBuffer& message);

// A message of a session: which, and what it is there.
struct Sealing {
  const RpcSession& session;
  RpcSession::What what;
  RpcSession::Place place;
};
// `header`, `body` and their tag as one message.
grpc::ByteBuffer Seal(const Sealing& sealing, std::string_view header, std::string_view body);
// Takes the first `header_bytes` of `message` to `header` and what follows to `body`; false when it
// is shorter, or its tag is not the right one.
bool Unseal(const Sealing& sealing, const grpc::ByteBuffer& message, void* header,
            size_t header_bytes, wire::Bytes& body);

// What the tag of a stream's end covers.
std::string EndText(const grpc::Status& status);

}  // namespace cyray::gcs
