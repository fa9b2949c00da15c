// cluster_simulator: runs seeds of the simulated cluster, each in a real process of its own.
//   cluster_simulator --from 0 --seeds 200        a range; failures with how to see them again
//   cluster_simulator --seed 17 --echo            one, with its log as it happens
//   --twice     runs each seed twice and compares the digests of all draws
//   --first     ends at the first seed that fails
//   --faults    names, separated by commas, of the faults that may strike; else all of them
#include <fcntl.h>
#include <signal.h>
#include <sys/personality.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "cpp_tests/sim/world.h"

namespace {

using cyray::sim::FaultKind;
using cyray::sim::kFaultNames;
using cyray::sim::Verdict;
using cyray::sim::World;

constexpr size_t kLinesShown = 60;
constexpr unsigned kLimitS = 300;  // of one seed; a fraction of a second is usual

struct Options {
  uint64_t from = 0;
  uint64_t seeds = 1;
  bool echo = false;
  bool twice = false;
  bool first = false;
  std::vector<std::string> faults;
  std::vector<FaultKind> allowed;
};

// In the child: what became of it, by one line to `out`.
[[noreturn]] void RunSeed(uint64_t seed, const Options& options, const std::string& folder,
                          int out) {
  ::alarm(kLimitS);
  int code;
  {
    World world(seed, options.allowed, folder, options.echo);
    const Verdict verdict = world.Run();
    std::string line = std::to_string(verdict.digest) + " " + std::to_string(verdict.took_ns);
    if (!verdict.ok) {
      line += " " + verdict.why + "\n  plan: " + world.Describe() + "\n  the last events:\n";
      const auto& log = world.kernel().log();
      for (size_t i = log.size() - std::min(log.size(), kLinesShown); i < log.size(); ++i) {
        line += "    " + log[i] + "\n";
      }
    }
    [[maybe_unused]] const ssize_t n = ::write(out, line.data(), line.size());
    code = verdict.ok ? 0 : 1;
    std::fflush(stdout);
    ::_exit(code);  // what killed processes held is not given back
  }
}

struct Outcome {
  bool ok = false;
  std::string text;
  std::string digest() const { return text.substr(0, text.find(' ')); }
};

Outcome Run(uint64_t seed, const Options& options) {
  int ends[2];
  std::string folder = "/tmp/cyray-sim-XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr || ::pipe(ends) != 0) {
    return {false, " no folder or pipe: errno " + std::to_string(errno)};
  }
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::close(ends[0]);
    RunSeed(seed, options, folder, ends[1]);
  }
  ::close(ends[1]);
  Outcome outcome;
  char buffer[4096];
  for (ssize_t n; (n = ::read(ends[0], buffer, sizeof buffer)) > 0;) {
    outcome.text.append(buffer, static_cast<size_t>(n));
  }
  ::close(ends[0]);
  int status = 0;
  ::waitpid(pid, &status, 0);
  std::filesystem::remove_all(folder);
  outcome.ok = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  if (WIFSIGNALED(status)) {
    outcome.text += " ended by signal " + std::to_string(WTERMSIG(status));
  }
  return outcome;
}

// Addresses decide the order of what is hashed by address: they have to be the same in each run.
void FixAddresses(char** argv) {
  const int now = ::personality(0xffffffff);
  if ((now & ADDR_NO_RANDOMIZE) != 0) return;
  if (::personality(static_cast<unsigned long>(now | ADDR_NO_RANDOMIZE)) == -1) return;
  ::execv("/proc/self/exe", argv);
}

}  // namespace

int main(int argc, char** argv) {
  FixAddresses(argv);
  ::signal(SIGPIPE, SIG_IGN);  // as the product's programs have it
  Options options;
  const std::vector<std::string> all(std::begin(kFaultNames), std::end(kFaultNames));
  uint64_t seed = 0;
  CLI::App app("A cluster in one thread under virtual time");
  CLI::Option* const one = app.add_option("--seed", seed, "this one");
  app.add_option("--from", options.from, "the first of several");
  app.add_option("--seeds", options.seeds, "how many");
  app.add_option("--faults", options.faults, "what may strike; else all of them")
      ->delimiter(',')
      ->check(CLI::IsMember(all));
  app.add_flag("--echo", options.echo, "print the log as it happens");
  app.add_flag("--twice", options.twice, "compare the digests of two runs");
  app.add_flag("--first", options.first, "end at the first that fails");
  CLI11_PARSE(app, argc, argv);
  if (one->count() > 0) options.from = seed, options.seeds = 1;
  for (size_t i = 0; i < all.size(); ++i) {
    const bool named =
        options.faults.empty() || std::ranges::find(options.faults, all[i]) != options.faults.end();
    if (named) options.allowed.push_back(static_cast<FaultKind>(i));
  }
  ::setenv("CYRAY_SPIN_US", "0", 1);
  std::string names;
  for (const std::string& name : options.faults) names += " --faults " + name;
  uint64_t failures = 0;
  for (uint64_t s = options.from; s < options.from + options.seeds; ++s) {
    const Outcome outcome = Run(s, options);
    std::string wrong = outcome.ok ? "" : outcome.text;
    if (options.twice && outcome.ok && Run(s, options).digest() != outcome.digest()) {
      wrong = "two runs of this seed differ";
    }
    if (options.echo || options.seeds == 1) std::printf("seed %lu: %s\n", s, outcome.text.c_str());
    if (wrong.empty()) continue;
    ++failures;
    std::printf("seed %lu FAILED: %s\n  again: %s --seed %lu%s --echo\n", s, wrong.c_str(), argv[0],
                s, names.c_str());
    std::fflush(stdout);
    if (options.first) return 1;
  }
  std::printf("%lu seeds, %lu failed\n", options.seeds, failures);
  return failures == 0 ? 0 : 1;
}
