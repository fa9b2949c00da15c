#include "cyray/gcs/farewell.h"

#include <optional>

#include "cyray/gcs/client.h"
#include "cyray/util/event_loop.h"
#include "cyray/wire/convert.h"

namespace cyray::gcs {

Status SayFarewell(const Farewell& farewell, int64_t timeout_ms) {
  EventLoop loop;
  GcsClient client(&loop, farewell.gcs_address, farewell.token);
  flatbuffers::FlatBufferBuilder builder;
  const auto reason = builder.CreateString(farewell.reason);
  builder.Finish(wire::CreateNodeLeavesRequest(builder, wire::ToWire(farewell.node), reason));
  std::optional<Status> said;
  client.Call(wire::GcsMethod::NodeLeaves, wire::FinishedBytes(builder),
              [&](const Result<wire::Bytes>& reply) {
                said = reply.has_value() ? Status::Ok() : reply.error();
              });
  const int64_t end_ms = loop.NowMs() + timeout_ms;
  while (!said && loop.NowMs() < end_ms) loop.RunOnce(end_ms - loop.NowMs());
  return said.value_or(Status(StatusCode::kTimedOut, "the GCS did not answer"));
}

}  // namespace cyray::gcs
