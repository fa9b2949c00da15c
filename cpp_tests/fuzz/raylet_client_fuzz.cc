// What a driver or worker may send about objects: frames of any content in any order, from two
// clients. Whatever comes, the store keeps its invariants, and when the clients are gone so is all
// that they held. An input is a stream per client: a byte that chooses it, two for the size, bytes.

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "cpp_tests/fuzz/seeds.h"
#include "cyray/net/tcp_transport.h"
#include "cyray/raylet/client_registry.h"
#include "cyray/raylet/object_service.h"
#include "cyray/raylet/object_transfer.h"
#include "cyray/raylet/peer_table.h"
#include "cyray/util/log.h"

namespace {

using namespace cyray;
using wire::FrameType;

class World {
 public:
  World()
      : peers_(&loop_, &transport_, NodeId::Nil(), 1, std::string(32, 't')),
        transfer_(*raylet::ObjectTransfer::Create(NodeId::Nil(), store_.get(), &peers_)),
        clients_(&loop_,
                 {[this](auto& client, auto& frame) { return service_.OnFrame(client, frame); },
                  [this](auto& client, const std::string&) {
                    service_.OnClientGone(client.id(), Address{});
                  }}),
        service_({NodeId::Nil(), &loop_, &clients_, store_.get(), transfer_.get(),
                  [](const Address& owner) { return owner.worker.bytes[0] % 4 != 0; }}) {
    for (UniqueFd& end : ends_) {
      int pair[2];
      if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) != 0) std::abort();
      end = UniqueFd(pair[1]);
      WorkerId worker;
      worker.bytes.fill(static_cast<uint8_t>(1 + (&end - ends_.data())));
      clients_.Add(UniqueFd(pair[0]), worker);
    }
  }

  void Receive(size_t client, std::span<const uint8_t> bytes) {
    const int fd = ends_[client].get();
    (void)::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    Round();
    std::array<uint8_t, 4096> answers;
    while (::recv(fd, answers.data(), answers.size(), MSG_DONTWAIT) > 0) {
    }
    const std::string wrong = store_->CheckInvariants();
    CYRAY_CHECK(wrong.empty()) << wrong;
  }
  void LeaveAll() {
    for (UniqueFd& end : ends_) end.reset();
    for (int i = 0; i < 4; ++i) Round();
    CYRAY_CHECK(store_->CheckInvariants().empty()) << store_->CheckInvariants();
    CYRAY_CHECK(store_->stats().pinned_bytes == 0) << store_->stats().pinned_bytes;
    CYRAY_CHECK(store_->stats().waiters == 0) << store_->stats().waiters;
  }

 private:
  void Round() {
    loop_.RunOnce(0);
    clients_.FlushAll();
  }

  EventLoop loop_;
  std::unique_ptr<store::ObjectStore> store_ = *store::ObjectStore::Open(1 << 20);
  net::TcpTransport transport_{&loop_};
  raylet::PeerTable peers_;
  std::unique_ptr<raylet::ObjectTransfer> transfer_;
  raylet::ClientRegistry clients_;
  raylet::ObjectService service_;
  std::array<UniqueFd, 2> ends_;
};

struct Named {
  FrameType type;
  const char* table;
};
constexpr std::array kFrames{
    Named{FrameType::kCreateObject, "CreateObject"},
    Named{FrameType::kSealObject, "SealObject"},
    Named{FrameType::kSealAs, "SealAs"},
    Named{FrameType::kAbortObject, "AbortObject"},
    Named{FrameType::kGetObject, "GetObject"},
    Named{FrameType::kReleaseObjects, "ReleaseObjects"},
    Named{FrameType::kFreeObjects, "FreeObjects"},
};

}  // namespace

std::vector<uint8_t> cyray::fuzz::RandomSeed(std::mt19937_64& rng) {
  std::vector<uint8_t> input;
  for (uint64_t i = 0, count = 1 + rng() % 16; i < count; ++i) {
    const Named& named = kFrames[rng() % kFrames.size()];
    const auto frame = RandomFrame(static_cast<uint16_t>(named.type), named.table, rng);
    AppendMessage(input, static_cast<uint8_t>(rng()), frame);
  }
  return input;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  SetMinLogLevel(LogLevel::kFatal);
  World world;
  fuzz::ForEachMessage({data, size}, [&](uint8_t who, std::span<const uint8_t> bytes) {
    world.Receive(who % 2, bytes);
  });
  world.LeaveAll();
  return 0;
}
