#include "cyray/crypto/mac_key.h"

#include <openssl/evp.h>

#include "cyray/crypto/key_schedule.h"
#include "cyray/util/log.h"

namespace cyray::crypto {
namespace {

constexpr size_t kBlockBytes = 64;
constexpr char kInnerPad = 0x36, kOuterPad = 0x5c;

void Update(EVP_MD_CTX* context, std::string_view bytes) {
  CYRAY_CHECK(EVP_DigestUpdate(context, bytes.data(), bytes.size()) == 1) << "SHA-256 failed";
}

std::string Final(EVP_MD_CTX* context) {
  std::string out(kKeyBytes, '\0');
  CYRAY_CHECK(EVP_DigestFinal_ex(context, reinterpret_cast<unsigned char*>(out.data()), nullptr) ==
              1)
      << "SHA-256 failed";
  return out;
}

}  // namespace

void MacKey::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

MacKey::Context MacKey::Begin(std::string_view padded_key, char pad) {
  std::string block(padded_key);
  for (char& byte : block) byte = static_cast<char>(byte ^ pad);
  Context context(EVP_MD_CTX_new());
  CYRAY_CHECK(context != nullptr && EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) == 1)
      << "SHA-256 failed";
  Update(context.get(), block);
  return context;
}

MacKey::Context MacKey::CopyOf(const Context& from) {
  Context context(EVP_MD_CTX_new());
  CYRAY_CHECK(context != nullptr && EVP_MD_CTX_copy_ex(context.get(), from.get()) == 1)
      << "SHA-256 failed";
  return context;
}

MacKey::MacKey(std::string_view key) {
  std::string padded = key.size() > kBlockBytes ? Sha256({key}) : std::string(key);
  padded.resize(kBlockBytes);
  inner_ = Begin(padded, kInnerPad);
  outer_ = Begin(padded, kOuterPad);
}

std::string MacKey::Tag(std::initializer_list<std::string_view> parts) const {
  const Context inner = CopyOf(inner_);
  for (const std::string_view part : parts) Update(inner.get(), part);
  const Context outer = CopyOf(outer_);
  Update(outer.get(), Final(inner.get()));
  return Final(outer.get());
}

}  // namespace cyray::crypto
