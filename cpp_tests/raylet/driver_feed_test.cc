// Tests of DriverFeed: output and warnings reach the driver of their job on whatever node.

#include "cyray/raylet/driver_feed.h"

#include "cpp_tests/raylet/node_fake.h"
#include "cyray/common/dropped_lines.h"

namespace cyray::raylet {
namespace {

using wire::FrameType;

JobId Number(uint32_t number) { return JobId::FromBytes(&number); }

class DriverFeedTest : public ::testing::Test {
 protected:
  struct FeedNode : NodeFake {
    FeedNode(EventLoop* loop, uint8_t number)
        : NodeFake(loop, number),
          feed({loop, &options, &clients, &peers, &jobs}, [this](const JobId& job) {
            if (drain) drain(job);
          }) {
      on_frame = [this](ClientConnection& client, wire::Frame& frame) {
        return feed.OnFlushOutput(client, frame.As<wire::FlushOutput>());
      };
    }
    std::function<void(const JobId&)> drain;
    DriverFeed feed;
  };

  DriverFeedTest() {
    here_.Meet(there_);
    there_.Meet(here_);
    // What the GCS tells every node of a job.
    there_.jobs.Add(*here_.jobs.Find(job_));
  }
  static WorkerLogs::Lines Lines(std::vector<std::string> text) {
    return {WorkerId::Nil(), 42, "f", false, std::move(text)};
  }
  std::optional<GotFrame> Await(FrameType type) { return here_.Await(*driver_, type); }
  static std::vector<std::string> TextOf(const GotFrame& frame) {
    std::vector<std::string> lines;
    for (const auto* line : *frame.As<wire::LogLines>()->lines()) lines.push_back(line->str());
    return lines;
  }
  void AskToFlush() {
    driver_->Send(FrameType::kFlushOutput,
                  [](auto& builder) { return wire::CreateFlushOutput(builder, 7); });
  }

