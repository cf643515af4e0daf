// How a cache on a device keeps the values of heads: eight codes in kWords bytes, so that four such lie in the four
// bytes of kWords words, and a few instructions make of those eight words of four signed bytes each, for the tensor
// cores. What is not 8 bits wide leaves bits of a byte over; codes that come last are in those.
//
//   3 bits, byte i of the words w0 w1 w2:   7 6 | 5 4 3 | 2 1 0      in all 24 bits: no bit is lost
//                                        w0: G G |   B   |   A
//                                        w1: H G |   D   |   C       G: bits 0, 1 in w0, bit 2 in w1
//                                        w2: H H |   F   |   E       H: bit 0 in w1, bits 1, 2 in w2
//
// A *bundle* is kWords words: 32 values. A lane unpacks one at a time; which values they are, cache_layout.h says.
#ifndef BITNET_BACKEND_CUDA_HEAD_CODES_H_
#define BITNET_BACKEND_CUDA_HEAD_CODES_H_

#include <cstddef>
#include <cstdint>

#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/format_tables.h"
#include "bitnet/backend/cuda/unroll.h"
#include "bitnet/format/format.h"

namespace bitnet::cuda {

// A level as bytes that are multiplied: kBase + the sum over parts of Scale(part) * byte. Of formats at equal distances
// the byte is the code; others are looked up, or, where they are more than 16, kept as they are.
template <LevelFormat F>
struct HeadCodes {
  using Traits = FormatTraits<F>;
  static constexpr bool kFitsByte = Traits::kBottom >= -128 && Traits::kTop <= 127;
  static constexpr bool kIsLookedUp = !Traits::kIsUniform && Traits::kCount <= 16;
  static constexpr bool kIsPlain = !Traits::kIsUniform && !kIsLookedUp;

  static constexpr int kParts = Traits::kIsUniform || kFitsByte ? 1 : 2;
  static constexpr unsigned kBits = kIsPlain ? 8u : static_cast<unsigned>(Traits::kCodeBits);
  // Of a bundle: as many bytes as eight values take.
  static constexpr unsigned kWords = kBits * (kIsPlain ? static_cast<unsigned>(kParts) : 1u);

  // Two parts are the high byte and the low one, which counts from 128.
  static constexpr int kBase = kParts == 2           ? 128
                               : !Traits::kIsUniform ? 0
                               : kBits == 8          ? Traits::kBottom + 128 * Traits::kSpacing
                                                     : Traits::kBottom;
  BITNET_HOST_DEVICE static constexpr int Scale(int part) {
    return kParts == 2 ? (part == 0 ? 1 : 256) : Traits::kIsUniform ? Traits::kSpacing : 1;
  }

  // bytes[0, kWords) = eight values by their codes.
  BITNET_HOST_DEVICE static void Pack(const unsigned (&codes)[8], uint8_t (&bytes)[kWords]) {
    uint32_t words[kWords] = {};
    if constexpr (kIsPlain) {
      for (unsigned i = 0; i < 8; ++i) {
        for (int part = 0; part < kParts; ++part) {
          words[static_cast<unsigned>(part) * 8 + i] = ByteOf(Level<F>(codes[i]), part);
        }
      }
    } else {
      PackFrom<0>(codes, words);
    }
    for (unsigned w = 0; w < kWords; ++w) bytes[w] = static_cast<uint8_t>(words[w]);
  }

  // The level of each of eight values.
  BITNET_HOST_DEVICE static void LevelsOf(const uint8_t (&bytes)[kWords], int (&levels)[8]) {
    uint32_t words[kWords];
    for (unsigned w = 0; w < kWords; ++w) words[w] = bytes[w];
    if constexpr (kIsPlain) {
      for (unsigned i = 0; i < 8; ++i) {
        levels[i] = kBase;
        for (int part = 0; part < kParts; ++part) {
          levels[i] += Scale(part) * static_cast<int8_t>(words[static_cast<unsigned>(part) * 8 + i]);
        }
      }
    } else {
      uint32_t fields[8];
      FieldsFrom<0>(words, fields);
      for (unsigned i = 0; i < 8; ++i) {
        const unsigned code = (fields[i] & 0xffu) ^ kFlip;
        levels[i] = Level<F>(code < Traits::kCount ? code : 0u);
      }
    }
  }

  // Four signed bytes each: bytes[i] has a part of the values kFirst + i kStep of the four eights of a bundle. (Some at
  // a time, for they take registers.)
  template <int kPart, unsigned kFirst, unsigned kStep, class Device, unsigned kCount>
  static BITNET_DEVICE void Unpack(Device& d, const uint32_t (&words)[kWords], uint32_t (&bytes)[kCount]) {
    UnpackFrom<kPart, kFirst, kStep, 0>(d, words, bytes);
  }

