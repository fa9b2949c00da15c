// Tests of FairIndex: against a simple list, and what a question costs.

#include "cyray/raylet/fair_index.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace cyray::raylet {
namespace {

using Order = std::pair<int, uint64_t>;
constexpr Order kFirst{-1, 0};

TEST(FairIndex, RandomOperationsAgreeWithAList) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  FairIndex<Order, const int64_t> index;
  std::map<Order, int64_t> list;
  uint64_t age = 0, searched = 0;
  for (int step = 0; step < 5000; ++step) {
    if (list.empty() || random() % 5 < 3) {
      const Order order{static_cast<int>(random() % 4), ++age};
      const auto it = list.emplace(order, random() % 100).first;
      index.Add(order, it->second, &it->second);
    } else {
      const auto it = std::next(list.begin(), static_cast<long>(random() % list.size()));
      index.Remove(it->first);
      list.erase(it);
    }
    index.CheckInvariants();
    ASSERT_EQ(index.size(), list.size());
    const Order after{static_cast<int>(random() % 5) - 1, random() % (age + 1)};
    const auto limit = static_cast<int64_t>(random() % 110) - 5;
    const int64_t* within = nullptr;
    const int64_t* beyond = nullptr;
    for (auto it = list.upper_bound(after); it != list.end(); ++it) {
      if (it->second <= limit && within == nullptr) within = &it->second;
      if (it->second > limit && beyond == nullptr) beyond = &it->second;
    }
    ASSERT_EQ(index.FirstWithin(after, limit, &searched), within);
    ASSERT_EQ(index.FirstBeyond(after, limit, &searched), beyond);
  }
}

TEST(FairIndex, AQuestionLooksAtFewOfMany) {
  constexpr uint64_t kMany = 1 << 16;
  FairIndex<Order, const int64_t> index;
  const int64_t thing = 0;
  // The only one that fits is the last.
  for (uint64_t age = 1; age <= kMany; ++age) index.Add({0, age}, kMany - age, &thing);
  uint64_t searched = 0;
  EXPECT_EQ(index.FirstWithin(kFirst, 0, &searched), &thing);
  EXPECT_EQ(index.FirstWithin(kFirst, -1, &searched), nullptr);
  EXPECT_EQ(index.FirstBeyond(kFirst, 0, &searched), &thing);
  EXPECT_LE(searched, 200u);
}

}  // namespace
}  // namespace cyray::raylet
