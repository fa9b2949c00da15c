// Links and the raylet connection: full sockets, broken ones, and what was sent before the end.

#include "cyray/core/link.h"

#include <gmock/gmock.h>

#include "cpp_tests/core/submitter_fake.h"

namespace cyray::core {
namespace {

using testing::ElementsAre;
using testing::SizeIs;
using wire::FrameType;

class LinkTest : public SubmitterFake {
 protected:
  // Until the far end has taken all that was written.
  void Drain(FarEnd& end, FrameType type) {
    for (int round = 0; round < 10'000 && raylet_.HasUnsent(); ++round) {
      got_ += end.Take(type).size();
      raylet_.OnReady();
    }
    got_ += end.Take(type).size();
  }
  size_t got_ = 0;

  Address Remote() const {
    Address remote = WorkerAddress(10);
    remote.node.bytes[0] = 2;
    return remote;
  }
  static wire::ByteBuffer FrameOf(FrameType type) {
    flatbuffers::FlatBufferBuilder b;
    if (type == FrameType::kLinkReset) {
      b.Finish(wire::CreateLinkReset(b));
    } else {
      b.Finish(wire::CreateTaskReply(b, 1));
    }
    wire::ByteBuffer frame;
    wire::AppendFrame(frame, type, b.GetBufferPointer(), b.GetSize());
    return frame;
  }
  void Arrives(FrameType type) {
    const wire::ByteBuffer frame = FrameOf(type);
    links_.OnRelay(Remote(), frame.data(), frame.size());
  }
  // Types of the frames that were relayed since.
  std::vector<FrameType> Relayed() {
    std::vector<FrameType> types;
    for (const GotFrame& frame : FromProcess(FrameType::kRelay)) {
      wire::FrameHeader header;
      std::memcpy(&header, frame.As<wire::Relay>()->frame()->data(), sizeof header);
      types.push_back(static_cast<FrameType>(header.type));
    }
    return types;
  }
  void AskGcs(const std::vector<uint8_t>& payload, RayletOutbox::ReplyHandler on_reply) {
    const uint64_t id = raylet_.NextRequestId();
    flatbuffers::FlatBufferBuilder b;
    b.Finish(wire::CreateGcsCall(b, id, 1, b.CreateVector(payload)));
    raylet_.Request(id, FrameType::kGcsCall, b, std::move(on_reply));
  }
  void SendSteal(Link& link) {
    flatbuffers::FlatBufferBuilder b;
    b.Finish(wire::CreateStealTasks(b, 1));
    links_.Send(link, FrameType::kStealTasks, b);
  }
};

TEST_F(LinkTest, ARequestLargerThanTheRayletsSocketAsksForRoomAndArrivesWhole) {
  std::vector<bool> wants;
  raylet_.SetWriteHandler([&](bool wants_write) { wants.push_back(wants_write); });
  const std::vector<uint8_t> payload(4 << 20, 7);
  bool answered = false;
  AskGcs(payload, [&](wire::Frame*) { answered = true; });
  raylet_.Flush();
  EXPECT_THAT(wants, ElementsAre(true));
  Drain(*raylet_end_, FrameType::kGcsCall);
  EXPECT_EQ(got_, 1u);
  EXPECT_THAT(wants, ElementsAre(true, false));
  EXPECT_FALSE(answered);
}

TEST_F(LinkTest, ALostRayletAnswersEveryRequestAndLaterOnes) {
  int answers = 0;
  AskGcs({}, [&](wire::Frame* frame) { answers += frame == nullptr; });
  raylet_end_.reset();
  raylet_.Flush();
  EXPECT_EQ(answers, 0) << "a frame may be in use where this is called";
  raylet_.OnReady();
  EXPECT_EQ(answers, 1);
  EXPECT_TRUE(raylet_lost_);
  AskGcs({}, [&](wire::Frame* frame) { answers += frame == nullptr; });
  EXPECT_EQ(answers, 2);
}

TEST_F(LinkTest, FramesWaitForTheConnectionAndKeepTheirOrder) {
  Link& link = links_.To(WorkerAddress(10));
  EXPECT_THAT(FromProcess(FrameType::kConnectPeer), SizeIs(1));
  for (uint32_t i = 1; i <= 3; ++i) {
    flatbuffers::FlatBufferBuilder b;
    b.Finish(wire::CreateStealTasks(b, i));
    links_.Send(link, FrameType::kStealTasks, b);
  }
  FarEnd& peer = AddWorker(10);
  const auto frames = peer.Take(FrameType::kStealTasks);
  ASSERT_THAT(frames, SizeIs(3));
  for (uint32_t i = 0; i < 3; ++i) EXPECT_EQ(frames[i].As<wire::StealTasks>()->all_but(), i + 1);
}

TEST_F(LinkTest, ABrokenLinkGivesItsDescriptorBackAndStaysBroken) {
  AddWorker(10);
  Link& link = LinkTo(10);
  const int fd = link.channel->fd();
  Kill(10);
  EXPECT_EQ(link.state, Link::State::kBroken);
  links_.FlushDirty();
  EXPECT_EQ(link.channel, nullptr);
  EXPECT_EQ(fcntl(fd, F_GETFD), -1);
  auto [near, far] = SocketPair();
  links_.OnPeerConnected(WorkerAddress(10), std::move(near));
  EXPECT_EQ(LinkTo(10).state, Link::State::kBroken);
}

TEST_F(LinkTest, TheLinkOfADeadProcessIsForgottenAndNothingLateBringsItBack) {
  AddWorker(10);
  Link& link = LinkTo(10);
  Kill(10);
  links_.Forget(WorkerAddress(10).worker);
  links_.FlushDirty();
  EXPECT_TRUE(links_.all().empty());
  links_.OnReady(link, EPOLLIN);  // an event that was on its way
  EXPECT_EQ(LinkTo(10).state, Link::State::kBroken);
  auto [near, far] = SocketPair();
  links_.OnPeerConnected(WorkerAddress(10), std::move(near));
  const uint8_t frame[16] = {};
  links_.OnRelay(WorkerAddress(10), frame, sizeof frame);
  EXPECT_TRUE(links_.all().empty());
  EXPECT_THAT(FromProcess(FrameType::kConnectPeer), SizeIs(0));
  AddWorker(11);
  EXPECT_EQ(&LinkTo(11), &link) << "its memory serves the next";
  EXPECT_EQ(link.state, Link::State::kOpen);
}

TEST_F(LinkTest, ManyProcessesThatComeAndGoLeaveNothing) {
  constexpr uint32_t kProcesses = 3 * LinkTable::kMaxDead;
  Address peer = WorkerAddress(10);
  peer.node.bytes[0] = 2;
  for (uint32_t i = 0; i < kProcesses; ++i) {
    std::memcpy(peer.worker.bytes.data() + 1, &i, sizeof i);
    links_.Break(links_.To(peer), "dead");
    links_.Forget(peer.worker);
    links_.FlushDirty();
  }
  EXPECT_TRUE(links_.all().empty());
}

TEST_F(LinkTest, ALinkIsWatchedForRoomWhileItsSocketIsFull) {
  FarEnd& peer = AddWorker(10);
  Link& link = LinkTo(10);
  flatbuffers::FlatBufferBuilder b;
  const std::vector<uint8_t> bytes(4 << 20, 7);
  b.Finish(wire::CreatePushTask(b, 1, 0, 0, nullptr, b.CreateVector(bytes)));
  links_.Send(link, FrameType::kPushTask, b);
  links_.Flush(link);
  EXPECT_TRUE(link.wants_write);
  size_t got = 0;
  for (int round = 0; round < 10'000 && link.wants_write; ++round) {
    got += peer.Take(FrameType::kPushTask).size();
    links_.OnReady(link, EPOLLOUT);
  }
  got += peer.Take(FrameType::kPushTask).size();
  EXPECT_EQ(got, 1u);
}

TEST_F(LinkTest, WhatGatheredAMomentAgoWaitsWhenOnlyStaleFramesAreWritten) {
  FarEnd& peer = AddWorker(10);
  Link& link = LinkTo(10);
  flatbuffers::FlatBufferBuilder b;
  b.Finish(wire::CreateStealTasks(b, 1));
  links_.Flush(link);  // the last write was a moment ago
  links_.Send(link, FrameType::kStealTasks, b);
  links_.FlushDirty(int64_t{3'600} * 1'000'000'000);
  EXPECT_THAT(peer.Take(FrameType::kStealTasks), SizeIs(0));
  links_.FlushDirty(1);
  EXPECT_THAT(peer.Take(FrameType::kStealTasks), SizeIs(1));
  links_.Send(link, FrameType::kStealTasks, b);
  links_.FlushDirty();
  EXPECT_THAT(peer.Take(FrameType::kStealTasks), SizeIs(1));
}

TEST_F(LinkTest, ProcessesOfOtherNodesAreReachedThroughTheRaylet) {
  Address remote = WorkerAddress(10);
  remote.node.bytes[0] = 2;
  Link& link = links_.To(remote);
  EXPECT_EQ(link.state, Link::State::kRelay);
  flatbuffers::FlatBufferBuilder b;
  b.Finish(wire::CreateStealTasks(b, 1));
  links_.Send(link, FrameType::kStealTasks, b);
  links_.Flush(link);
  EXPECT_THAT(raylet_end_->Take(FrameType::kRelay), SizeIs(1));
}

TEST_F(LinkTest, WhoeverSendsOnALinkThatBrokeAtThisEndIsTold) {
  Link& link = links_.To(Remote());
  links_.OnRelayFailed(Remote().worker, "lost");
  EXPECT_EQ(link.state, Link::State::kBroken);
  Arrives(FrameType::kTaskReply);
  Arrives(FrameType::kTaskReply);
  EXPECT_THAT(Relayed(), ElementsAre(FrameType::kLinkReset)) << "once";
  EXPECT_EQ(link.state, Link::State::kBroken);
}

TEST_F(LinkTest, ABrokenLinkToAnotherNodeComesBackWhenBothEndsSaySo) {
  Link& link = links_.To(Remote());
  link.sent_templates.resize(10, true);
  links_.OnRelayFailed(Remote().worker, "lost");
  EXPECT_EQ(&links_.To(Remote()), &link);
  EXPECT_THAT(Relayed(), ElementsAre(FrameType::kLinkReset));
  SendSteal(link);
  Arrives(FrameType::kTaskReply);  // from before
  EXPECT_THAT(Relayed(), SizeIs(0));
  Arrives(FrameType::kLinkReset);
  EXPECT_EQ(link.state, Link::State::kRelay);
  EXPECT_TRUE(link.sent_templates.empty()) << "the other end has forgotten them";
  SendSteal(links_.To(Remote()));
  EXPECT_THAT(Relayed(), ElementsAre(FrameType::kStealTasks));
}

TEST_F(LinkTest, ALinkThatTheOtherEndGaveUpBreaksHereTooAndBeginsAfresh) {
  Link& link = links_.To(Remote());
  bool broke = false;
  on_broken_ = [&] { broke = true; };
  Arrives(FrameType::kLinkReset);
  EXPECT_TRUE(broke) << "who waits for an answer is told";
  EXPECT_THAT(Relayed(), ElementsAre(FrameType::kLinkReset));
  EXPECT_EQ(link.state, Link::State::kRelay);
  links_.GiveUp(link, "nonsense");
  EXPECT_THAT(Relayed(), ElementsAre(FrameType::kLinkReset));
}

TEST_F(LinkTest, TheLinkOfADeadProcessDoesNotComeBack) {
  Link& link = links_.To(Remote());
  links_.OnRelayFailed(Remote().worker, "dead");
  links_.Forget(Remote().worker);
  EXPECT_EQ(links_.To(Remote()).state, Link::State::kBroken);
  links_.FlushDirty();
  Arrives(FrameType::kLinkReset);
  EXPECT_EQ(links_.To(Remote()).state, Link::State::kBroken);
  EXPECT_THAT(Relayed(), SizeIs(0));
  EXPECT_TRUE(links_.all().empty()) << &link;
}

}  // namespace
}  // namespace cyray::core
