// Runs a fuzz target without a fuzzer: see fuzz.h. Exits with 0, or does not come so far.
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "bitnet/base/file.h"
#include "fuzz/fuzz.h"
#include "testing/mutations.h"

namespace {

constexpr size_t kMutations = 4000;

int WriteSeeds(const std::string& folder) {
  size_t count = 0;
  for (const std::vector<uint8_t>& seed : bitnet::testing::FuzzSeeds()) {
    const std::string path = folder + "/seed-" + std::to_string(count++);
    const bitnet::Result<bitnet::Done> written = bitnet::WriteFile(path, seed);
    if (!written.ok()) {
      std::fprintf(stderr, "%s\n", written.error().c_str());
      return 1;
    }
  }
  return 0;
}

int RunFiles(int count, char** paths) {
  for (int i = 0; i < count; ++i) {
    const bitnet::Result<std::vector<uint8_t>> bytes = bitnet::ReadFile(paths[i]);
    if (!bytes.ok()) {
      std::fprintf(stderr, "%s\n", bytes.error().c_str());
      return 1;
    }
    LLVMFuzzerTestOneInput(bytes->data(), bytes->size());
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::string_view(argv[1]) == "--write-seeds") return WriteSeeds(argv[2]);
  if (argc > 1) return RunFiles(argc - 1, argv + 1);
  const std::vector<std::vector<uint8_t>> seeds = bitnet::testing::FuzzSeeds();
  for (const std::vector<uint8_t>& seed : seeds) LLVMFuzzerTestOneInput(seed.data(), seed.size());
  for (size_t n = 0; n < kMutations && !seeds.empty(); ++n) {
    const std::vector<uint8_t> bytes = bitnet::testing::Mutated(seeds[n % seeds.size()], n);
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  }
  std::printf("%zu seeds and %zu mutations of them\n", seeds.size(), kMutations);
  return 0;
}
