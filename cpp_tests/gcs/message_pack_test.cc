// Messages that travel together.

#include "cyray/gcs/message_pack.h"

#include <gtest/gtest.h>

#include <random>

namespace cyray::gcs {
namespace {

wire::Bytes Bytes(const std::string& text) { return {text.begin(), text.end()}; }

std::vector<wire::Bytes> TakeAll(MessagePacks& packs, size_t* taken = nullptr) {
  std::vector<wire::Bytes> messages;
  while (!packs.empty()) {
    std::vector<wire::Bytes> some;
    EXPECT_TRUE(Unpack(Bytes(packs.Take()), some));
    messages.insert(messages.end(), some.begin(), some.end());
    if (taken != nullptr) ++*taken;
  }
  return messages;
}

TEST(MessagePack, MessagesComeOutAsTheyWentInAndFewTravel) {
  MessagePacks packs;
  std::vector<wire::Bytes> sent;
  for (int i = 0; i < 20'000; ++i) sent.emplace_back(i % 50, static_cast<uint8_t>(i));
  for (const wire::Bytes& message : sent) packs.Add(message);
  size_t taken = 0;
  EXPECT_EQ(TakeAll(packs, &taken), sent);
  EXPECT_LT(taken, 20u);
}

TEST(MessagePack, ALongMessageGoesAlone) {
  MessagePacks packs;
  const std::vector<wire::Bytes> sent = {Bytes("a"), wire::Bytes(2 * MessagePacks::kPackBytes, 7),
                                         Bytes("b")};
  for (const wire::Bytes& message : sent) packs.Add(message);
  size_t taken = 0;
  EXPECT_EQ(TakeAll(packs, &taken), sent);
  EXPECT_EQ(taken, 3u);
}

TEST(MessagePack, WhatIsCutOrTooLongIsRefused) {
  MessagePacks packs;
  packs.Add(Bytes("abc"));
  packs.Add(Bytes(""));
  const std::string pack = packs.Take();
  std::vector<wire::Bytes> messages;
  for (size_t size = 0; size < pack.size(); ++size) {
    messages.clear();
    // Cut behind a message it is a pack of fewer.
    EXPECT_EQ(Unpack(Bytes(pack.substr(0, size)), messages), size == 7) << size;
  }
  EXPECT_FALSE(Unpack(Bytes("\xff\xff\xff\xff"), messages));
}

TEST(MessagePack, AnyBytesAreReadWithinThemselves) {
  std::mt19937 random(5);
  for (int i = 0; i < 10'000; ++i) {
    wire::Bytes bytes(random() % 40);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random() % 12);
    std::vector<wire::Bytes> messages;
    size_t size = 0;
    if (!Unpack(bytes, messages)) continue;
    for (const wire::Bytes& message : messages) size += 4 + message.size();
    EXPECT_EQ(size, bytes.size());
  }
}

}  // namespace
}  // namespace cyray::gcs
