#include "cyray/gcs/rpc.h"

#include <grpcpp/support/slice.h>

#include <algorithm>
#include <cstring>

namespace cyray::gcs {

grpc::ByteBuffer ToMessage(std::string_view header, const uint8_t* body, size_t size) {
  grpc::Slice slices[2] = {grpc::Slice(header.data(), header.size()), grpc::Slice(body, size)};
  return grpc::ByteBuffer(slices, 2);
}

grpc::ByteBuffer ToMessage(const wire::Bytes& body) {
  grpc::Slice slice(body.data(), body.size());
  return grpc::ByteBuffer(&slice, 1);
}

bool FromMessage(const grpc::ByteBuffer& message, void* header, size_t header_bytes,
                 wire::Bytes& body) {
  body.clear();
  std::vector<grpc::Slice> slices;
  // An empty message has no slices and may be an invalid buffer.
  if (message.Valid() && !message.Dump(&slices).ok()) return false;
  size_t total = 0;
  for (const grpc::Slice& slice : slices) total += slice.size();
  if (total < header_bytes) return false;
  body.reserve(total - header_bytes);
  auto* head = static_cast<uint8_t*>(header);
  for (const grpc::Slice& slice : slices) {
    const size_t taken = std::min(header_bytes, slice.size());
    if (taken > 0) std::memcpy(head, slice.begin(), taken);
    head += taken;
    header_bytes -= taken;
    body.insert(body.end(), slice.begin() + taken, slice.end());
  }
  return true;
}

StatusCode CodeFromWire(uint8_t code) {
  return code <= static_cast<uint8_t>(StatusCode::kInternal) ? static_cast<StatusCode>(code)
                                                             : StatusCode::kInternal;
}

}  // namespace cyray::gcs
