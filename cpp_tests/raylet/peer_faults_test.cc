// Two nodes whose connections are cut after any byte, again and again, by both sides: nothing above
// the sessions notices. Over real sockets; the seed is fixed.

#include <gtest/gtest.h>

#include <random>

#include "cpp_tests/raylet/peer_nodes_fake.h"

namespace cyray::raylet {
namespace {

constexpr store::ClientId kClient = 7;

class PeerFaultsTest : public testing::Test {
 protected:
  PeerFaultsTest() { a_.Meet(b_); }
  // Each connection carries between `least` and `most` bytes, as long as there are cuts left.
  void CutEach(size_t least, size_t most, int cuts) {
    for (FakeNode* node : {&a_, &b_}) {
      node->transport.next_budget = [=, this] {
        return a_.transport.cuts + b_.transport.cuts < cuts ? least + rng_() % (most - least)
                                                            : size_t{0};
      };
    }
  }
  int cuts() const { return a_.transport.cuts + b_.transport.cuts; }
  bool Run(const std::function<bool()>& done) {
    const int64_t deadline = MonotonicMs() + 50'000;
    while (!done()) {
      if (MonotonicMs() > deadline) return false;
      loop_.RunOnce(20);
    }
    return true;
  }

  EventLoop loop_;
  std::mt19937_64 rng_{20'26};
  FakeNode a_{&loop_, 1};
  FakeNode b_{&loop_, 2};
};

TEST_F(PeerFaultsTest, EveryFrameArrivesOnceAndInOrderWhateverIsCut) {
  CutEach(150, 3'000, 100);
  uint64_t sent = 0;
  ASSERT_TRUE(Run([&] {
    for (int i = 0; i < 10 && cuts() < 100; ++i, ++sent) {
      EXPECT_TRUE(a_.SendNumber(b_.id, sent) && b_.SendNumber(a_.id, sent));
    }
    return cuts() >= 100 && a_.received.size() == sent && b_.received.size() == sent;
  })) << cuts()
      << " cuts, " << a_.received.size() << " and " << b_.received.size() << " of " << sent;
  for (uint64_t i = 0; i < sent; ++i) {
    ASSERT_EQ(a_.received[i].second, i);
    ASSERT_EQ(b_.received[i].second, i);
  }
  EXPECT_TRUE(a_.lost.empty() && b_.lost.empty());
}

TEST_F(PeerFaultsTest, AnObjectArrivesByteForByteOverManyConnections) {
  constexpr uint64_t kBytes = 20'000'003;
  const ObjectId id(TaskId{}, 1);
  const store::Arena& arena = a_.store->arena();
  const auto mapping = *store::ArenaMapping::Map(
      *arena.DuplicateReadOnly(), *arena.DuplicateReadWrite(), arena.capacity_bytes());
  const auto offset = a_.store->Create(kClient, id, kBytes, {});
  ASSERT_TRUE(offset && mapping->PrepareWrite(*offset, kBytes).ok());
  for (uint64_t i = 0; i < kBytes; ++i) {
    mapping->write(*offset)[i] = static_cast<uint8_t>(i * 7 + i / 251);
  }
  ASSERT_TRUE(a_.store->Seal(kClient, id).ok());
  CutEach(200, 2'000'000, 20);
  std::optional<Result<store::ObjectView>> answer;
  b_.transfer->Get(kClient, id, {a_.id}, [&](Result<store::ObjectView> view) { answer = view; });
  ASSERT_TRUE(Run([&] { return answer.has_value(); })) << cuts() << " cuts";
  ASSERT_TRUE(*answer) << answer->error().ToString();
  EXPECT_GE(cuts(), 10);
  const store::Arena& theirs = b_.store->arena();
  const auto read = *store::ArenaMapping::Map(
      *theirs.DuplicateReadOnly(), *theirs.DuplicateReadWrite(), theirs.capacity_bytes());
  ASSERT_EQ((*answer)->bytes, kBytes);
  for (uint64_t i = 0; i < kBytes; ++i) {
    ASSERT_EQ(read->read((*answer)->offset)[i], static_cast<uint8_t>(i * 7 + i / 251)) << i;
  }
  EXPECT_EQ(a_.store->CheckInvariants() + b_.store->CheckInvariants(), "");
}

}  // namespace
}  // namespace cyray::raylet
