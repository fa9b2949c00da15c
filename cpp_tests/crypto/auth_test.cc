// The token file, and the pieces that proofs are made of.

#include "cyray/crypto/auth.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "cyray/common/ids.h"

namespace cyray::crypto {
namespace {

TEST(Auth, HmacIsTheStandardOne) {
  // RFC 4231, test case 2.
  const std::string mac = HmacSha256("Jefe", "what do ya want for nothing?");
  EXPECT_EQ(BytesToHex(mac.data(), mac.size()),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

TEST(Auth, StringsOfOtherSizesAreNotEqual) {
  EXPECT_TRUE(ConstantTimeEqual("ab", "ab"));
  EXPECT_FALSE(ConstantTimeEqual("ab", "ac"));
  EXPECT_FALSE(ConstantTimeEqual("ab", "abc"));
  EXPECT_FALSE(ConstantTimeEqual("", "a"));
}

class TokenFile : public testing::Test {
 protected:
  TokenFile() {
    char folder[] = "/tmp/cyray_token_test_XXXXXX";
    folder_ = ::mkdtemp(folder);
    path_ = folder_ + "/token";
  }
  ~TokenFile() override { std::filesystem::remove_all(folder_); }
  void Write(const std::string& text) {
    std::ofstream(path_) << text;
    ASSERT_EQ(::chmod(path_.c_str(), 0600), 0);
  }
  std::string folder_, path_;
};

TEST_F(TokenFile, IsReadAsBytes) {
  Write(std::string(64, 'a') + "\n");
  ASSERT_TRUE(LoadToken(path_).has_value());
  EXPECT_EQ(*LoadToken(path_), std::string(32, '\xaa'));
}

TEST_F(TokenFile, ThatIsNotOneIsRefused) {
  EXPECT_FALSE(LoadToken(path_).has_value());
  Write("short\n");
  EXPECT_FALSE(LoadToken(path_).has_value());
}

TEST_F(TokenFile, ThatOthersMayReadIsRefused) {
  Write(std::string(64, 'a'));
  for (const mode_t mode : {0640, 0604, 0660, 0644}) {
    ASSERT_EQ(::chmod(path_.c_str(), mode), 0);
    EXPECT_EQ(LoadToken(path_).error().code(), StatusCode::kInvalidArgument);
  }
}

TEST_F(TokenFile, ThatIsALinkOrAPipeIsNeitherReadNorWaitedFor) {
  Write(std::string(64, 'a'));
  const std::string link = folder_ + "/link", pipe = folder_ + "/pipe";
  ASSERT_EQ(::symlink(path_.c_str(), link.c_str()), 0);
  EXPECT_FALSE(LoadToken(link).has_value());
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_FALSE(LoadToken(pipe).has_value());
}

TEST_F(TokenFile, OfAnotherUserIsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  Write(std::string(64, 'a'));
  ASSERT_EQ(::chown(path_.c_str(), 65534, 65534), 0);
  EXPECT_FALSE(LoadToken(path_).has_value());
}

}  // namespace
}  // namespace cyray::crypto
