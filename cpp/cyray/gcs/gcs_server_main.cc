// gcs_server: the program. Its raylet starts it, with the same socket and folder when it has died.
//
// It accepts from the listening socket --listen-fd, which its raylet made and keeps, writes a line
// to --ready-fd when it serves, ends in order on SIGTERM, and dies with its parent.

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdlib>
#include <string>

#include "cyray/crypto/auth.h"
#include "cyray/gcs/gcs_server.h"
#include "cyray/net/tcp_listener.h"
#include "cyray/util/log.h"

namespace {

struct Flags {
  std::string session_dir;
  int listen_fd = -1;
  std::string token_file;
  int ready_fd = -1;
};

// CYRAY_SAVES_MIB: what saves of actors may take in all. No constant serves: they are in the memory
// of the head node and on its disk, whatever these have. The Python side refuses what is no number.
size_t MostSavedBytes() {
  const char* const text = std::getenv("CYRAY_SAVES_MIB");
  const size_t mib = text != nullptr ? std::strtoull(text, nullptr, 10) : 0;
  return mib > 0 ? mib << 20 : cyray::gcs::ClusterMemory{}.saved_bytes;
}

int Fatal(const cyray::Status& status) {
  CYRAY_LOG(kError) << "gcs_server cannot start: " << status.ToString();
  return 1;
}

void SayReady(int fd) {
  if (fd < 0) return;
  if (::write(fd, "ready\n", 6) < 0) {
    CYRAY_LOG(kWarning) << "nobody waits for it: errno " << errno;
  }
  ::close(fd);
}

int Serve(const Flags& flags, const sigset_t& ending) {
  cyray::Result<std::string> token = cyray::crypto::LoadToken(flags.token_file);
  if (!token.has_value()) return Fatal(token.error());
  const cyray::Result<std::string> address = cyray::net::TcpListener::AddressOf(flags.listen_fd);
  if (!address.has_value()) return Fatal(address.error());
  // What it starts, should a library ever do so, must not keep the port.
  ::fcntl(flags.listen_fd, F_SETFD, FD_CLOEXEC);
  cyray::gcs::GcsServer server;
  const cyray::Status status = server.Start({.database = flags.session_dir + "/gcs.sqlite",
                                             .listening = cyray::UniqueFd(flags.listen_fd),
                                             .token = *token,
                                             .memory = {.saved_bytes = MostSavedBytes()}});
  if (!status.ok()) return Fatal(status);
  CYRAY_LOG(kInfo) << "listening on " << *address;
  SayReady(flags.ready_fd);
  int signal = 0;
  sigwait(&ending, &signal);
  server.Stop();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const pid_t parent = ::getppid();
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  // The parent may have died before that.
  if (::getppid() != parent) return 1;
  // Blocked in every thread: main waits for them. A broken pipe is an error of write(2).
  sigset_t ending;
  sigemptyset(&ending);
  sigaddset(&ending, SIGTERM);
  sigaddset(&ending, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ending, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is an error of write(2), too

  CLI::App app("The cluster's control service.");
  Flags flags;
  app.add_option("--session-dir", flags.session_dir, "Folder of gcs.sqlite")->required();
  app.add_option("--listen-fd", flags.listen_fd, "Descriptor of a listening TCP socket")
      ->required();
  app.add_option("--token-file", flags.token_file, "File with the cluster token")->required();
  app.add_option("--ready-fd", flags.ready_fd, "Descriptor to write a line to when it serves");
  CLI11_PARSE(app, argc, argv);
  return Serve(flags, ending);
}
