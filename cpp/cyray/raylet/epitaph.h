// Epitaph: what a node says of a worker that died without meaning to, below the reason: where it
// was, the stack that faulthandler wrote, and the ends of its logs with their paths.
//
// Lines that each begin with a newline, for the end of a reason (util/sentence.h). A pure function.

#pragma once

#include <string>

namespace cyray::raylet {

struct LogEnd {
  std::string path;  // empty: nothing was printed
  std::string text;  // its last lines
};

struct Died {
  std::string node_ip;
  int pid = 0;
  bool killed = false;  // by SIGKILL, and not by this node
  LogEnd err;
  LogEnd out;
};

std::string Epitaph(const Died& died);

}  // namespace cyray::raylet
