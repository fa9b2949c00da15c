// What the raylet tells Prometheus of its node: the part of Raylet that wires its metrics.

#include <unistd.h>

#include "cyray/net/tcp_listener.h"
#include "cyray/raylet/raylet.h"

namespace cyray::raylet {

Status Raylet::ServeMetrics() {
  auto listening = net::TcpListener::Open(options_.node_ip, options_.metrics_port);
  if (!listening) {
    const std::string what = "its metrics have no port (--metrics-export-port): ";
    return {listening.error().code(), what + listening.error().message()};
  }
  const auto port = net::TcpListener::PortOf(listening->get());
  if (!port) return port.error();
  const std::string session = options_.session_dir.substr(options_.session_dir.rfind('/') + 1);
  auto exporter = MetricsExporter::Start(
      &loop_, std::move(*listening), {{"SessionName", session}, {"NodeAddress", options_.node_ip}},
      [this] { return Snapshot(); });
  if (!exporter) return exporter.error();
  metrics_ = std::move(*exporter);
  options_.metrics_port = *port;
  return Status::Ok();
}

NodeSnapshot Raylet::Snapshot() const {
  return TakeSnapshot({Sources(), registrar_.get(), &jobs_, &transport_, ::getpid(),
                       shell_.zygote_pid(), gcs_process_.pid()});
}

}  // namespace cyray::raylet
