// Tests of ObjectService: the store as the processes of a node see it through their frames.

#include "cyray/raylet/object_service.h"

#include "cpp_tests/raylet/node_fake.h"
#include "cyray/sim/virtual_runtime.h"
#include "cyray/sim/virtual_time.h"

namespace cyray::raylet {
namespace {

using wire::FrameType;
using wire::ToWire;

constexpr uint64_t kStoreBytes = 64 << 20;
constexpr uint64_t kMiB = 1 << 20;

ObjectId Number(uint32_t index) { return ObjectId(TaskId{}, index); }

class ObjectServiceTest : public ::testing::Test {
 protected:
  struct Client {
    ClientConnection* connection = nullptr;
    std::unique_ptr<FakeProcess> process;
    Address address;
  };

  ObjectServiceTest() {
    node_.on_frame = [this](ClientConnection& client, wire::Frame& frame) {
      return ObjectService::Handles(frame.type) && service_.OnFrame(client, frame);
    };
    node_.on_closed = [this](ClientConnection& client, const std::string&) {
      service_.OnClientGone(client.id(), node_.options.AddressOf(client.worker()));
    };
  }
  Client AddClient() {
    Client client;
    client.process = node_.Connect(&client.connection);
    EXPECT_TRUE(node_.clients.Name(*client.connection, WorkerId::Random()));
    client.address = node_.options.AddressOf(client.connection->worker());
    return client;
  }
  // Asks for a block; the request's number is the object's.
  static void Create(Client& client, uint32_t number, uint64_t bytes, bool spare = false) {
    CreateFor(client.address, client, number, bytes, spare);
  }
  static void CreateFor(const Address& owner, Client& client, uint32_t number, uint64_t bytes,
                        bool spare = false) {
    client.process->Send(FrameType::kCreateObject, [&](auto& builder) {
      const ObjectId id = Number(number);
      return wire::CreateCreateObject(builder, number, ToWire(id), bytes, ToWire(owner), spare);
    });
  }
  bool Created(Client& client) {
    const auto reply = node_.Await(*client.process, FrameType::kCreateObjectReply);
    return reply && reply->As<wire::CreateObjectReply>()->ok();
  }
  static void Seal(Client& client, uint32_t number) {
    client.process->Send(FrameType::kSealObject, [&](auto& builder) {
      const ObjectId id = Number(number);
      return wire::CreateSealObject(builder, ToWire(id));
    });
  }
  static void SealAs(Client& client, uint32_t spare, uint32_t number, uint64_t bytes) {
    SealFor(client.address, client, spare, number, bytes);
  }
  static void SealFor(const Address& owner, Client& client, uint32_t spare, uint32_t number,
                      uint64_t bytes) {
    client.process->Send(FrameType::kSealAs, [&](auto& builder) {
      const ObjectId spare_id = Number(spare), id = Number(number);
      return wire::CreateSealAs(builder, ToWire(spare_id), ToWire(id), bytes, ToWire(owner));
    });
  }
  static void Release(Client& client, uint32_t number) {
    client.process->Send(FrameType::kReleaseObjects, [&](auto& builder) {
      const ObjectId id = Number(number);
      return wire::CreateReleaseObjects(builder, builder.CreateVectorOfStructs(ToWire(id), 1));
    });
  }
  void Free(Client& client, uint32_t number) {
    client.process->Send(FrameType::kFreeObjects, [&](auto& builder) {
      const ObjectId id = Number(number);
      const NodeId node = node_.options.node_id;
      return wire::CreateFreeObjects(builder, builder.CreateVectorOfStructs(ToWire(id), 1),
                                     builder.CreateVectorOfStructs(ToWire(node), 1));
    });
  }
  // The process is dead, and its raylet knows.
  void End(Client& client) {
    client.process->Close();
    const WorkerId worker = client.address.worker;
    ASSERT_TRUE(node_.Until([&] { return node_.clients.Find(worker) == nullptr; }));
  }
  static void Abort(Client& client, uint32_t number) {
    client.process->Send(FrameType::kAbortObject, [&](auto& builder) {
      const ObjectId id = Number(number);
      return wire::CreateAbortObject(builder, ToWire(id));
    });
  }
  void Get(Client& client, uint32_t number, bool known_here = true) {
    client.process->Send(FrameType::kGetObject, [&](auto& builder) {
      const ObjectId id = Number(number);
      std::vector<wire::WireNodeId> nodes;
      if (known_here) nodes.push_back(*ToWire(node_.options.node_id));
      const auto locations = builder.CreateVectorOfStructs(nodes);
      return wire::CreateGetObject(builder, number, ToWire(id), ToWire(client.address), locations);
    });
  }
  std::optional<GotFrame> GetReply(Client& client) {
    return node_.Await(*client.process, FrameType::kGetObjectReply);
  }
  uint64_t used_bytes() const { return store_->stats().used_bytes; }

