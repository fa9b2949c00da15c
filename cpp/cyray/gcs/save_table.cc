#include "cyray/gcs/save_table.h"

#include <utility>

#include "cyray/wire/convert.h"

namespace cyray::gcs {

bool SaveTable::Put(wire::Bytes bytes) {
  const auto* request = wire::VerifiedRoot<wire::SaveActorRequest>(bytes);
  if (request == nullptr) return false;
  const ActorId actor = wire::FromWireOrNil(request->actor_id());
  const auto it = saves_.find(actor);
  if (it != saves_.end() && std::pair(it->second.incarnation, it->second.number) >=
                                std::pair(request->incarnation(), request->number())) {
    return false;
  }
  Save save{.incarnation = request->incarnation(),
            .number = request->number(),
            .taken_ms = request->taken_ms(),
            .state_bytes = request->state() != nullptr ? request->state()->size() : 0};
  save.request = std::move(bytes);
  Save& slot = saves_[actor];
  bytes_ += save.request.size() - slot.request.size();
  slot = std::move(save);
  return true;
}

bool SaveTable::HasRoom(const ActorId& actor, size_t request_bytes) const {
  const Save* const before = Find(actor);
  const size_t there = before != nullptr ? before->request.size() : 0;
  return request_bytes <= there || bytes_ - there + request_bytes <= most_bytes_;
}

bool SaveTable::Erase(const ActorId& actor) {
  const auto it = saves_.find(actor);
  if (it == saves_.end()) return false;
  bytes_ -= it->second.request.size();
  saves_.erase(it);
  return true;
}

const SaveTable::Save* SaveTable::Find(const ActorId& actor) const {
  const auto it = saves_.find(actor);
  return it != saves_.end() ? &it->second : nullptr;
}

}  // namespace cyray::gcs
