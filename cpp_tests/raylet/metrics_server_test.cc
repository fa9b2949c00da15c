// Tests of MetricsServer: what it answers, and that nobody who connects keeps others from an
// answer.

#include "cyray/raylet/metrics_server.h"

#include <gmock/gmock.h>

#include <deque>
#include <latch>
#include <memory>

#include "cpp_tests/raylet/http_client.h"
#include "cpp_tests/util/process_limit.h"
#include "cyray/net/tcp_listener.h"
#include "cyray/raylet/process_usage.h"

namespace cyray::raylet {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class MetricsServerTest : public testing::Test {
 protected:
  void Start(int64_t limit_ms = MetricsServer::kRequestLimitMs) {
    auto listening = net::TcpListener::Open("127.0.0.1", 0);
    ASSERT_TRUE(listening);
    port_ = *net::TcpListener::PortOf(listening->get());
    auto server = MetricsServer::Start(
        std::move(*listening), "text/plain",
        [this] {
          if (busy_) busy_->wait();
          return page_;
        },
        limit_ms);
    ASSERT_TRUE(server) << server.error().message();
    server_ = std::move(*server);
  }
  std::string Answer(const std::string& request) {
    HttpClient client(port_);
    client.Send(request);
    return client.ReadAll();
  }

  static constexpr int64_t kNever = 3'600'000;

  std::unique_ptr<std::latch> busy_;  // that a page waits for
  std::string page_ = "the page\n";
  uint16_t port_ = 0;
  std::unique_ptr<MetricsServer> server_;
};

TEST_F(MetricsServerTest, ThePageIsAtOnePath) {
  Start();
  const std::string answer = HttpClient::Get(port_);
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("Content-Type: text/plain\r\n"));
  EXPECT_THAT(answer, HasSubstr("Content-Length: 9\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\nthe page\n"));
  EXPECT_THAT(HttpClient::Get(port_, "/metrics?name=x"), EndsWith("the page\n"));
  for (const char* path : {"/", "/metrics/", "/metricsx", "/%2e%2e/etc/passwd", "//metrics"}) {
    EXPECT_THAT(HttpClient::Get(port_, path), StartsWith("HTTP/1.1 404 ")) << path;
  }
}

TEST_F(MetricsServerTest, OtherMethodsAreRefused) {
  Start();
  for (const char* method : {"HEAD", "POST", "PUT", "DELETE", "OPTIONS"}) {
    EXPECT_THAT(Answer(std::string(method) + " /metrics HTTP/1.1\r\nHost: here\r\n\r\n"),
                Not(HasSubstr("the page")))
        << method;
  }
}

