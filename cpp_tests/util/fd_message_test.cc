// Descriptors that travel with bytes.

#include "cyray/util/fd_message.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <string>

namespace cyray {
namespace {

class FdMessageTest : public ::testing::Test {
 protected:
  FdMessageTest() {
    int pair[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    here_ = UniqueFd(pair[0]);
    there_ = UniqueFd(pair[1]);
  }
  UniqueFd here_, there_;
};

TEST_F(FdMessageTest, BytesAndDescriptorsArriveTogether) {
  for (const size_t count : {size_t{0}, size_t{1}, kMaxMessageFds}) {
    const std::vector<int> sent(count, here_.get());
    ASSERT_EQ(SendWithFds(here_.get(), "hello", sent), 5);
    std::string room(16, '\0');
    std::vector<UniqueFd> fds;
    ASSERT_EQ(ReceiveWithFds(there_.get(), room, &fds), 5);
    EXPECT_EQ(room.substr(0, 5), "hello");
    ASSERT_EQ(fds.size(), count);
    for (const UniqueFd& fd : fds) {
      EXPECT_NE(fd.get(), here_.get());
      EXPECT_EQ(::fcntl(fd.get(), F_GETFD), FD_CLOEXEC);
    }
  }
}

TEST_F(FdMessageTest, TooManyAreRefused) {
  const std::vector<int> many(kMaxMessageFds + 1, here_.get());
  EXPECT_EQ(SendWithFds(here_.get(), "hello", many), -1);
  EXPECT_EQ(errno, EINVAL);
}

TEST_F(FdMessageTest, TheEndAndNothingAreToldApart) {
  std::string room(16, '\0');
  std::vector<UniqueFd> fds;
  EXPECT_EQ(ReceiveWithFds(there_.get(), room, &fds, MSG_DONTWAIT), -1);
  EXPECT_EQ(errno, EAGAIN);
  here_.reset();
  EXPECT_EQ(ReceiveWithFds(there_.get(), room, &fds, MSG_DONTWAIT), 0);
  EXPECT_EQ(SendWithFds(there_.get(), "hello", {}), -1);
  EXPECT_EQ(errno, EPIPE) << "and no signal";
}

}  // namespace
}  // namespace cyray
