// A fuzz target is a file of this folder, NAME_fuzz.cc, with these in namespace bitnet::testing::NAME_fuzz:
//
//   std::vector<std::vector<uint8_t>> Seeds();       small inputs that the parser accepts, made by the project's own
//   code
//                                                    or written out
//   int OneInput(const uint8_t* data, size_t size);  parses the input. What must hold of one that is accepted is a
//                                                    BITNET_ASSERT. Returns 0.
//   BITNET_FUZZ_TARGET(NAME);
//
// All of them are built into one program; and each into one for libFuzzer:
//
//   fuzz NAME     with main.cc, by every compiler: an ordinary test of the seeds and some thousand mutations of them.
//                 fuzz NAME --write-seeds FOLDER makes a corpus of the seeds; fuzz NAME FILE... runs files again.
//   fuzzer_NAME   with libFuzzer and sanitizers, by clang, where BITNET_FUZZERS is ON: ./dev fuzz
#ifndef BITNET_TESTS_FUZZ_FUZZ_H_
#define BITNET_TESTS_FUZZ_FUZZ_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace bitnet::testing {

inline std::vector<uint8_t> SeedOf(std::string_view text) { return {text.begin(), text.end()}; }

struct FuzzTarget {
  std::string_view name;
  std::vector<std::vector<uint8_t>> (*seeds)();
  int (*one_input)(const uint8_t* data, size_t size);
};

// Those of this program.
inline std::vector<FuzzTarget>& FuzzTargets() {
  static std::vector<FuzzTarget> targets;
  return targets;
}

}  // namespace bitnet::testing

#if defined(BITNET_LIBFUZZER)
#define BITNET_FUZZ_TARGET(NAME)                                                                           \
  extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) { return OneInput(data, size); } \
  static_assert(true)
#else
#define BITNET_FUZZ_TARGET(NAME) \
  [[maybe_unused]] const bool kIsThere = (FuzzTargets().push_back({#NAME, Seeds, OneInput}), true)
#endif

#endif  // BITNET_TESTS_FUZZ_FUZZ_H_
