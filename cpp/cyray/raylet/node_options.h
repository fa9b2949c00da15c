// What a raylet was started with. Values, immutable after main() has parsed them, but for the port
// of its metrics, which is known when it listens.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/common/labels.h"
#include "cyray/common/resource_names.h"
#include "cyray/common/resources.h"

namespace cyray::raylet {

// The command line of a worker is longer by so many bytes than it has to be: that is where the
// title of its process goes.
inline constexpr size_t kTitleBytes = 256;

struct NodeOptions {
  std::string session_dir;
  std::string socket_path;
  std::string node_ip = "127.0.0.1";
  uint16_t port = 0;            // of the raylet, for peers; 0: any
  uint16_t advertise_port = 0;  // where peers reach it, through something in between; 0: `port`
  uint16_t metrics_port = 0;    // of its metrics; 0: any, until it listens
  std::string token_file;
  std::string python;
  ResourceSet resources;
  Labels labels;
  uint64_t store_bytes = 0;
  bool head = false;
  uint16_t gcs_port = 0;
  std::string gcs_address;
  std::string gcs_server;  // the program, for a head node
  int lifeline_fd = -1;
  int ready_fd = -1;
  std::string preload;
  int prestart = -1;  // workers started ahead; -1: one per CPU

  // Made at start.
  std::string program;  // the path of this program
  NodeId node_id;
  uint64_t incarnation = 0;
  std::string token;

  int cpus() const {
    return static_cast<int>((resources.Get(kCpu) + kResourceUnit - 1) / kResourceUnit);
  }
  Address AddressOf(const WorkerId& worker) const { return {node_id, worker}; }
};

}  // namespace cyray::raylet
