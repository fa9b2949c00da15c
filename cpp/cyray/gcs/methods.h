// What is true of each of the GCS's methods, whatever it does: what it reads, if it only reads;
// whether it may be done twice; what a full disk means for it. And the answers that several have.
// Threading: pure functions.

#pragma once

#include <initializer_list>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/gcs/storage.h"
#include "cyray/util/status.h"
#include "cyray/wire/bytes.h"
#include "gcs_generated.h"

namespace cyray::gcs {

// What it reads of all that is stored; nothing: it does not only read. What waits for room, which
// the list of nodes tells too, is a view of resources: it rests on nothing.
std::initializer_list<Storage::Kind> ReadBy(wire::GcsMethod method);
// Methods whose repetition would change something again, or be answered otherwise. For the others
// the ids in the request make a repetition harmless.
bool IsOnce(wire::GcsMethod method, const wire::Bytes& payload);
// Requests that a full disk refuses. The others tell of what has happened already.
bool IsRequest(wire::GcsMethod method);

template <class T>
wire::Bytes Finished(flatbuffers::FlatBufferBuilder& builder, flatbuffers::Offset<T> root) {
  builder.Finish(root);
  return wire::FinishedBytes(builder);
}
wire::Bytes EmptyReply();
std::unexpected<Status> BadRequest();
Result<wire::Bytes> NotDurable(wire::GcsMethod method, const Status& why);
// `dropped`: what became of those that were dropped.
wire::Bytes ChangeActorsReply(const std::vector<Result<ActorId>>& registered,
                              const Status& dropped);

}  // namespace cyray::gcs
