// Tags under one key are the standard's.

#include "cyray/crypto/mac_key.h"

#include <gtest/gtest.h>

#include "cyray/common/ids.h"
#include "cyray/crypto/auth.h"

namespace cyray::crypto {
namespace {

std::string Hex(const std::string& bytes) { return BytesToHex(bytes.data(), bytes.size()); }

TEST(MacKey, TagsAreTheStandardsHoweverTheBytesAreCut) {
  // RFC 4231, test cases 2 and 6.
  const MacKey key("Jefe");
  const std::string tag = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
  EXPECT_EQ(Hex(key.Tag({"what do ya want for nothing?"})), tag);
  EXPECT_EQ(Hex(key.Tag({"what do", "", " ya want ", "for nothing?"})), tag);
  EXPECT_EQ(Hex(MacKey(std::string(131, '\xaa'))
                    .Tag({"Test Using Larger Than Block-Size Key - Hash Key First"})),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

TEST(MacKey, AKeyOfAnySizeMakesWhatTheOneShotFunctionMakes) {
  for (size_t size = 0; size < 70; ++size) {
    const std::string key(size, 'k');
    EXPECT_EQ(MacKey(key).Tag({"some ", "bytes"}), HmacSha256(key, "some bytes")) << size;
  }
}

}  // namespace
}  // namespace cyray::crypto