  EventLoop loop_;
  NodeFake node_{&loop_};
  std::unique_ptr<store::ObjectStore> store_ = *store::ObjectStore::Open(kStoreBytes);
  std::unique_ptr<ObjectTransfer> transfer_ =
      *ObjectTransfer::Create(node_.options.node_id, store_.get(), &node_.peers);
  bool Lives(const Address& owner) const { return node_.clients.Find(owner.worker) != nullptr; }

  std::vector<Address> owners_;  // told of
  ObjectService service_{{node_.options.node_id, &loop_, &node_.clients, store_.get(),
                          transfer_.get(), [this](const Address& owner) {
                            owners_.push_back(owner);
                            return Lives(owner);
                          }}};
};

// Its service has a clock of its own, that of the test.
class ObjectServiceInVirtualTimeTest : public ObjectServiceTest {
 protected:
  ObjectServiceInVirtualTimeTest() {
    node_.on_frame = [this](ClientConnection& client, wire::Frame& frame) {
      return timed_.OnFrame(client, frame);
    };
    node_.on_closed = [this](ClientConnection& client, const std::string&) {
      timed_.OnClientGone(client.id(), node_.options.AddressOf(client.worker()));
    };
  }
  void RunForMs(int64_t ms) { time_.RunFor(ms * 1'000'000); }
  // Lets what was sent arrive.
  void Rounds() {
    for (int i = 0; i < 10; ++i) node_.Round(0);
  }

