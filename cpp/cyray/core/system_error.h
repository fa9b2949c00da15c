// SystemError: an error of cyray's own, encoded as the value of an object: its tag, its kind, the
// actor that it concerns (or zeros), its text. wire/encoded.h reads it. A pure function.

#pragma once

#include <string>

#include "cyray/common/encoding.h"
#include "cyray/common/ids.h"
#include "cyray/core/value.h"

namespace cyray::core {

ValuePtr SystemError(ErrorKind kind, const std::string& message, const ActorId& actor = {});

}  // namespace cyray::core
