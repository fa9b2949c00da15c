// ProcessLimit: a limit of this process that is lower until this object goes.
// Threading: of the whole process; for tests with one thread.

#pragma once

#include <gtest/gtest.h>
#include <sys/resource.h>

namespace cyray {

// A sanitizer needs terabytes of address space, and descriptors for its looks into memory: tests
// that take those away prove nothing under one.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kIsSanitized = true;
#else
inline constexpr bool kIsSanitized = false;
#endif

class ProcessLimit {
 public:
  ProcessLimit(int resource, rlim_t most) : resource_(resource) {
    EXPECT_EQ(::getrlimit(resource, &before_), 0);
    const rlimit now{most, before_.rlim_max};
    EXPECT_EQ(::setrlimit(resource, &now), 0);
  }
  ~ProcessLimit() { EXPECT_EQ(::setrlimit(resource_, &before_), 0); }
  ProcessLimit(const ProcessLimit&) = delete;
  ProcessLimit& operator=(const ProcessLimit&) = delete;

 private:
  const int resource_;
  rlimit before_{};
};

}  // namespace cyray