TEST_F(MetricsServerTest, NonsenseClosesItsConnectionAndNoOther) {
  Start(/*limit_ms=*/200);
  (void)Answer("nonsense\r\n\r\n");
  (void)Answer(std::string(1'000, '\0'));
  (void)Answer("GET /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\n12345");
  const std::string long_header(4 * MetricsServer::kMaxHeaderBytes, 'x');
  EXPECT_THAT(Answer("GET /metrics HTTP/1.1\r\nX: " + long_header + "\r\n\r\n"),
              Not(HasSubstr("the page")));
  EXPECT_THAT(HttpClient::Get(port_), EndsWith("the page\n"));
}

TEST_F(MetricsServerTest, SilentConnectionsMakeRoomForOthers) {
  Start(/*limit_ms=*/100);
  std::deque<HttpClient> silent;
  for (size_t i = 0; i < 2 * MetricsServer::kMaxConnections; ++i) silent.emplace_back(port_);
  EXPECT_THAT(HttpClient::Get(port_), EndsWith("the page\n"));
  for (HttpClient& client : silent) EXPECT_EQ(client.ReadAll(), "");
}

TEST_F(MetricsServerTest, TheOldestWithoutARequestMakesRoom) {
  Start(kNever);
  std::deque<HttpClient> half_open;
  for (size_t i = 0; i < 3 * MetricsServer::kMaxConnections; ++i) {
    half_open.emplace_back(port_).Send("GET /metr");
    if (i % 10 == 0) {
      EXPECT_THAT(HttpClient::Get(port_), EndsWith("the page\n"));
    }
  }
  EXPECT_THAT(HttpClient::Get(port_), EndsWith("the page\n"));
  EXPECT_EQ(half_open.front().ReadAll(), "");
  half_open.back().Send("ics HTTP/1.1\r\nHost: here\r\n\r\n");
  EXPECT_THAT(half_open.back().ReadAll(), EndsWith("the page\n"));
}

TEST_F(MetricsServerTest, WhoHasClosedTakesNoRoom) {
  Start(kNever);
  std::deque<HttpClient> honest;
  for (size_t i = 1; i < MetricsServer::kMaxConnections; ++i) honest.emplace_back(port_);
  for (size_t i = 0; i < 3 * MetricsServer::kMaxConnections; ++i) {
    HttpClient(port_).Send("GET /metr");
    EXPECT_THAT(Answer("POST /metrics HTTP/1.1\r\nHost: here\r\n\r\n"), Not(HasSubstr("the page")));
  }
  honest.front().Send("GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n");
  EXPECT_THAT(honest.front().ReadAll(), EndsWith("the page\n"));
}

TEST_F(MetricsServerTest, ARequestThatHasComeIsAnsweredWhoeverElseComes) {
  Start(kNever);
  busy_ = std::make_unique<std::latch>(1);  // so that all of what follows has come at once
  HttpClient first(port_), second;
  first.Send("GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n");
  std::deque<HttpClient> half_open;
  const auto crowd = [&] {
    for (size_t i = 0; i < 3 * MetricsServer::kMaxConnections; ++i) {
      half_open.emplace_back(port_).Send("GET /metr");
    }
  };
  crowd();
  second.Connect(port_);
  second.Send("GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n");
  crowd();
  busy_->count_down();
  EXPECT_THAT(first.ReadAll(), EndsWith("the page\n"));
  EXPECT_THAT(second.ReadAll(), EndsWith("the page\n"));
}

TEST_F(MetricsServerTest, NoAnswerThatIsOnItsWayMakesRoom) {
  page_ = std::string(12 << 20, 'p');  // more than sockets hold
  Start(kNever);
  std::deque<HttpClient> lazy, half_open;
  for (size_t i = 1; i < MetricsServer::kMaxConnections; ++i) {
    lazy.emplace_back(port_, /*receive_bytes=*/4'096)
        .Send("GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n");
  }
  for (size_t i = 0; i < MetricsServer::kMaxConnections; ++i) {
    half_open.emplace_back(port_).Send("GET /metr");
  }
  EXPECT_THAT(HttpClient::Get(port_, "/"), StartsWith("HTTP/1.1 404 "));
  for (size_t i = 0; i < 2; ++i) EXPECT_GT(lazy[i].ReadAll().size(), page_.size());
}

TEST_F(MetricsServerTest, ARequestThatComesByTheByteIsGivenUp) {
  Start(/*limit_ms=*/100);
  HttpClient slow(port_);
  ASSERT_TRUE(slow.Send("GET /metrics HTTP/1.1\r\nX: "));
  while (slow.Send("x")) ::usleep(1'000);
  EXPECT_THAT(slow.ReadAll(), Not(HasSubstr("the page")));
}

TEST_F(MetricsServerTest, WhoDoesNotReadItsAnswerIsGivenUp) {
  page_ = std::string(12 << 20, 'p');  // more than sockets hold
  Start(/*limit_ms=*/100);
  std::deque<HttpClient> lazy;
  for (size_t i = 0; i < MetricsServer::kMaxConnections; ++i) {
    lazy.emplace_back(port_, /*receive_bytes=*/4'096)
        .Send("GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n");
  }
  std::string answer;
  while (answer.empty()) answer = HttpClient::Get(port_, "/");  // it has no more time than they
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 404 "));
  for (HttpClient& client : lazy) EXPECT_LT(client.ReadAll().size(), page_.size());
}

TEST_F(MetricsServerTest, WithoutDescriptorsItWaitsForSome) {
  if (kIsSanitized) GTEST_SKIP() << "it needs descriptors itself";
  Start();
  int log[2];
  ASSERT_EQ(::pipe(log), 0);
  const UniqueFd log_end(log[0]), stderr_now(log[1]), stderr_before(::dup(2));
  HttpClient client;
  {
    const UniqueFd next(::dup(2));
    const ProcessLimit limit(RLIMIT_NOFILE, static_cast<rlim_t>(next.get()));
    ::dup2(stderr_now.get(), 2);
    client.Connect(port_);
    client.Send("GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n");
    std::string told;
    char byte;
    while (told.find("accept, for metrics") == std::string::npos &&
           ::read(log_end.get(), &byte, 1) == 1) {
      told += byte;
    }
  }
  EXPECT_THAT(client.ReadAll(), EndsWith("the page\n"));
  ::dup2(stderr_before.get(), 2);
}

TEST_F(MetricsServerTest, NothingStaysOpen) {
  const uint64_t before = OwnDescriptors();
  Start();
  for (int i = 0; i < 100; ++i) (void)HttpClient::Get(port_);
  {
    HttpClient silent(port_), another(port_);
    another.Send("GET /met");
    (void)HttpClient::Get(port_);
    server_.reset();
    EXPECT_EQ(silent.ReadAll(), "");
    EXPECT_EQ(another.ReadAll(), "");
  }
  EXPECT_EQ(OwnDescriptors(), before);
}

}  // namespace
}  // namespace cyray::raylet
