// Who a driver talks to: a listener of its own user, in a folder that nobody else may enter.

#include "cyray/core/raylet_socket.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cstring>
#include <filesystem>

namespace cyray::core {
namespace {

constexpr uid_t kStranger = 65534;

class RayletSocket : public testing::Test {
 protected:
  RayletSocket() {
    char folder[] = "/tmp/cyray_socket_test_XXXXXX";
    folder_ = ::mkdtemp(folder);
    path_ = folder_ + "/raylet";
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path_.data(), path_.size());
    listening_ = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::bind(listening_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  ~RayletSocket() override { std::filesystem::remove_all(folder_); }

  Status Connect() {
    UniqueFd socket;
    const Status status = ConnectToRaylet(path_, &socket);
    EXPECT_EQ(status.ok(), socket.valid());
    return status;
  }

  std::string folder_, path_;
  UniqueFd listening_;
};

TEST_F(RayletSocket, ConnectsToAListenerOfTheSameUser) {
  ASSERT_EQ(::listen(listening_.get(), 1), 0);
  EXPECT_TRUE(Connect().ok());
}

TEST_F(RayletSocket, RefusesAFolderThatOthersMayEnter) {
  ASSERT_EQ(::listen(listening_.get(), 1), 0);
  for (const mode_t mode : {0755, 0710, 0701, 0777}) {
    ASSERT_EQ(::chmod(folder_.c_str(), mode), 0);
    const Status status = Connect();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find(folder_), std::string::npos) << status.message();
  }
  ASSERT_EQ(::chmod(folder_.c_str(), 0700), 0);
  EXPECT_TRUE(Connect().ok());
}

TEST_F(RayletSocket, RefusesAFolderOfAnotherUserOrALink) {
  ASSERT_EQ(::listen(listening_.get(), 1), 0);
  UniqueFd socket;
  const std::string link = folder_ + "/link";
  ASSERT_EQ(::symlink(folder_.c_str(), link.c_str()), 0);
  EXPECT_EQ(ConnectToRaylet(link + "/raylet", &socket).code(), StatusCode::kInvalidArgument);
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a folder away";
  ASSERT_EQ(::chown(folder_.c_str(), kStranger, kStranger), 0);
  EXPECT_EQ(Connect().code(), StatusCode::kInvalidArgument);
}

TEST_F(RayletSocket, RefusesAListenerOfAnotherUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can play another user";
  const pid_t child = ::fork();
  if (child == 0) ::_exit(::setuid(kStranger) != 0 || ::listen(listening_.get(), 1) != 0);
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  const Status refused = Connect();
  EXPECT_EQ(refused.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(refused.message().find("user 65534"), std::string::npos) << refused.message();
}

TEST_F(RayletSocket, SaysWhatIsMissing) {
  EXPECT_NE(Connect().message().find(path_), std::string::npos);  // nobody listens
  UniqueFd socket;
  EXPECT_FALSE(ConnectToRaylet("/no/such/folder/raylet", &socket).ok());
  EXPECT_FALSE(ConnectToRaylet(folder_ + "/" + std::string(200, 'x'), &socket).ok());
}

}  // namespace
}  // namespace cyray::core
