// Value: an immutable, reference-counted run of bytes: an encoded object that lives in this
// process.
//
// Thread-safe counts. The payload is 64-byte aligned, so buffers inside an encoded value can be
// handed out in place. Bytes are written once, before the value is shared.

#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

namespace cyray::core {

class Value {
 public:
  static Value* New(size_t size) {
    // Small values need no alignment beyond malloc's: nothing in them is larger than a pickle.
    void* memory = size < kAlignFromBytes ? std::malloc(kHeaderBytes + size)
                                          : std::aligned_alloc(64, (64 + size + 63) & ~size_t{63});
    if (memory == nullptr) throw std::bad_alloc();
    auto* value = new (memory) Value(size);
    return value;
  }
  static Value* Copy(const void* data, size_t size) {
    Value* value = New(size);
    if (size > 0) std::memcpy(value->data(), data, size);
    return value;
  }

  void Ref() { refs_.fetch_add(1, std::memory_order_relaxed); }
  void Unref() {
    if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) std::free(this);
  }
  uint8_t* data() {
    return reinterpret_cast<uint8_t*>(this) + (size_ < kAlignFromBytes ? kHeaderBytes : 64);
  }
  size_t size() const { return size_; }

 private:
  static constexpr size_t kHeaderBytes = 16;
  static constexpr size_t kAlignFromBytes = 128;
  explicit Value(size_t size) : refs_(1), size_(size) {}

  std::atomic<uint32_t> refs_;
  const size_t size_;
};
static_assert(sizeof(Value) <= 16);

// Holds one reference.
class ValuePtr {
 public:
  ValuePtr() = default;
  explicit ValuePtr(Value* adopted) : value_(adopted) {}
  ValuePtr(const ValuePtr& other) : value_(other.value_) {
    if (value_ != nullptr) value_->Ref();
  }
  ValuePtr(ValuePtr&& other) noexcept : value_(std::exchange(other.value_, nullptr)) {}
  ValuePtr& operator=(ValuePtr other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  ~ValuePtr() {
    if (value_ != nullptr) value_->Unref();
  }
  Value* get() const { return value_; }
  Value* operator->() const { return value_; }
  explicit operator bool() const { return value_ != nullptr; }
  Value* release() { return std::exchange(value_, nullptr); }

 private:
  Value* value_ = nullptr;
};

}  // namespace cyray::core
