// Handshake: both sides of it, and what a stranger may try.

#include "cyray/net/handshake.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

namespace cyray::net {
namespace {

using Role = Handshake::Role;
const std::string kToken(32, 't');

std::string Nonce(char fill) { return std::string(Handshake::kNonceBytes, fill); }

std::span<const uint8_t> Bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// Whatever bytes come, in whatever pieces: it ends, and never succeeds without the token.
void FuzzHandshake(std::span<const uint8_t> data) {
  for (const Role role : {Role::kDialer, Role::kListener}) {
    Handshake side(role, kToken, Nonce('n'));
    size_t at = 0;
    while (at < data.size() && !side.failed() && side.wanted() > 0) {
      const size_t piece = std::min({side.wanted(), data.size() - at, size_t{1} + data[at] % 64});
      const bool taken = side.Receive(data.subspan(at, piece)).ok();
      ASSERT_NE(taken, side.failed());
      at += piece;
    }
    ASSERT_FALSE(side.done());
  }
}

class HandshakeTest : public testing::Test {
 protected:
  Handshake dialer_{Role::kDialer, kToken, Nonce('d')};
  Handshake listener_{Role::kListener, kToken, Nonce('l')};
};

TEST_F(HandshakeTest, TwoSidesWithTheTokenAgree) {
  const std::string hello = dialer_.TakeOutput();
  ASSERT_TRUE(listener_.Receive(Bytes(hello)).ok());
  ASSERT_TRUE(dialer_.Receive(Bytes(listener_.TakeOutput())).ok());
  EXPECT_TRUE(dialer_.done());
  EXPECT_FALSE(listener_.done());
  ASSERT_TRUE(listener_.Receive(Bytes(dialer_.TakeOutput())).ok());
  EXPECT_TRUE(listener_.done());
  EXPECT_EQ(listener_.wanted() + dialer_.wanted(), 0u);
}

TEST_F(HandshakeTest, MessagesMayComeByteByByte) {
  for (const char byte : dialer_.TakeOutput()) {
    ASSERT_TRUE(listener_.Receive(Bytes(std::string(1, byte))).ok());
  }
  for (const char byte : listener_.TakeOutput()) {
    ASSERT_TRUE(dialer_.Receive(Bytes(std::string(1, byte))).ok());
  }
  EXPECT_TRUE(dialer_.done());
}

TEST_F(HandshakeTest, ADialerWithAnotherTokenIsRefused) {
  Handshake stranger(Role::kDialer, std::string(32, 'x'), Nonce('s'));
  ASSERT_TRUE(listener_.Receive(Bytes(stranger.TakeOutput())).ok());
  const Status status = stranger.Receive(Bytes(listener_.TakeOutput()));
  EXPECT_EQ(status.code(), StatusCode::kUnauthenticated);
  ASSERT_EQ(listener_.wanted(), Handshake::kProofBytes);
  EXPECT_EQ(listener_.Receive(Bytes(std::string(32, 'p'))).code(), StatusCode::kUnauthenticated);
  EXPECT_EQ(listener_.TakeOutput(), "");
}

TEST_F(HandshakeTest, ARecordedProofIsWorthNothingOnAnotherConnection) {
  const std::string hello = dialer_.TakeOutput();
  ASSERT_TRUE(listener_.Receive(Bytes(hello)).ok());
  ASSERT_TRUE(dialer_.Receive(Bytes(listener_.TakeOutput())).ok());
  const std::string proof = dialer_.TakeOutput();
  Handshake later(Role::kListener, kToken, Nonce('m'));
  ASSERT_TRUE(later.Receive(Bytes(hello)).ok());
  EXPECT_EQ(later.Receive(Bytes(proof)).code(), StatusCode::kUnauthenticated);
}

TEST_F(HandshakeTest, AListenersProofCannotBeSentBackToIt) {
  // A stranger repeats the listener's own nonce and proof.
  ASSERT_TRUE(listener_.Receive(Bytes("CYRAYP01" + Nonce('l'))).ok());
  const std::string answer = listener_.TakeOutput();
  EXPECT_FALSE(listener_.Receive(Bytes(answer.substr(40))).ok());
}

TEST_F(HandshakeTest, OtherProtocolsAreRefusedAtTheFirstMessage) {
  std::string http = "GET / HTTP/1.1\r\nHost: somewhere-else\r\n\r\n";
  http.resize(listener_.wanted());
  EXPECT_EQ(listener_.Receive(Bytes(http)).code(), StatusCode::kProtocolError);
  EXPECT_TRUE(listener_.failed());
  EXPECT_FALSE(listener_.Receive(Bytes("more")).ok());
}

TEST_F(HandshakeTest, MoreThanWantedIsRefused) {
  EXPECT_FALSE(listener_.Receive(Bytes(std::string(1000, 'x'))).ok());
  EXPECT_TRUE(listener_.failed());
}

TEST_F(HandshakeTest, ATruncatedMessageLeavesItWaiting) {
  const std::string hello = dialer_.TakeOutput();
  ASSERT_TRUE(listener_.Receive(Bytes(hello.substr(0, 20))).ok());
  EXPECT_EQ(listener_.wanted(), hello.size() - 20);
  EXPECT_EQ(listener_.TakeOutput(), "");
}

TEST(Handshake, RandomBytesNeverPass) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 2000; ++round) {
    std::vector<uint8_t> data(random() % 200);
    for (uint8_t& byte : data) byte = static_cast<uint8_t>(random());
    if (round % 2 == 0 && data.size() >= 8) std::memcpy(data.data(), "CYRAYP01", 8);
    FuzzHandshake(data);
  }
}

}  // namespace
}  // namespace cyray::net
