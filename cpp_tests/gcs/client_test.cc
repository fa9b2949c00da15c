// GcsClient against a server whose answers the test chooses.

#include "cyray/gcs/client.h"

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <atomic>
#include <optional>

#include "cpp_tests/gcs/cluster_fixture.h"
#include "cyray/gcs/message_pack.h"
#include "cyray/gcs/rpc.h"

namespace cyray::gcs {
namespace {

// Holds the token and yet refuses the first openings, as servers do that were started anew between
// a client's challenge and its call, or answers calls with what is not theirs.
class ForgetfulService : public grpc::CallbackGenericService {
 public:
  class Answer : public grpc::ServerGenericBidiReactor {
   public:
    explicit Answer(const grpc::Status& status) { Finish(status); }
    explicit Answer(grpc::ByteBuffer message) : message_(std::move(message)) {
      StartWriteAndFinish(&message_, grpc::WriteOptions(), grpc::Status::OK);
    }
    void OnDone() override { delete this; }

   private:
    grpc::ByteBuffer message_;
  };

  // One stream: it is accepted, gets one message, and ends with NOT_FOUND; `own` says which of
  // these carry the tag of a server that holds the token.
  struct Own {
    bool accepted = false, message = false, end = false;
    bool silent = false;  // it is open, and nothing comes
  };
  class Stream : public grpc::ServerGenericBidiReactor {
   public:
    Stream(grpc::CallbackServerContext* context, RpcGate::Opened opened, Own own)
        : context_(context), opened_(std::move(opened)), own_(own) {
      if (own_.silent) return;
      if (own_.accepted) context_->AddInitialMetadata(kAcceptedKey, Tag(What::kAccepted, ""));
      StartSendInitialMetadata();
    }
    void OnSendInitialMetadataDone(bool) override {
      flatbuffers::FlatBufferBuilder builder;
      const auto command = wire::CreateStopActor(builder);
      builder.Finish(
          wire::CreateNodeCommand(builder, wire::NodeCommandBody::StopActor, command.Union()));
      MessagePacks packs;
      packs.Add(wire::FinishedBytes(builder));
      message_ = Seal({*opened_.session, What::kDown, {opened_.call, own_.message ? 0u : 1u}}, {},
                      packs.Take());
      StartWrite(&message_);
    }
    void OnWriteDone(bool) override {
      const grpc::Status end(grpc::StatusCode::NOT_FOUND, "dead");
      if (own_.end) context_->AddTrailingMetadata(kEndKey, Tag(What::kEnd, EndText(end)));
      Finish(end);
    }
    void OnCancel() override {
      if (own_.silent) Finish(grpc::Status::CANCELLED);
    }
    void OnDone() override { delete this; }

   private:
    using What = RpcSession::What;
    std::string Tag(What what, const std::string& text) const {
      return opened_.session->Tag(what, {opened_.call, 0}, text, {});
    }
    grpc::CallbackServerContext* const context_;
    const RpcGate::Opened opened_;
    const Own own_;
    grpc::ByteBuffer message_;
  };

  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override {
    const auto metadata = [&](const char* key) {
      const auto it = context->client_metadata().find(key);
      return std::string(it->second.data(), it->second.size());
    };
    if (context->method() == kChallengeMethod) {
      return new Answer(ToMessage(*gate->Answer(metadata(kClientNonceKey), context->peer())));
    }
    if (refusals_left-- > 0) return new Answer({grpc::StatusCode::UNAUTHENTICATED, "who are you"});
    const auto opened = gate->Open(metadata(kOpeningKey), context->method(), context->peer());
    if (!opened) return new Answer({grpc::StatusCode::UNAUTHENTICATED, "who are you"});
    if (context->method() == kStreamMethod) {
      ++streams;
      return new Stream(context, *opened, own);
    }
    const ReplyHeader header{};
    const bool foreign = foreign_left-- > 0;
    return new Answer(
        Seal({*opened->session, RpcSession::What::kReply, {opened->call + foreign, 0}},
             {reinterpret_cast<const char*>(&header), sizeof header}, "an answer"));
  }

  std::optional<RpcGate> gate;
  Own own;  // set before the first stream
  std::atomic<int> streams{0};
  std::atomic<int> foreign_left{0};
  std::atomic<int> refusals_left{0};
};

// A loop whose clock the test moves on.
class ShiftedRuntime : public Runtime {
 public:
  explicit ShiftedRuntime(EventLoop* loop) : loop_(loop) {}
  void MoveOn(int64_t ms) { shift_ns_ += ms * 1'000'000; }
  int64_t NowNs() const override { return loop_->NowNs() + shift_ns_; }
  int64_t WallMs() const override { return loop_->WallMs(); }
  uint64_t Random() override { return loop_->Random(); }
  void Post(std::function<void()> callback) override { loop_->Post(std::move(callback)); }
  TimerId RunAfter(int64_t delay_ms, std::function<void()> callback) override {
    return loop_->RunAfter(delay_ms, std::move(callback));
  }
  void Cancel(TimerId id) override { loop_->Cancel(id); }

