// GcsClient against a server whose answers the test chooses.

#include "cyray/gcs/client.h"

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <atomic>
#include <optional>

#include "cpp_tests/gcs/cluster_fixture.h"
#include "cyray/crypto/auth.h"
#include "cyray/gcs/rpc.h"

namespace cyray::gcs {
namespace {

// Holds the token and yet refuses the first proofs, as servers do that were started anew between a
// client's challenge and its call.
class ForgetfulService : public grpc::CallbackGenericService {
 public:
  class Answer : public grpc::ServerGenericBidiReactor {
   public:
    explicit Answer(const grpc::Status& status) { Finish(status); }
    explicit Answer(std::string_view head) : message_(ToMessage(head, nullptr, 0)) {
      StartWriteAndFinish(&message_, grpc::WriteOptions(), grpc::Status::OK);
    }
    void OnDone() override { delete this; }

   private:
    grpc::ByteBuffer message_;
  };

  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override {
    if (context->method() == kChallengeMethod) {
      const grpc::string_ref nonce = context->client_metadata().find(kClientNonceKey)->second;
      const std::string own = crypto::RandomNonce();
      const std::string_view theirs(nonce.data(), nonce.size());
      return new Answer(own + crypto::ServerProof(kTestToken, kAuthPurpose, theirs, own));
    }
    if (refusals_left-- > 0) return new Answer({grpc::StatusCode::UNAUTHENTICATED, "who are you"});
    const ReplyHeader header{};
    return new Answer({reinterpret_cast<const char*>(&header), sizeof header});
  }

  std::atomic<int> refusals_left{6};
};

TEST(GcsClient, ACallProvesTheTokenAnewHoweverOftenTheServerForgetsIt) {
  ForgetfulService service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterCallbackGenericService(&service);
  const auto server = builder.BuildAndStart();
  EventLoop loop;
  GcsClient client(&loop, "127.0.0.1:" + std::to_string(port), kTestToken);
  std::optional<Result<wire::Bytes>> result;
  client.Call(wire::GcsMethod::KvGet, KvGetPayload("a"),
              [&](Result<wire::Bytes> reply) { result = std::move(reply); });
  for (const int64_t end = MonotonicMs() + 30'000; !result && MonotonicMs() < end;) {
    loop.RunOnce(10);
  }
  ASSERT_TRUE(result.has_value());
  EXPECT_TRUE(result->has_value()) << result->error().ToString();
  EXPECT_LT(service.refusals_left, 0);
  server->Shutdown(std::chrono::system_clock::now());
}

}  // namespace
}  // namespace cyray::gcs
