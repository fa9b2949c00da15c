// A GCS in this process for tests of what a raylet has to do with it: the real server, on a folder
// of its own, with its own threads. Threading: used by the test's thread.

#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>

#include "cpp_tests/raylet/node_fake.h"
#include "cyray/gcs/codec.h"
#include "cyray/gcs/gcs_server.h"
#include "cyray/net/tcp_listener.h"
#include "cyray/raylet/gcs_bridge.h"

namespace cyray::raylet {

class LocalGcs {
 public:
  LocalGcs() {
    char folder[] = "/tmp/cyray_gcs_XXXXXX";
    folder_ = ::mkdtemp(folder);
    Start();
  }
  ~LocalGcs() {
    server_.reset();
    std::filesystem::remove_all(folder_);
  }
  // On the same port after Stop.
  void Start() {
    server_ = std::make_unique<gcs::GcsServer>();
    const Status status =
        server_->Start({.database = folder_ + "/gcs.sqlite",
                        .listening = UniqueFd(::fcntl(listening_.get(), F_DUPFD_CLOEXEC, 0)),
                        .token = std::string(32, 't')});
    ASSERT_TRUE(status.ok()) << status.ToString();
  }
  void Stop() { server_.reset(); }
  std::string address() const { return *net::TcpListener::AddressOf(listening_.get()); }

 private:
  std::string folder_;
  const UniqueFd listening_ = *net::TcpListener::Open("127.0.0.1", 0);
  std::unique_ptr<gcs::GcsServer> server_;
};

// Makes `node` one of the cluster's, as a raylet does at its start; its stream is up afterwards.
inline void JoinCluster(NodeFake& node, GcsBridge& bridge, const std::string& address,
                        const bool& stream_up) {
  bridge.Connect(address);
  gcs::NodeEntry entry;
  entry.id = node.options.node_id;
  entry.ip = node.options.node_ip;
  entry.port = node.peers.port();
  entry.total = node.options.resources;
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(wire::CreateRegisterNodeRequest(builder, gcs::WriteNode(builder, entry)));
  bool registered = false;
  bridge.Register(builder, [&](Result<wire::Bytes> reply) {
    EXPECT_TRUE(reply.has_value());
    registered = true;
  });
  ASSERT_TRUE(node.Until([&] { return registered; }));
  bridge.OpenStream();
  ASSERT_TRUE(node.Until([&] { return stream_up; }));
}

}  // namespace cyray::raylet
