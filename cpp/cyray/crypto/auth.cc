#include "cyray/crypto/auth.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/hmac.h>

#include "cyray/common/ids.h"
#include "cyray/util/log.h"
#include "cyray/util/unique_fd.h"

namespace cyray::crypto {
namespace {

constexpr size_t kTokenBytes = 32;
constexpr size_t kNonceRandomBytes = 16;

std::string Proof(std::string_view token, std::string_view side, std::string_view purpose,
                  std::string_view client_nonce, std::string_view server_nonce) {
  // The side and the purpose end with a byte that neither contains; nonces have a fixed size.
  std::string data;
  data.append(side).append("\n").append(purpose).append("\n");
  data.append(client_nonce).append(server_nonce);
  return HmacSha256(token, data);
}

}  // namespace

std::string HmacSha256(std::string_view key, std::string_view data) {
  std::string out(32, '\0');
  unsigned int size = 0;
  const unsigned char* made = HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
                                   reinterpret_cast<const unsigned char*>(data.data()), data.size(),
                                   reinterpret_cast<unsigned char*>(out.data()), &size);
  CYRAY_CHECK(made != nullptr && size == out.size()) << "HMAC failed";
  return out;
}

bool ConstantTimeEqual(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

Result<std::string> LoadToken(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return Fail(Status::FromErrno("open " + path));
  char text[2 * kTokenBytes + 8];
  const ssize_t n = ::read(fd.get(), text, sizeof text);
  if (n < 0) return Fail(Status::FromErrno("read " + path));
  std::string_view hex(text, static_cast<size_t>(n));
  while (!hex.empty() && (hex.back() == '\n' || hex.back() == ' ')) hex.remove_suffix(1);
  std::string token(kTokenBytes, '\0');
  if (!HexToBytes(hex, token.data(), token.size())) {
    return Fail(StatusCode::kInvalidArgument, path + " is not a cluster token (64 hex digits)");
  }
  return token;
}

std::string RandomNonce() {
  std::string nonce(kNonceBytes, '\0');
  FillRandom(nonce.data(), nonce.size());
  return nonce;
}

std::string ServerProof(std::string_view token, std::string_view purpose,
                        std::string_view client_nonce, std::string_view server_nonce) {
  return Proof(token, "server", purpose, client_nonce, server_nonce);
}

std::string ClientProof(std::string_view token, std::string_view purpose,
                        std::string_view client_nonce, std::string_view server_nonce) {
  return Proof(token, "client", purpose, client_nonce, server_nonce);
}

ServerNonces::ServerNonces() : secret_(RandomNonce()) {}

std::string ServerNonces::Issue(std::string_view client_nonce, std::string_view peer) const {
  std::string nonce(kNonceRandomBytes, '\0');
  FillRandom(nonce.data(), nonce.size());
  std::string bound = nonce;
  bound.append(client_nonce).append(peer);
  return nonce + HmacSha256(secret_, bound).substr(0, kNonceBytes - kNonceRandomBytes);
}

bool ServerNonces::IssuedHere(std::string_view server_nonce, std::string_view client_nonce,
                              std::string_view peer) const {
  if (server_nonce.size() != kNonceBytes) return false;
  std::string bound(server_nonce.substr(0, kNonceRandomBytes));
  bound.append(client_nonce).append(peer);
  return ConstantTimeEqual(
      server_nonce.substr(kNonceRandomBytes),
      std::string_view(HmacSha256(secret_, bound)).substr(0, kNonceBytes - kNonceRandomBytes));
}

}  // namespace cyray::crypto
