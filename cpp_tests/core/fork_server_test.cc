// The server of forks, as the raylet sees it and as its caller: requests in, children and answers
// out.

#include "cyray/core/fork_server.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <array>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "cyray/util/fd_message.h"

namespace cyray::core {
namespace {

using nlohmann::json;
using Event = ForkServer::Event;

// The raylet's end of a server's socket, and the pipe that wakes it.
class ForkServerTest : public ::testing::Test {
 protected:
  ForkServerTest() {
    int pair[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    raylet_ = UniqueFd(pair[0]);
    zygote_ = UniqueFd(pair[1]);
    EXPECT_EQ(::pipe(pair), 0);
    wakeup_ = UniqueFd(pair[0]);
    wake_ = UniqueFd(pair[1]);
    server_.emplace(zygote_.get(), wakeup_.get());
  }

  void Send(const std::string& text, const std::vector<int>& fds = {}) {
    ASSERT_GT(SendWithFds(raylet_.get(), text, fds), 0);
  }

  void Ask(int token) {
    Send(json{{"op", "fork"}, {"token", token}, {"worker_id", "ab"}}.dump(),
         {wake_.get(), wake_.get(), wake_.get()});
  }

  // What it said; null when it has said nothing.
  json Receive() {
    char text[4096];
    std::vector<UniqueFd> fds;
    const ssize_t n = ReceiveWithFds(raylet_.get(), text, &fds, MSG_DONTWAIT);
    if (n <= 0) return nullptr;
    if (!fds.empty()) pidfd_ = std::move(fds.front());
    return json::parse(text, text + n);
  }

  static size_t OpenFiles() {
    size_t count = 0;
    for (int fd = 0; fd < 1024; ++fd) count += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
    return count;
  }

  static int ExitCode(pid_t pid) {
    int status = 0;
    EXPECT_EQ(::waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  UniqueFd raylet_, zygote_, wakeup_, wake_, pidfd_;
  std::optional<ForkServer> server_;
};

TEST_F(ForkServerTest, AChildKnowsWhatItIsForAndTheParentServesOn) {
  Ask(7);
  Ask(8);
  const size_t before = OpenFiles();
  if (server_->Serve(0) == Event::kChild) {
    const ForkServer::Order& order = server_->order();
    ::_exit(order.worker_id == "ab" && order.fds[0].valid() && order.fds[2].valid() ? 5 : 1);
  }
  EXPECT_EQ(OpenFiles(), before) << "the parent keeps what is its children's";
  const std::vector<pid_t> children = server_->TakeForked();
  ASSERT_EQ(children.size(), 2u);
  EXPECT_TRUE(server_->TakeForked().empty());
  EXPECT_EQ(Receive(), (json{{"op", "forked"}, {"token", 7}, {"pid", children[0]}}));
  EXPECT_TRUE(pidfd_.valid());
  EXPECT_EQ(Receive(), (json{{"op", "forked"}, {"token", 8}, {"pid", children[1]}}));
  EXPECT_EQ(ExitCode(children[0]), 5);
  EXPECT_EQ(ExitCode(children[1]), 5);
}

TEST_F(ForkServerTest, SaysWhyItReturns) {
  EXPECT_EQ(server_->Serve(0), Event::kIdle);
  ASSERT_EQ(::write(wake_.get(), "x", 1), 1);
  EXPECT_EQ(server_->Serve(-1), Event::kWoken);
  EXPECT_EQ(server_->Serve(-1), Event::kWoken) << "what wakes it is its caller's to read";
  char byte;
  ASSERT_EQ(::read(wakeup_.get(), &byte, 1), 1);
  raylet_.reset();
  EXPECT_EQ(server_->Serve(-1), Event::kClosed);
}

TEST_F(ForkServerTest, RefusesWhatIsNoRequestAndKeepsNothingOfIt) {
  const json good = {{"op", "fork"}, {"token", 1}, {"worker_id", "ab"}};
  const std::vector<int> three(3, wake_.get());
  const size_t before = OpenFiles();
  const auto refused = [&](json request, const std::vector<int>& fds) {
    Send(request.dump(), fds);
    EXPECT_EQ(server_->Serve(0), Event::kIdle);
    const json answer = Receive();
    return answer.is_object() && answer["op"] == "failed" && !answer["error"].empty();
  };
  EXPECT_TRUE(refused(good, {}));
  EXPECT_TRUE(refused(good, std::vector<int>(2, wake_.get())));
  EXPECT_TRUE(refused(good, std::vector<int>(kMaxMessageFds, wake_.get())));
  for (const auto& [name, value] : {
           std::pair<const char*, json>{"op", "spoon"},
           {"op", nullptr},
           {"worker_id", 3},
       }) {
    json bad = good;
    bad[name] = value;
    EXPECT_TRUE(refused(bad, three)) << bad;
  }
  for (const json& other : {json(3), json(nullptr), json::array(), json("x")}) {
    EXPECT_TRUE(refused(other, three)) << other;
  }
  EXPECT_EQ(OpenFiles(), before);
  EXPECT_TRUE(server_->TakeForked().empty());
}

TEST_F(ForkServerTest, SurvivesAnyBytes) {
  std::mt19937 random(20261130);
  for (int round = 0; round < 300; ++round) {
    std::string text(1 + random() % 200, '\0');
    for (char& c : text) c = static_cast<char>(random());
    if (round % 2 == 0) text = "{\"token\": \"" + text + "\"}";
    Send(text);
    ASSERT_EQ(server_->Serve(0), Event::kIdle);
    ASSERT_EQ(Receive()["op"], "failed");
  }
}

}  // namespace
}  // namespace cyray::core
