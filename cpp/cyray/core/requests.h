// Requests: what threads of Python's ask the raylet of this node, or through it the GCS, and how
// such a question ends.
//
// One mechanism for all of them. A question is sent once: the raylet lives as long as its node, and
// asks the GCS again by itself until it has an answer. It ends with the reply; with the loss of the
// raylet or the end of this session (kDisconnected); at its deadline (kTimedOut); or because a
// signal handler raised (kCancelled). A reply that nobody waits for any more is dropped, or goes to
// whoever has to undo what it grants. What no frame can carry is refused before it is sent: at the
// raylet it would end the connection, and the session with it.
//
// What machines ask by themselves (leases, pulls, links) goes through RayletOutbox::Request, with
// the same table of replies, and nobody waits.
//
// Threading: everything runs with the core mutex held, as this_process.h says.

#pragma once

#include <flatbuffers/flatbuffers.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "cyray/core/this_process.h"
#include "gcs_generated.h"

namespace cyray::core {

// A request of gcs.fbs with all its parts; a little is left for the tables around them.
inline constexpr size_t kMaxGcsRequestBytes = wire::kMaxFrameBytes - (64 << 10);

// kInvalidArgument, in words that name the request, when what it carries is too large. Before it is
// built: FlatBuffers ends the process over 2 GiB.
Status CheckGcsRequestSize(std::string_view request, size_t bytes);

class Requests {
 public:
  using Lock = ThisProcess::Lock;
  using Bytes = std::span<const uint8_t>;
  using Answer = std::function<void(Result<std::string>)>;

  template <class T>
  struct Question {
    wire::FrameType type;
    // Finishes the frame, in which `request_id` stands.
    std::function<void(flatbuffers::FlatBufferBuilder&, uint64_t request_id)> build;
    // Reads the reply, on whichever thread drives; maybe when the one that asked is gone.
    std::function<Result<T>(wire::Frame& reply)> read;
    // Gives back what a reply grants that nobody waits for any more; may be empty.
    std::function<void(const T&)> take_back = {};
    int64_t deadline_ns = kForever;
    const char* tell_of = nullptr;  // for on_silence
  };

  // `on_silence`: a driver's question to the GCS, by name, has had no answer for kSilenceMs, and
  // goes on waiting. Not called again within kTellAgainMs.
  Requests(ThisProcess& process, std::function<void(const char* question)> on_silence)
      : process_(process), on_silence_(std::move(on_silence)) {}

  // Sends and waits; the mutex is free meanwhile.
  template <class T>
  Result<T> Ask(Lock& lock, const Question<T>& question);
  // The same for a request of gcs.fbs: its reply's payload.
  Result<std::string> AskGcs(Lock& lock, wire::GcsMethod method, Bytes payload);
  // Asks without waiting; `on_answer` is called once, maybe before this returns. The caller sees to
  // it that the frame leaves.
  void TellGcs(wire::GcsMethod method, Bytes payload, Answer on_answer = {});

 private:
  static constexpr int64_t kTellAgainMs = 30'000;

  uint64_t Send(wire::FrameType type,
                const std::function<void(flatbuffers::FlatBufferBuilder&, uint64_t)>& build,
                RayletOutbox::ReplyHandler on_reply);
  // ThisProcess::Await, that tells of a long silence.
  Status Await(Lock& lock, int64_t deadline_ns, const char* tell_of,
               const std::function<bool()>& done);

  ThisProcess& process_;
  const std::function<void(const char*)> on_silence_;
  int64_t told_ms_ = -kTellAgainMs;
};

template <class T>
Result<T> Requests::Ask(Lock& lock, const Question<T>& question) {
  if (process_.leaving()) return Fail(ThisProcess::ShutDown());
  // Outlives the wait, as a late reply does.
  struct Asked {
    std::optional<Result<T>> answer;
    bool given_up = false;
  };
  auto asked = std::make_shared<Asked>();
  const uint64_t id = Send(
      question.type, question.build,
      [this, asked, read = question.read, take_back = question.take_back](wire::Frame* frame) {
        auto answer = frame != nullptr ? read(*frame) : Result<T>(Fail(process_.RayletIsGone()));
        if (!asked->given_up) {
          asked->answer = std::move(answer);
        } else if (answer) {
          take_back(*answer);
        }
      });
  Status status = Await(lock, question.deadline_ns, question.tell_of,
                        [&] { return asked->answer.has_value(); });
  if (status.ok()) return std::move(*asked->answer);
  asked->given_up = true;
  if (!question.take_back) {
    process_.raylet().Forget(id);
  } else if (asked->answer && *asked->answer) {
    question.take_back(**asked->answer);  // it came while Python was asked whether to go on
  }
  return Fail(std::move(status));
}

}  // namespace cyray::core
