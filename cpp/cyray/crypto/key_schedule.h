// How keys and proofs are made from the cluster token: HKDF (RFC 5869) with SHA-256.
//
// Each protocol has a root of its own, extracted from the token with the protocol's name. From the
// root comes one key or proof for each label and transcript: a value that was made for one role,
// purpose or conversation is worth nothing for another. Threading: functions without state;
// KeySchedule is immutable, Transcript belongs to its owner.

#pragma once

#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>

namespace cyray::crypto {

inline constexpr size_t kKeyBytes = 32;

// Of the parts, one after the other.
std::string Sha256(std::initializer_list<std::string_view> parts);
std::string HkdfExtract(std::string_view salt, std::string_view key);
// `size` at most 255 * 32.
std::string HkdfExpand(std::string_view root, std::string_view info, size_t size);

// What was said so far, in order. Every part is hashed with its length, so that no two lists of
// parts are alike.
class Transcript {
 public:
  Transcript& Add(std::string_view part);
  // 32 bytes.
  std::string Hash() const { return Sha256({said_}); }

 private:
  std::string said_;
};

class KeySchedule {
 public:
  // `protocol` names who talks to whom, with a version.
  KeySchedule(std::string_view token, std::string_view protocol)
      : root_(HkdfExtract(protocol, token)) {}
  // kKeyBytes for this role and purpose in this conversation.
  std::string Derive(std::string_view label, const Transcript& transcript) const;

 private:
  std::string root_;
};

}  // namespace cyray::crypto
