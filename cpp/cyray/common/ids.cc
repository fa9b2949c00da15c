#include "cyray/common/ids.h"

#include <sys/random.h>

#include "cyray/util/log.h"

namespace cyray {

void FillRandom(void* data, size_t size) {
  auto* out = static_cast<uint8_t*>(data);
  while (size > 0) {
    const ssize_t n = getrandom(out, size, 0);
    CYRAY_CHECK(n > 0 || errno == EINTR) << "getrandom failed, errno " << errno;
    if (n > 0) {
      out += n;
      size -= static_cast<size_t>(n);
    }
  }
}

std::string BytesToHex(const void* data, size_t size) {
  static constexpr char kDigits[] = "0123456789abcdef";
  const auto* in = static_cast<const uint8_t*>(data);
  std::string out(2 * size, '0');
  for (size_t i = 0; i < size; ++i) {
    out[2 * i] = kDigits[in[i] >> 4];
    out[2 * i + 1] = kDigits[in[i] & 15];
  }
  return out;
}

bool HexToBytes(std::string_view hex, void* data, size_t size) {
  if (hex.size() != 2 * size) return false;
  auto digit = [](char c) -> int {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  auto* out = static_cast<uint8_t*>(data);
  for (size_t i = 0; i < size; ++i) {
    const int high = digit(hex[2 * i]), low = digit(hex[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    out[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return true;
}

}  // namespace cyray
