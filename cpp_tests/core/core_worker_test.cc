// CoreWorker with the raylet played by the test: waits that are interrupted, turned away or asked
// about, and what comes after them. The steward runs; each loop ends by a condition.

#include "cyray/core/core_worker.h"

#include <gmock/gmock.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <string_view>
#include <thread>
#include <utility>

#include "cpp_tests/core/submitter_fake.h"
#include "cyray/common/dropped_lines.h"
#include "cyray/core/gcs_requests.h"
#include "cyray/util/clock.h"
#include "gcs_generated.h"

namespace cyray::core {
namespace {

using testing::HasSubstr;
using wire::FrameType;

constexpr uint64_t kArenaBytes = 1 << 20;
constexpr int64_t kLimitNs = 20'000'000'000;

class CoreWorkerTest : public testing::Test {
 protected:
  CoreWorkerTest() {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    raylet_ = std::make_unique<FarEnd>(UniqueFd(ends[1]));
    raylet_->SendRegistration(kArenaBytes);
    interrupt = false;
    RegisterOptions options;
    options.interrupted = [] {
      if (const auto* action = between_slices.exchange(nullptr)) (*action)();
      return interrupt.load();
    };
    const Status connected = core_.Connect(UniqueFd(ends[0]), options);
    EXPECT_TRUE(connected.ok()) << connected.message();
  }
  ~CoreWorkerTest() override { core_.Disconnect(); }

  // The next frame of that type from the process.
  GotFrame Next(FrameType type) {
    const int64_t deadline = MonotonicNs() + kLimitNs;
    while (MonotonicNs() < deadline) {
      auto frames = raylet_->Take(type);
      if (!frames.empty()) return std::move(frames[0]);
      std::this_thread::yield();
    }
    ADD_FAILURE() << "no frame of type " << static_cast<int>(type);
    return {};
  }
  Result<std::string> Ask(wire::GcsMethod method) {
    flatbuffers::FlatBufferBuilder b;
    b.Finish(wire::CreateEmpty(b));
    return core_.control().Ask(method, b);
  }
  std::string DescribeUntil(const std::string& text) {
    const int64_t deadline = MonotonicNs() + kLimitNs;
    std::string found;
    do {
      found = core_.Describe();
    } while (found.find(text) == std::string::npos && MonotonicNs() < deadline);
    return found;
  }

  static std::atomic<bool> interrupt;
  // Runs once, between two slices of a wait.
  static std::atomic<const std::function<void()>*> between_slices;
  std::unique_ptr<FarEnd> raylet_;
  CoreWorker core_;
};
std::atomic<bool> CoreWorkerTest::interrupt = false;
std::atomic<const std::function<void()>*> CoreWorkerTest::between_slices = nullptr;

// Memory that is named and never touched.
class Untouched {
 public:
  explicit Untouched(size_t bytes) : bytes_(bytes) {
    memory_ = ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    EXPECT_NE(memory_, MAP_FAILED);
  }
  ~Untouched() { ::munmap(memory_, bytes_); }
  Untouched(const Untouched&) = delete;
  Untouched& operator=(const Untouched&) = delete;
  std::string_view view() const { return {static_cast<const char*>(memory_), bytes_}; }

