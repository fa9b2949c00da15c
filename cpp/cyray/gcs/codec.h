// Between the GCS's records and their FlatBuffers tables, for the wire and for the disk.
// Threading: functions without state. Read* functions take verified tables, from peers or from
// disk.

#pragma once

#include "cyray/gcs/actor_record.h"
#include "cyray/gcs/job_table.h"
#include "cyray/gcs/node_table.h"
#include "cyray/gcs/save_table.h"
#include "cyray/util/status.h"
#include "cyray/wire/bytes.h"
#include "gcs_generated.h"

namespace cyray::gcs {

// A code that a peer sent; unknown ones are kInternal.
StatusCode CodeFromWire(uint8_t code);
// kInvalidArgument: ids are missing.
Result<ActorSpec> ReadActorSpec(const wire::RegisterActorRequest& request);
// `waits`: what it waits for, where people are told (actor_waits.h).
flatbuffers::Offset<wire::ActorUpdate> WriteUpdate(flatbuffers::FlatBufferBuilder& builder,
                                                   const ActorRecord& record,
                                                   const std::string& waits = {});
// `save`: its last one, where people are told; null: there is none.
flatbuffers::Offset<wire::ActorInfo> WriteInfo(flatbuffers::FlatBufferBuilder& builder,
                                               const ActorRecord& record,
                                               const SaveTable::Save* save = nullptr);
// A row that is left out when the GCS starts: somebody wrote into its file, or the disk lost bytes.
void LogUnreadable(const char* what, std::string_view key);
wire::Bytes StoredState(const ActorRecord& record);
// Fills all but what only the spec knows. False when the bytes are not a stored state.
bool ReadStoredState(const wire::Bytes& bytes, ActorRecord& record);

using WirePending = flatbuffers::Vector<flatbuffers::Offset<wire::PendingDemand>>;
std::map<ResourceSet, uint32_t> ReadPending(const WirePending* pending);
flatbuffers::Offset<WirePending> WritePending(flatbuffers::FlatBufferBuilder& builder,
                                              const std::map<ResourceSet, uint32_t>& pending);

NodeEntry ReadNode(const wire::NodeRecord& record);
flatbuffers::Offset<wire::NodeRecord> WriteNode(flatbuffers::FlatBufferBuilder& builder,
                                                const NodeEntry& node);

JobEntry ReadJob(const wire::JobRecord& record);
flatbuffers::Offset<wire::JobRecord> WriteJob(flatbuffers::FlatBufferBuilder& builder,
                                              const JobEntry& job);
flatbuffers::Offset<wire::JobChanged> WriteJobChanged(flatbuffers::FlatBufferBuilder& builder,
                                                      const JobEntry& job);

// A finished NodeCommand with `body`.
template <class T>
wire::Bytes FinishCommand(flatbuffers::FlatBufferBuilder& builder, flatbuffers::Offset<T> body) {
  builder.Finish(
      wire::CreateNodeCommand(builder, wire::NodeCommandBodyTraits<T>::enum_value, body.Union()));
  return wire::FinishedBytes(builder);
}
// A finished NodeReport with `body`.
template <class T>
wire::Bytes FinishReport(flatbuffers::FlatBufferBuilder& builder, flatbuffers::Offset<T> body) {
  builder.Finish(
      wire::CreateNodeReport(builder, wire::NodeReportBodyTraits<T>::enum_value, body.Union()));
  return wire::FinishedBytes(builder);
}

}  // namespace cyray::gcs
