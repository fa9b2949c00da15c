// ObjectDirectory and what only this process knows: others hear of a stored object after Publish.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "cpp_tests/core/silent_outbox.h"
#include "cyray/core/object_directory.h"

namespace cyray::core {
namespace {

ObjectId MakeId(uint32_t index) { return ObjectId(TaskId{}, index); }

// Notes, in order, what the directory asks for.
class NotingOutbox : public SilentOutbox {
 public:
  void SendState(const WorkerId&, uint64_t, const ObjectId&, const ObjectEntry*) override {
    notes.emplace_back("state");
  }
  void PullToStore(ObjectEntry*) override { notes.emplace_back("pull"); }
  void Publish(const ObjectId&) override { notes.emplace_back("publish"); }
  void ReleasePin(const ObjectId&) override { notes.emplace_back("unpin"); }
  void FreeStored(const ObjectId&, const std::vector<NodeId>&) override {
    notes.emplace_back("free");
  }
  std::vector<std::string> notes;
};

class PublishTest : public testing::Test {
 protected:
  ObjectEntry* PutUnpublished() {
    ObjectEntry* entry = objects_.NewOwned(MakeId(1));
    objects_.AdoptPin(entry, 64, 10);
    objects_.ResolveUnpublished(entry, NodeId{}, 10);
    return entry;
  }
  NotingOutbox outbox_;
  ObjectDirectory objects_{outbox_, outbox_};
};

TEST_F(PublishTest, AnUnpublishedObjectIsReadableHereAndPublishedOnceWhenItIsIndexed) {
  ObjectEntry* entry = PutUnpublished();
  EXPECT_TRUE(entry->ready() && entry->local());
  EXPECT_TRUE(outbox_.notes.empty());
  objects_.Index(entry);
  objects_.Index(entry);
  EXPECT_EQ(outbox_.notes, std::vector<std::string>{"publish"});
  objects_.Release(entry);
}

TEST_F(PublishTest, AnObjectThatNobodyHeardOfIsUnpinnedAndFreedWithoutPublishing) {
  objects_.Release(PutUnpublished());
  EXPECT_EQ(outbox_.notes, (std::vector<std::string>{"unpin", "free"}));
}

TEST_F(PublishTest, AReaderKeepsThePinWhenTheLastRefIsGone) {
  ObjectEntry* entry = PutUnpublished();
  LocalPin* pin = entry->pin;
  objects_.AddView(pin);
  objects_.Release(entry);
  EXPECT_EQ(outbox_.notes, std::vector<std::string>{"free"});
  objects_.DropView(pin);
  EXPECT_EQ(outbox_.notes.back(), "unpin");
}

TEST_F(PublishTest, AnObjectStoredAsItWasSealedIsIndexedAndNotPublished) {
  ObjectEntry* entry = objects_.NewOwned(MakeId(1));
  objects_.ResolveStored(entry, NodeId{}, 10);
  EXPECT_TRUE(entry->indexed);
  EXPECT_TRUE(outbox_.notes.empty());
  objects_.Release(entry);
}

}  // namespace
}  // namespace cyray::core
