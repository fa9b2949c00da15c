#include "cyray/crypto/key_schedule.h"

#include <openssl/evp.h>

#include <cstdint>

#include "cyray/crypto/auth.h"
#include "cyray/util/log.h"

namespace cyray::crypto {

std::string Sha256(std::string_view data) {
  std::string out(kKeyBytes, '\0');
  unsigned int size = 0;
  const int made =
      EVP_Digest(data.data(), data.size(), reinterpret_cast<unsigned char*>(out.data()), &size,
                 EVP_sha256(), nullptr);
  CYRAY_CHECK(made == 1 && size == out.size()) << "SHA-256 failed";
  return out;
}

std::string HkdfExtract(std::string_view salt, std::string_view key) {
  return HmacSha256(salt, key);
}

std::string HkdfExpand(std::string_view root, std::string_view info, size_t size) {
  CYRAY_CHECK(size <= 255 * kKeyBytes) << size;
  std::string out;
  std::string block;
  for (uint8_t number = 1; out.size() < size; ++number) {
    block.append(info).push_back(static_cast<char>(number));
    block = HmacSha256(root, block);
    out += block;
  }
  out.resize(size);
  return out;
}

Transcript& Transcript::Add(std::string_view part) {
  for (int shift = 0; shift < 64; shift += 8) {
    said_.push_back(static_cast<char>(uint64_t{part.size()} >> shift));
  }
  said_.append(part);
  return *this;
}

std::string KeySchedule::Derive(std::string_view label, const Transcript& transcript) const {
  // The hash has a fixed size, so the label ends where it begins.
  return HkdfExpand(root_, std::string(label) + transcript.Hash(), kKeyBytes);
}

}  // namespace cyray::crypto
