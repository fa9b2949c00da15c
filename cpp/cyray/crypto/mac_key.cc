#include "cyray/crypto/mac_key.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "cyray/crypto/key_schedule.h"
#include "cyray/util/log.h"

namespace cyray::crypto {
namespace {

// Looked up once: it costs more than a tag.
EVP_MAC* Hmac() {
  static EVP_MAC* const hmac = EVP_MAC_fetch(nullptr, "HMAC", nullptr);
  return hmac;
}

}  // namespace

void MacKey::Free::operator()(evp_mac_ctx_st* context) const { EVP_MAC_CTX_free(context); }

MacKey::MacKey(std::string_view key) : keyed_(EVP_MAC_CTX_new(Hmac())) {
  char digest[] = "SHA256";
  const OSSL_PARAM params[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, sizeof digest - 1),
      OSSL_PARAM_construct_end()};
  // No pointer would mean no key.
  const char* const bytes = key.empty() ? "" : key.data();
  CYRAY_CHECK(keyed_ != nullptr &&
              EVP_MAC_init(keyed_.get(), reinterpret_cast<const unsigned char*>(bytes), key.size(),
                           params) == 1)
      << "HMAC failed";
}

std::string MacKey::Tag(std::initializer_list<std::string_view> parts) const {
  const std::unique_ptr<evp_mac_ctx_st, Free> context(EVP_MAC_CTX_dup(keyed_.get()));
  bool made = context != nullptr;
  for (const std::string_view part : parts) {
    made =
        made && EVP_MAC_update(context.get(), reinterpret_cast<const unsigned char*>(part.data()),
                               part.size()) == 1;
  }
  std::string tag(kKeyBytes, '\0');
  size_t size = 0;
  made = made && EVP_MAC_final(context.get(), reinterpret_cast<unsigned char*>(tag.data()), &size,
                               tag.size()) == 1;
  CYRAY_CHECK(made && size == tag.size()) << "HMAC failed";
  return tag;
}

}  // namespace cyray::crypto
