// The layouts of encoded arguments and values, read with every size and count checked.
//
// The bytes are a peer's. What is given out lies within them, and a count is never larger than what
// they can hold, so whoever reads may allocate by it. Nothing here knows Python: codec.pxi and
// arguments.pxi make objects of what is found. Nesting is bounded: a table of refs holds no other
// one, and the error of a dependency no other such error. Threading: values.
//
// Arguments are [u32 positional][u32 keywords], then per argument [u32 size][u32 skip], skip bytes,
// the value; a keyword's value follows its name, [u32 size][name]. A value with buffers is [tag, 3
// bytes 0, u32 count][u64 head size][u64 size of each buffer][head], then each buffer at the next
// multiple of 64 from the value's start. One with refs is [tag, 3 bytes 0, u32 count][id, owner of
// each ref], then at the next multiple of 64 the value itself.

#pragma once

#include <cstdint>

#include "cyray/common/encoding.h"

namespace cyray::wire {

struct EncodedArgument {
  const uint8_t* name = nullptr;  // of a keyword argument
  uint64_t name_bytes = 0;
  const uint8_t* data = nullptr;
  uint64_t bytes = 0;  // at least 1
};

// Reads arguments one after the other.
class ArgumentReader {
 public:
  // False: the bytes cannot be arguments. They outlive this.
  bool Open(const uint8_t* data, uint64_t bytes);
  uint32_t positional() const { return positional_; }
  uint32_t keywords() const { return keywords_; }
  // The next of positional() + keywords(); false: it is cut off, and nothing after it can be read.
  bool Next(EncodedArgument* argument);

 private:
  const uint8_t* Take(uint64_t bytes);
  bool TakeWord(uint32_t* word);

  const uint8_t* data_ = nullptr;
  uint64_t bytes_ = 0;
  uint64_t at_ = 0;
  uint32_t positional_ = 0;
  uint32_t keywords_ = 0;
  uint32_t read_ = 0;
};

// A value of tag kPickleBuffers, kMemoryView or kArray.
class BuffersReader {
 public:
  bool Open(const uint8_t* data, uint64_t bytes);
  uint32_t count() const { return count_; }
  const uint8_t* head() const { return data_ + head_at_; }
  uint64_t head_bytes() const { return head_bytes_; }
  // The next of count(): where it begins in the value, and its size.
  bool Next(uint64_t* offset, uint64_t* bytes);

 private:
  const uint8_t* data_ = nullptr;
  uint64_t bytes_ = 0;
  uint64_t head_at_ = 0;
  uint64_t head_bytes_ = 0;
  uint64_t at_ = 0;
  uint32_t count_ = 0;
  uint32_t read_ = 0;
};

// A value of tag kRefs: `count` refs of kRefBytes at `table`, and where the value itself begins.
struct EncodedRefs {
  uint32_t count = 0;
  const uint8_t* table = nullptr;
  uint64_t value_at = 0;
};
bool ReadRefs(const uint8_t* data, uint64_t bytes, EncodedRefs* refs);

// The head of a kArray: [u8 dimensions][i64 each][the dtype's string, of plain numbers].
struct EncodedArray {
  uint32_t dimensions = 0;
  const uint8_t* extents = nullptr;  // 8 bytes each, in the sender's byte order
  const char* dtype = nullptr;
  uint64_t dtype_bytes = 0;
};
bool ReadArray(const uint8_t* head, uint64_t bytes, EncodedArray* array);

// A value of tag kDependency.
struct EncodedDependency {
  const char* name = nullptr;
  uint64_t name_bytes = 0;
  uint64_t value_at = 0;
};
bool ReadDependency(const uint8_t* data, uint64_t bytes, EncodedDependency* dependency);

// A value of tag kSystemError; its kind may be one that this version does not know.
struct EncodedError {
  uint8_t kind = 0;
  const uint8_t* actor = nullptr;  // ActorId::kSize bytes, all zero when there is none
  const char* text = nullptr;
  uint64_t text_bytes = 0;
};
bool ReadError(const uint8_t* data, uint64_t bytes, EncodedError* error);

}  // namespace cyray::wire
