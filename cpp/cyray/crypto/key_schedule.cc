#include "cyray/crypto/key_schedule.h"

#include <openssl/evp.h>

#include <cstdint>
#include <memory>

#include "cyray/crypto/auth.h"
#include "cyray/util/log.h"

namespace cyray::crypto {

std::string Sha256(std::initializer_list<std::string_view> parts) {
  std::string out(kKeyBytes, '\0');
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                        EVP_MD_CTX_free);
  bool made = context != nullptr && EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) == 1;
  for (const std::string_view part : parts) {
    made = made && EVP_DigestUpdate(context.get(), part.data(), part.size()) == 1;
  }
  made = made && EVP_DigestFinal_ex(context.get(), reinterpret_cast<unsigned char*>(out.data()),
                                    nullptr) == 1;
  CYRAY_CHECK(made) << "SHA-256 failed";
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
