// MacKey: a key for HMAC-SHA256 (RFC 2104) under which many tags are made.
//
// The key is taken in once, and each tag begins with a copy of that.
// Threading: immutable; any number of threads may use it at once.

#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>

struct evp_mac_ctx_st;

namespace cyray::crypto {

class MacKey {
 public:
  explicit MacKey(std::string_view key);

  // 32 bytes, over the parts, one after the other.
  std::string Tag(std::initializer_list<std::string_view> parts) const;

 private:
  struct Free {
    void operator()(evp_mac_ctx_st* context) const;
  };
  std::unique_ptr<evp_mac_ctx_st, Free> keyed_;
};

}  // namespace cyray::crypto
