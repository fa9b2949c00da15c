// TaskNotes: what the raylet reads of a worker that ended at any moment, or that wrote nonsense.

#include "cyray/wire/task_notes.h"

#include <gmock/gmock.h>
#include <sys/mman.h>

#include <cstring>
#include <random>

namespace cyray::wire {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

class TaskNotesTest : public testing::Test {
 protected:
  TaskNotesTest() {
    peer_.worker.bytes[0] = 7;
    peer_.node.bytes[0] = 9;
  }
  bool Note(uint64_t number, const std::string& body) {
    return worker_.NoteAnswer(peer_, number, reinterpret_cast<const uint8_t*>(body.data()),
                              body.size());
  }
  std::vector<uint64_t> BegunTags() const {
    std::vector<uint64_t> tags;
    for (const auto& task : raylet_.Read().begun) tags.push_back(task.tag);
    return tags;
  }
  std::vector<std::pair<uint64_t, std::string>> Answers() const {
    std::vector<std::pair<uint64_t, std::string>> answers;
    for (const auto& answer : raylet_.Read().answers) {
      EXPECT_EQ(answer.to, peer_);
      answers.emplace_back(answer.number,
                           std::string(answer.frame_body.begin(), answer.frame_body.end()));
    }
    return answers;
  }

  Address peer_;
  UniqueFd memory_ = *TaskNotes::CreateMemory();
  TaskNotes worker_ = *TaskNotes::Map(memory_);
  TaskNotes raylet_ = *TaskNotes::Map(memory_);
};

TEST_F(TaskNotesTest, NothingWasSaidAtFirst) {
  const auto noted = raylet_.Read();
  EXPECT_THAT(noted.answers, IsEmpty());
  EXPECT_THAT(noted.begun, IsEmpty());
  EXPECT_TRUE(noted.begun_known);
}

TEST_F(TaskNotesTest, TheTallyIsReadWhileItIsWritten) {
  EXPECT_EQ(raylet_.tally().Read()[TaskCount::kRunning], 0u);
  worker_.tally().Add(TaskCount::kRunning, 2);
  worker_.tally().Add(TaskCount::kRunning, -1);
  worker_.tally().Add(TaskCount::kFailed);
  TaskCounts sum = raylet_.tally().Read();
  EXPECT_EQ(sum[TaskCount::kRunning], 1u);
  EXPECT_EQ(sum[TaskCount::kFailed], 1u);
  EXPECT_EQ(sum[TaskCount::kFinished], 0u);
  sum += raylet_.tally().Read();
  EXPECT_EQ(sum[TaskCount::kRunning], 2u);
}

TEST_F(TaskNotesTest, TasksAreToldUntilTheirEnd) {
  const auto first = worker_.Begin(peer_.worker, 0);
  const auto second = worker_.Begin(peer_.worker, 5);
  EXPECT_THAT(BegunTags(), ElementsAre(0, 5));
  EXPECT_EQ(raylet_.Read().begun[0].submitter, peer_.worker);
  worker_.End(first);
  EXPECT_THAT(BegunTags(), ElementsAre(5));
  worker_.Begin(peer_.worker, 6);
  EXPECT_THAT(BegunTags(), ElementsAre(6, 5));
  worker_.End(second);
  EXPECT_THAT(BegunTags(), ElementsAre(6));
}

TEST_F(TaskNotesTest, TooManyTasksAtOnceAreNotKnown) {
  for (size_t i = 0; i < TaskNotes::kPlaces; ++i) EXPECT_TRUE(worker_.Begin(peer_.worker, i));
  EXPECT_TRUE(raylet_.Read().begun_known);
  const auto none = worker_.Begin(peer_.worker, 1);
  EXPECT_FALSE(none.has_value());
  EXPECT_FALSE(raylet_.Read().begun_known);
  worker_.End(none);
  EXPECT_TRUE(raylet_.Read().begun_known);
}

TEST_F(TaskNotesTest, AnswersAreReadInOrderUntilTheyAreForgotten) {
  ASSERT_TRUE(Note(1, "one"));
  ASSERT_TRUE(Note(2, "the second"));
  EXPECT_THAT(Answers(), ElementsAre(std::pair(1, "one"), std::pair(2, "the second")));
  worker_.ForgetAnswers();
  EXPECT_THAT(Answers(), IsEmpty());
  ASSERT_TRUE(Note(3, ""));
  EXPECT_THAT(Answers(), ElementsAre(std::pair(3, "")));
}

TEST_F(TaskNotesTest, AnswersOfABrokenLinkAreForgottenAlone) {
  ASSERT_TRUE(Note(1, "gone"));
  Address other = peer_;
  other.worker.bytes[0] = 8;
  const uint8_t body[] = {1};
  ASSERT_TRUE(worker_.NoteAnswer(other, 1, body, 1));
  worker_.ForgetAnswersTo(peer_.worker);
  ASSERT_THAT(raylet_.Read().answers, SizeIs(1));
  EXPECT_EQ(raylet_.Read().answers[0].to, other);
}

TEST_F(TaskNotesTest, WhatDoesNotFitIsRefusedAndChangesNothing) {
  EXPECT_FALSE(Note(1, std::string(TaskNotes::kMaxAnswerBytes + 1, 'x')));
  uint64_t number = 0;
  while (Note(number + 1, std::string(TaskNotes::kMaxAnswerBytes, 'x'))) ++number;
  EXPECT_GE(number, 7u);
  EXPECT_THAT(Answers(), SizeIs(number));
}

TEST_F(TaskNotesTest, NonsenseIsReadWithoutHarm) {
  constexpr size_t kBytes = 280 << 10;
  auto* const bytes = static_cast<uint8_t*>(
      mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory_.get(), 0));
  ASSERT_NE(bytes, MAP_FAILED);
  std::mt19937 random(1);
  for (int round = 0; round < 20; ++round) {
    for (size_t i = 0; i < kBytes; ++i) bytes[i] = static_cast<uint8_t>(random());
    raylet_.Read();
    std::memset(bytes, 0xff, 12);  // all of it counts
    for (size_t i = 12; i < kBytes; ++i) bytes[i] = static_cast<uint8_t>(random() % 3 == 0);
    raylet_.Read();
  }
  munmap(bytes, kBytes);
}

}  // namespace
}  // namespace cyray::wire
