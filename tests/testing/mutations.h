// Mutated(seed, n): the n-th deterministic mutation of some bytes, for tests that play a fuzzer: one to four changes,
// each a byte, a number of 1 to 8 bytes that parsers fear, a cut, a piece doubled, or a piece of the bytes copied
// elsewhere.
#ifndef BITNET_TESTS_TESTING_MUTATIONS_H_
#define BITNET_TESTS_TESTING_MUTATIONS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "bitnet/base/random.h"

namespace bitnet::testing {

inline std::vector<uint8_t> Mutated(std::span<const uint8_t> seed, uint64_t n) {
  static constexpr uint64_t kFeared[] = {
      0,          1,           2,           0x7f,       0x80,       0xff,  0x100,     0x7fff,     0xffff,     0x10000,
      0x7fffffff, 0x80000000u, 0xffffffffu, 1ull << 32, 1ull << 60, ~0ull, ~0ull - 7, 1ull << 63, ~0ull >> 1, 31};
  Random random(n);
  const auto below = [&](size_t count) { return static_cast<size_t>(UniformBelow(random, count)); };
  std::vector<uint8_t> bytes(seed.begin(), seed.end());
  for (size_t changes = 1 + below(4); changes > 0 && !bytes.empty(); --changes) {
    // Headers are where the decisions are: half of the changes are near the beginning.
    const size_t reach = UniformBelow(random, 2) == 0 ? std::min<size_t>(bytes.size(), 256) : bytes.size();
    const size_t at = below(reach);
    const size_t length = 1 + below(16);
    const size_t piece = std::min(length, bytes.size() - at);
    switch (UniformBelow(random, 6)) {
      case 0:
        bytes[at] = static_cast<uint8_t>(UniformBelow(random, 256));
        break;
      case 1:
        bytes[at] = static_cast<uint8_t>(bytes[at] ^ (1u << UniformBelow(random, 8)));
        break;
      case 2: {
        const uint64_t number = kFeared[below(std::size(kFeared))];
        const size_t width = size_t{1} << UniformBelow(random, 4);
        std::memcpy(bytes.data() + at, &number, std::min(width, bytes.size() - at));
        break;
      }
      case 3:
        bytes.resize(at);
        break;
      case 4: {
        const std::vector<uint8_t> copy(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                                        bytes.begin() + static_cast<std::ptrdiff_t>(at + piece));
        bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at), copy.begin(), copy.end());
        break;
      }
      default: {
        const size_t from = below(bytes.size());
        std::memmove(bytes.data() + at, bytes.data() + from, std::min(piece, bytes.size() - from));
        break;
      }
    }
  }
  return bytes;
}

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_MUTATIONS_H_
