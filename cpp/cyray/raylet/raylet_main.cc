// raylet: the daemon of one node. Parses what docs/architecture.md says ("Processes' start-up
// contracts"), then runs a Raylet until the node ends. One thread of its own; gRPC's only post to
// it.

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "cyray/crypto/auth.h"
#include "cyray/gcs/farewell.h"
#include "cyray/raylet/raylet.h"
#include "cyray/util/clock.h"
#include "cyray/util/log.h"
#include "cyray/util/private_folder.h"

namespace {

using cyray::ResourceSet;
using cyray::raylet::NodeOptions;

constexpr rlim_t kDescriptors = 1 << 16;
constexpr int64_t kFarewellMs = 1000;  // the GCS finds out by itself

// Names that would be misread have %2C for a comma and %25 for a percent sign.
std::string Unquoted(std::string name) {
  for (const auto& [quoted, plain] : {std::pair{"%2C", ","}, std::pair{"%25", "%"}}) {
    for (size_t at = 0; (at = name.find(quoted, at)) != std::string::npos; ++at) {
      name.replace(at, 3, plain);
    }
  }
  return name;
}

// "CPU=2,memory=1000000,Custom=0.5".
std::optional<ResourceSet> ParseResources(const std::string& text) {
  ResourceSet set;
  size_t at = 0;
  while (at < text.size()) {
    const size_t end = std::min(text.find(',', at), text.size());
    const std::string item = text.substr(at, end - at);
    at = end + 1;
    const size_t equals = item.rfind('=');
    if (equals == std::string::npos || equals == 0) return std::nullopt;
    char* rest = nullptr;
    const double amount = std::strtod(item.c_str() + equals + 1, &rest);
    if (*rest != '\0' || rest == item.c_str() + equals + 1) return std::nullopt;
    if (!(amount >= 0) || amount > 9e13) return std::nullopt;
    set.Set(Unquoted(item.substr(0, equals)), std::llround(amount * cyray::kResourceUnit));
  }
  return set;
}

// "region=eu,disk=fast".
std::optional<cyray::Labels> ParseLabels(const std::string& text) {
  cyray::Labels labels;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    const std::string item = text.substr(at, end - at);
    at = end + 1;
    const size_t equals = item.find('=');
    if (equals == std::string::npos || equals == 0) return std::nullopt;
    labels[item.substr(0, equals)] = item.substr(equals + 1);
  }
  return labels;
}

// Descriptors that came by number are ours alone.
void CloseOnExec(int fd) {
  if (fd >= 0) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
}

// A worker costs this process four descriptors, and a connection to each of its peers costs a
// worker one: the usual soft limit of 1024 would be reached by a few hundred actors. Children
// inherit the limit.
void RaiseDescriptorLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const rlim_t wanted = std::min<rlim_t>(limit.rlim_max, kDescriptors);
  if (limit.rlim_cur >= wanted) return;
  limit.rlim_cur = wanted;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

std::string OwnPath() {
  char path[4096];
  const ssize_t n = ::readlink("/proc/self/exe", path, sizeof path - 1);
  return n <= 0 ? "" : std::string(path, static_cast<size_t>(n));
}

void AddFlags(CLI::App& app, NodeOptions& options, std::string& resources, std::string& labels) {
  app.add_option("--session-dir", options.session_dir)->required();
  app.add_option("--socket", options.socket_path)->required();
  app.add_option("--node-ip", options.node_ip);
  app.add_option("--port", options.port);
  app.add_option("--advertise-port", options.advertise_port);
  app.add_option("--metrics-export-port", options.metrics_port);
  app.add_option("--token-file", options.token_file)->required();
  app.add_option("--python", options.python)->required();
  app.add_option("--resources", resources);
  app.add_option("--labels", labels);
  app.add_option("--object-store-memory", options.store_bytes, "bytes")->required();
  app.add_flag("--head", options.head);
  app.add_option("--gcs-port", options.gcs_port);
  app.add_option("--gcs-address", options.gcs_address);
  app.add_option("--gcs-server", options.gcs_server);
  app.add_option("--lifeline-fd", options.lifeline_fd);
  app.add_option("--ready-fd", options.ready_fd);
  app.add_option("--preload", options.preload);
  app.add_option("--prestart", options.prestart);
}

// `raylet farewell NODE GCS TOKEN_FILE`: said by the zygote when the raylet died.
int SayFarewell(char** argv) {
  const auto node = cyray::NodeId::FromHex(argv[2]);
  auto token = cyray::crypto::LoadToken(argv[4]);
  if (!node || !token) return 2;
  const cyray::Status said = cyray::gcs::SayFarewell(
      {*node, argv[3], *token, "Its raylet died, and what ran there with it."}, kFarewellMs);
  if (!said.ok()) {
    CYRAY_LOG(kWarning) << "the GCS was not told of the end: " << said.message();
  }
  return said.ok() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 5 && std::string_view(argv[1]) == "farewell") ::_exit(SayFarewell(argv));
  cyray::raylet::ProcessSupervisor::BlockSignals();
  RaiseDescriptorLimit();
  NodeOptions options;
  std::string resources, labels;
  CLI::App app("The cyray daemon of one node");
  AddFlags(app, options, resources, labels);
  CLI11_PARSE(app, argc, argv);
  CloseOnExec(options.lifeline_fd);
  CloseOnExec(options.ready_fd);
  options.node_id = cyray::NodeId::Random();
  options.incarnation = static_cast<uint64_t>(cyray::WallClockMs());
  options.program = OwnPath();
  if (options.gcs_server.empty()) {
    options.gcs_server = options.program.substr(0, options.program.rfind('/') + 1) + "gcs_server";
  }

  cyray::Status status = cyray::CheckPrivateFolder(options.session_dir);
  if (status.ok()) status = cyray::CheckPrivateFolder(cyray::FolderOf(options.socket_path));
  const auto parsed = ParseResources(resources);
  const auto parsed_labels = ParseLabels(labels);
  auto token = cyray::crypto::LoadToken(options.token_file);
  if (parsed_labels) options.labels = *parsed_labels;
  options.labels["cyray.io/node-id"] = options.node_id.Hex();
  if (parsed) options.resources = *parsed;
  if (token) options.token = *token;
  cyray::raylet::Raylet raylet(options);
  if (!status.ok()) {
    // What a stranger may have put there is not touched.
    raylet.ReportStartError("The raylet cannot start: " + status.message());
    ::_exit(1);
  }
  if (!parsed) {
    status = {cyray::StatusCode::kInvalidArgument, "--resources cannot be read: " + resources};
  } else if (!parsed_labels) {
    status = {cyray::StatusCode::kInvalidArgument, "--labels cannot be read: " + labels};
  } else if (!token) {
    status = token.error();
  } else if (options.head == !options.gcs_address.empty()) {
    status = {cyray::StatusCode::kInvalidArgument, "give exactly one of --head and --gcs-address"};
  } else {
    status = raylet.Start();
  }
  if (!status.ok()) {
    raylet.ReportStartError("The raylet cannot start: " + status.message());
    ::unlink(options.socket_path.c_str());
    ::_exit(1);
  }
  const int code = raylet.Run();
  ::_exit(code);  // what gRPC's threads still do is of no interest
}
