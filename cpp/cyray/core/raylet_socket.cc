#include "cyray/core/raylet_socket.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "cyray/util/private_folder.h"

namespace cyray::core {
namespace {

// Who called listen() there.
Status CheckListener(int fd, const std::string& path) {
  ucred listener{};
  socklen_t size = sizeof listener;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &listener, &size) != 0) {
    return Status::FromErrno("who listens at " + path);
  }
  if (listener.uid == ::geteuid() || listener.uid == 0) return Status::Ok();
  return Status(StatusCode::kInvalidArgument, "user " + std::to_string(listener.uid) +
                                                  " listens at " + path +
                                                  ", who is neither this user nor root");
}

}  // namespace

Status ConnectToRaylet(const std::string& path, UniqueFd* socket) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return Status(StatusCode::kInvalidArgument,
                  "the socket path is longer than the system allows: " + path);
  }
  CYRAY_RETURN_IF_ERROR(CheckPrivateFolder(FolderOf(path)));
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return Status::FromErrno("socket");
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return Status::FromErrno("cannot connect to the raylet at " + path);
  }
  // The folder may have been another one by then: the listener is what counts.
  CYRAY_RETURN_IF_ERROR(CheckListener(fd.get(), path));
  *socket = std::move(fd);
  return Status::Ok();
}

}  // namespace cyray::core
