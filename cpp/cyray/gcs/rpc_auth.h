// How the two ends of a connection to the GCS prove who they are, and that each message is theirs.
//
// A session begins with Challenge: the client's nonce; the server's nonce, address and proof. From
// the cluster token and all of these come two keys, one for each direction. Every call then says
// which session it belongs to and its number there, and each message of it ends with a tag over
// what it is (request, reply, a stream's message up or down), the call's number, the message's
// place and its bytes. So whoever sits between the two can delay or lose what they say, and nothing
// else: a proof names the address at which the GCS listens and the client's, a tag holds for one
// place in one call, and a call that came before is refused (ReplayGuard).
// No gRPC here: bytes in, bytes out. Threading: RpcSession is immutable, the others are
// thread-safe.

#pragma once

#include <atomic>
#include <bitset>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "cyray/crypto/key_schedule.h"
#include "cyray/crypto/mac_key.h"

namespace cyray::gcs {

inline constexpr size_t kTagBytes = 32;

class RpcSession {
 public:
  // What a tag is for.
  enum class What : uint8_t { kOpening, kRequest, kReply, kUp, kAccepted, kDown, kEnd };
  // A call of this session, and the place of a message in it.
  struct Place {
    uint64_t call = 0;
    uint64_t message = 0;
  };

  // `server_address`: where the server listens, "127.0.0.1:6379".
  RpcSession(std::string_view token, std::string_view client_nonce, std::string_view server_nonce,
             std::string_view server_address);

  const std::string& server_proof() const { return server_proof_; }
  // The client's and the server's.
  const std::string& nonces() const { return nonces_; }
  // Over `head` and `body`, one after the other.
  std::string Tag(What what, Place place, std::string_view head, std::string_view body) const;
  bool IsTag(std::string_view tag, What what, Place place, std::string_view head,
             std::string_view body) const;

  // What a call carries in its metadata: which session it belongs to, its number, and a tag over
  // its method.
  std::string Opening(uint64_t call, std::string_view method) const;

 private:
  RpcSession(const crypto::KeySchedule& keys, std::string nonces, const crypto::Transcript& said);

  std::string nonces_;
  std::string server_proof_;
  crypto::MacKey client_key_, server_key_;
};

// An opening, cut; nothing of it is believed yet.
struct OpeningParts {
  std::string_view client_nonce, server_nonce, tag;
  uint64_t call = 0;
};
std::optional<OpeningParts> CutOpening(std::string_view opening);

// Makes server nonces and recognises its own without remembering them.
class ServerNonces {
 public:
  ServerNonces();
  // A nonce for this client nonce on the connection from `peer`.
  std::string Issue(std::string_view client_nonce, std::string_view peer);
  // Its number, 1 for the first; 0 when it was not issued here, for these two.
  uint64_t NumberOf(std::string_view server_nonce, std::string_view client_nonce,
                    std::string_view peer) const;

 private:
  std::string Bind(std::string_view head, std::string_view client_nonce,
                   std::string_view peer) const;
  const std::string secret_;
  std::atomic<uint64_t> issued_{0};
};

// Refuses calls that came before. It remembers sessions whose client has proved itself, at most
// kSessions: the oldest leave, and with them all that were issued before and not seen since.
class ReplayGuard {
 public:
  static constexpr size_t kSessions = 4096;
  static constexpr size_t kWindow = 4096;  // calls that may overtake one another

  // A call whose tag is right. False: it was here before, or may have been.
  bool Accept(uint64_t session, uint64_t call);

 private:
  struct Calls {
    uint64_t highest = 0;
    std::bitset<kWindow> seen;  // by call % kWindow, of the kWindow up to the highest
  };
  std::mutex mutex_;
  std::map<uint64_t, Calls> sessions_;  // guarded by mutex_, by number
  uint64_t forgotten_ = 0;              // sessions up to it that are not there are refused
};

// The server's side of challenges and openings.
class RpcGate {
 public:
  // `address`: where it listens.
  RpcGate(std::string token, std::string address)
      : token_(std::move(token)), address_(std::move(address)) {}

  // To a challenge on the connection from `peer`; nothing when the nonce is none.
  std::optional<std::string> Answer(std::string_view client_nonce, std::string_view peer);
  struct Opened {
    std::shared_ptr<const RpcSession> session;  // shared by all its calls
    uint64_t call;
  };
  // Nothing: no proof, one of another connection or method, or a call that came before.
  std::optional<Opened> Open(std::string_view opening, std::string_view method,
                             std::string_view peer);

 private:
  // A session whose client has proved itself: its keys are made once.
  struct Proved {
    std::string peer;
    std::shared_ptr<const RpcSession> session;
  };
  std::shared_ptr<const RpcSession> FindProved(uint64_t number, std::string_view nonces,
                                               std::string_view peer);
  void Remember(uint64_t number, Proved proved);

  const std::string token_, address_;
  ServerNonces nonces_;
  ReplayGuard guard_;
  std::mutex mutex_;
  std::map<uint64_t, Proved> proved_;  // guarded by mutex_, by number
};

// The client's: what an answer proves to who sent `client_nonce` to the address `dialed`; nothing
// when it does not prove that the token's holder listens there.
std::optional<RpcSession> ProvedSession(std::string_view token, std::string_view client_nonce,
                                        std::string_view answer, std::string_view dialed);

}  // namespace cyray::gcs
