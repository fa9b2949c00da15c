// gcs_server: the program. Its raylet starts it, with the same port and folder when it has died.
//
// It writes the bound port as a decimal line to --port-file-fd when it listens, ends in order on
// SIGTERM, and dies with its parent.

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <string>

#include "cyray/crypto/auth.h"
#include "cyray/gcs/gcs_server.h"
#include "cyray/util/log.h"

namespace {

struct Flags {
  std::string session_dir;
  std::string ip = "127.0.0.1";
  int port = 0;
  std::string token_file;
  int port_fd = -1;
};

int Fatal(const cyray::Status& status) {
  CYRAY_LOG(kError) << "gcs_server cannot start: " << status.ToString();
  return 1;
}

void AnnouncePort(int fd, int port) {
  if (fd < 0) return;
  const std::string line = std::to_string(port) + "\n";
  if (::write(fd, line.data(), line.size()) < 0) {
    CYRAY_LOG(kWarning) << "nobody reads the port: errno " << errno;
  }
  ::close(fd);
}

int Serve(const Flags& flags, const sigset_t& ending) {
  cyray::Result<std::string> token = cyray::crypto::LoadToken(flags.token_file);
  if (!token.has_value()) return Fatal(token.error());
  cyray::gcs::GcsServer server;
  const cyray::Status status = server.Start({.database = flags.session_dir + "/gcs.sqlite",
                                             .ip = flags.ip,
                                             .port = flags.port,
                                             .token = *token});
  if (!status.ok()) return Fatal(status);
  CYRAY_LOG(kInfo) << "listening on " << flags.ip << ":" << server.port();
  AnnouncePort(flags.port_fd, server.port());
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
  app.add_option("--ip", flags.ip, "Address to listen on");
  app.add_option("--port", flags.port, "Port to listen on, 0 for any");
  app.add_option("--token-file", flags.token_file, "File with the cluster token")->required();
  app.add_option("--port-file-fd", flags.port_fd, "Descriptor to write the bound port to");
  CLI11_PARSE(app, argc, argv);
  return Serve(flags, ending);
}
