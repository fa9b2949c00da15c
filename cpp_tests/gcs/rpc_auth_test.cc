// Proofs and tags between GCS and clients, without gRPC: what holds where, and an attacker who owns
// the network and has any number of honest clients and servers talk through it.

#include "cyray/gcs/rpc_auth.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>
#include <set>

#include "cyray/crypto/auth.h"

namespace cyray::gcs {
namespace {

using What = RpcSession::What;
const std::string kToken(32, 't');
constexpr char kHere[] = "127.0.0.1:6379";
constexpr char kElsewhere[] = "127.0.0.1:6380";
constexpr char kMethod[] = "/cyray.Gcs/Call";

class RpcAuth : public testing::Test {
 protected:
  RpcSession Begin(const std::string& peer = "ipv4:127.0.0.1:50000") {
    const std::string nonce = crypto::RandomNonce();
    return *ProvedSession(kToken, nonce, *gate_.Answer(nonce, peer), kHere);
  }
  RpcGate gate_{kToken, kHere};
  const std::string peer_ = "ipv4:127.0.0.1:50000";
};

TEST_F(RpcAuth, BothEndsMakeTheSameTags) {
  const RpcSession client = Begin();
  const auto opened = gate_.Open(client.Opening(1, kMethod), kMethod, peer_);
  ASSERT_TRUE(opened);
  EXPECT_EQ(opened->call, 1u);
  for (const What what : {What::kRequest, What::kReply, What::kUp, What::kDown, What::kEnd}) {
    EXPECT_TRUE(opened->session->IsTag(client.Tag(what, {1, 2}, "head", "body"), what, {1, 2},
                                       "head", "body"));
  }
}

TEST_F(RpcAuth, ATagHoldsForOneUseOnePlaceAndItsBytes) {
  const RpcSession one = Begin(), other = Begin();
  std::set<std::string> tags;
  for (const RpcSession* session : {&one, &other}) {
    for (const What what : {What::kRequest, What::kReply, What::kUp, What::kDown}) {
      for (const uint64_t call : {1, 2}) {
        for (const uint64_t message : {0, 1}) {
          tags.insert(session->Tag(what, {call, message}, "a", "b"));
          tags.insert(session->Tag(what, {call, message}, "a", "c"));
        }
      }
    }
  }
  EXPECT_EQ(tags.size(), 64u);
}

TEST_F(RpcAuth, AServersProofIsWorthNothingToWhoDialedAnotherAddress) {
  const std::string nonce = crypto::RandomNonce();
  const std::string answer = *gate_.Answer(nonce, peer_);
  EXPECT_TRUE(ProvedSession(kToken, nonce, answer, kHere));
  EXPECT_FALSE(ProvedSession(kToken, nonce, answer, kElsewhere));
  std::string renamed = answer;
  renamed.replace(renamed.size() - 4, 4, "6380");
  EXPECT_FALSE(ProvedSession(kToken, nonce, renamed, kElsewhere));
}

TEST_F(RpcAuth, AServerAtEveryAddressOfItsMachineProvesItsPort) {
  RpcGate any(kToken, "0.0.0.0:6379");
  const std::string nonce = crypto::RandomNonce();
  const std::string answer = *any.Answer(nonce, peer_);
  EXPECT_TRUE(ProvedSession(kToken, nonce, answer, "10.0.0.7:6379"));
  EXPECT_FALSE(ProvedSession(kToken, nonce, answer, "10.0.0.7:16379"));
}

TEST_F(RpcAuth, AnswersOfStrangersProveNothing) {
  const std::string nonce = crypto::RandomNonce();
  RpcGate stranger(std::string(32, 'x'), kHere);
  EXPECT_FALSE(ProvedSession(kToken, nonce, *stranger.Answer(nonce, peer_), kHere));
  const std::string recorded = *gate_.Answer(crypto::RandomNonce(), peer_);
  EXPECT_FALSE(ProvedSession(kToken, nonce, recorded, kHere));
  for (size_t size = 0; size < 64; ++size) {
    EXPECT_FALSE(ProvedSession(kToken, nonce, std::string(size, 'x'), kHere));
  }
  EXPECT_FALSE(gate_.Answer("short", peer_));
}

TEST_F(RpcAuth, AnOpeningHoldsForItsConnectionAndMethodAndOnce) {
  const RpcSession client = Begin();
  const std::string opening = client.Opening(1, kMethod);
  EXPECT_FALSE(gate_.Open(opening, kMethod, "ipv4:127.0.0.1:50001"));
  EXPECT_FALSE(gate_.Open(opening, "/cyray.Gcs/Stream", peer_));
  EXPECT_FALSE(RpcGate(kToken, kHere).Open(opening, kMethod, peer_));  // started anew
  EXPECT_TRUE(gate_.Open(opening, kMethod, peer_));
  EXPECT_FALSE(gate_.Open(opening, kMethod, peer_));
  std::string later = opening;
  later[64] = 2;  // the call's number
  EXPECT_FALSE(gate_.Open(later, kMethod, peer_));
  EXPECT_FALSE(gate_.Open("", kMethod, peer_));
  EXPECT_FALSE(gate_.Open(std::string(opening.size(), '\0'), kMethod, peer_));
}

TEST_F(RpcAuth, ASessionsKeysAreMadeOnceAndHoldForItsConnectionAlone) {
  const RpcSession client = Begin();
  const auto first = gate_.Open(client.Opening(1, kMethod), kMethod, peer_);
  const auto second = gate_.Open(client.Opening(2, kMethod), kMethod, peer_);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->session, second->session);
  const std::string third = client.Opening(3, kMethod);
  EXPECT_FALSE(gate_.Open(third, kMethod, "ipv4:127.0.0.1:50001"));
  std::string forged = third;
  forged.back() ^= 1;
  EXPECT_FALSE(gate_.Open(forged, kMethod, peer_));
  std::string renamed = third;
  renamed[0] ^= 1;  // another client's nonce
  EXPECT_FALSE(gate_.Open(renamed, kMethod, peer_));
  EXPECT_TRUE(gate_.Open(third, kMethod, peer_));
  const RpcSession other = Begin();
  EXPECT_NE(gate_.Open(other.Opening(1, kMethod), kMethod, peer_)->session, first->session);
}

TEST(ReplayGuard, TakesEachCallOnceInWhateverOrder) {
  ReplayGuard guard;
  std::mt19937_64 random(3);
  std::vector<uint64_t> calls;
  for (uint64_t call = 1; call <= 20'000; ++call) calls.push_back(call);
  // None overtakes more than half a window of others.
  for (size_t at = 0; at < calls.size(); at += ReplayGuard::kWindow / 2) {
    const size_t end = std::min(at + ReplayGuard::kWindow / 2, calls.size());
    std::shuffle(calls.begin() + at, calls.begin() + end, random);
  }
  for (const uint64_t call : calls) ASSERT_TRUE(guard.Accept(1, call)) << call;
  for (const uint64_t call : calls) ASSERT_FALSE(guard.Accept(1, call)) << call;
  EXPECT_TRUE(guard.Accept(1, 100'000));
  EXPECT_FALSE(guard.Accept(1, 100'000 - ReplayGuard::kWindow));
  EXPECT_TRUE(guard.Accept(1, 100'001 - ReplayGuard::kWindow));
}

TEST(ReplayGuard, ForgetsTheOldestSessionsAndTakesNothingOfThemAgain) {
  ReplayGuard guard;
  for (uint64_t session = 1; session <= 2 * ReplayGuard::kSessions; ++session) {
    ASSERT_TRUE(guard.Accept(session, 1));
  }
  for (uint64_t session = 1; session <= 2 * ReplayGuard::kSessions; ++session) {
    ASSERT_FALSE(guard.Accept(session, 1)) << session;
  }
  EXPECT_FALSE(guard.Accept(1, 2));
  EXPECT_TRUE(guard.Accept(2 * ReplayGuard::kSessions, 2));
}

// Two servers and any number of clients with the token; all they say goes through the attacker.
class Network {
 public:
  explicit Network(uint64_t seed) : random_(seed) {}

  void Step() {
    switch (random_() % 5) {
      case 0:
        return Dial();
      case 1:
        return AnswerSomebody();
      case 2:
        return PassAnAnswer();
      case 3:
        return CallSomething();
      default:
        return Deliver();
    }
  }
  size_t taken = 0;

 private:
  struct Client {
    std::string nonce;
    size_t dialed;  // server
    std::string peer;
    std::optional<RpcSession> session;
    uint64_t calls = 0;
  };
  struct Sent {
    size_t client;
    std::string opening, body, tag;
  };

  template <class T>
  typename T::reference Pick(T& from) {
    return from[random_() % from.size()];
  }
  static const char* AddressOf(size_t server) { return server == 0 ? kHere : kElsewhere; }
  std::string SomePeer() { return "ipv4:10.0.0.1:" + std::to_string(random_() % 4); }

  void Dial() {
    clients_.push_back({crypto::RandomNonce(), random_() % 2, SomePeer(), std::nullopt, 0});
  }
  // The attacker takes some client's nonce to some server, from whatever address it likes.
  void AnswerSomebody() {
    if (clients_.empty()) return;
    const Client& client = Pick(clients_);
    const std::string peer = random_() % 4 != 0 ? client.peer : SomePeer();
    const size_t server = random_() % 4 != 0 ? client.dialed : random_() % 2;
    answers_.push_back(*servers_[server].Answer(client.nonce, peer));
  }
  void PassAnAnswer() {
    if (clients_.empty() || answers_.empty()) return;
    Client& client = Pick(clients_);
    if (client.session) return;
    std::string answer = random_() % 2 == 0 ? answers_.back() : Pick(answers_);
    if (random_() % 4 == 0) {  // one's head, another's end
      answer = answer.substr(0, random_() % 80);
      const std::string& other = Pick(answers_);
      answer += other.substr(std::min(answer.size(), other.size()));
    }
    client.session = ProvedSession(kToken, client.nonce, answer, AddressOf(client.dialed));
    if (!client.session) return;
    // The server that it dialed made it, for this client's nonce.
    ASSERT_EQ(answer.substr(64), AddressOf(client.dialed));
  }
  void CallSomething() {
    if (clients_.empty()) return;
    const size_t index = random_() % clients_.size();
    Client& client = clients_[index];
    if (!client.session) return;
    const uint64_t call = ++client.calls;
    const std::string body = "call " + std::to_string(call) + " of " + std::to_string(index);
    sent_.push_back({index, client.session->Opening(call, kMethod), body,
                     client.session->Tag(What::kRequest, {call, 0}, {}, body)});
  }
  void Deliver() {
    if (sent_.empty()) return;
    const Sent& call = random_() % 2 == 0 ? sent_.back() : Pick(sent_);
    const std::string peer = random_() % 4 == 0 ? SomePeer() : clients_[call.client].peer;
    const size_t server = random_() % 4 == 0 ? random_() % 2 : clients_[call.client].dialed;
    const Sent& message = random_() % 4 == 0 ? Pick(sent_) : call;
    const std::string& body = random_() % 8 == 0 ? Pick(sent_).body : message.body;
    const auto opened = servers_[server].Open(call.opening, kMethod, peer);
    if (!opened ||
        !opened->session->IsTag(message.tag, What::kRequest, {opened->call, 0}, {}, body)) {
      return;
    }
    // Exactly what its client meant, for the server that it dialed, once.
    ++taken;
    ASSERT_EQ(body, call.body);
    ASSERT_EQ(server, clients_[call.client].dialed);
    ASSERT_TRUE(bodies_.insert(body).second) << body;
  }

  std::mt19937_64 random_;
  RpcGate servers_[2] = {{kToken, kHere}, {kToken, kElsewhere}};
  std::deque<Client> clients_;
  std::deque<std::string> answers_;
  std::deque<Sent> sent_;
  std::set<std::string> bodies_;
};

TEST(RpcAuthModel, AServerTakesWhatAClientMeantForItOnceAndNothingElse) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("first seed " + std::to_string(seed));
  size_t taken = 0;
  for (uint64_t run = 0; run < 300 && !testing::Test::HasFailure(); ++run) {
    Network network(seed + run);
    for (int step = 0; step < 200; ++step) network.Step();
    taken += network.taken;
  }
  EXPECT_GT(taken, 300u);
}

}  // namespace
}  // namespace cyray::gcs
