#include "cyray/core/system_error.h"

namespace cyray::core {

ValuePtr SystemError(ErrorKind kind, const std::string& message, const ActorId& actor) {
  Value* value = Value::New(2 + ActorId::kSize + message.size());
  value->data()[0] = static_cast<uint8_t>(ValueTag::kSystemError);
  value->data()[1] = static_cast<uint8_t>(kind);
  std::memcpy(value->data() + 2, actor.data(), ActorId::kSize);
  std::memcpy(value->data() + 2 + ActorId::kSize, message.data(), message.size());
  return ValuePtr(value);
}

}  // namespace cyray::core
