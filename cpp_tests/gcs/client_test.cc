// GcsClient against a server whose answers the test chooses.

#include "cyray/gcs/client.h"

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <atomic>
#include <optional>

#include "cpp_tests/gcs/cluster_fixture.h"
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
    const ReplyHeader header{};
    const bool foreign = foreign_left-- > 0;
    return new Answer(Seal({opened->session, RpcSession::What::kReply, {opened->call + foreign, 0}},
                           {reinterpret_cast<const char*>(&header), sizeof header}, "an answer"));
  }

  std::optional<RpcGate> gate;
  std::atomic<int> foreign_left{0};
  std::atomic<int> refusals_left{0};
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

}  // namespace
}  // namespace cyray::gcs
