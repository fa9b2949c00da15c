// Two or more raylets' node-to-node parts in one process, on one event loop, over loopback.

#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cpp_tests/raylet/faulty_transport_fake.h"
#include "cyray/net/tcp_transport.h"
#include "cyray/raylet/object_transfer.h"
#include "cyray/raylet/peer_table.h"
#include "cyray/util/clock.h"
#include "cyray/wire/convert.h"

namespace cyray::raylet {

struct FakeNode {
  NodeId id;
  std::unique_ptr<store::ObjectStore> store;
  net::TcpTransport tcp;
  FaultyTransport transport{&tcp};
  std::unique_ptr<PeerTable> peers;
  std::unique_ptr<ObjectTransfer> transfer;
  std::vector<std::pair<NodeId, std::string>> lost;
  std::vector<std::pair<NodeId, uint64_t>> received;  // request ids of ForwardCancel frames

  FakeNode(EventLoop* loop, uint8_t number, const std::string& token = std::string(32, 't'),
           uint64_t store_bytes = 64 << 20, uint64_t incarnation = 1)
      : tcp(loop) {
    id.bytes[0] = number;
    store = *store::ObjectStore::Open(store_bytes);
    peers = std::make_unique<PeerTable>(loop, &transport, id, incarnation, token);
    transfer = *ObjectTransfer::Create(id, store.get(), peers.get());
    peers->AddLostCallback(
        [this](const NodeId& node, const std::string& why) { lost.emplace_back(node, why); });
    peers->On<wire::ForwardCancel>(wire::FrameType::kForwardCancel,
                                   [this](const NodeId& from, const wire::ForwardCancel& frame) {
                                     received.emplace_back(from, frame.request_id());
                                   });
    EXPECT_TRUE(peers->Listen("127.0.0.1", 0).ok());
  }
  ~FakeNode() {
    transfer.reset();
    peers.reset();
  }
  // Both are told of the other, as the GCS does.
  void Meet(FakeNode& other) {
    Know(other);
    other.Know(*this);
  }
  void Know(const FakeNode& other) { peers->SetNode(other.id, {"127.0.0.1", other.peers->port()}); }
  bool SendNumber(const NodeId& to, uint64_t number) {
    flatbuffers::FlatBufferBuilder builder;
    builder.Finish(wire::CreateForwardCancel(builder, number));
    return peers->Send(to, wire::FrameType::kForwardCancel, builder);
  }
};

// Runs the loop until `done`, at most 10 s. Whether it was done.
inline bool RunUntil(EventLoop& loop, const std::function<bool()>& done) {
  const int64_t deadline = MonotonicMs() + 10'000;
  while (!done()) {
    if (MonotonicMs() > deadline) return false;
    loop.RunOnce(50);
  }
  return true;
}

}  // namespace cyray::raylet
