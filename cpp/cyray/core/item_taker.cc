#include "cyray/core/item_taker.h"

#include <cstring>
#include <utility>

#include "cyray/wire/convert.h"

namespace cyray::core {

using wire::FrameType;

namespace {

// The name under which an item is given: of one answer alone, as the same item may be given twice.
ObjectId KeyOf(uint64_t request_id) {
  TaskId task;
  std::memcpy(task.bytes.data(), &request_id, sizeof request_id);
  return {task, UINT32_MAX};
}

}  // namespace

Result<ItemTaker::NextItem> ItemTaker::Take(ObjectEntry* generator, bool only_look) {
  ThisProcess::Lock lock(process_.mutex());
  if (const NextItem next = submitter_.TakeItem(generator, only_look); next.found()) return next;
  if (!left_.empty()) ForgetLeft();
  if (const NextItem next = TakeLeft(generator->id, only_look); next.found()) return next;
  if (generator->owned) {
    return Fail(StatusCode::kUnavailable, "the generator is gone: nothing held it any more");
  }
  const Address owner = directory_.OwnerOf(generator);
  Link& link = process_.links().To(owner);
  if (!process_.raylet().connected()) return Fail(process_.RayletIsGone());
  if (link.state == Link::State::kBroken) {
    return Fail(StatusCode::kUnavailable,
                "the owner of the generator, the process " + owner.ToString() + ", is gone");
  }
  auto asked = std::make_shared<Asked>();
  asked->owner = owner.worker;
  asked->generator = generator->id;
  const uint64_t id = next_request_++;
  asked_[id] = asked;
  builder_.Clear();
  builder_.Finish(wire::CreateTakeItem(builder_, id, wire::ToWire(generator->id), only_look));
  process_.links().Send(link, FrameType::kTakeItem, builder_);
  process_.links().Flush(link);
  Waits::Scope scope(process_.waits(), "the owner of a generator, ", owner.ToString());
  Status status =
      process_.Await(lock, kForever, [&] { return asked->next.found() || !asked->error.empty(); });
  asked->given_up = true;
  if (!status.ok()) {
    Leave(*asked);
    return Fail(std::move(status));
  }
  if (!asked->next.found()) return Fail(StatusCode::kUnavailable, asked->error);
  return asked->next;
}

ItemTaker::NextItem ItemTaker::TakeLeft(const ObjectId& generator, bool only_look) {
  const auto found = left_.find(generator);
  if (found == left_.end()) return {};
  ObjectEntry* const item = found->second.front();
  if (only_look) {
    directory_.AddRef(item);
    return {.item = item};
  }
  found->second.erase(found->second.begin());
  if (found->second.empty()) left_.erase(found);
  return {.item = item, .taken = true};
}

void ItemTaker::Leave(const Asked& asked) {
  if (asked.next.item == nullptr) return;
  if (!asked.next.taken) return directory_.Release(asked.next.item);
  left_[asked.generator].push_back(asked.next.item);
}

void ItemTaker::ForgetLeft() {
  std::vector<ObjectEntry*> nobodys;
  std::erase_if(left_, [&](const auto& left) {
    if (directory_.Find(left.first) != nullptr) return false;
    nobodys.insert(nobodys.end(), left.second.begin(), left.second.end());
    return true;
  });
  for (ObjectEntry* entry : nobodys) directory_.Release(entry);
}

// --- With the core mutex held ---

void ItemTaker::OnTakeItem(Link& link, const wire::TakeItem& take) {
  ObjectEntry* const generator = directory_.Find(wire::FromWireOrNil(take.generator()));
  NextItem next;
  if (generator != nullptr && generator->owned) {
    next = submitter_.TakeItem(generator, take.only_look());
  }
  ObjectId id;
  if (next.item != nullptr) {
    id = next.item->id;
    directory_.Index(next.item);
    link.given[KeyOf(take.request_id())].push_back(next.item);
  }
  builder_.Clear();
  builder_.Finish(wire::CreateTakenItem(builder_, take.request_id(),
                                        next.item != nullptr ? wire::ToWire(id) : nullptr,
                                        next.taken, next.end));
  process_.links().Send(link, FrameType::kTakenItem, builder_);
  process_.links().FlushSoon(link);
}

void ItemTaker::OnTakenItem(Link& link, const wire::TakenItem& taken) {
  const auto found = asked_.find(taken.request_id());
  if (found == asked_.end() || found->second->owner != link.peer.worker) return;
  const auto kept = std::move(found->second);
  asked_.erase(found);
  Asked& asked = *kept;
  asked.next.end = taken.end();
  if (taken.end()) return;
  if (taken.object_id() == nullptr) {
    asked.error = "the owner of the generator, the process " + link.peer.ToString() +
                  ", does not have it any more";
    return;
  }
  asked.next.item = directory_.TakeContained(link.peer, KeyOf(taken.request_id()),
                                             {{wire::FromWire(*taken.object_id()), link.peer}})[0];
  asked.next.taken = taken.taken();
  if (asked.given_up) Leave(asked);
}

void ItemTaker::OnRayletLost() {
  for (const auto& [id, asked] : std::exchange(asked_, {})) {
    asked->error = process_.RayletIsGone().message();
  }
}

void ItemTaker::OnLinkBroken(const Link& link, const std::string& reason) {
  std::erase_if(asked_, [&](const auto& item) {
    if (item.second->owner != link.peer.worker) return false;
    item.second->error = "the owner of the generator, the process " + link.peer.ToString() +
                         ", cannot be reached: " + reason;
    return true;
  });
}

}  // namespace cyray::core
