// The readers of encoded arguments and values: what is whole is read as it was written, what is cut
// off or claims more than it has is refused.

#include "cyray/wire/encoded.h"

#include <gtest/gtest.h>

#include <string>

namespace cyray::wire {
namespace {

template <class T>
std::string Word(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}
const uint8_t* Data(const std::string& bytes) {
  return reinterpret_cast<const uint8_t*>(bytes.data());
}
std::string Text(const uint8_t* data, uint64_t bytes) {
  return {reinterpret_cast<const char*>(data), bytes};
}

std::string Arguments() {
  return Word(uint32_t{1}) + Word(uint32_t{1}) +                         // one of each
         Word(uint32_t{2}) + Word(uint32_t{3}) + "___" + "\x06" + "a" +  // skip 3
         Word(uint32_t{3}) + "key" + Word(uint32_t{1}) + Word(uint32_t{0}) + "\x01";
}

TEST(EncodedArguments, AreReadAsTheyWereWritten) {
  const std::string bytes = Arguments();
  ArgumentReader reader;
  ASSERT_TRUE(reader.Open(Data(bytes), bytes.size()));
  EXPECT_EQ(reader.positional(), 1u);
  EXPECT_EQ(reader.keywords(), 1u);
  EncodedArgument argument;
  ASSERT_TRUE(reader.Next(&argument));
  EXPECT_EQ(argument.name, nullptr);
  EXPECT_EQ(Text(argument.data, argument.bytes),
            "\x06"
            "a");
  ASSERT_TRUE(reader.Next(&argument));
  EXPECT_EQ(Text(argument.name, argument.name_bytes), "key");
  EXPECT_EQ(Text(argument.data, argument.bytes), "\x01");
  EXPECT_FALSE(reader.Next(&argument));
}

TEST(EncodedArguments, EveryCutIsNoticed) {
  const std::string whole = Arguments();
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::string cut = whole.substr(0, size);
    ArgumentReader reader;
    EncodedArgument argument;
    EXPECT_FALSE(reader.Open(Data(cut), cut.size()) && reader.Next(&argument) &&
                 reader.Next(&argument))
        << size;
  }
}

TEST(EncodedArguments, MoreArgumentsThanBytesAreRefused) {
  for (const uint32_t count : {2u, 1000u, UINT32_MAX}) {
    const std::string bytes = Word(count) + Word(count) + std::string(20, '\1');
    ArgumentReader reader;
    EXPECT_FALSE(reader.Open(Data(bytes), bytes.size()));
  }
}

TEST(EncodedBuffers, LieAtMultiplesOf64AndWithinTheValue) {
  std::string bytes = "\x07" + std::string(3, '\0') + Word(uint32_t{2}) + Word(uint64_t{4}) +
                      Word(uint64_t{5}) + Word(uint64_t{0}) + "head";
  bytes.resize(64);
  bytes += "first";
  bytes.resize(128);
  BuffersReader reader;
  ASSERT_TRUE(reader.Open(Data(bytes), bytes.size()));
  EXPECT_EQ(Text(reader.head(), reader.head_bytes()), "head");
  uint64_t offset = 0, size = 0;
  ASSERT_TRUE(reader.Next(&offset, &size));
  EXPECT_EQ(bytes.substr(offset, size), "first");
  ASSERT_TRUE(reader.Next(&offset, &size));
  EXPECT_EQ(size, 0u);
  EXPECT_FALSE(reader.Next(&offset, &size));
  // A buffer that is larger than what is left, up to sizes that wrap around.
  for (const uint64_t wrong : {uint64_t{65}, uint64_t{1} << 63, UINT64_MAX}) {
    std::string broken = bytes;
    broken.replace(16, 8, Word(wrong));
    ASSERT_TRUE(reader.Open(Data(broken), broken.size()));
    EXPECT_FALSE(reader.Next(&offset, &size));
    broken = bytes;
    broken.replace(8, 8, Word(wrong + 100));
    EXPECT_FALSE(reader.Open(Data(broken), broken.size()));
  }
}

TEST(EncodedRefs, ATableHoldsNoOtherTable) {
  std::string bytes = "\x0c" + std::string(3, '\0') + Word(uint32_t{1});
  bytes.resize(64);
  EncodedRefs refs;
  EXPECT_FALSE(ReadRefs(Data(bytes), bytes.size(), &refs));  // and no value
  bytes += "\x0e";
  ASSERT_TRUE(ReadRefs(Data(bytes), bytes.size(), &refs));
  EXPECT_EQ(refs.count, 1u);
  EXPECT_EQ(refs.value_at, 64u);
  bytes[64] = '\x0c';
  EXPECT_FALSE(ReadRefs(Data(bytes), bytes.size(), &refs));
  bytes.replace(4, 4, Word(UINT32_MAX));
  EXPECT_FALSE(ReadRefs(Data(bytes), bytes.size(), &refs));
}

TEST(EncodedArray, IsOfPlainNumbersAlone) {
  const auto reads = [](const std::string& dtype, uint8_t dimensions) {
    const std::string head =
        std::string(1, static_cast<char>(dimensions)) + Word(int64_t{3}) + dtype;
    EncodedArray array;
    return ReadArray(Data(head), head.size(), &array);
  };
  EXPECT_TRUE(reads("<f8", 1));
  EXPECT_TRUE(reads("<c16", 1));
  for (const char* dtype : {"", "|O8", "<f", "O", "<U8x", "<f8,<f8", "<M8"}) {
    EXPECT_FALSE(reads(dtype, 1)) << dtype;
  }
  EXPECT_FALSE(reads("<f8", 2));
  EXPECT_FALSE(reads("<f8", 255));
  EncodedArray array;
  EXPECT_FALSE(ReadArray(nullptr, 0, &array));
}

TEST(EncodedErrors, AreBoundedAndDoNotNest) {
  const std::string error = "\x09\x02" + std::string(16, '\0') + "why";
  EncodedError read;
  ASSERT_TRUE(ReadError(Data(error), error.size(), &read));
  EXPECT_EQ(read.kind, static_cast<uint8_t>(ErrorKind::kActorDied));
  EXPECT_EQ(std::string(read.text, read.text_bytes), "why");
  EXPECT_FALSE(ReadError(Data(error), 17, &read));
  std::string dependency = "\x0d" + Word(uint32_t{1}) + "f" + error;
  EncodedDependency outer;
  ASSERT_TRUE(ReadDependency(Data(dependency), dependency.size(), &outer));
  EXPECT_EQ(std::string(outer.name, outer.name_bytes), "f");
  EXPECT_EQ(dependency.substr(outer.value_at), error);
  dependency[outer.value_at] = '\x0d';
  EXPECT_FALSE(ReadDependency(Data(dependency), dependency.size(), &outer));
  dependency.replace(1, 4, Word(UINT32_MAX));
  EXPECT_FALSE(ReadDependency(Data(dependency), dependency.size(), &outer));
}

}  // namespace
}  // namespace cyray::wire
