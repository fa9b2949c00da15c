#include "cyray/util/private_folder.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

namespace cyray {

Status CheckPrivateFolder(const std::string& path) {
  struct stat found;
  if (::lstat(path.c_str(), &found) != 0) return Status::FromErrno("the folder " + path);
  if (S_ISDIR(found.st_mode) && found.st_uid == ::geteuid() && (found.st_mode & 077) == 0) {
    return Status::Ok();
  }
  char text[128];
  std::snprintf(text, sizeof text,
                " must be a folder of user %u with mode 0700; it is a %s of user %u with mode %04o",
                ::geteuid(), S_ISDIR(found.st_mode) ? "folder" : "file or link", found.st_uid,
                found.st_mode & 07777u);
  return Status(StatusCode::kInvalidArgument, path + text);
}

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace cyray
