// JobPython: the Python that the workers of a job run, when it is not the node's.
//
// A driver says in its job's configuration which Python it runs. Its functions may be byte code of
// that version and need the packages of that environment, so its workers have to run the same one:
// forks of the zygote do when it is the node's, others are started afresh. Threading: pure, but for
// looking at the file system.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace cyray::raylet {

struct JobPython {
  std::string executable;
  std::string path;  // PYTHONPATH of its workers: where they find cyray
};

// `config`: what a driver registered with, JSON (docs/protocol.md). Nothing when it names no other
// Python than the node's, or one that this node does not have.
std::optional<JobPython> OwnPythonOf(const std::vector<uint8_t>& config,
                                     const std::string& node_python);

}  // namespace cyray::raylet
