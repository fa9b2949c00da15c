// Folders that other users of the machine cannot reach: where sockets, logs and the token lie.
// Threading: functions without state.

#pragma once

#include <string>

#include "cyray/util/status.h"

namespace cyray {

// Whether `path` itself, not what a link there leads to, is a folder of this user that nobody
// else may enter (mode 0700). What is wrong names the folder, its owner and its mode.
Status CheckPrivateFolder(const std::string& path);

// "folder" of "folder/name".
std::string FolderOf(const std::string& path);

}  // namespace cyray
