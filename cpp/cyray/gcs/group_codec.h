// Between the records of placement groups and their FlatBuffers tables, for the wire and for disk.
// Threading: functions without state. Read* functions take verified tables.

#pragma once

#include <string>

#include "cyray/gcs/group_record.h"
#include "cyray/util/status.h"
#include "cyray/wire/bytes.h"

namespace cyray::gcs {

// kInvalidArgument: an id is missing, or the bundles are not those of a group.
Result<GroupSpec> ReadGroupSpec(const wire::RegisterGroupRequest& request);
flatbuffers::Offset<wire::GroupInfo> WriteGroup(flatbuffers::FlatBufferBuilder& builder,
                                                const GroupRecord& record, wire::GroupState state);
wire::Bytes StoredGroupOf(const GroupRecord& record);
// False when the bytes are not a stored group.
bool ReadStoredGroup(const wire::Bytes& bytes, GroupRecord& record);

// "3 bundles of {CPU: 1}, 1 of {GPU: 1}": for people.
std::string BundlesText(const GroupSpec& spec);
// "STRICT_PACK": as users write it.
const char* PolicyText(wire::GroupPolicy policy);

}  // namespace cyray::gcs
