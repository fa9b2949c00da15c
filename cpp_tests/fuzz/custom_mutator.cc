// libFuzzer's mutator for all targets: its own changes, ours (which know nothing of coverage but
// cut and move parts), and now and then a new valid input, without which no table would ever
// verify.

#include <cstring>

#include "cpp_tests/fuzz/seeds.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned int seed) {
  std::mt19937_64 rng(seed);
  std::vector<uint8_t> input(data, data + size);
  if (size < 8 || rng() % 8 == 0) {
    input = cyray::fuzz::RandomSeed(rng);
  } else if (rng() % 2 == 0) {
    cyray::fuzz::Mutate(input, rng);
  } else {
    return LLVMFuzzerMutate(data, size, max_size);
  }
  if (input.size() > max_size) input.resize(max_size);
  std::memcpy(data, input.data(), input.size());
  return input.size();
}
