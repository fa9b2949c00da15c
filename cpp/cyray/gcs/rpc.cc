#include "cyray/gcs/rpc.h"

#include <grpcpp/support/slice.h>

#include <cstring>
#include <iterator>

namespace cyray::gcs {

grpc::ByteBuffer ToMessage(std::string_view text) {
  const grpc::Slice slice(text.data(), text.size());
  return grpc::ByteBuffer(&slice, 1);
}

namespace {

std::vector<grpc::Slice> SlicesOf(const grpc::ByteBuffer& message) {
  std::vector<grpc::Slice> slices;
  // An empty message has no slices and may be an invalid buffer.
  if (message.Valid() && !message.Dump(&slices).ok()) slices.clear();
  return slices;
}

wire::Bytes Joined(const std::vector<grpc::Slice>& slices) {
  size_t size = 0;
  for (const grpc::Slice& slice : slices) size += slice.size();
  wire::Bytes bytes;
  bytes.reserve(size);
  for (const grpc::Slice& slice : slices) bytes.insert(bytes.end(), slice.begin(), slice.end());
  return bytes;
}

}  // namespace

wire::Bytes FromMessage(const grpc::ByteBuffer& message) { return Joined(SlicesOf(message)); }

grpc::ByteBuffer Seal(const Sealing& sealing, std::string_view header, std::string_view body) {
  const std::string tag = sealing.session.Tag(sealing.what, sealing.place, header, body);
  const grpc::Slice slices[] = {grpc::Slice(header.data(), header.size()),
                                grpc::Slice(body.data(), body.size()),
                                grpc::Slice(tag.data(), tag.size())};
  return grpc::ByteBuffer(slices, std::size(slices));
}

bool Unseal(const Sealing& sealing, const grpc::ByteBuffer& message, void* header,
            size_t header_bytes, wire::Bytes& body) {
  const std::vector<grpc::Slice> slices = SlicesOf(message);
  const bool whole = slices.size() == 1;  // all but large ones
  if (!whole) body = Joined(slices);
  const uint8_t* const bytes = whole ? slices.front().begin() : body.data();
  const std::string_view all(reinterpret_cast<const char*>(bytes),
                             whole ? slices.front().size() : body.size());
  if (all.size() < header_bytes + kTagBytes) return false;
  const size_t tag_at = all.size() - kTagBytes;
  if (!sealing.session.IsTag(all.substr(tag_at), sealing.what, sealing.place,
                             all.substr(0, header_bytes),
                             all.substr(header_bytes, tag_at - header_bytes))) {
    return false;
  }
  if (header_bytes > 0) std::memcpy(header, bytes, header_bytes);
  if (whole) {
    body.assign(bytes + header_bytes, bytes + tag_at);
    return true;
  }
  body.resize(tag_at);
  body.erase(body.begin(), body.begin() + static_cast<ptrdiff_t>(header_bytes));
  return true;
}

std::string EndText(const grpc::Status& status) { return std::to_string(status.error_code()); }

}  // namespace cyray::gcs
