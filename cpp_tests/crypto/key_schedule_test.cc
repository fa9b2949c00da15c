// HKDF against RFC 5869, and that labels and transcripts keep keys apart.

#include "cyray/crypto/key_schedule.h"

#include <gtest/gtest.h>

#include <set>

#include "cyray/common/ids.h"

namespace cyray::crypto {
namespace {

std::string Raw(std::string_view hex) {
  std::string bytes(hex.size() / 2, '\0');
  EXPECT_TRUE(HexToBytes(hex, bytes.data(), bytes.size()));
  return bytes;
}
std::string Hex(const std::string& bytes) { return BytesToHex(bytes.data(), bytes.size()); }

TEST(KeySchedule, HkdfGivesTheValuesOfTheStandard) {
  const std::string root =
      HkdfExtract(Raw("000102030405060708090a0b0c"), std::string(22, '\x0b'));  // test case 1
  EXPECT_EQ(Hex(root), "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5");
  EXPECT_EQ(Hex(HkdfExpand(root, Raw("f0f1f2f3f4f5f6f7f8f9"), 42)),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
  const std::string bare = HkdfExtract("", std::string(22, '\x0b'));  // test case 3
  EXPECT_EQ(Hex(HkdfExpand(bare, "", 42)),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
}

TEST(KeySchedule, Sha256GivesTheValueOfTheStandard) {
  EXPECT_EQ(Hex(Sha256({"a", "", "bc"})),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(KeySchedule, EveryTokenProtocolLabelAndTranscriptHasAKeyOfItsOwn) {
  const auto said = [](std::initializer_list<std::string_view> parts) {
    Transcript transcript;
    for (const std::string_view part : parts) transcript.Add(part);
    return transcript;
  };
  std::set<std::string> keys;
  for (const char* token : {"a", "b"}) {
    for (const char* protocol : {"raylets", "gcs"}) {
      const KeySchedule schedule(token, protocol);
      for (const char* label : {"dialer", "listener"}) {
        keys.insert(schedule.Derive(label, said({})));
        keys.insert(schedule.Derive(label, said({"xy"})));
        keys.insert(schedule.Derive(label, said({"x", "y"})));
        keys.insert(schedule.Derive(label, said({"xy", ""})));
      }
    }
  }
  EXPECT_EQ(keys.size(), 32u);
}

}  // namespace
}  // namespace cyray::crypto
