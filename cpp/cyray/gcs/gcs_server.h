// GcsServer: the whole GCS: storage, state loop, service and port, built and connected here.
//
// Threading: Start and Stop from the owner's thread. Threads: the state loop, the storage's writer,
// and gRPC's own, which only post to the loop.

#pragma once

#include <memory>
#include <string>
#include <thread>

#include "cyray/gcs/gcs_service.h"
#include "cyray/gcs/rpc_server.h"
#include "cyray/gcs/sqlite_storage.h"
#include "cyray/util/event_loop.h"
#include "cyray/util/unique_fd.h"

namespace cyray::gcs {

class GcsServer {
 public:
  struct Options {
    std::string database;  // path of the SQLite file
    UniqueFd listening;    // a TCP socket that listens; whoever else has it keeps the port
    std::string token;
    Membership::Timing timing = {};
    ClusterMemory memory = {};
  };

  ~GcsServer();
  // Loads what was stored and listens. Once.
  Status Start(Options options);
  // Ends in order: what was acknowledged is on disk anyway, what was not is written too.
  void Stop();

 private:
  EventLoop loop_;
  std::unique_ptr<Storage> storage_;
  std::unique_ptr<RpcServer> rpc_;
  std::unique_ptr<GcsService> service_;
  std::thread thread_;
};

}  // namespace cyray::gcs
