// How a question to the GCS is put and its answer is read. For gcs_requests.cc and its like.
// Threading: as Control::Ask.

#pragma once

#include <initializer_list>
#include <string_view>

#include "cyray/core/control.h"
#include "gcs_generated.h"

namespace cyray::core {

inline Status FitsGcs(wire::GcsMethod method, std::initializer_list<std::string_view> parts) {
  size_t bytes = 0;
  for (const std::string_view part : parts) bytes += part.size();
  return CheckGcsRequestSize(wire::EnumNameGcsMethod(method), bytes);
}

// Asks and hands the verified reply table to `read`.
template <class Reply, class Read>
Status CallGcs(Control& control, wire::GcsMethod method,
               const flatbuffers::FlatBufferBuilder& request, Read read) {
  auto answer = control.Ask(method, request);
  if (!answer) return answer.error();
  flatbuffers::Verifier verifier(reinterpret_cast<const uint8_t*>(answer->data()), answer->size(),
                                 64, 4'000'000);
  if (!verifier.VerifyBuffer<Reply>(nullptr)) {
    return Status(StatusCode::kProtocolError, "the GCS sent a reply that is not valid");
  }
  read(*flatbuffers::GetRoot<Reply>(answer->data()));
  return Status::Ok();
}

}  // namespace cyray::core
