#include "bitnet/base/size.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <new>
#include <optional>
#include <stdexcept>
#include <vector>

namespace bitnet {
namespace {

constexpr size_t kMax = std::numeric_limits<size_t>::max();
constexpr size_t kHalf = size_t{1} << (sizeof(size_t) * 4);  // kHalf * kHalf is the first product that does not fit

TEST_CASE("sizes: products that fit are the products") {
  static_assert(CheckedProduct(3u, 5u, size_t{7}) == 105u);
  static_assert(CheckedProduct(kMax, 1u) == kMax);
  static_assert(CheckedProduct(kHalf - 1, kHalf + 1) == kMax);
  static_assert(SizeProduct(uint8_t{255}, uint16_t{65535}) == 255u * 65535u);
}

TEST_CASE("sizes: a product that does not fit is nothing, wherever the large factor stands") {
  static_assert(!CheckedProduct(kHalf, kHalf));
  static_assert(!CheckedProduct(2u, kMax));
  static_assert(!CheckedProduct(kMax, 2u));
  static_assert(!CheckedProduct(kHalf, 2u, kHalf, 3u));
  static_assert(!CheckedProduct(std::numeric_limits<uint64_t>::max(), uint64_t{2}));
  if constexpr (sizeof(size_t) < sizeof(uint64_t)) CHECK(!CheckedProduct(uint64_t{1} << 32));
  // ... but zero times anything is zero.
  static_assert(CheckedProduct(kMax, kMax, 0u) == 0u);
}

TEST_CASE("sizes: sums") {
  static_assert(CheckedSum(1u, size_t{2}, uint8_t{3}) == 6u);
  static_assert(CheckedSum(kMax - 1, 1u) == kMax);
  static_assert(!CheckedSum(kMax, 1u));
  static_assert(!CheckedSum(1u, kMax));
}

TEST_CASE("sizes: of sizes that may not have fit, nothing if one did not") {
  constexpr std::optional<size_t> two = 2, three = 3, none;
  static_assert(CheckedProduct(two, three) == 6u);
  static_assert(CheckedSum(two, three, two) == 7u);
  static_assert(!CheckedProduct(two, none));
  static_assert(!CheckedSum(none, two));
  static_assert(!CheckedProduct(std::optional(kHalf), std::optional(kHalf)));
}

TEST_CASE("sizes: what memory is taken by throws as operator new does for arrays") {
  CHECK_THROWS_AS(SizeProduct(kHalf, kHalf), std::bad_array_new_length);
  CHECK_THROWS_AS(SizeSum(kMax, 1u), std::bad_array_new_length);
  CHECK_THROWS_AS(ElementCount<float>(kHalf, kHalf), std::bad_array_new_length);
}

TEST_CASE("sizes: no more elements than an object can hold, which a container would answer with another exception") {
  static_assert(ElementCount<char>(kMax / 2) == kMax / 2);
  static_assert(ElementCount<float>(kMax / 8 / 3, 3u) <= kMax / 8);
  CHECK_THROWS_AS(ElementCount<char>(kMax / 2 + 1), std::bad_array_new_length);
  CHECK_THROWS_AS(ElementCount<float>(kMax / 8 + 1), std::bad_array_new_length);
  CHECK_THROWS_AS(std::vector<float>(kMax / 8 + 1), std::length_error);
}

TEST_CASE("sizes: parts of a range cover it, whatever the product of its size and their number") {
  static_assert(PartBegin(10, 0, 3) == 0 && PartBegin(10, 1, 3) == 3 && PartBegin(10, 2, 3) == 6);
  static_assert(PartBegin(10, 3, 3) == 10);
  static_assert(PartBegin(0xffffffffu, 700, 700) == 0xffffffffu);  // 32 bits would not hold the product
  static_assert(PartBegin(0xfffffff0u, 350, 700) == 0x7ffffff8u);
}

}  // namespace
}  // namespace bitnet
