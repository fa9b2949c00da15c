// The part of ObjectDirectory that deals with objects which their user frees while refs to them
// live.

#include <algorithm>

#include "cyray/core/object_directory.h"

namespace cyray::core {

void ObjectDirectory::Free(ObjectEntry* entry) {
  if (entry->freed || entry->actor_handle) return;
  AddRef(entry);  // who waited for it may let go of it
  Discard(entry);
  if (!entry->owned) {
    outbox_.SendFreedToOwner(entry->extra->owner, entry->id);
  } else if (entry->extra) {
    // A borrower that turns out dead is taken out of the set.
    const std::vector<WorkerId> borrowers(entry->extra->borrowers.begin(),
                                          entry->extra->borrowers.end());
    for (const WorkerId& borrower : borrowers) outbox_.SendFreedToBorrower(borrower, entry->id);
  }
  Release(entry);
}

void ObjectDirectory::FreeHere(ObjectEntry* entry) {
  if (entry->state != ObjectState::kStored) return;
  const auto& places = entry->extra->locations;
  if (std::ranges::all_of(places, [this](const NodeId& node) { return node == self_.node; })) {
    return Free(entry);
  }
  if (entry->pin != nullptr && pins_.DropEntry(entry->pin)) store_.ReleasePin(entry->id);
  store_.FreeStray(entry->id, self_.node);
}

void ObjectDirectory::OnFreed(const WorkerId& from, const ObjectId& id) {
  ObjectEntry* entry = Find(id);
  if (entry == nullptr || entry->freed) return;
  if (entry->owned) return Free(entry);
  if (entry->extra->owner.worker != from) return;
  AddRef(entry);
  Discard(entry);
  Release(entry);
}

void ObjectDirectory::Discard(ObjectEntry* entry) {
  const ObjectId id = entry->id;
  if (entry->pin != nullptr && pins_.DropEntry(entry->pin)) store_.ReleasePin(id);
  if (entry->owned && entry->state == ObjectState::kStored) {
    store_.FreeStored(id, entry->extra->locations);
  }
  std::vector<ObjectEntry*> contained;
  if (entry->extra) {
    contained.swap(entry->extra->contained);
    entry->extra->locations.clear();
  }
  entry->fetching = false;
  Fail(entry, ErrorKind::kObjectFreed,
       "the object " + id.Hex() + " was freed by the program: cyray.internal.free()");
  entry->freed = true;
  for (ObjectEntry* inner : contained) Release(inner);
}

}  // namespace cyray::core