 private:
  static constexpr unsigned kInByte = 8 / kBits;             // codes of a byte
  static constexpr unsigned kWhole = kInByte * kBits;        // codes in whole: all but the last
  static constexpr unsigned kRest = 8 - kWhole;              // bits left over of each byte (and codes in them)
  static constexpr unsigned kFlip = kBits == 8 ? 0x80u : 0;  // 8 bits are signed

  BITNET_HOST_DEVICE static constexpr uint32_t ByteOf(int level, int part) {
    if (kParts == 1) return static_cast<uint32_t>(level) & 0xffu;
    return part == 0 ? (static_cast<uint32_t>(level) & 0xffu) ^ 0x80u : static_cast<uint32_t>(level) >> 8 & 0xffu;
  }
  static constexpr uint32_t TableWordOf(int part, unsigned word) {
    uint32_t four = 0;
    for (unsigned i = 0; i < 4 && word * 4 + i < Traits::kCount; ++i) {
      four |= ByteOf(Traits::Level(word * 4 + i), part) << 8 * i;
    }
    return four;
  }
  // A part of each level, by its code: as Select4 takes them.
  template <int kPart>
  static constexpr Table<uint32_t, 4> kTable = {
      {TableWordOf(kPart, 0), TableWordOf(kPart, 1), TableWordOf(kPart, 2), TableWordOf(kPart, 3)}};

  // Where the bits of a code from kBit on lie: so many of them, in one byte.
  template <unsigned kCode, unsigned kBit>
  struct Piece {
    static constexpr bool kIsWhole = kCode < kWhole;
    static constexpr unsigned kAt = kIsWhole ? 0 : (kCode - kWhole) * kBits + kBit;  // among all bits left over
    static constexpr unsigned kPer = kIsWhole ? 1 : kRest;
    static constexpr unsigned kWord = kIsWhole ? kCode / kInByte : kAt / kPer;
    static constexpr unsigned kFrom = kIsWhole ? kCode % kInByte * kBits : kWhole + kAt % kPer;
    static constexpr unsigned kUntilByteEnds = kIsWhole ? kBits : kPer - kAt % kPer;
    static constexpr unsigned kCount = kUntilByteEnds < kBits - kBit ? kUntilByteEnds : kBits - kBit;
    static constexpr uint32_t kMask = ((1u << kCount) - 1) << kBit;
  };

  template <unsigned kCode, unsigned kBit = 0>
  static BITNET_HOST_DEVICE void PackFrom(const unsigned (&codes)[8], uint32_t (&words)[kWords]) {
    using P = Piece<kCode, kBit>;
    words[P::kWord] |= ((codes[kCode] ^ kFlip) & P::kMask) >> kBit << P::kFrom;
    if constexpr (kBit + P::kCount < kBits) {
      PackFrom<kCode, kBit + P::kCount>(codes, words);
    } else if constexpr (kCode < 7) {
      PackFrom<kCode + 1>(codes, words);
    }
  }

  template <unsigned kCode, unsigned kBit = 0>
  static BITNET_HOST_DEVICE uint32_t Field(const uint32_t (&words)[kWords]) {
    using P = Piece<kCode, kBit>;
    const uint32_t word = words[P::kWord];
    uint32_t bits = 0;
    if constexpr (P::kFrom >= kBit) {
      bits = word >> (P::kFrom - kBit);
    } else {
      bits = word << (kBit - P::kFrom);
    }
    bits &= P::kMask * 0x01010101u;
    if constexpr (kBit + P::kCount < kBits) bits |= Field<kCode, kBit + P::kCount>(words);
    return bits;
  }
  template <int kPart, unsigned kFirst, unsigned kStep, unsigned kIndex, class Device, unsigned kCount>
  static BITNET_DEVICE void UnpackFrom(Device& d, const uint32_t (&words)[kWords], uint32_t (&bytes)[kCount]) {
    constexpr unsigned kValue = kFirst + kIndex * kStep;
    if constexpr (kIsPlain) {
      bytes[kIndex] = words[static_cast<unsigned>(kPart) * 8 + kValue];
    } else if constexpr (kIsLookedUp) {
      static constexpr auto table = kTable<kPart>;
      const uint32_t levels[4] = {table[0], table[1], table[2], table[3]};
      bytes[kIndex] = d.Select4(levels, Field<kValue>(words));
    } else {
      bytes[kIndex] = Field<kValue>(words);
    }
    if constexpr (kIndex + 1 < kCount) UnpackFrom<kPart, kFirst, kStep, kIndex + 1>(d, words, bytes);
  }
  template <unsigned kCode>
  static BITNET_HOST_DEVICE void FieldsFrom(const uint32_t (&words)[kWords], uint32_t (&fields)[8]) {
    fields[kCode] = Field<kCode>(words);
    if constexpr (kCode < 7) FieldsFrom<kCode + 1>(words, fields);
  }
};

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_HEAD_CODES_H_
