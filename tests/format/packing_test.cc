// The laws that every format's packing obeys are in testing/test_format.h; here is what is said of particular ones.
#include "bitnet/format/packing.h"

#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <new>
#include <span>
#include <vector>

#include "testing/expect_assertion.h"

namespace bitnet::packing_test {
namespace {

using testing::Breaks;

struct FiveLevel {
  static constexpr auto kLevels = std::array{-2, -1, 0, 1, 2};
};
struct SixLevel {
  static constexpr auto kLevels = std::array{0, 1, 2, 3, 4, 5};
};
struct SevenLevel {
  static constexpr auto kLevels = std::array{-3, -2, -1, 0, 1, 2, 3};
};

// Natural densities, in bits a value.
static_assert(Packing<Ternary>::kBitsPerValue == 1.6);
static_assert(Packing<Binary>::kBitsPerValue == 1.0);
static_assert(Packing<Int<2>>::kBitsPerValue == 2.0);
static_assert(Packing<Int<3>>::kBitsPerValue == 3.0);
static_assert(Packing<Int<4>>::kBitsPerValue == 4.0);
static_assert(Packing<Int<5>>::kBitsPerValue == 5.0);
static_assert(Packing<Int<8>>::kBitsPerValue == 8.0);
static_assert(Packing<MidRise<3>>::kBitsPerValue == 3.0);
static_assert(Packing<Fp4E2M1>::kBitsPerValue == 4.0);
static_assert(Packing<FiveLevel>::kBitsPerValue == 8.0 / 3.0);
static_assert(Packing<SixLevel>::kBitsPerValue == 8.0 / 3.0);
static_assert(Packing<SevenLevel>::kBitsPerValue == 3.0);
// A head of 128 at 3 bits, and 4096 ternary weights.
static_assert(Packing<MidRise<3>>::Bytes(128) == 48);
static_assert(Packing<MidRise<4>>::Bytes(128) == 64);
static_assert(Packing<Ternary>::Bytes(4096) == 820);
static_assert(Packing<Ternary>::Bytes(5) == 1 && Packing<Ternary>::Bytes(6) == 2);
// Lengths that do not fit in memory as codes do not wrap around.
static_assert(Packing<Ternary>::Bytes(~size_t{0}) == ~size_t{0} / 5);
static_assert(Packing<Int<4>>::Bytes(~size_t{0}) == ~size_t{0} / 2 + 1);

template <LevelFormat F>
std::vector<uint8_t> Packed(const std::vector<uint8_t>& codes) {
  std::vector<uint8_t> packed(Packing<F>::Bytes(codes.size()));
  Packing<F>::Pack(codes, packed);
  return packed;
}

TEST_CASE("Packing: bytes that do not fit a size throw") {
  CHECK(Packing<Int<8>>::Bytes(~size_t{0} - 7) == ~size_t{0} - 7);
  CHECK_THROWS_AS(Packing<Int<8>>::Bytes(~size_t{0}), std::bad_array_new_length);
}

TEST_CASE("Packing: these very bytes, as files depend on them") {
  using Bytes = std::vector<uint8_t>;
  // Radix: the first code is the lowest digit. 2 + 0*3 + 1*9 + 1*27 + 2*81 = 200.
  CHECK(Packed<Ternary>({2, 0, 1, 1, 2}) == Bytes{200});
  CHECK(Packed<Ternary>({2, 2, 2, 2, 2}) == Bytes{242});
  // Padding is the zero code, 1: 0 + (3 + 9 + 27 + 81).
  CHECK(Packed<Ternary>({0}) == Bytes{120});
  CHECK(Packed<FiveLevel>({4, 3, 1}) == Bytes{4 + 3 * 5 + 25});
  // Bits: code i at bits [i B, i B + B), little-endian. 0o76543210.
  CHECK(Packed<Int<3>>({0, 1, 2, 3, 4, 5, 6, 7}) == Bytes{0x88, 0xc6, 0xfa});
  CHECK(Packed<Int<4>>({1, 2, 3, 4, 5, 6, 7, 8}) == Bytes{0x21, 0x43, 0x65, 0x87});
  CHECK(Packed<Binary>({1, 0, 0, 0, 0, 0, 0, 1}) == Bytes{0x81});
  CHECK(Packed<Int<8>>({255, 0, 1, 2, 3, 4, 5, 254}) == Bytes{255, 0, 1, 2, 3, 4, 5, 254});
  CHECK(Packed<MidRise<3>>({7}) == Bytes{0x27, 0x49, 0x92});  // then zero codes, 4: 100 100 ... 111
}

TEST_CASE("Packing: foreign bytes are told") {
  // 243 ... 255 stand for no five ternary codes.
  for (int byte = 0; byte < 256; ++byte) {
    const std::vector<uint8_t> packed = {static_cast<uint8_t>(byte)};
    CHECK(Packing<Ternary>::Valid(packed, 5) == (byte < 243));
    CHECK(Packing<Ternary>::Valid(packed, 1) == (byte < 243));
    CHECK(Packing<FiveLevel>::Valid(packed, 3) == (byte < 125));
  }
  // The 16th code of a format with 15, in every place.
  for (size_t place = 0; place < 8; ++place) {
    std::vector<uint8_t> packed = Packed<Fp4E2M1>({0, 1, 2, 3, 14, 5, 6, 7});
    CHECK(Packing<Fp4E2M1>::Valid(packed, 8));
    packed[place / 2] |= static_cast<uint8_t>(15 << (4 * (place % 2)));
    CHECK_FALSE(Packing<Fp4E2M1>::Valid(packed, 8));
    CHECK(Packing<Fp4E2M1>::At(packed.data(), place) == 14);
  }
  // In a later unit.
  std::vector<uint8_t> packed = Packed<Ternary>(std::vector<uint8_t>(23, 1));
  CHECK(Packing<Ternary>::Valid(packed, 23));
  packed.back() = 250;
  CHECK_FALSE(Packing<Ternary>::Valid(packed, 23));
  CHECK_FALSE(Packing<Ternary>::Valid(packed, 21));
  CHECK(Packing<Ternary>::Valid(packed, 20));
}

TEST_CASE("Packing: lengths that lie are not valid") {
  const std::vector<uint8_t> packed(10, 121);
  CHECK(Packing<Ternary>::Valid(packed, 50));
  CHECK_FALSE(Packing<Ternary>::Valid(packed, 51));
  CHECK_FALSE(Packing<Ternary>::Valid(packed, ~size_t{0}));
  CHECK_FALSE(Packing<Int<4>>::Valid(packed, ~size_t{0}));
  CHECK(Packing<Ternary>::Valid({}, 0));
}

TEST_CASE("Packing: seeks far into a long run") {
  std::vector<uint8_t> codes(100003);
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint8_t>((i * i + i / 7) % 3);
  const std::vector<uint8_t> packed = Packed<Ternary>(codes);
  for (const size_t first : {0u, 4u, 5u, 49999u, 99990u}) {
    std::vector<uint8_t> some(13);
    Packing<Ternary>::Unpack(packed.data(), first, some);
    for (size_t i = 0; i < some.size(); ++i) CHECK(some[i] == codes[first + i]);
  }
}

TEST_CASE("Packing: a short destination and a code without a level are assertions") {
  std::vector<uint8_t> codes = {0, 1, 2, 0, 1, 2};
  std::vector<uint8_t> packed(1);
  CHECK(Breaks("shorter", [&] { Packing<Ternary>::Pack(codes, packed); }));
  packed.resize(2);
  codes[5] = 3;
  CHECK(Breaks("number of levels", [&] { Packing<Ternary>::Pack(codes, packed); }));
}

}  // namespace
}  // namespace bitnet::packing_test
