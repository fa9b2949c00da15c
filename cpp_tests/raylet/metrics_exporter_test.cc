// Tests of MetricsExporter: a scrape asks the loop, and a loop that stands still holds up nobody.

#include "cyray/raylet/metrics_exporter.h"

#include <gmock/gmock.h>

#include <future>

#include "cpp_tests/raylet/http_client.h"
#include "cyray/net/tcp_listener.h"
#include "cyray/util/event_loop.h"

namespace cyray::raylet {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr int64_t kPatienceMs = 30'000;

// Keeps what is posted, and says when.
class KeepingLoop : public EventLoop {
 public:
  void Post(std::function<void()> callback) override {
    posted_ = std::move(callback);
    has_posted_.set_value();
  }
  std::function<void()> AwaitPosted() {
    has_posted_.get_future().wait();
    return posted_;
  }

 private:
  std::promise<void> has_posted_;
  std::function<void()> posted_;
};

class MetricsExporterTest : public testing::Test {
 protected:
  void Start(int64_t loop_limit_ms, Runtime* runtime) {
    auto listening = net::TcpListener::Open("127.0.0.1", 0);
    ASSERT_TRUE(listening);
    port_ = *net::TcpListener::PortOf(listening->get());
    auto exporter = MetricsExporter::Start(
        runtime, std::move(*listening), {{"SessionName", "s"}},
        [this] {
          ++collected_;
          NodeSnapshot snapshot;
          snapshot.actors_alive = collected_;
          snapshot.processes = {{"raylet", ::getpid()}};
          return snapshot;
        },
        loop_limit_ms);
    ASSERT_TRUE(exporter) << exporter.error().message();
    exporter_ = std::move(*exporter);
  }
  void Start(int64_t loop_limit_ms) { Start(loop_limit_ms, &loop_); }
  std::future<std::string> Scrape() {
    return std::async(std::launch::async, [port = port_] { return HttpClient::Get(port); });
  }
  std::string RunUntil(std::future<std::string> scrape) {
    while (scrape.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
      loop_.RunOnce(10);
    }
    return scrape.get();
  }

  EventLoop loop_;
  uint64_t collected_ = 0;
  uint16_t port_ = 0;
  std::unique_ptr<MetricsExporter> exporter_;
};

TEST_F(MetricsExporterTest, APageHasWhatTheLoopKnowsAndWhatTheKernelSays) {
  Start(kPatienceMs);
  const std::string page = RunUntil(Scrape());
  EXPECT_THAT(page, HasSubstr("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
  EXPECT_THAT(page, HasSubstr("\ncyray_actors{State=\"ALIVE\",SessionName=\"s\"} 1\n"));
  EXPECT_THAT(page, HasSubstr("\ncyray_component_processes{Component=\"raylet\","
                              "SessionName=\"s\"} 1\n"));
  EXPECT_THAT(page, HasSubstr("\ncyray_scrape_timeouts_total{SessionName=\"s\"} 0\n"));
  EXPECT_THAT(RunUntil(Scrape()), HasSubstr("State=\"ALIVE\",SessionName=\"s\"} 2\n"));
}

TEST_F(MetricsExporterTest, ALoopThatStandsStillIsNotWaitedForAndAskedOnce) {
  Start(/*loop_limit_ms=*/20);
  for (int i = 1; i <= 3; ++i) {
    const std::string page = HttpClient::Get(port_);  // nobody runs the loop
    EXPECT_THAT(page, HasSubstr("cyray_scrape_timeouts_total{SessionName=\"s\"} " +
                                std::to_string(i) + "\n"));
    EXPECT_THAT(page, HasSubstr("cyray_component_rss_bytes{Component=\"raylet\""));
    EXPECT_THAT(page, Not(HasSubstr("cyray_actors")));
  }
  loop_.RunOnce(0);
  EXPECT_EQ(collected_, 1u);
}

TEST_F(MetricsExporterTest, AnAnswerThatCameTooLateIsNotGivenToTheNextScrape) {
  Start(/*loop_limit_ms=*/20);
  (void)HttpClient::Get(port_);
  loop_.RunOnce(0);
  ASSERT_EQ(collected_, 1u);
  // That one is there; a scrape now gets another one, or none.
  EXPECT_THAT(HttpClient::Get(port_), Not(HasSubstr("cyray_actors")));
  std::string page;
  do {
    page = RunUntil(Scrape());
  } while (page.find("cyray_actors") == std::string::npos);  // a busy machine
  EXPECT_THAT(page, Not(HasSubstr("State=\"ALIVE\",SessionName=\"s\"} 1\n")));
}

TEST_F(MetricsExporterTest, WhoeverWaitsIsAnsweredAtTheEndAndNobodyIsAskedAnyMore) {
  KeepingLoop loop;
  Start(kPatienceMs, &loop);
  auto scrape = Scrape();
  const auto question = loop.AwaitPosted();
  exporter_.reset();
  (void)scrape.get();
  question();
  EXPECT_EQ(collected_, 0u);
}

}  // namespace
}  // namespace cyray::raylet