  const JobId job_ = Number(1);
  EventLoop loop_;
  FeedNode here_{&loop_, 1};
  FeedNode there_{&loop_, 2};
  std::unique_ptr<FakeProcess> driver_ = here_.AddDriver(job_);
};

TEST_F(DriverFeedTest, LinesOfThisNodeReachTheDriver) {
  here_.feed.SendLines(job_, Lines({"one", "two"}));
  const auto frame = Await(FrameType::kLogLines);
  ASSERT_TRUE(frame);
  EXPECT_EQ(TextOf(*frame), (std::vector<std::string>{"one", "two"}));
  const auto* lines = frame->As<wire::LogLines>();
  EXPECT_EQ(lines->pid(), 42);
  EXPECT_EQ(lines->label()->str(), "f");
}

TEST_F(DriverFeedTest, LinesOfAnotherNodeReachTheDriver) {
  there_.options.node_ip = "10.0.0.2";
  there_.feed.SendLines(job_, Lines({"from afar"}));
  const auto frame = Await(FrameType::kLogLines);
  ASSERT_TRUE(frame);
  EXPECT_EQ(TextOf(*frame), (std::vector<std::string>{"from afar"}));
  EXPECT_EQ(frame->As<wire::LogLines>()->node_ip()->str(), "10.0.0.2");
}

TEST_F(DriverFeedTest, WarningsReachTheDriverFromWhereverTheyAre) {
  here_.feed.Warn(job_, "here");
  auto frame = Await(FrameType::kWarning);
  ASSERT_TRUE(frame);
  EXPECT_EQ(frame->As<wire::Warning>()->text()->str(), "here");
  there_.feed.Warn(job_, "there");
  frame = Await(FrameType::kWarning);
  ASSERT_TRUE(frame);
  EXPECT_EQ(frame->As<wire::Warning>()->text()->str(), "there");
}

TEST_F(DriverFeedTest, ADriverThatWantsNoOutputGetsNone) {
  const JobId quiet = Number(2);
  const auto driver = here_.AddDriver(quiet, /*log_to_driver=*/false);
  there_.jobs.Add(*here_.jobs.Find(quiet));
  here_.feed.SendLines(quiet, Lines({"a"}));
  there_.feed.SendLines(quiet, Lines({"b"}));
  there_.feed.Warn(quiet, "but this");
  ASSERT_TRUE(here_.Await(*driver, FrameType::kWarning));
  EXPECT_EQ(driver->CountOf(FrameType::kLogLines), 0u);
}

TEST_F(DriverFeedTest, AJobThatIsOverOrUnknownHasNobodyToTell) {
  here_.jobs.End(job_, [](const JobId&) { return false; });
  here_.feed.SendLines(job_, Lines({"late"}));
  here_.feed.SendLines(Number(9), Lines({"unknown"}));
  here_.Round();
  EXPECT_EQ(driver_->CountOf(FrameType::kLogLines), 0u);
}

TEST_F(DriverFeedTest, ADriverThatDoesNotReadLosesLinesAndIsToldHowMany) {
  const std::string line(100'000, 'x');
  size_t sent = 0;
  ClientConnection& driver = *here_.clients.Find(here_.jobs.Find(job_)->driver.worker);
  for (; sent < 500; ++sent) {
    here_.feed.SendLines(job_, Lines({line}));
    here_.clients.FlushAll();
  }
  EXPECT_LE(driver.channel().unsent_bytes(), kMaxLineBacklogBytes + line.size() + 1000);
  EXPECT_GT(driver.dropped_log_lines, 300u);
  const uint64_t dropped = driver.dropped_log_lines;
  size_t got = 0;  // it reads again
  ASSERT_TRUE(here_.Until([&] {
    while (driver_->Take(FrameType::kLogLines)) ++got;
    return got == sent - dropped;
  }));
  here_.feed.SendLines(job_, Lines({"after"}));
  const auto frame = Await(FrameType::kLogLines);
  ASSERT_TRUE(frame);
  const auto text = TextOf(*frame);
  ASSERT_EQ(text.size(), 2u);
  EXPECT_NE(text[0].find(std::to_string(dropped) + " lines were dropped"), std::string::npos);
  EXPECT_EQ(text[1], "after");
}

TEST_F(DriverFeedTest, ANodeThatDoesNotKeepUpCostsLinesAndNotMemory) {
  const std::string line(1'000'000, 'x');
  for (int i = 0; i < 100; ++i) there_.feed.SendLines(job_, Lines({line}));  // nobody reads yet
  EXPECT_LE(there_.peers.unsent_relay_bytes(here_.options.node_id),
            kMaxLineBacklogBytes + line.size() + 1000);
  size_t got = 0;
  ASSERT_TRUE(here_.Until([&] {
    while (driver_->Take(FrameType::kLogLines)) ++got;
    return there_.peers.unsent_relay_bytes(here_.options.node_id) == 0 && got > 5;
  }));
  there_.feed.SendLines(job_, Lines({"after"}));
  std::vector<std::string> text;
  while (text.empty() || text.back() != "after") {
    const auto frame = Await(FrameType::kLogLines);
    ASSERT_TRUE(frame);
    text = TextOf(*frame);
  }
  EXPECT_NE(text[0].find("lines were dropped here"), std::string::npos);
}

TEST_F(DriverFeedTest, FlushingIsAnsweredAfterWhatEveryNodeStillHad) {
  there_.feed.SendLines(job_, Lines({"before"}));  // from now on they are connected
  ASSERT_TRUE(Await(FrameType::kLogLines));
  here_.drain = [this](const JobId& job) { here_.feed.SendLines(job, Lines({"last here"})); };
  there_.drain = [this](const JobId& job) { there_.feed.SendLines(job, Lines({"last there"})); };
  AskToFlush();
  const auto answer = Await(FrameType::kFlushOutputReply);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->As<wire::FlushOutputReply>()->request_id(), 7u);
  EXPECT_EQ(driver_->CountOf(FrameType::kLogLines), 2u);
}

TEST_F(DriverFeedTest, FlushingDoesNotWaitForANodeThatDoesNotAnswer) {
  NodeFake dumb(&loop_, 3);  // answers nothing: its side has no feed
  here_.Meet(dumb);
  dumb.Meet(here_);
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(wire::CreateForwardCancel(builder, 1));
  ASSERT_TRUE(here_.peers.Send(dumb.options.node_id, FrameType::kForwardCancel, builder));
  dumb.peers.On<wire::ForwardCancel>(FrameType::kForwardCancel,
                                     [](const NodeId&, const wire::ForwardCancel&) {});
  dumb.peers.On<wire::ForwardFlushOutput>(FrameType::kForwardFlushOutput,
                                          [](const NodeId&, const wire::ForwardFlushOutput&) {});
  ASSERT_TRUE(here_.Until([&] { return here_.peers.IsConnected(dumb.options.node_id); }));
  AskToFlush();
  EXPECT_TRUE(Await(FrameType::kFlushOutputReply));
}

TEST_F(DriverFeedTest, AWorkerMayNotFlush) {
  ClientConnection* worker;
  const auto process = here_.Connect(&worker);
  process->Send(FrameType::kFlushOutput,
                [](auto& builder) { return wire::CreateFlushOutput(builder, 1); });
  EXPECT_TRUE(here_.Until([&] { return process->closed(); }));
}

}  // namespace
}  // namespace cyray::raylet
