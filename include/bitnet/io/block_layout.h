// BlockLayout: where in a block of bytes the codes of its values are. A description; what follows from it (decoding,
// encoding, which bytes no encoder writes) is computed (io/block_codes.h).
//
// A block is described by runs. A run is bytes [byte, byte + bytes) of the block, each of which holds `digits.count`
// digits; digit n of byte m belongs to value
//
//   value + m * byte_stride + n * digit_stride
//
// and is the code of that value, or the bits of it from code_shift on. A digit is
//   kBits    bits [s, s + width) of the byte, s = first + n * step
//   kTrits   of a byte that stands for the fraction byte/256 in base 3, the trit after p = first + n * step others:
//            (uint8(byte * 3^p) * 3) >> 8. An encoder writes the least byte of those trits, ceil(256 v / 243), v their
//            number in base 3 of five digits, of which those that are not used are 0.
//
// To add a type, describe its block here, and say what its codes mean in io/block_types.h.
#ifndef BITNET_IO_BLOCK_LAYOUT_H_
#define BITNET_IO_BLOCK_LAYOUT_H_

#include <array>
#include <cstddef>
#include <cstdint>

namespace bitnet {

struct ByteDigits {
  enum Kind : uint8_t { kBits, kTrits };
  Kind kind = kBits;
  int count = 1;
  int first = 0;
  int step = 0;
  int width = 8;  // bits of a digit

  // Digit n of a byte.
  constexpr unsigned Of(unsigned byte, int n) const {
    const int at = first + n * step;
    if (kind == kBits) return (byte >> at) & ((1u << width) - 1u);
    return ((byte * PowerOf3(at) & 0xffu) * 3u) >> 8;
  }
  // What digit n adds to the number that ByteOf makes a byte of.
  constexpr unsigned Weight(int n) const {
    const int at = first + n * step;
    return kind == kBits ? 1u << at : PowerOf3(4 - at);
  }
  // The byte of a sum of digits times their weights.
  constexpr unsigned ByteOf(unsigned sum) const { return kind == kBits ? sum : (sum * 256u + 242u) / 243u; }
  // Whether an encoder writes this byte.
  constexpr bool IsEncoded(unsigned byte) const {
    unsigned sum = 0;
    for (int n = 0; n < count; ++n) sum += Of(byte, n) * Weight(n);
    return kind == kBits || ByteOf(sum) == byte;
  }

  static constexpr unsigned PowerOf3(int n) { return n <= 0 ? 1u : 3u * PowerOf3(n - 1); }
};

struct CodeRun {
  size_t byte = 0;
  size_t bytes = 0;
  ByteDigits digits;
  size_t value = 0;
  size_t byte_stride = 1;
  size_t digit_stride = 1;
  int code_shift = 0;
};

struct BlockLayout {
  static constexpr size_t kMostRuns = 6;
  size_t values = 0;
  size_t bytes = 0;
  size_t runs = 0;
  std::array<CodeRun, kMostRuns> run = {};

  // f(value, run, byte of the block, digit) for all codes or parts of codes.
  template <class F>
  constexpr void ForEachDigit(F&& f) const {
    for (size_t r = 0; r < runs; ++r) {
      for (size_t m = 0; m < run[r].bytes; ++m) {
        for (int n = 0; n < run[r].digits.count; ++n) {
          f(run[r].value + m * run[r].byte_stride + static_cast<size_t>(n) * run[r].digit_stride, run[r],
            run[r].byte + m, n);
        }
      }
    }
  }

