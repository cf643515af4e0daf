// Codes of blocks, a byte each, from a BlockLayout: UnpackBlock, PackBlock, and which bytes no encoder writes.
//
// The layout is a template parameter: all strides are constants. Digits are taken of eight bytes at once, in a word:
// the speed does not hang on what a compiler makes vectors of. (g++ 12 made them of loops over 32 bytes, not of 16.)
#ifndef BITNET_IO_BLOCK_CODES_H_
#define BITNET_IO_BLOCK_CODES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "bitnet/io/block_layout.h"

namespace bitnet {

namespace detail {

// Of each byte its digits, in order.
template <const BlockLayout& kLayout, size_t kRun>
inline constexpr auto kDigitsOfByte = [] {
  constexpr ByteDigits kDigits = kLayout.run[kRun].digits;
  std::array<std::array<uint8_t, static_cast<size_t>(kDigits.count)>, 256> table{};
  for (unsigned byte = 0; byte < 256; ++byte) {
    for (int n = 0; n < kDigits.count; ++n) {
      table[byte][static_cast<size_t>(n)] = static_cast<uint8_t>(kDigits.Of(byte, n));
    }
  }
  return table;
}();

// Which bytes are of digits below `kCount`, and such as an encoder writes.
template <const BlockLayout& kLayout, size_t kRun, size_t kCount>
inline constexpr auto kIsLegalByte = [] {
  constexpr ByteDigits kDigits = kLayout.run[kRun].digits;
  std::array<bool, 256> legal{};
  for (unsigned byte = 0; byte < 256; ++byte) {
    legal[byte] = kDigits.IsEncoded(byte);
    for (int n = 0; n < kDigits.count; ++n) legal[byte] = legal[byte] && kDigits.Of(byte, n) < kCount;
  }
  return legal;
}();

// 1 in each byte of a word, in each second, in each fourth.
inline constexpr uint64_t kEachByte = 0x0101010101010101u;
inline constexpr uint64_t kEachSecond = 0x0001000100010001u;
inline constexpr uint64_t kEachFourth = 0x0000000100000001u;

// Digit kN of the eight bytes of a word, each in its place. Products of a byte, and three times a byte, fit 16 bits.
template <const ByteDigits& kDigits, int kN>
inline uint64_t DigitsOfWord(uint64_t word) {
  constexpr int kAt = kDigits.first + kN * kDigits.step;
  if constexpr (kDigits.kind == ByteDigits::kBits) {
    return (word >> kAt) & (kEachByte * ((1u << kDigits.width) - 1u));
  } else {
    constexpr uint64_t kPower = ByteDigits::PowerOf3(kAt);
    constexpr uint64_t kMask = kEachSecond * 0xffu;
    const uint64_t even = ((word & kMask) * kPower) & kMask;
    const uint64_t odd = (((word >> 8) & kMask) * kPower) & kMask;
    return ((even * 3u >> 8) & kMask) | ((odd * 3u) & (kMask << 8));
  }
}

// Digits of eight codes that lie one after the other in 8 * kWidth bits, a byte each.
template <int kWidth>
inline uint64_t SpreadBits(uint64_t bits) {
  static_assert(kWidth <= 4);
  bits = (bits | bits << (32 - 4 * kWidth)) & (kEachFourth * ((1u << 4 * kWidth) - 1u));
  bits = (bits | bits << (16 - 2 * kWidth)) & (kEachSecond * ((1u << 2 * kWidth) - 1u));
  return (bits | bits << (8 - kWidth)) & (kEachByte * ((1u << kWidth) - 1u));
}

template <const BlockLayout& kLayout, size_t kRun>
inline constexpr ByteDigits kDigitsOfRun = kLayout.run[kRun].digits;

// Digit kN of each byte of a run.
template <const BlockLayout& kLayout, size_t kRun, int kN>
inline void UnpackDigit(const uint8_t* in, uint8_t* codes) {
  constexpr CodeRun kR = kLayout.run[kRun];
  uint8_t* const out = codes + kR.value + static_cast<size_t>(kN) * kR.digit_stride;
  if constexpr (kR.byte_stride == 1 && kR.bytes % 4 == 0) {
    constexpr size_t kWord = kR.bytes % 8 == 0 ? 8 : 4;
    for (size_t m = 0; m < kR.bytes; m += kWord) {
      uint64_t word = 0;
      std::memcpy(&word, in + m, kWord);
      word = DigitsOfWord<kDigitsOfRun<kLayout, kRun>, kN>(word) << kR.code_shift;
      if constexpr (kR.code_shift != 0) {
        uint64_t before = 0;
        std::memcpy(&before, out + m, kWord);
        word |= before;
      }
      std::memcpy(out + m, &word, kWord);
    }
  } else {
    static_assert(kR.code_shift == 0, "bitnet: parts of codes are in runs of four bytes or more, side by side");
    for (size_t m = 0; m < kR.bytes; ++m) out[m * kR.byte_stride] = static_cast<uint8_t>(kR.digits.Of(in[m], kN));
  }
}

template <const BlockLayout& kLayout, size_t kRun, int... kN>
inline void UnpackRun(const uint8_t* block, uint8_t* codes, std::integer_sequence<int, kN...>) {
  constexpr CodeRun kR = kLayout.run[kRun];
  constexpr size_t kDigits = sizeof...(kN);
  const uint8_t* const in = block + kR.byte;
  if constexpr (kR.digit_stride != 1 || kDigits == 1 || kR.code_shift != 0) {
    (UnpackDigit<kLayout, kRun, kN>(in, codes), ...);
  } else if constexpr (kR.digits.kind == ByteDigits::kBits && kR.digits.first == 0 && kR.byte_stride == kDigits &&
                       kR.digits.step == kR.digits.width && kR.bytes % static_cast<size_t>(kR.digits.width) == 0) {
    constexpr auto kWidth = static_cast<size_t>(kR.digits.width);
    for (size_t m = 0; m < kR.bytes; m += kWidth) {
      uint64_t bits = 0;
      std::memcpy(&bits, in + m, kWidth);
      bits = SpreadBits<kR.digits.width>(bits);
      std::memcpy(codes + kR.value + m * kDigits, &bits, sizeof(bits));
    }
  } else {
    for (size_t m = 0; m < kR.bytes; ++m) {
      std::memcpy(codes + kR.value + m * kR.byte_stride, kDigitsOfByte<kLayout, kRun>[in[m]].data(), kDigits);
    }
  }
}

template <const BlockLayout& kLayout, size_t kRun, size_t kCount>
inline bool IsLegalRun(const uint8_t* block) {
  constexpr CodeRun kR = kLayout.run[kRun];
  const uint8_t* const in = block + kR.byte;
  if constexpr (kR.digits.kind == ByteDigits::kBits && (size_t{1} << kR.digits.width) <= kCount) {
    return true;
  } else if constexpr (kR.digits.kind == ByteDigits::kBits && kR.digits.width == 2 && kCount == 3 &&
                       kR.digits.count == 4 && kR.bytes % 4 == 0) {
    // Both bits of a digit set.
    constexpr size_t kWord = kR.bytes % 8 == 0 ? 8 : 4;
    uint64_t both = 0;
    for (size_t m = 0; m < kR.bytes; m += kWord) {
      uint64_t word = 0;
      std::memcpy(&word, in + m, kWord);
      both |= word & (word >> 1);
    }
    return (both & 0x5555555555555555u) == 0;
  } else {
    unsigned legal = 1;
    for (size_t m = 0; m < kR.bytes; ++m) legal &= kIsLegalByte<kLayout, kRun, kCount>[in[m]];
    return legal != 0;
  }
}

}  // namespace detail

// codes[0, kLayout.values) of a block.
template <const BlockLayout& kLayout>
void UnpackBlock(const uint8_t* block, uint8_t* codes) {
  static_assert(kLayout.IsWhole(), "bitnet: a block's layout must give each value its code once");
  [&]<size_t... kRun>(std::index_sequence<kRun...>) {
    (detail::UnpackRun<kLayout, kRun>(block, codes, std::make_integer_sequence<int, kLayout.run[kRun].digits.count>()),
     ...);
  }
  (std::make_index_sequence<kLayout.runs>());
}

// Whether the block's codes are below kCount, and its bytes of trits such as encoders write.
template <const BlockLayout& kLayout, size_t kCount>
bool IsLegalBlock(const uint8_t* block) {
  return [&]<size_t... kRun>(std::index_sequence<kRun...>) {
    return (detail::IsLegalRun<kLayout, kRun, kCount>(block) && ...);
  }
  (std::make_index_sequence<kLayout.runs>());
}

// The least value of a block whose code is not below `count`, or whose byte of trits is no encoder's; layout.values
// where there is none. Slow: for messages.
inline size_t FindIllegal(const BlockLayout& layout, unsigned count, const uint8_t* block) {
  size_t least = layout.values;
  layout.ForEachDigit([&](size_t value, const CodeRun& run, size_t byte, int n) {
    const ByteDigits& digits = run.digits;
    bool wrong = digits.Of(block[byte], n) >= count;
    if (digits.kind == ByteDigits::kTrits) wrong = !digits.IsEncoded(block[byte]);
    if (wrong && value < least) least = value;
  });
  return least;
}

// The opposite of UnpackBlock: the bytes of the runs; what else the block has stays.
template <const BlockLayout& kLayout>
void PackBlock(const uint8_t* codes, uint8_t* block) {
  for (size_t r = 0; r < kLayout.runs; ++r) {
    const CodeRun& run = kLayout.run[r];
    for (size_t m = 0; m < run.bytes; ++m) {
      unsigned sum = 0;
      for (int n = 0; n < run.digits.count; ++n) {
        const unsigned code = codes[run.value + m * run.byte_stride + static_cast<size_t>(n) * run.digit_stride];
        const unsigned digit =
            run.digits.kind == ByteDigits::kTrits ? code : (code >> run.code_shift) & ((1u << run.digits.width) - 1u);
        sum += digit * run.digits.Weight(n);
      }
      block[run.byte + m] = static_cast<uint8_t>(run.digits.ByteOf(sum));
    }
  }
}

}  // namespace bitnet

#endif  // BITNET_IO_BLOCK_CODES_H_
