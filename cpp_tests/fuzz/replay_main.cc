// Runs a fuzz target without libFuzzer: random valid inputs and mutations of them, for a given
// time, or the files named on the command line. Prints the seed, so that a failure can be repeated
// with
// `--seed`; a crash prints the input's number first.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "cpp_tests/fuzz/seeds.h"
#include "cyray/util/clock.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

void RunFile(const char* path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
}

uint64_t RunRandom(uint64_t seed, int64_t until_ms) {
  std::mt19937_64 rng(seed);
  uint64_t inputs = 0;
  while (cyray::MonotonicMs() < until_ms) {
    std::vector<uint8_t> input = cyray::fuzz::RandomSeed(rng);
    LLVMFuzzerTestOneInput(input.data(), input.size());
    for (int i = 0; i < 16; ++i, ++inputs) {
      cyray::fuzz::Mutate(input, rng);
      LLVMFuzzerTestOneInput(input.data(), input.size());
    }
  }
  return inputs;
}

}  // namespace

int main(int argc, char** argv) {
  double seconds = 2;
  uint64_t seed = std::random_device{}();
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--seconds") == 0 && i + 1 < argc) {
      seconds = std::atof(argv[++i]);
    } else if (std::strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
      seed = std::strtoull(argv[++i], nullptr, 10);
    } else {
      RunFile(argv[i]);
      seconds = 0;
    }
  }
  if (seconds <= 0) return 0;
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  const auto until = cyray::MonotonicMs() + static_cast<int64_t>(seconds * 1000);
  std::printf("%llu inputs\n", static_cast<unsigned long long>(RunRandom(seed, until)));
  return 0;
}
