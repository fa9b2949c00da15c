// Tests of Inquiries: every process of every node is asked, and nobody keeps the asker waiting.

#include "cyray/raylet/inquiries.h"

#include <gmock/gmock.h>

#include "cpp_tests/raylet/node_fake.h"

namespace cyray::raylet {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using wire::FrameType;

JobId Job(uint8_t number) {
  JobId job;
  job.bytes[0] = number;
  return job;
}

class InquiriesTest : public ::testing::Test {
 protected:
  struct AskedNode : NodeFake {
    AskedNode(EventLoop* loop, uint8_t number)
        : NodeFake(loop, number), inquiries({loop, &clients, &peers}, [number] {
            return json{{"node_id", std::to_string(number)}};
          }) {
      on_frame = [this](ClientConnection& client, wire::Frame& frame) {
        if (frame.type == FrameType::kNodeInfo) {
          return inquiries.OnNodeInfo(client, frame.As<wire::NodeInfo>());
        }
        return inquiries.OnProcessReport(client, frame.As<wire::ProcessReport>());
      };
      on_closed = [this](ClientConnection& client, const std::string&) {
        inquiries.OnClientGone(client.id());
      };
    }
    Inquiries inquiries;
  };

  InquiriesTest() {
    here_.Meet(there_);
    there_.Meet(here_);
  }
  void Ask(bool everywhere) {
    driver_->Send(FrameType::kNodeInfo,
                  [&](auto& b) { return wire::CreateNodeInfo(b, 7, everywhere); });
  }
  // It answers what it is asked next.
  void Report(NodeFake& node, FakeProcess& process, const std::string& text) {
    const auto asked = node.Await(process, FrameType::kAskProcess);
    ASSERT_TRUE(asked);
    process.Send(FrameType::kProcessReport, [&](auto& b) {
      return wire::CreateProcessReport(b, asked->As<wire::AskProcess>()->request_id(),
                                       b.CreateString(text));
    });
  }
  json Answer() {
    const auto frame = here_.Await(*driver_, FrameType::kNodeInfoReply);
    if (!frame) return {};
    const auto* reply = frame->As<wire::NodeInfoReply>();
    EXPECT_EQ(reply->request_id(), 7u);
    return json::parse(reply->json()->str());
  }
  static json NodeOf(const json& answer, const std::string& id) {
    for (const json& node : answer["nodes"]) {
      if (node["node_id"] == id) return node;
    }
    return {};
  }

  EventLoop loop_;
  AskedNode here_{&loop_, 1};
  AskedNode there_{&loop_, 2};
  std::unique_ptr<FakeProcess> driver_ = here_.AddDriver(Job(1));
};

TEST_F(InquiriesTest, OfItsOwnNodeTheRayletAnswersByItself) {
  Ask(false);
  EXPECT_EQ(Answer(), (json{{"node_id", "1"}}));
  EXPECT_EQ(driver_->CountOf(FrameType::kAskProcess), 0u);
}

TEST_F(InquiriesTest, EveryProcessOfEveryNodeIsAsked) {
  const auto far = there_.AddDriver(Job(2));
  Ask(true);
  Report(here_, *driver_, R"({"queued": 1})");
  Report(there_, *far, R"({"queued": 2})");
  const json answer = Answer();
  EXPECT_EQ(NodeOf(answer, "1")["processes"][0]["queued"], 1);
  EXPECT_EQ(NodeOf(answer, "2")["processes"][0]["queued"], 2);
  EXPECT_EQ(answer["silent_nodes"], json::array());
  EXPECT_EQ(here_.inquiries.open() + there_.inquiries.open(), 0u);
}

TEST_F(InquiriesTest, WhoDoesNotAnswerIsNamed) {
  const auto silent = here_.AddDriver(Job(3));
  Ask(true);
  Report(here_, *driver_, "{}");
  const json node = NodeOf(Answer(), "1");
  EXPECT_EQ(node["processes"].size(), 1u);
  EXPECT_EQ(node["silent"].size(), 1u);
}

TEST_F(InquiriesTest, ANodeThatCannotBeReachedIsNamed) {
  const NodeId nowhere = NodeId::Random();
  here_.peers.SetNode(nowhere, {"127.0.0.1", 1});
  Ask(true);
  Report(here_, *driver_, "{}");
  const json answer = Answer();
  EXPECT_THAT(answer["silent_nodes"], ElementsAre(nowhere.Hex()));
  EXPECT_EQ(answer["nodes"].size(), 2u);
}

TEST_F(InquiriesTest, AProcessThatGoesIsNotAwaited) {
  auto going = here_.AddDriver(Job(3));
  Ask(true);
  ASSERT_TRUE(here_.Await(*going, FrameType::kAskProcess));
  going.reset();
  Report(here_, *driver_, "{}");
  const json node = NodeOf(Answer(), "1");
  EXPECT_EQ(node["silent"], json::array());
}

TEST_F(InquiriesTest, WhatIsNoJsonIsLeftOut) {
  Ask(true);
  Report(here_, *driver_, "{nonsense");
  EXPECT_EQ(NodeOf(Answer(), "1")["processes"], json::array());
}

TEST_F(InquiriesTest, AnAskerThatGoesIsForgotten) {
  Ask(true);
  ASSERT_TRUE(here_.Await(*driver_, FrameType::kAskProcess));
  driver_.reset();
  EXPECT_TRUE(here_.Until([&] { return here_.inquiries.open() == 0; }));
}

TEST_F(InquiriesTest, AReportThatNobodyAskedForIsIgnored) {
  driver_->Send(FrameType::kProcessReport,
                [](auto& b) { return wire::CreateProcessReport(b, 99, b.CreateString("{}")); });
  Ask(false);
  EXPECT_FALSE(Answer().empty());
}

}  // namespace
}  // namespace cyray::raylet
