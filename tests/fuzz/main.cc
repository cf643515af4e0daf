// Runs a fuzz target without a fuzzer: see fuzz.h. Exits with 0, or does not come so far.
#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "bitnet/base/file.h"
#include "fuzz/fuzz.h"
#include "testing/mutations.h"

namespace {

using bitnet::testing::FuzzTarget;
using bitnet::testing::FuzzTargets;

constexpr size_t kMutations = 4000;

int WriteSeeds(const FuzzTarget& target, const std::string& folder) {
  size_t count = 0;
  for (const std::vector<uint8_t>& seed : target.seeds()) {
    const std::string path = folder + "/seed-" + std::to_string(count++);
    const bitnet::Result<bitnet::Done> written = bitnet::WriteFile(path, seed);
    if (!written.ok()) {
      std::fprintf(stderr, "%s\n", written.error().c_str());
      return 1;
    }
  }
  return 0;
}

int RunFiles(const FuzzTarget& target, int count, char** paths) {
  for (int i = 0; i < count; ++i) {
    const bitnet::Result<std::vector<uint8_t>> bytes = bitnet::ReadFile(paths[i]);
    if (!bytes.ok()) {
      std::fprintf(stderr, "%s\n", bytes.error().c_str());
      return 1;
    }
    target.one_input(bytes->data(), bytes->size());
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<FuzzTarget>& targets = FuzzTargets();
  const auto target = std::find_if(targets.begin(), targets.end(),
                                   [&](const FuzzTarget& one) { return argc > 1 && one.name == argv[1]; });
  if (target == targets.end()) {
    std::fprintf(stderr, "fuzz NAME [--write-seeds FOLDER | FILE...], where NAME is one of\n");
    for (const FuzzTarget& one : targets) std::fprintf(stderr, "  %s\n", std::string(one.name).c_str());
    return 64;
  }
  if (argc == 4 && std::string_view(argv[2]) == "--write-seeds") return WriteSeeds(*target, argv[3]);
  if (argc > 2) return RunFiles(*target, argc - 2, argv + 2);
  const std::vector<std::vector<uint8_t>> seeds = target->seeds();
  for (const std::vector<uint8_t>& seed : seeds) target->one_input(seed.data(), seed.size());
  for (size_t n = 0; n < kMutations && !seeds.empty(); ++n) {
    const std::vector<uint8_t> bytes = bitnet::testing::Mutated(seeds[n % seeds.size()], n);
    target->one_input(bytes.data(), bytes.size());
  }
  std::printf("%zu seeds and %zu mutations of them\n", seeds.size(), kMutations);
  return 0;
}
