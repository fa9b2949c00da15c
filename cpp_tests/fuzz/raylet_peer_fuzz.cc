// What another raylet may send after the handshake: packets of frames and the raw bytes of object
// chunks, in pieces. Whatever comes, the store and the pulls keep their invariants. The first byte
// sets the size of the pieces.

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "cpp_tests/fuzz/seeds.h"
#include "cyray/net/tcp_transport.h"
#include "cyray/raylet/object_transfer.h"
#include "cyray/raylet/peer_table.h"
#include "cyray/util/log.h"
#include "cyray/wire/convert.h"

namespace {

using namespace cyray;
using net::Handshake;
using wire::FrameType;

const std::string kToken(32, 't');
constexpr store::ClientId kClient = 1;
constexpr uint32_t kObjects = 4;

template <class T>
T IdOf(uint8_t fill) {  // as schemas.cc makes them
  T id;
  id.bytes.fill(fill);
  return id;
}

void Write(int fd, std::span<const uint8_t> bytes) {
  // A full socket only means that the raylet has given up reading.
  (void)::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}
void Write(int fd, const std::string& bytes) {
  Write(fd, {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
}

template <class T>
std::span<const uint8_t> AsBytes(const T& value) {
  return {reinterpret_cast<const uint8_t*>(&value), sizeof value};
}
std::vector<uint8_t> Packet(net::Lane lane, std::span<const uint8_t> payload) {
  net::PacketHeader header;
  header.bytes = static_cast<uint32_t>(payload.size());
  header.lane = lane;
  std::vector<uint8_t> packet(AsBytes(header).begin(), AsBytes(header).end());
  packet.insert(packet.end(), payload.begin(), payload.end());
  return packet;
}

// A raylet's parts that peers reach, and the other end of a connection to it.
class World {
 public:
  World() : peers_(&loop_, &transport_, IdOf<NodeId>(9), 1, kToken) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) != 0) std::abort();
    peer_ = UniqueFd(ends[1]);
    transfer_ = *raylet::ObjectTransfer::Create(IdOf<NodeId>(9), store_.get(), &peers_);
    peers_.AcceptStream(transport_.Wrap(UniqueFd(ends[0])));
    Introduce();
    for (uint8_t i = 0; i < kObjects; ++i) Prepare(IdOf<ObjectId>(i), i);
    loop_.RunOnce(0);
  }
  ~World() { transfer_.reset(); }

  void Receive(std::span<const uint8_t> bytes) {
    Write(peer_.get(), bytes);
    loop_.RunOnce(0);
    std::array<uint8_t, 4096> answers;
    while (::recv(peer_.get(), answers.data(), answers.size(), MSG_DONTWAIT) > 0) {
    }
  }
  void Check() const {
    const std::string wrong = store_->CheckInvariants() + transfer_->CheckInvariants();
    CYRAY_CHECK(wrong.empty()) << wrong;
  }

 private:
  // The peer's side of the handshake, and its hello.
  void Introduce() {
    const NodeId node = IdOf<NodeId>(1);
    peers_.SetNode(node, {"127.0.0.1", 1});
    Handshake dialer = Handshake::Dialer(kToken, {node, 1}, IdOf<NodeId>(9),
                                         std::string(Handshake::kNonceBytes, 'n'));
    Write(peer_.get(), dialer.TakeOutput());
    loop_.RunOnce(0);
    loop_.RunOnce(0);  // what a round has to send is sent in the next
    std::array<uint8_t, 128> bytes;
    const ssize_t n = ::recv(peer_.get(), bytes.data(), dialer.wanted(), MSG_DONTWAIT);
    if (n <= 0 || !dialer.Receive(std::span(bytes).first(static_cast<size_t>(n))).ok()) {
      std::abort();
    }
    Write(peer_.get(), dialer.TakeOutput());
    const net::Hello hello;
    Write(peer_.get(), Packet(net::Lane::kHello, AsBytes(hello)));
    loop_.RunOnce(0);
    if (!peers_.IsConnected(node)) std::abort();
  }
  // Two that this node has, and two that it pulls from the peer.
  void Prepare(const ObjectId& id, uint8_t number) {
    if (number % 2 == 1) {
      transfer_->Get(kClient, id, {IdOf<NodeId>(1)}, [](const Result<store::ObjectView>&) {});
    } else if (store_->Create(kClient, id, 100'000, {}).has_value()) {
      (void)store_->Seal(kClient, id);
    }
  }

  EventLoop loop_;
  std::unique_ptr<store::ObjectStore> store_ = *store::ObjectStore::Open(1 << 20);
  net::TcpTransport transport_{&loop_};
  raylet::PeerTable peers_;
  std::unique_ptr<raylet::ObjectTransfer> transfer_;
  UniqueFd peer_;
};

struct Named {
  FrameType type;
  const char* table;
};
constexpr std::array kFrames{
    Named{FrameType::kPullObject, "PullObject"},   Named{FrameType::kObjectChunk, "ObjectChunk"},
    Named{FrameType::kObjectChunk, "ObjectChunk"}, Named{FrameType::kCancelPull, "CancelPull"},
    Named{FrameType::kForwardFree, "ForwardFree"},
};

}  // namespace

std::vector<uint8_t> cyray::fuzz::RandomSeed(std::mt19937_64& rng) {
  std::vector<uint8_t> input{static_cast<uint8_t>(rng())};
  for (uint64_t i = 0, count = 1 + rng() % 8; i < count; ++i) {
    const Named& named = kFrames[rng() % kFrames.size()];
    const auto frame = RandomFrame(static_cast<uint16_t>(named.type), named.table, rng);
    const bool bulk = named.type == FrameType::kObjectChunk;
    const auto packet = Packet(bulk ? net::Lane::kBulk : net::Lane::kControl, frame);
    input.insert(input.end(), packet.begin(), packet.end());
    if (bulk) input.resize(input.size() + rng() % 8, 'r');
  }
  return input;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1 || size > (1 << 16)) return 0;
  SetMinLogLevel(LogLevel::kFatal);
  World world;
  std::span<const uint8_t> input(data + 1, size - 1);
  const size_t piece = 1 + size_t{data[0]} * 8;
  while (!input.empty()) {
    const size_t n = std::min(piece, input.size());
    world.Receive(input.first(n));
    world.Check();
    input = input.subspan(n);
  }
  return 0;
}