  // Whether each value has each part of its code once, and lies in the block.
  constexpr bool IsWhole() const {
    std::array<unsigned, 256> parts{};  // of each value the bits that some digit gives
    if (values > parts.size()) return false;
    bool good = true;
    unsigned all = 0;
    ForEachDigit([&](size_t value, const CodeRun& of, size_t byte, int) {
      const int width = of.digits.kind == ByteDigits::kTrits ? 2 : of.digits.width;
      const unsigned bits = ((1u << width) - 1u) << of.code_shift;
      if (value >= values || byte >= bytes || (parts[value] & bits) != 0) {
        good = false;
        return;
      }
      parts[value] |= bits;
      all |= bits;
    });
    for (size_t v = 0; v < values; ++v) good = good && parts[v] == all;
    return good && all != 0;
  }
};

namespace layout {

// Digits of a byte, from its lowest bits up, and from its highest down.
inline constexpr ByteDigits kByte = {ByteDigits::kBits, 1, 0, 0, 8};
inline constexpr ByteDigits kNibbles = {ByteDigits::kBits, 2, 0, 4, 4};
inline constexpr ByteDigits kPairs = {ByteDigits::kBits, 4, 0, 2, 2};
inline constexpr ByteDigits kPairsDown = {ByteDigits::kBits, 4, 6, -2, 2};
inline constexpr ByteDigits kBits = {ByteDigits::kBits, 8, 0, 1, 1};
// Trits, the first the most significant, and the first the least significant.
inline constexpr ByteDigits kFiveTrits = {ByteDigits::kTrits, 5, 0, 1, 2};
inline constexpr ByteDigits kFourTrits = {ByteDigits::kTrits, 4, 0, 1, 2};
inline constexpr ByteDigits kFiveTritsUp = {ByteDigits::kTrits, 5, 4, -1, 2};
inline constexpr ByteDigits kFourTritsUp = {ByteDigits::kTrits, 4, 4, -1, 2};

// The fields of a run: byte, bytes, digits, value, byte_stride, digit_stride, code_shift.
inline constexpr BlockLayout kTq2_0 = {256, 66, 2, {{{0, 32, kPairs, 0, 1, 32}, {32, 32, kPairs, 128, 1, 32}}}};
inline constexpr BlockLayout kTq1_0 = {
    256, 54, 3, {{{0, 32, kFiveTrits, 0, 1, 32}, {32, 16, kFiveTrits, 160, 1, 16}, {48, 4, kFourTrits, 240, 1, 4}}}};
inline constexpr BlockLayout kPtq1_0 = {
    128, 28, 3, {{{0, 16, kFiveTrits, 0, 1, 16}, {16, 8, kFiveTrits, 80, 1, 8}, {24, 2, kFourTrits, 120, 1, 2}}}};
inline constexpr BlockLayout kI2sA = {128, 32, 1, {{{0, 32, kPairsDown, 0, 1, 32}}}};
inline constexpr BlockLayout kI2sB = {64, 16, 1, {{{0, 16, kPairsDown, 0, 1, 16}}}};
// Row k of four that share their bytes.
template <int k>
inline constexpr BlockLayout kI2sC = {32, 32, 1, {{{0, 32, {ByteDigits::kBits, 1, 6 - 2 * k, 0, 2}, 0, 1, 1}}}};
inline constexpr BlockLayout kIq2Bn = {64, 16, 1, {{{0, 16, kPairs, 0, 1, 16}}}};
// One row of four, whose bytes begin at 4 k of the block of four rows.
inline constexpr BlockLayout kIq2BnR4 = {
    64,
    64,
    4,
    {{{0, 4, kPairs, 0, 1, 4}, {16, 4, kPairs, 16, 1, 4}, {32, 4, kPairs, 32, 1, 4}, {48, 4, kPairs, 48, 1, 4}}}};
inline constexpr BlockLayout kIq1Bn = {64,
                                       13,
                                       5,
                                       {{{0, 3, kFiveTritsUp, 0, 5, 1},
                                         {3, 3, kFiveTritsUp, 16, 5, 1},
                                         {6, 3, kFiveTritsUp, 32, 5, 1},
                                         {9, 3, kFiveTritsUp, 48, 5, 1},
                                         {12, 1, kFourTritsUp, 15, 0, 16}}}};
inline constexpr BlockLayout kQ1_0 = {128, 18, 1, {{{2, 16, kBits, 0, 8, 1}}}};
inline constexpr BlockLayout kQ2_0 = {64, 18, 1, {{{2, 16, kPairs, 0, 4, 1}}}};
inline constexpr BlockLayout kPq2_0 = {128, 34, 1, {{{2, 32, kPairs, 0, 4, 1}}}};
inline constexpr BlockLayout kQ4_0 = {32, 18, 1, {{{2, 16, kNibbles, 0, 1, 16}}}};
inline constexpr BlockLayout kQ8_0 = {32, 34, 1, {{{2, 32, kByte, 0, 1, 1}}}};
// Low four bits of a code, then its high two.
inline constexpr BlockLayout kQ6_K = {256,
                                      210,
                                      6,
                                      {{{0, 32, kNibbles, 0, 1, 64},
                                        {32, 32, kNibbles, 32, 1, 64},
                                        {64, 32, kNibbles, 128, 1, 64},
                                        {96, 32, kNibbles, 160, 1, 64},
                                        {128, 32, kPairs, 0, 1, 32, 4},
                                        {160, 32, kPairs, 128, 1, 32, 4}}}};

}  // namespace layout

}  // namespace bitnet

#endif  // BITNET_IO_BLOCK_LAYOUT_H_