  sim::VirtualTime time_{1};
  sim::VirtualRuntime runtime_{&time_};
  ObjectService timed_{{node_.options.node_id, &runtime_, &node_.clients, store_.get(),
                        transfer_.get(), [this](const Address& owner) { return Lives(owner); }}};
};

TEST_F(ObjectServiceTest, WhatOneProcessSealsAnotherGets) {
  Client writer = AddClient(), reader = AddClient();
  Create(writer, 1, 1000);
  ASSERT_TRUE(Created(writer));
  Get(reader, 1);
  node_.Round();
  EXPECT_EQ(reader.process->CountOf(FrameType::kGetObjectReply), 0u) << "it is being written";
  Seal(writer, 1);
  const auto reply = GetReply(reader);
  ASSERT_TRUE(reply);
  EXPECT_TRUE(reply->As<wire::GetObjectReply>()->ok());
  EXPECT_EQ(reply->As<wire::GetObjectReply>()->bytes(), 1000u);
}

TEST_F(ObjectServiceTest, WhoseObjectsAreMadeOrWantedHereIsTold) {
  Client writer = AddClient(), reader = AddClient();
  Create(writer, 1, 1000);
  ASSERT_TRUE(Created(writer));
  EXPECT_EQ(owners_, std::vector{writer.address});
  Get(reader, 2, /*known_here=*/false);
  ASSERT_TRUE(node_.Until([&] { return owners_.size() == 2; }));
  EXPECT_EQ(owners_[1], reader.address) << "it names itself";
}

TEST_F(ObjectServiceInVirtualTimeTest, EachGetterOfALateSealHasItsOwnTime) {
  Client first = AddClient(), second = AddClient();
  const auto ask = [&](Client& client) {
    Get(client, 2);
    Rounds();
  };
  ask(first);
  RunForMs(900);
  ask(second);
  RunForMs(200);
  const auto reply = GetReply(first);
  ASSERT_TRUE(reply);
  EXPECT_FALSE(reply->As<wire::GetObjectReply>()->ok());
  EXPECT_EQ(second.process->CountOf(FrameType::kGetObjectReply), 0u);
  RunForMs(900);
  const auto late = GetReply(second);
  ASSERT_TRUE(late);
  EXPECT_FALSE(late->As<wire::GetObjectReply>()->ok());
  EXPECT_EQ(store_->CheckInvariants(), "");
}

TEST_F(ObjectServiceTest, AGetThatOvertakesTheSealByFarWaitsForIt) {
  Client writer = AddClient(), reader = AddClient();
  Create(writer, 1, 1000, /*spare=*/true);
  ASSERT_TRUE(Created(writer));
  Get(reader, 2);  // the owner says that it is here, on this node alone
  for (int i = 0; i < 10; ++i) node_.Round(0);
  EXPECT_EQ(reader.process->CountOf(FrameType::kGetObjectReply), 0u);
  SealAs(writer, 1, 2, 500);
  const auto reply = GetReply(reader);
  ASSERT_TRUE(reply);
  EXPECT_TRUE(reply->As<wire::GetObjectReply>()->ok());
  EXPECT_EQ(reply->As<wire::GetObjectReply>()->bytes(), 500u);
}

TEST_F(ObjectServiceTest, WhatItsOwnerFreedBeforeTheSealIsReadGoesWithTheSeal) {
  Client writer = AddClient(), owner = AddClient(), other = AddClient();
  for (uint32_t spare : {1, 2}) {
    Create(writer, spare, 1000, /*spare=*/true);
    ASSERT_TRUE(Created(writer));
  }
  Free(owner, 10);
  Free(other, 11);  // not its own: another attempt will store it here
  for (int i = 0; i < 10; ++i) node_.Round(0);
  SealFor(owner.address, writer, 1, 10, 500);
  SealFor(owner.address, writer, 2, 11, 500);
  ASSERT_TRUE(node_.Until([&] { return store_->Contains(Number(11)); }));
  Release(writer, 10);
  ASSERT_TRUE(node_.Until([&] { return !store_->Contains(Number(10)); }));
  EXPECT_TRUE(store_->Contains(Number(11)));
  EXPECT_EQ(store_->CheckInvariants(), "");
}

TEST_F(ObjectServiceTest, AnObjectThatIsNowhereIsAnErrorThatNamesIt) {
  Client reader = AddClient();
  Get(reader, 1, /*known_here=*/false);
  auto reply = GetReply(reader);
  ASSERT_TRUE(reply);
  EXPECT_FALSE(reply->As<wire::GetObjectReply>()->ok());
  Get(reader, 2);  // this one never comes
  reply = GetReply(reader);
  ASSERT_TRUE(reply);
  EXPECT_FALSE(reply->As<wire::GetObjectReply>()->ok());
  EXPECT_NE(reply->As<wire::GetObjectReply>()->error()->str().find(Number(2).Hex()),
            std::string::npos);
}

TEST_F(ObjectServiceTest, WhatADeadProcessWasWritingIsGoneAndWhoWaitsIsTold) {
  Client writer = AddClient(), reader = AddClient();
  Create(writer, 1, 1000);
  ASSERT_TRUE(Created(writer));
  Get(reader, 1);
  node_.Round();
  writer.process->Close();
  const auto reply = GetReply(reader);
  ASSERT_TRUE(reply);
  EXPECT_FALSE(reply->As<wire::GetObjectReply>()->ok());
  EXPECT_EQ(used_bytes(), 0u);
}

TEST_F(ObjectServiceTest, NothingIsMadeForAnOwnerThatIsDead) {
  Client owner = AddClient(), writer = AddClient();
  End(owner);
  CreateFor(owner.address, writer, 1, 8 * kMiB);
  EXPECT_FALSE(Created(writer));
  EXPECT_EQ(used_bytes(), 0u);
}

TEST_F(ObjectServiceTest, WhatIsWrittenWhileItsOwnerDiesGoesWhenItsWriterLetsGo) {
  Client owner = AddClient(), writer = AddClient();
  CreateFor(owner.address, writer, 1, 8 * kMiB);
  ASSERT_TRUE(Created(writer));
  End(owner);
  EXPECT_GE(used_bytes(), 8 * kMiB) << "it is being written";
  Seal(writer, 1);
  Release(writer, 1);
  EXPECT_TRUE(node_.Until([&] { return used_bytes() == 0; }));
}

TEST_F(ObjectServiceTest, WhatIsSealedForADeadOwnerGoesWhenItsWriterLetsGo) {
  Client owner = AddClient(), writer = AddClient();
  Create(writer, 1, 8 * kMiB, /*spare=*/true);
  ASSERT_TRUE(Created(writer));
  End(owner);
  SealFor(owner.address, writer, 1, 2, 8 * kMiB);
  Release(writer, 2);
  EXPECT_TRUE(node_.Until([&] { return used_bytes() == 0; }));
}

TEST_F(ObjectServiceTest, WhatADeadOwnersReaderKeepsIsNotTakenBackIntoUse) {
  Client owner = AddClient(), writer = AddClient(), reader = AddClient();
  CreateFor(owner.address, writer, 1, kMiB);
  ASSERT_TRUE(Created(writer));
  Seal(writer, 1);
  Release(writer, 1);
  Get(reader, 1);
  ASSERT_TRUE(GetReply(reader));
  End(owner);
  CreateFor(owner.address, writer, 1, kMiB);  // a second attempt of its task
  EXPECT_FALSE(Created(writer));
  Create(writer, 2, kMiB, /*spare=*/true);
  ASSERT_TRUE(Created(writer));
  SealFor(owner.address, writer, 2, 1, kMiB);
  Release(writer, 1);
  Release(reader, 1);
  EXPECT_TRUE(node_.Until([&] { return used_bytes() == 0; }));
  EXPECT_EQ(store_->CheckInvariants(), "");
}

TEST_F(ObjectServiceTest, WhoWaitsForRoomForADeadOwnerGetsNone) {
  Client holder = AddClient(), owner = AddClient(), writer = AddClient();
  Create(holder, 1, 30 * kMiB, /*spare=*/true);
  ASSERT_TRUE(Created(holder));
  CreateFor(owner.address, writer, 2, 50 * kMiB);
  ASSERT_TRUE(node_.Await(*holder.process, FrameType::kReturnSpares));
  End(owner);
  Abort(holder, 1);
  EXPECT_FALSE(Created(writer));
  EXPECT_TRUE(node_.Until([&] { return used_bytes() == 0; }));
}

TEST_F(ObjectServiceTest, SparesAreAskedBackWhenSomebodyElseNeedsTheRoom) {
  Client holder = AddClient(), writer = AddClient();
  for (uint32_t i = 1; i <= 3; ++i) {
    Create(holder, i, 10 * kMiB, /*spare=*/true);
    ASSERT_TRUE(Created(holder));
  }
  EXPECT_EQ(service_.SparesOf(holder.connection->id()), 3u);
  Create(writer, 10, 50 * kMiB);
  ASSERT_TRUE(node_.Await(*holder.process, FrameType::kReturnSpares));
  EXPECT_EQ(writer.process->CountOf(FrameType::kCreateObjectReply), 0u);
  for (uint32_t i = 1; i <= 3; ++i) Abort(holder, i);
  EXPECT_TRUE(Created(writer));
}

TEST_F(ObjectServiceTest, AHolderThatKeepsItsSparesDelaysTheErrorButDoesNotPreventIt) {
  Client holder = AddClient(), writer = AddClient();
  Create(holder, 1, 30 * kMiB, /*spare=*/true);
  ASSERT_TRUE(Created(holder));
  Create(writer, 10, 50 * kMiB);
  EXPECT_FALSE(Created(writer));
}

TEST_F(ObjectServiceTest, ADeadHoldersSparesServeWhoWaits) {
  Client holder = AddClient(), writer = AddClient();
  Create(holder, 1, 30 * kMiB, /*spare=*/true);
  ASSERT_TRUE(Created(holder));
  Create(writer, 10, 50 * kMiB);
  ASSERT_TRUE(node_.Await(*holder.process, FrameType::kReturnSpares));
  holder.process->Close();
  EXPECT_TRUE(Created(writer));
}

TEST_F(ObjectServiceTest, ASecondWaitHasItsFullTimeWhenTheFirstEndedEarly) {
  Client holder = AddClient(), writer = AddClient();
  Create(holder, 1, 30 * kMiB, /*spare=*/true);
  ASSERT_TRUE(Created(holder));
  Create(writer, 10, 50 * kMiB);
  ASSERT_TRUE(node_.Await(*holder.process, FrameType::kReturnSpares));
  Abort(holder, 1);
  ASSERT_TRUE(Created(writer));  // the timer of this wait must not end the next one
  Abort(writer, 10);
  ASSERT_TRUE(node_.Until([&] { return used_bytes() == 0; }));
  Create(holder, 2, 30 * kMiB, /*spare=*/true);
  ASSERT_TRUE(Created(holder));
  // Just before the first timer would have rung.
  bool late = false;
  loop_.RunAfter(150, [&] { late = true; });
  ASSERT_TRUE(node_.Until([&] { return late; }));
  Create(writer, 11, 50 * kMiB);
  ASSERT_TRUE(node_.Await(*holder.process, FrameType::kReturnSpares));
  late = false;
  loop_.RunAfter(100, [&] { late = true; });
  ASSERT_TRUE(node_.Until([&] { return late; }));
  EXPECT_EQ(writer.process->CountOf(FrameType::kCreateObjectReply), 0u) << "it was given up early";
  Abort(holder, 2);
  EXPECT_TRUE(Created(writer));
}

TEST_F(ObjectServiceInVirtualTimeTest, EachThatWaitsForRoomHasItsOwnTime) {
  Client holder = AddClient(), first = AddClient(), second = AddClient();
  Create(holder, 1, 30 * kMiB, /*spare=*/true);
  ASSERT_TRUE(Created(holder));
  const auto ask = [&](Client& client, uint32_t number) {
    Create(client, number, 50 * kMiB);
    Rounds();
  };
  ask(first, 10);
  RunForMs(190);
  ask(second, 11);
  RunForMs(20);
  EXPECT_FALSE(Created(first));
  EXPECT_EQ(second.process->CountOf(FrameType::kCreateObjectReply), 0u);
  Abort(holder, 1);
  EXPECT_TRUE(Created(second));
  EXPECT_EQ(store_->CheckInvariants(), "");
}

TEST_F(ObjectServiceTest, SparesAreRefusedWhileOthersWaitForRoom) {
  Client holder = AddClient(), writer = AddClient();
  Create(holder, 1, 30 * kMiB, /*spare=*/true);
  ASSERT_TRUE(Created(holder));
  Create(writer, 10, 50 * kMiB);
  ASSERT_TRUE(node_.Await(*holder.process, FrameType::kReturnSpares));
  Create(holder, 2, 1000, /*spare=*/true);
  EXPECT_FALSE(Created(holder));
}

TEST_F(ObjectServiceTest, FramesWithoutTheirIdsAreBad) {
  Client client = AddClient();
  client.process->Send(FrameType::kSealObject,
                       [](auto& builder) { return wire::CreateSealObject(builder); });
  EXPECT_TRUE(node_.Until([&] { return client.process->closed(); }));
}

}  // namespace
}  // namespace cyray::raylet
