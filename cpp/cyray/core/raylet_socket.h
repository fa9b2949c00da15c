// How a driver reaches its raylet: a Unix socket in a folder that is this user's alone.
// Threading: a function without state.

#pragma once

#include <string>

#include "cyray/util/status.h"
#include "cyray/util/unique_fd.h"

namespace cyray::core {

// A socket connected to the raylet at `path`. Refuses, before a word is said, a path in a folder
// that others may enter, and a listener of another user than this one or root: what a raylet
// answers is unpickled.
Status ConnectToRaylet(const std::string& path, UniqueFd* socket);

}  // namespace cyray::core