 private:
  const size_t bytes_;
  void* memory_;
};

TEST_F(CoreWorkerTest, ACallOfTheGcsCanBeInterruptedAndItsLateAnswerIsNoBodys) {
  interrupt = true;
  const auto answer = Ask(wire::GcsMethod::ListNodes);
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().code(), StatusCode::kCancelled);
  const uint64_t id = Next(FrameType::kGcsCall).As<wire::GcsCall>()->request_id();
  raylet_->Send(FrameType::kGcsReply, [&](auto& b) { return wire::CreateGcsReply(b, id, true); });
  interrupt = false;
  std::thread answers([&] {
    const uint64_t next = Next(FrameType::kGcsCall).template As<wire::GcsCall>()->request_id();
    raylet_->Send(FrameType::kGcsReply,
                  [&](auto& b) { return wire::CreateGcsReply(b, next, true); });
  });
  EXPECT_TRUE(Ask(wire::GcsMethod::ListNodes).has_value());
  answers.join();
}

TEST_F(CoreWorkerTest, AProcessThatWaitsSaysForWhatWhenItIsAsked) {
  ObjectEntry* entry = core_.objects().Borrow(ObjectId(TaskId::Random(), 1),
                                              {NodeId::Random(), WorkerId::Random()}, false);
  std::thread waits([&] { core_.reader().Wait(&entry, 1, 1, true, MonotonicNs() + kLimitNs); });
  std::string said;
  const int64_t deadline = MonotonicNs() + kLimitNs;
  while (said.find(entry->id.Hex()) == std::string::npos && MonotonicNs() < deadline) {
    raylet_->Send(FrameType::kAskProcess, [](auto& b) { return wire::CreateAskProcess(b, 5); });
    said = Next(FrameType::kProcessReport).As<wire::ProcessReport>()->json()->str();
  }
  EXPECT_THAT(said, HasSubstr("\"what\":\"objects\""));
  EXPECT_THAT(core_.ReportWaits(0, 0), HasSubstr(entry->id.Hex()));
  EXPECT_EQ(core_.ReportWaits(0, 1'000), "[]");
  core_.Disconnect();
  waits.join();
}

TEST_F(CoreWorkerTest, AFunctionIsGivenToTheGcsUntilItHasIt) {
  const auto answer = [&](bool ok, StatusCode code) {
    const GotFrame frame = Next(FrameType::kGcsCall);
    const auto* call = frame.As<wire::GcsCall>();
    EXPECT_EQ(static_cast<wire::GcsMethod>(call->method()), wire::GcsMethod::PutFunction);
    const auto* request = flatbuffers::GetRoot<wire::PutFunctionRequest>(call->payload()->data());
    EXPECT_EQ(wire::BytesOrEmpty(request->pickled()), (wire::Bytes{'d', 'e', 'f'}));
    raylet_->Send(FrameType::kGcsReply, [&](auto& b) {
      return wire::CreateGcsReply(b, call->request_id(), ok, ok ? 0 : b.CreateString("why"),
                                  static_cast<uint8_t>(code));
    });
  };
  ASSERT_TRUE(PutFunction(core_.control(), JobId::Nil(), FunctionId::Nil(), "def").ok());
  answer(false, StatusCode::kUnavailable);  // the GCS was away for a minute
  answer(false, StatusCode::kIoError);      // its disk is full
  answer(true, StatusCode::kOk);
  std::thread waits([&] { EXPECT_TRUE(Ask(wire::GcsMethod::ListJobs).has_value()); });
  const uint64_t next = Next(FrameType::kGcsCall).As<wire::GcsCall>()->request_id();
  raylet_->Send(FrameType::kGcsReply, [&](auto& b) { return wire::CreateGcsReply(b, next, true); });
  waits.join();
}

TEST_F(CoreWorkerTest, AWorkerLeavesWhenItIsAskedToIfUnusedOnlyWhenItOwnsNothing) {
  const auto ask = [&](bool if_unused) {
    raylet_->Send(FrameType::kExitWorker, [&](auto& b) {
      return wire::CreateExitWorker(b, true, b.CreateString("it was idle"), if_unused);
    });
  };
  ObjectEntry* mine = core_.objects().Put(ValuePtr(Value::New(4)), false, {});
  ask(true);
  (void)Next(FrameType::kWorkerStays);
  core_.objects().Release(mine);
  ask(true);
  Event event;
  const int64_t deadline = MonotonicNs() + kLimitNs;
  while (event.kind != Event::Kind::kExit && MonotonicNs() < deadline) {
    EXPECT_EQ(core_.executor().NextTask(MonotonicNs() + 50'000'000, {}, &event), nullptr);
  }
  EXPECT_EQ(event.kind, Event::Kind::kExit);
  EXPECT_TRUE(raylet_->Take(FrameType::kWorkerStays).empty());
}

TEST_F(CoreWorkerTest, AProcessThatOwnsWhatIsUsedBecomesNoActor) {
  const ActorId actor = ActorId::Random();
  const auto assign = [&] {
    flatbuffers::FlatBufferBuilder spec;
    spec.Finish(wire::CreateActorSpec(spec, wire::ToWire(actor)));
    raylet_->Send(FrameType::kAssignActor, [&](auto& b) {
      return wire::CreateAssignActor(b, wire::ToWire(actor), 0,
                                     b.CreateVector(spec.GetBufferPointer(), spec.GetSize()));
    });
  };
  ObjectEntry* mine = core_.objects().Put(ValuePtr(Value::New(4)), false, {});
  assign();
  (void)Next(FrameType::kWorkerStays);
  EXPECT_FALSE(core_.executor().is_actor());
  core_.objects().Release(mine);
  assign();
  Event event;
  const int64_t deadline = MonotonicNs() + kLimitNs;
  while (event.kind != Event::Kind::kBecomeActor && MonotonicNs() < deadline) {
    EXPECT_EQ(core_.executor().NextTask(MonotonicNs() + 50'000'000, {}, &event), nullptr);
  }
  EXPECT_EQ(event.kind, Event::Kind::kBecomeActor);
  EXPECT_TRUE(raylet_->Take(FrameType::kWorkerStays).empty());
}

TEST_F(CoreWorkerTest, ABlockThatComesAfterItsWaitWasInterruptedIsGivenBack) {
  interrupt = true;
  const ObjectId id = core_.store().NextPutId();
  StoreBlock block;
  EXPECT_EQ(core_.store().Create(id, core_.address(), 200 << 10, &block).code(),
            StatusCode::kCancelled);
  const uint64_t request = Next(FrameType::kCreateObject).As<wire::CreateObject>()->request_id();
  raylet_->Send(FrameType::kCreateObjectReply,
                [&](auto& b) { return wire::CreateCreateObjectReply(b, request, true); });
  const GotFrame abort = Next(FrameType::kAbortObject);
  EXPECT_EQ(wire::FromWire(*abort.As<wire::AbortObject>()->object_id()), id);
}

TEST_F(CoreWorkerTest, ABlockThatComesWhileItsWaitIsInterruptedIsGivenBack) {
  const ObjectId id = core_.store().NextPutId();
  const std::function<void()> answer = [&] {
    const uint64_t request = Next(FrameType::kCreateObject).As<wire::CreateObject>()->request_id();
    raylet_->Send(FrameType::kCreateObjectReply,
                  [&](auto& b) { return wire::CreateCreateObjectReply(b, request, true); });
    core_.loop().PollNow();
    interrupt = true;
  };
  between_slices = &answer;
  StoreBlock block;
  EXPECT_EQ(core_.store().Create(id, core_.address(), 200 << 10, &block).code(),
            StatusCode::kCancelled);
  const GotFrame abort = Next(FrameType::kAbortObject);
  EXPECT_EQ(wire::FromWire(*abort.As<wire::AbortObject>()->object_id()), id);
}

TEST_F(CoreWorkerTest, ARequestThatNoFrameCanCarryIsRefusedByNameAndTheSessionGoesOn) {
  const Untouched large(kMaxGcsRequestBytes + 1);
  const auto refused = [](const Status& status, const std::string& name) {
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), HasSubstr(name));
    EXPECT_THAT(status.message(), HasSubstr(std::to_string(kMaxGcsRequestBytes)));
  };
  Control& control = core_.control();
  bool flag = false;
  std::string value;
  uint32_t count = 0;
  std::vector<std::string> keys;
  NamedActor actor;
  refused(KvPut(control, "", "k", large.view(), true, &flag), "KvPut");
  refused(KvGet(control, "", large.view(), &flag, &value), "KvGet");
  refused(KvDelete(control, "", large.view(), true, &count), "KvDelete");
  refused(KvKeys(control, "", large.view(), &keys), "KvKeys");
  refused(GetActorByName(control, large.view(), "", &actor), "GetActorByName");
  refused(KillActor(control, {}, true, large.view(), &count), "KillActor");
  refused(PutFunction(control, {}, {}, large.view()), "PutFunction");
  ActorCreation creation;
  creation.class_name = "Greedy";
  creation.args = ValuePtr(Value::New(kMaxGcsRequestBytes + 1));
  for (const bool wait : {false, true}) {
    refused(core_.submitter().CreateActor(creation, wait), "the creation of the actor Greedy");
  }
  EXPECT_TRUE(raylet_->Take(FrameType::kGcsCall).empty());
  // A small one still goes.
  EXPECT_TRUE(PutFunction(control, {}, {}, "small").ok());
  (void)Next(FrameType::kGcsCall);
}

TEST_F(CoreWorkerTest, AnErrorOfAConstructorThatIsTooLargeToTravelIsReplacedByItsSize) {
  const Untouched error_bytes(kMaxErrorBytes + 1);
  ActorId actor;
  actor.bytes[0] = 7;
  core_.executor().ActorReady(actor, 1, false, error_bytes.view());
  const auto frame = Next(FrameType::kActorReady);
  const auto* error = frame.As<wire::ActorReady>()->error();
  EXPECT_EQ(error->Get(0), static_cast<uint8_t>(ValueTag::kSystemError));
  EXPECT_EQ(error->Get(1), static_cast<uint8_t>(ErrorKind::kActorDied));
  EXPECT_EQ(error->Get(2), 7);
  EXPECT_THAT(std::string(error->begin(), error->end()),
              HasSubstr(std::to_string(kMaxErrorBytes + 1)));
}

TEST_F(CoreWorkerTest, AQuestionWithADeadlineEndsThereAndItsLateAnswerIsNoBodys) {
  EXPECT_EQ(core_.control().FlushOutput().code(), StatusCode::kTimedOut);
  const uint64_t id = Next(FrameType::kFlushOutput).As<wire::FlushOutput>()->request_id();
  raylet_->Send(FrameType::kFlushOutputReply,
                [&](auto& b) { return wire::CreateFlushOutputReply(b, id); });
  core_.loop().PollNow();
  EXPECT_THAT(core_.Describe(), HasSubstr("0 requests at the raylet"));
}

TEST_F(CoreWorkerTest, AnEventLoopIsWokenOnceForWhatIsGatheredOutsideItsTurns) {
  const UniqueFd wake(::eventfd(0, EFD_NONBLOCK));
  const auto woken = [&] {
    uint64_t count = 0;
    return ::read(wake.get(), &count, sizeof count) > 0 ? count : 0;
  };
  core_.loop().Use(wake.get());
  StoreBlock block;
  block.id = core_.store().NextPutId();
  core_.store().Abort(block);
  core_.store().Abort(block);
  EXPECT_EQ(woken(), 1u);
  core_.loop().PollNow();
  core_.store().Abort(block);
  EXPECT_EQ(woken(), 0u) << "it is in its turn, at the end of which it writes";
  core_.loop().EndTurn();
  core_.store().Abort(block);
  EXPECT_EQ(woken(), 1u);
  // The end of a call says that a turn follows; of one that ran in a turn this is that turn.
  core_.loop().PollNow();
  core_.loop().TurnFollows();
  core_.loop().EndTurn();
  core_.store().Abort(block);
  EXPECT_EQ(woken(), 1u);
  core_.loop().PollNow();
  core_.loop().EndTurn();
  core_.loop().TurnFollows();
  core_.store().Abort(block);
  EXPECT_EQ(woken(), 0u);
}

TEST_F(CoreWorkerTest, LinesThatNobodyPrintsTakeBoundedMemoryAndTheRestIsCounted) {
  constexpr int kFrames = 40;
  const std::string line(1 << 20, 'x');
  for (int i = 0; i < kFrames; ++i) {
    raylet_->Send(FrameType::kLogLines, [&](auto& b) {
      const auto lines = b.CreateVector({b.CreateString(line)});
      return wire::CreateLogLines(b, 1, 0, 0, false, lines);
    });
  }
  raylet_->FlushAll();
  std::thread answers([&] {
    const uint64_t id = Next(FrameType::kGcsCall).template As<wire::GcsCall>()->request_id();
    raylet_->Send(FrameType::kGcsReply, [&](auto& b) { return wire::CreateGcsReply(b, id, true); });
  });
  EXPECT_TRUE(Ask(wire::GcsMethod::ListNodes).has_value());  // behind all lines
  answers.join();
  size_t bytes = 0, frames = 0;
  Event event;
  const auto take = [&] { return core_.events().Next(MonotonicNs(), &event); };
  for (; take(); ++frames) bytes += event.line_bytes;
  EXPECT_LE(bytes, kMaxLineBacklogBytes);
  EXPECT_GT(frames, 0u);
  raylet_->Send(FrameType::kLogLines, [&](auto& b) {
    const auto lines = b.CreateVector({b.CreateString("the last")});
    return wire::CreateLogLines(b, 1, 0, 0, false, lines);
  });
  ASSERT_TRUE(core_.events().Next(MonotonicNs() + kLimitNs, &event));
  EXPECT_THAT(event.lines,
              testing::ElementsAre(HasSubstr(std::to_string(kFrames - frames) + " lines were"),
                                   "the last"));
}

TEST_F(CoreWorkerTest, WhatAnEarlierAttemptStoredGoesBeforeTheNextOneStoresIt) {
  const ObjectId id = core_.store().NextPutId();
  core_.store().Discard(id);
  StoreBlock block;
  block.id = id;
  core_.store().Abort(block);  // what comes next on this connection
  const auto freed = Next(FrameType::kFreeObjects);
  const auto* free = freed.As<wire::FreeObjects>();
  ASSERT_NE(free, nullptr);
  EXPECT_TRUE(free->there_alone());
  EXPECT_EQ(wire::FromWire(*free->object_ids()->Get(0)), id);
}

TEST_F(CoreWorkerTest, WhatAThreadWaitsForIsDescribed) {
  std::thread waits([&] { EXPECT_FALSE(Ask(wire::GcsMethod::ListJobs).has_value()); });
  EXPECT_THAT(DescribeUntil("a thread waits"), HasSubstr("the GCS's answer to ListJobs, for "));
  interrupt = true;
  waits.join();
  EXPECT_THAT(core_.Describe(), Not(HasSubstr("a thread waits")));
}

TEST_F(CoreWorkerTest, AMissingObjectIsDescribedByWhoOwnsIt) {
  Address owner = core_.address();
  owner.worker.bytes[0] ^= 1;
  ObjectEntry* entry = core_.objects().Borrow(core_.store().NextPutId(), owner, /*deferred=*/false);
  std::thread waits([&] { EXPECT_FALSE(core_.reader().Wait(&entry, 1, 1, true, kForever)); });
  EXPECT_THAT(DescribeUntil("a thread waits"),
              HasSubstr(entry->id.Hex() + ": its owner " + owner.ToString() + " was asked"));
  interrupt = true;
  waits.join();
  core_.objects().Release(entry);
}

TEST_F(CoreWorkerTest, LeavingTurnsAwayWhoeverWaits) {
  Address owner = core_.address();
  owner.worker.bytes[0] ^= 1;
  ObjectEntry* entry = core_.objects().Borrow(core_.store().NextPutId(), owner, /*deferred=*/false);
  std::atomic<int> ended = 0;
  std::vector<std::thread> threads;
  threads.emplace_back([&] {
    EXPECT_FALSE(core_.reader().Wait(&entry, 1, 1, true, kForever));
    ++ended;
  });
  threads.emplace_back([&] {
    EXPECT_FALSE(Ask(wire::GcsMethod::ListJobs).has_value());
    ++ended;
  });
  DescribeUntil("a thread waits for 1 of 1 objects");
  DescribeUntil("the GCS's answer to ListJobs");
  EXPECT_EQ(ended, 0);
  core_.Disconnect();
  for (std::thread& thread : threads) thread.join();
}

TEST_F(CoreWorkerTest, CallsAfterLeavingAreAnswered) {
  core_.Disconnect();
  EXPECT_EQ(Ask(wire::GcsMethod::ListJobs).error().code(), StatusCode::kDisconnected);
  StoreBlock block;
  EXPECT_EQ(core_.store().Create(core_.store().NextPutId(), core_.address(), 64, &block).code(),
            StatusCode::kDisconnected);
  EXPECT_EQ(core_.submitter().CreateActor({}, /*wait=*/false).code(), StatusCode::kDisconnected);
  TemplateSpec spec;
  Submission submission;
  submission.tmpl = core_.submitter().AddTemplate(spec);
  ObjectEntry* result = nullptr;
  EXPECT_FALSE(core_.submitter().Submit(std::move(submission), nullptr, &result));
  ReadView view;
  ASSERT_TRUE(core_.reader().Read(result, &view));
  EXPECT_TRUE(view.is_error);
  view.value->Unref();
  core_.objects().Release(result);
  Event event;
  EXPECT_EQ(core_.executor().NextTask(kForever, {}, &event), nullptr);
}

TEST_F(CoreWorkerTest, AnOwnerWhoseConnectionIsRefusedIsDeadAndItsObjectAnError) {
  Address owner = core_.address();
  owner.worker.bytes[0] ^= 1;
  ObjectEntry* entry = core_.objects().Borrow(core_.store().NextPutId(), owner, /*deferred=*/false);
  const uint64_t request = Next(FrameType::kConnectPeer).As<wire::ConnectPeer>()->request_id();
  raylet_->Send(FrameType::kConnectPeerReply, [&](auto& b) {
    return wire::CreateConnectPeerReply(b, request, false, b.CreateString("it is gone"));
  });
  ASSERT_TRUE(core_.reader().Wait(&entry, 1, 1, true, MonotonicNs() + kLimitNs));
  ReadView view;
  ASSERT_TRUE(core_.reader().Read(entry, &view));
  const std::string text(reinterpret_cast<const char*>(view.data), view.size);
  EXPECT_TRUE(view.is_error);
  EXPECT_THAT(text, HasSubstr("the owner of the object " + entry->id.Hex() + " is gone"));
  EXPECT_THAT(text, HasSubstr("it is gone"));
  view.value->Unref();
  core_.objects().Release(entry);
}

}  // namespace
}  // namespace cyray::core