 private:
  EventLoop* const loop_;
  int64_t shift_ns_ = 0;
};

class GcsClientTest : public testing::Test {
 protected:
  // `claimed`: where the server says that it listens; empty: where it does.
  void Start(const std::string& claimed = "") {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterCallbackGenericService(&service_);
    server_ = builder.BuildAndStart();
    address_ = "127.0.0.1:" + std::to_string(port);
    service_.gate.emplace(kTestToken, claimed.empty() ? address_ : claimed);
  }
  ~GcsClientTest() override { server_->Shutdown(std::chrono::system_clock::now()); }
  Result<wire::Bytes> Call() {
    GcsClient client(&loop_, address_, kTestToken);
    std::optional<Result<wire::Bytes>> result;
    client.Call(wire::GcsMethod::KvGet, KvGetPayload("a"),
                [&](Result<wire::Bytes> reply) { result = std::move(reply); });
    for (const int64_t end = MonotonicMs() + 30'000; !result && MonotonicMs() < end;) {
      loop_.RunOnce(10);
    }
    return result ? *result : Fail(StatusCode::kTimedOut, "no reply");
  }

  ForgetfulService service_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
  EventLoop loop_;
};

TEST_F(GcsClientTest, ACallProvesTheTokenAnewHoweverOftenTheServerForgetsIt) {
  service_.refusals_left = 6;
  Start();
  const Result<wire::Bytes> result = Call();
  EXPECT_TRUE(result.has_value()) << result.error().ToString();
  EXPECT_LT(service_.refusals_left, 0);
}

TEST_F(GcsClientTest, TheReplyOfAnotherCallIsNotTaken) {
  service_.foreign_left = 3;
  Start();
  const Result<wire::Bytes> result = Call();
  ASSERT_TRUE(result.has_value()) << result.error().ToString();
  EXPECT_EQ(std::string(result->begin(), result->end()), "an answer");
  EXPECT_LT(service_.foreign_left, 0);
}

TEST_F(GcsClientTest, AServerThatListensElsewhereIsNotBelieved) {
  Start("127.0.0.1:1");
  EXPECT_EQ(Call().error().code(), StatusCode::kUnauthenticated);
}

TEST_F(GcsClientTest, ACallThatWaitsForAStreamThatIsNeverAcceptedFailsInTheEnd) {
  service_.own = {.silent = true};
  Start();
  ShiftedRuntime runtime(&loop_);
  GcsClient client(&runtime, address_, kTestToken);
  client.OpenStream({[] { return wire::Bytes(8); }, [](const wire::NodeCommand*) {}, [] {},
                     [](const Status&) {}});
  std::optional<Result<wire::Bytes>> result;
  client.Call(wire::GcsMethod::KvGet, KvGetPayload("a"),
              [&](Result<wire::Bytes> reply) { result = std::move(reply); });
  const int64_t end = MonotonicMs() + 30'000;
  while (service_.streams < 1 && MonotonicMs() < end) loop_.RunOnce(10);
  EXPECT_FALSE(result.has_value());
  runtime.MoveOn(61'000);
  while (!result && MonotonicMs() < end) loop_.RunOnce(10);
  ASSERT_TRUE(result.has_value());
  ASSERT_FALSE(result->has_value());
  EXPECT_EQ(result->error().code(), StatusCode::kUnavailable);
}

TEST_F(GcsClientTest, AStreamBelievesNobodyButTheServer) {
  struct Case {
    ForgetfulService::Own own;
    bool up, command, rejected;
  };
  // A stranger may drop what the server says, and end the stream; it cannot say that it is up, tell
  // the node to do something, or say that it is dead.
  for (const Case& one :
       {Case{{true, true, true}, true, true, true}, Case{{true, true, false}, true, true, false},
        Case{{true, false, false}, true, false, false},
        Case{{false, true, false}, false, true, false},
        Case{{false, false, false}, false, false, false}}) {
    if (server_ == nullptr) Start();
    service_.own = one.own;
    service_.streams = 0;
    bool up = false, command = false, rejected = false;
    GcsClient client(&loop_, address_, kTestToken);
    client.OpenStream(
        {[] { return wire::Bytes(8); }, [&](const wire::NodeCommand*) { command = true; },
         [&] { up = true; },
         [&](const Status& why) { rejected |= why.code() == StatusCode::kNotFound; }});
    for (const int64_t end = MonotonicMs() + 30'000; service_.streams < 3 && MonotonicMs() < end;) {
      loop_.RunOnce(10);
    }
    EXPECT_EQ(up, one.up);
    EXPECT_EQ(command, one.command);
    EXPECT_EQ(rejected, one.rejected);
  }
}

}  // namespace
}  // namespace cyray::gcs
