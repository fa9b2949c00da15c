// The programs of a simulated cluster: raylets and the GCS are the product's own; a zygote, a
// worker and a driver are short stand-ins for what is Python in the product, around the product's
// CoreWorker.
// Threading: each runs as a simulated process (kernel.h).

#pragma once

#include <functional>
#include <string>

#include "cpp_tests/sim/kernel.h"
#include "cyray/common/ids.h"
#include "cyray/util/unique_fd.h"

namespace cyray::sim {

struct RayletSpec {
  int node = 0;
  std::string folder;  // the session's
  int cpus = 2;
  uint64_t store_bytes = 16 << 20;
};

// Makes "zygote" and "gcs_server" known to the kernel. `run_worker` is the main function of
// each worker, with its end of the raylet's connection.
// `gcs_forgets`: the GCS remembers no dead node and one finished job.
void AddPrograms(Kernel* kernel, std::function<int(UniqueFd socket, WorkerId id)> run_worker,
                 bool gcs_forgets);
Process* StartRaylet(Kernel* kernel, const RayletSpec& spec);
std::string SocketOf(const RayletSpec& spec);

}  // namespace cyray::sim
