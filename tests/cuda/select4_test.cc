#include "bitnet/backend/cuda/select4.h"

#include <doctest/doctest.h>

#include <cstdint>

#include "bitnet/base/random.h"

namespace bitnet {
namespace {

// __byte_perm as the CUDA Math API has it.
uint32_t BytePerm(uint32_t x, uint32_t y, uint32_t selector) {
  const uint64_t eight = uint64_t{y} << 32 | x;
  uint32_t selected = 0;
  for (unsigned i = 0; i < 4; ++i) {
    const uint32_t n = selector >> 4 * i & 15u;
    CHECK(n < 8);  // above: prmt repeats the sign of the byte, and __byte_perm may
    selected |= static_cast<uint32_t>(eight >> 8 * n & 0xffu) << 8 * i;
  }
  return selected;
}

TEST_CASE("Select4By: each byte is the table's") {
  const uint32_t table[4] = {0x83828180u, 0x07060504u, 0xfbfaf9f8u, 0x7f7e7d7cu};
  Random random(1);
  size_t wrong = 0;
  for (uint32_t i = 0; i < 1000; ++i) {
    const uint32_t four = i < 16 ? i * 0x01010101u : static_cast<uint32_t>(random()) & 0x0f0f0f0fu;
    const uint32_t selected = cuda::Select4By(BytePerm, table, four);
    for (unsigned byte = 0; byte < 32; byte += 8) {
      const uint32_t index = four >> byte & 0xffu;
      wrong += (selected >> byte & 0xffu) == (table[index / 4] >> index % 4 * 8 & 0xffu) ? 0u : 1u;
    }
  }
  CHECK(wrong == 0);
}

}  // namespace
}  // namespace bitnet
