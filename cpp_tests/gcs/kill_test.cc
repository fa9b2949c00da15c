// The real gcs_server, killed at random moments: what it acknowledged is there when it is back.

#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <fstream>
#include <random>

#include "cluster_fixture.h"
#include "cyray/common/ids.h"

namespace cyray::gcs {
namespace {

class KillTest : public ClusterTest {
 protected:
  void SetUp() override {
    // The program lies in the build folder, this test in a folder of it.
    program_ =
        std::filesystem::read_symlink("/proc/self/exe").parent_path().parent_path() / "gcs_server";
    if (!std::filesystem::exists(program_)) GTEST_SKIP() << program_ << " is not built";
    std::ofstream(folder_ + "/token") << BytesToHex(kTestToken.data(), kTestToken.size());
    std::filesystem::permissions(folder_ + "/token", std::filesystem::perms(0600));
  }
  void TearDown() override { Kill(); }

  void Spawn() {
    int pipe_fds[2];
    ASSERT_EQ(::pipe2(pipe_fds, O_CLOEXEC), 0);
    const UniqueFd ready(pipe_fds[0]);
    UniqueFd child(pipe_fds[1]);
    const UniqueFd listening = Listening();
    const std::string listen_fd = std::to_string(listening.get());
    const std::string ready_fd = std::to_string(child.get()), token = folder_ + "/token";
    const char* argv[] = {program_.c_str(),  "--session-dir", folder_.c_str(), "--listen-fd",
                          listen_fd.c_str(), "--token-file",  token.c_str(),   "--ready-fd",
                          ready_fd.c_str(),  nullptr};
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    // Onto itself: the child alone keeps it over exec.
    for (const int fd : {listening.get(), child.get()}) {
      ::posix_spawn_file_actions_adddup2(&actions, fd, fd);
    }
    ASSERT_EQ(::posix_spawn(&pid_, program_.c_str(), &actions, nullptr, const_cast<char**>(argv),
                            environ),
              0);
    ::posix_spawn_file_actions_destroy(&actions);
    child.reset();
    char text[32];
    ASSERT_GT(::read(ready.get(), text, sizeof text), 0);
  }
  void Kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

  uint16_t Port() const {
    return static_cast<uint16_t>(std::stoi(address().substr(address().rfind(':') + 1)));
  }

  std::filesystem::path program_;
  pid_t pid_ = 0;
};

TEST_F(KillTest, NothingAcknowledgedIsLostAndCallsGoOn) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  Spawn();
  GcsClient client(&loop_, address(), kTestToken);
  int sent = 0;
  std::vector<int> acknowledged;
  auto put = [&](int number) {
    flatbuffers::FlatBufferBuilder builder;
    auto key = builder.CreateString("key" + std::to_string(number));
    builder.Finish(wire::CreateKvPutRequest(builder, 0, key, 0, false));
    client.Call(wire::GcsMethod::KvPut, wire::FinishedBytes(builder),
                [&, number](Result<wire::Bytes> reply) {
                  ASSERT_TRUE(reply.has_value()) << reply.error().ToString();
                  // Also a call that was sent again is told that it added the key: it was done
                  // once.
                  EXPECT_TRUE(wire::VerifiedRoot<wire::KvPutReply>(*reply)->added());
                  acknowledged.push_back(number);
                });
  };
  for (int round = 0; round < 6; ++round) {
    for (int i = 0; i < 100; ++i) put(sent++);
    const size_t enough = acknowledged.size() + random() % 80;
    ASSERT_TRUE(RunUntil([&] { return acknowledged.size() >= enough; }));
    Kill();
    // Nobody else can listen there meanwhile.
    EXPECT_FALSE(net::TcpListener::Open("127.0.0.1", Port()).has_value());
    Spawn();
  }
  ASSERT_TRUE(RunUntil([&] { return acknowledged.size() == static_cast<size_t>(sent); }));
  Kill();
  Spawn();
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(wire::CreateKvKeysRequest(builder));
  Result<wire::Bytes> keys =
      CallAndWait(client, wire::GcsMethod::KvKeys, wire::FinishedBytes(builder));
  ASSERT_TRUE(keys.has_value());
  EXPECT_EQ(wire::VerifiedRoot<wire::KvKeysReply>(*keys)->keys()->size(),
            static_cast<size_t>(sent));
}

TEST_F(KillTest, ALimitOfFileSizesIsAnErrorAndNotTheEnd) {
  Spawn();
  GcsClient client(&loop_, address(), kTestToken);
  ASSERT_TRUE(CallAndWait(client, wire::GcsMethod::KvPut, KvPutPayload("key", "1")));
  rlimit before;
  ASSERT_EQ(::prlimit(pid_, RLIMIT_FSIZE, nullptr, &before), 0);
  const rlimit none{0, before.rlim_max};
  ASSERT_EQ(::prlimit(pid_, RLIMIT_FSIZE, &none, nullptr), 0);
  const Result<wire::Bytes> refused =
      CallAndWait(client, wire::GcsMethod::KvPut, KvPutPayload("key", "2"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), StatusCode::kIoError);
  ASSERT_EQ(::prlimit(pid_, RLIMIT_FSIZE, &before, nullptr), 0);
  ASSERT_TRUE(RunUntil([&] {
    return CallAndWait(client, wire::GcsMethod::KvPut, KvPutPayload("key", "3")).has_value();
  }));
  EXPECT_EQ(::waitpid(pid_, nullptr, WNOHANG), 0);
}

}  // namespace
}  // namespace cyray::gcs
