// RandomRun: a state machine of the core among fakes, driven by random steps and compared with a
// model after each of them. A test derives its run, gives it the seed and calls Go().

#pragma once

#include <random>

#include "cpp_tests/core/submitter_fake.h"

namespace cyray::core {

class RandomRun : public SubmitterFake {
 public:
  void TestBody() override {}

  void Go(int steps) {
    for (int i = 0; i < steps && !HasFailure(); ++i) {
      Step();
      Observe();
    }
    Settle();
  }

 protected:
  explicit RandomRun(uint64_t seed) : random_(seed) {}

  // One random event, in the machine and in the model.
  virtual void Step() = 0;
  // Compares them.
  virtual void Observe() = 0;
  // Lets everything that is under way end, and compares what is left.
  virtual void Settle() = 0;

  size_t Below(size_t n) { return random_() % n; }
  bool Chance(size_t percent) { return Below(100) < percent; }

 private:
  std::mt19937_64 random_;
};

}  // namespace cyray::core
