// MacKey: a key for HMAC-SHA256 (RFC 2104) under which many tags are made.
//
// What only the key decides is done once, so a tag over a few bytes costs two blocks of SHA-256.
// Threading: immutable; any number of threads may use it at once.

#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>

struct evp_md_ctx_st;

namespace cyray::crypto {

class MacKey {
 public:
  explicit MacKey(std::string_view key);

  // 32 bytes, over the parts, one after the other.
  std::string Tag(std::initializer_list<std::string_view> parts) const;

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  using Context = std::unique_ptr<evp_md_ctx_st, Free>;
  static Context Begin(std::string_view padded_key, char pad);
  static Context CopyOf(const Context& from);

  Context inner_, outer_;  // each has taken in the padded key
};

}  // namespace cyray::crypto
