// A fuzz target is a file of this folder, NAME_fuzz.cc, that defines these two. It is built twice:
//
//   fuzz_NAME     with main.cc, by every compiler: an ordinary test of the seeds and some thousand mutations of them.
//                 fuzz_NAME --write-seeds FOLDER makes a corpus of the seeds; fuzz_NAME FILE... runs files again.
//   fuzzer_NAME   with libFuzzer and sanitizers, by clang, where BITNET_FUZZERS is ON: ./dev fuzz
#ifndef BITNET_TESTS_FUZZ_FUZZ_H_
#define BITNET_TESTS_FUZZ_FUZZ_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace bitnet::testing {

// Small inputs that the parser accepts, made by the project's own code or written out.
std::vector<std::vector<uint8_t>> FuzzSeeds();

inline std::vector<uint8_t> SeedOf(std::string_view text) { return {text.begin(), text.end()}; }

}  // namespace bitnet::testing

// Parses the input. What must hold of an input that is accepted is a BITNET_ASSERT. Returns 0.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

#endif  // BITNET_TESTS_FUZZ_FUZZ_H_
