#include "cyray/store/object_store.h"

#include <string>

namespace cyray::store {

Result<std::unique_ptr<ObjectStore>> ObjectStore::Open(uint64_t capacity_bytes) {
  Result<Arena> arena = Arena::Create(capacity_bytes);
  if (!arena) return Fail(arena.error());
  return std::unique_ptr<ObjectStore>(new ObjectStore(std::move(*arena)));
}

ObjectStore::ObjectStore(Arena arena)
    : arena_(std::move(arena)), allocator_(arena_.capacity_bytes()) {}

Result<uint64_t> ObjectStore::Create(ClientId client, const ObjectId& id, uint64_t bytes,
                                     const Address& owner, CopyKind kind) {
  if (Status may = table_.MayCreate(id); !may.ok()) return Fail(std::move(may));
  const std::optional<uint64_t> offset = AllocateEvicting(bytes);
  if (!offset) return Fail(Full(bytes));
  if (Status backed = BackBlock(*offset, bytes); !backed.ok()) return Fail(std::move(backed));
  table_.Create(id, client, owner, {*offset, bytes}, kind);
  return *offset;
}

Result<uint64_t> ObjectStore::CreateSpare(ClientId client, const ObjectId& id, uint64_t bytes,
                                          const Address& owner) {
  if (Status may = table_.MayCreate(id); !may.ok()) return Fail(std::move(may));
  const uint64_t block = ArenaAllocator::BlockBytes(bytes);
  const uint64_t for_spares = allocator_.capacity_bytes() / 2;
  const bool plenty = block <= for_spares && allocator_.used_bytes() <= for_spares - block;
  const std::optional<uint64_t> offset = plenty ? allocator_.Allocate(bytes) : std::nullopt;
  if (!offset) return Fail(StatusCode::kObjectStoreFull, "there is no room for spare blocks");
  if (Status backed = BackBlock(*offset, bytes); !backed.ok()) return Fail(std::move(backed));
  table_.Create(id, client, owner, {*offset, bytes}, CopyKind::kPrimary);
  return *offset;
}

Status ObjectStore::BackBlock(uint64_t offset, uint64_t bytes) {
  Status backed = arena_.Back(offset, ArenaAllocator::BlockBytes(bytes));
  if (!backed.ok()) allocator_.Free(offset);
  return backed;
}

std::optional<uint64_t> ObjectStore::AllocateEvicting(uint64_t bytes) {
  std::optional<uint64_t> offset = allocator_.Allocate(bytes);
  const uint64_t unused = allocator_.capacity_bytes() - allocator_.used_bytes();
  // What would not fit even then evicts nothing.
  if (!offset && ArenaAllocator::BlockBytes(bytes) > unused + table_.EvictableBytes()) {
    return std::nullopt;
  }
  while (!offset) {
    ObjectTable::Actions actions;
    if (!table_.EvictOne(actions)) return std::nullopt;
    Apply(std::move(actions));
    offset = allocator_.Allocate(bytes);
  }
  return offset;
}

bool ObjectStore::FitsWithoutCopies(uint64_t bytes) const {
  const uint64_t block = ArenaAllocator::BlockBytes(bytes);
  const uint64_t primary = stats().primary_bytes;
  return primary < allocator_.capacity_bytes() && block <= allocator_.capacity_bytes() - primary;
}

Status ObjectStore::Full(uint64_t bytes) const {
  const StoreStats now = stats();
  if (bytes > now.capacity_bytes) {
    return Status(StatusCode::kObjectStoreFull,
                  "the object is larger than the object store: it takes " + std::to_string(bytes) +
                      " bytes, and the store's capacity is " + std::to_string(now.capacity_bytes) +
                      " bytes. Pass smaller objects, or give `init` a larger "
                      "`object_store_memory`.");
  }
  std::string text =
      "the object store is full: " + std::to_string(bytes) +
      " bytes were asked for; of its capacity of " + std::to_string(now.capacity_bytes) +
      " bytes, " + std::to_string(now.used_bytes) + " are in use (" +
      std::to_string(now.primary_bytes) + " by objects that references keep alive, " +
      std::to_string(now.pinned_bytes) + " mapped by processes)";
  if (now.capacity_bytes - now.used_bytes >= bytes) {
    text += " and the largest free range has " + std::to_string(allocator_.largest_free_bytes()) +
            " bytes";
  }
  return Status(StatusCode::kObjectStoreFull,
                text +
                    ". Delete references (`del ref`) and arrays that came from `get`, pass smaller "
                    "objects, or give `init` a larger `object_store_memory`.");
}

Status ObjectStore::Seal(ClientId client, const ObjectId& id) {
  ObjectTable::Actions actions;
  Status status = table_.Seal(id, client, actions);
  Apply(std::move(actions));
  return status;
}

Status ObjectStore::SealAs(ClientId client, const ObjectId& spare, const ObjectId& id,
                           const Address& owner, uint64_t bytes) {
  ObjectTable::Actions actions;
  Status status = table_.SealAs(spare, id, client, owner, bytes, actions);
  Apply(std::move(actions));
  return status;
}

Status ObjectStore::Abort(ClientId client, const ObjectId& id) {
  ObjectTable::Actions actions;
  Status status =
      table_.Abort(id, client, "the writing of object " + id.Hex() + " was given up", actions);
  Apply(std::move(actions));
  return status;
}

Status ObjectStore::AbortAndKeepWaiters(ClientId client, const ObjectId& id) {
  ObjectTable::Actions actions;
  Status status = table_.Abort(id, client, "", actions, /*keep_waiters=*/true);
  Apply(std::move(actions));
  return status;
}

uint64_t ObjectStore::Get(ClientId client, const ObjectId& id, GetCallback callback) {
  if (const std::optional<ObjectView> view = table_.Pin(id, client)) {
    callback(*view);
    return 0;
  }
  const uint64_t ticket = next_ticket_++;
  callbacks_.emplace(ticket, std::move(callback));
  table_.Wait(id, client, ticket);
  return ticket;
}

Result<ObjectView> ObjectStore::TryGet(ClientId client, const ObjectId& id) {
  if (const std::optional<ObjectView> view = table_.Pin(id, client)) return *view;
  return Fail(StatusCode::kNotFound, "object " + id.Hex() + " is not in this store");
}

void ObjectStore::FailWaiters(const ObjectId& id, const Status& status) {
  ObjectTable::Actions actions;
  table_.FailWaiters(id, status, actions);
  Apply(std::move(actions));
}

void ObjectStore::FailWaiter(const ObjectId& id, uint64_t ticket, const Status& status) {
  ObjectTable::Actions actions;
  table_.FailWaiter(id, ticket, status, actions);
  Apply(std::move(actions));
}

Status ObjectStore::Release(ClientId client, const ObjectId& id) {
  ObjectTable::Actions actions;
  Status status = table_.Release(id, client, actions);
  Apply(std::move(actions));
  return status;
}

void ObjectStore::Free(const ObjectId& id) {
  ObjectTable::Actions actions;
  table_.Free(id, actions);
  Apply(std::move(actions));
}

void ObjectStore::ClientDied(ClientId client) {
  ObjectTable::Actions actions;
  table_.ClientDied(client, actions);
  Apply(std::move(actions));
}

void ObjectStore::OwnerDied(const Address& owner) {
  ObjectTable::Actions actions;
  table_.OwnerDied(owner, actions);
  Apply(std::move(actions));
}

void ObjectStore::NodeDied(const NodeId& node) {
  ObjectTable::Actions actions;
  table_.NodeDied(node, actions);
  Apply(std::move(actions));
}

void ObjectStore::Apply(ObjectTable::Actions actions) {
  for (const uint64_t offset : actions.freed_offsets) allocator_.Free(offset);
  for (const uint64_t ticket : actions.dropped_tickets) callbacks_.erase(ticket);
  for (ObjectTable::Answer& answer : actions.answers) {
    auto node = callbacks_.extract(answer.ticket);
    if (node.empty()) continue;
    if (answer.status.ok()) {
      node.mapped()(answer.view);
    } else {
      node.mapped()(Fail(std::move(answer.status)));
    }
  }
}

StoreStats ObjectStore::stats() const {
  StoreStats stats;
  stats.capacity_bytes = allocator_.capacity_bytes();
  stats.used_bytes = allocator_.used_bytes();
  table_.AddTo(stats);
  return stats;
}

std::string ObjectStore::CheckInvariants() const {
  if (std::string wrong = allocator_.CheckInvariants(); !wrong.empty()) return wrong;
  if (std::string wrong = table_.CheckInvariants(); !wrong.empty()) return wrong;
  if (allocator_.blocks() != stats().objects) return "blocks and objects differ in number";
  return "";
}

}  // namespace cyray::store
