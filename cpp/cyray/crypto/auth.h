// The cluster token and what proves it: HMAC-SHA256 over both sides' nonces.
//
// Whoever connects sends a nonce; the server answers with one of its own and its proof; the client
// adds its proof to everything that follows. The token itself never travels. A proof holds for
// one connection: the server's nonce is bound to the peer's address.
// Threading: functions are thread-safe; ServerNonces is immutable after construction.

#pragma once

#include <array>
#include <string>
#include <string_view>

#include "cyray/util/status.h"

namespace cyray::crypto {

inline constexpr size_t kNonceBytes = 32;

// 32 bytes.
std::string HmacSha256(std::string_view key, std::string_view data);
// Takes the same time wherever the strings differ.
bool ConstantTimeEqual(std::string_view a, std::string_view b);
// Reads the token file (64 hex digits, one line) and returns the 32 bytes.
Result<std::string> LoadToken(const std::string& path);
std::string RandomNonce();

// What each side shows. `purpose` names the protocol ("gcs", "raylet"), so that a proof made
// for one cannot be shown to the other.
std::string ServerProof(std::string_view token, std::string_view purpose,
                        std::string_view client_nonce, std::string_view server_nonce);
std::string ClientProof(std::string_view token, std::string_view purpose,
                        std::string_view client_nonce, std::string_view server_nonce);

// Makes server nonces and recognises its own without remembering them.
class ServerNonces {
 public:
  ServerNonces();
  // A nonce for this client nonce on the connection from `peer`.
  std::string Issue(std::string_view client_nonce, std::string_view peer) const;
  bool IssuedHere(std::string_view server_nonce, std::string_view client_nonce,
                  std::string_view peer) const;

 private:
  std::string secret_;
};

}  // namespace cyray::crypto
