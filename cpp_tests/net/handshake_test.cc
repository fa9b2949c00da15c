// Handshake: both sides of it, and what a stranger may try with one or two of them.

#include "cyray/net/handshake.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace cyray::net {
namespace {

const std::string kToken(32, 't');

std::string Nonce(char fill) { return std::string(Handshake::kNonceBytes, fill); }

NodeId Node(uint8_t number) {
  NodeId node;
  node.bytes.fill(number);
  return node;
}

Handshake::Party Party(uint8_t number) { return {Node(number), 100u + number}; }

std::span<const uint8_t> Bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

Handshake Dialing(uint8_t self, uint8_t target, char nonce = 'd') {
  return Handshake::Dialer(kToken, Party(self), Node(target), Nonce(nonce));
}
Handshake Listening(uint8_t self, char nonce = 'l') {
  return Handshake::Listener(kToken, Party(self), Nonce(nonce));
}

// All that `from` has to say goes to `to`.
Status Deliver(Handshake& from, Handshake& to) { return to.Receive(Bytes(from.TakeOutput())); }

// Whatever bytes come, in whatever pieces: it ends, and never succeeds without the token.
void FuzzHandshake(std::span<const uint8_t> data) {
  for (Handshake side : {Dialing(1, 2), Listening(1)}) {
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
  Handshake dialer_ = Dialing(1, 2);
  Handshake listener_ = Listening(2);
};

TEST_F(HandshakeTest, TwoSidesWithTheTokenKnowEachOther) {
  ASSERT_TRUE(Deliver(dialer_, listener_).ok());
  ASSERT_TRUE(Deliver(listener_, dialer_).ok());
  EXPECT_TRUE(dialer_.done());
  EXPECT_FALSE(listener_.done());
  ASSERT_TRUE(Deliver(dialer_, listener_).ok());
  EXPECT_TRUE(listener_.done());
  EXPECT_EQ(listener_.wanted() + dialer_.wanted(), 0u);
  EXPECT_EQ(dialer_.peer(), Party(2));
  EXPECT_EQ(listener_.peer(), Party(1));
}

TEST_F(HandshakeTest, MessagesMayComeByteByByte) {
  for (const char byte : dialer_.TakeOutput()) {
    ASSERT_TRUE(listener_.Receive(Bytes({&byte, 1})).ok());
  }
  for (const char byte : listener_.TakeOutput()) {
    ASSERT_TRUE(dialer_.Receive(Bytes({&byte, 1})).ok());
  }
  EXPECT_TRUE(dialer_.done());
}

TEST_F(HandshakeTest, ADialerWithAnotherTokenIsRefused) {
  Handshake stranger = Handshake::Dialer(std::string(32, 'x'), Party(1), Node(2), Nonce('s'));
  ASSERT_TRUE(Deliver(stranger, listener_).ok());
  EXPECT_EQ(Deliver(listener_, stranger).code(), StatusCode::kUnauthenticated);
  ASSERT_EQ(listener_.wanted(), Handshake::kProofBytes);
  EXPECT_EQ(listener_.Receive(Bytes(Nonce('p'))).code(), StatusCode::kUnauthenticated);
  EXPECT_EQ(listener_.TakeOutput(), "");
}

TEST_F(HandshakeTest, ADialersMessagesAreWorthNothingAtItsOwnPort) {
  // A stranger was dialed, and passes what it gets to the dialer's own listening port.
  Handshake own_port = Listening(1);
  EXPECT_EQ(Deliver(dialer_, own_port).code(), StatusCode::kUnauthenticated);
  EXPECT_EQ(own_port.TakeOutput(), "");
  // The same when the dialer could be made to dial its own node.
  Handshake to_self = Dialing(1, 1);
  Handshake port = Listening(1);
  EXPECT_EQ(Deliver(to_self, port).code(), StatusCode::kUnauthenticated);
}

TEST_F(HandshakeTest, AListenerAnswersForNobodyElse) {
  Handshake third = Listening(3);
  EXPECT_EQ(Deliver(dialer_, third).code(), StatusCode::kUnauthenticated);
  EXPECT_EQ(third.TakeOutput(), "");
}

TEST_F(HandshakeTest, TheTargetCannotBeExchangedOnTheWay) {
  Handshake third = Listening(3);
  std::string hello = dialer_.TakeOutput();
  const size_t target = Handshake::kMagicBytes + Handshake::kPartyBytes;
  hello.replace(target, NodeId::kSize, Node(3).view());
  ASSERT_TRUE(third.Receive(Bytes(hello)).ok());
  std::string answer = third.TakeOutput();
  Handshake dialer = Dialing(1, 2);
  EXPECT_EQ(dialer.Receive(Bytes(answer)).code(), StatusCode::kUnauthenticated);
  answer.replace(Handshake::kMagicBytes, NodeId::kSize, Node(2).view());
  EXPECT_EQ(dialer_.Receive(Bytes(answer)).code(), StatusCode::kUnauthenticated);
}

TEST_F(HandshakeTest, NobodyCanSayThatAnotherDialed) {
  // Each byte of the hello and of the answer is bound, identities and incarnations included.
  const std::string hello = dialer_.TakeOutput();
  for (size_t at = Handshake::kMagicBytes; at < hello.size(); ++at) {
    std::string changed = hello;
    changed[at] = static_cast<char>(changed[at] ^ 1);
    Handshake dialer = Dialing(1, 2);
    (void)dialer.TakeOutput();
    Handshake listener = Listening(2);
    if (!listener.Receive(Bytes(changed)).ok()) continue;
    EXPECT_FALSE(Deliver(listener, dialer).ok()) << at;
  }
  ASSERT_TRUE(listener_.Receive(Bytes(hello)).ok());
  const std::string answer = listener_.TakeOutput();
  for (size_t at = 0; at < answer.size(); ++at) {
    std::string changed = answer;
    changed[at] = static_cast<char>(changed[at] ^ 1);
    Handshake dialer = Dialing(1, 2);
    EXPECT_FALSE(dialer.Receive(Bytes(changed)).ok()) << at;
  }
}

TEST_F(HandshakeTest, ARecordedConversationIsWorthNothingLater) {
  const std::string hello = dialer_.TakeOutput();
  ASSERT_TRUE(listener_.Receive(Bytes(hello)).ok());
  const std::string answer = listener_.TakeOutput();
  ASSERT_TRUE(dialer_.Receive(Bytes(answer)).ok());
  const std::string proof = dialer_.TakeOutput();
  Handshake later = Listening(2, 'm');
  ASSERT_TRUE(later.Receive(Bytes(hello)).ok());
  EXPECT_EQ(later.Receive(Bytes(proof)).code(), StatusCode::kUnauthenticated);
  Handshake again = Dialing(1, 2, 'e');
  EXPECT_EQ(again.Receive(Bytes(answer)).code(), StatusCode::kUnauthenticated);
}

TEST_F(HandshakeTest, AProofThatANodeMadeIsNotOneThatItTakes) {
  ASSERT_TRUE(Deliver(dialer_, listener_).ok());
  const std::string answer = listener_.TakeOutput();
  const std::string proof = answer.substr(Handshake::kAnswerBytes - Handshake::kProofBytes);
  EXPECT_EQ(listener_.Receive(Bytes(proof)).code(), StatusCode::kUnauthenticated);
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
  ASSERT_TRUE(listener_.Receive(Bytes(std::string_view(hello).substr(0, 20))).ok());
  EXPECT_EQ(listener_.wanted(), hello.size() - 20);
  EXPECT_EQ(listener_.TakeOutput(), "");
}

TEST(Handshake, RandomBytesNeverPass) {
  std::mt19937_64 random(7);
  const std::string hello = Dialing(2, 1).TakeOutput();
  for (int round = 0; round < 2000; ++round) {
    std::vector<uint8_t> data(random() % 300);
    for (uint8_t& byte : data) byte = static_cast<uint8_t>(random());
    const size_t head = std::min({data.size(), hello.size(), size_t{random() % 100}});
    std::copy_n(hello.begin(), head, data.begin());
    FuzzHandshake(data);
  }
}

}  // namespace
}  // namespace cyray::net
