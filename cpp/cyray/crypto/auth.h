// The cluster token, and what proofs of it are made of (crypto/key_schedule.h). The token itself
// never travels: both sides prove it over fresh nonces. Threading: functions without state.

#pragma once

#include <string>
#include <string_view>

#include "cyray/util/status.h"

namespace cyray::crypto {

inline constexpr size_t kNonceBytes = 32;

// 32 bytes.
std::string HmacSha256(std::string_view key, std::string_view data);
// Takes the same time wherever the strings differ.
bool ConstantTimeEqual(std::string_view a, std::string_view b);
// Reads the token file (64 hex digits, one line) and returns the 32 bytes. It must be this user's,
// or root's, and nobody else's to read.
Result<std::string> LoadToken(const std::string& path);
std::string RandomNonce();

}  // namespace cyray::crypto
