#include "cyray/crypto/auth.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cyray/common/ids.h"
#include "cyray/util/log.h"
#include "cyray/util/unique_fd.h"

namespace cyray::crypto {
namespace {

constexpr size_t kTokenBytes = 32;

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
  // Neither a link nor a pipe makes this process read, or wait for, what somebody else chose.
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd.valid()) return Fail(Status::FromErrno("open " + path));
  struct stat found;
  if (::fstat(fd.get(), &found) != 0) return Fail(Status::FromErrno("stat " + path));
  const bool ours = found.st_uid == ::geteuid() || found.st_uid == 0;
  if (!S_ISREG(found.st_mode) || !ours || (found.st_mode & 077) != 0) {
    return Fail(StatusCode::kInvalidArgument,
                path + " must be a file of this user that nobody else may read (mode 0600)");
  }
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

}  // namespace cyray::crypto
