// PackCodes<F>: what Packing<F>::Pack computes, of codes that are known to be legal, without looking at each: eight
// codes, a byte each, are one word, and a multiplication or three steps of shifts bring them together. For whoever
// decodes many gigabytes.
#ifndef BITNET_IO_PACK_CODES_H_
#define BITNET_IO_PACK_CODES_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "bitnet/base/bytes.h"
#include "bitnet/format/format.h"
#include "bitnet/format/packing.h"

namespace bitnet {

// Bytes that PackCodes may write at codes[n], and read.
inline constexpr size_t kPackCodesSlack = 8;

// packed[0, Packing<F>::Bytes(n)) = codes[0, n), each below the format's number of levels. The kPackCodesSlack bytes
// from codes[n] on are overwritten.
template <LevelFormat F>
void PackCodes(uint8_t* codes, size_t n, uint8_t* packed) {
  using P = Packing<F>;
  constexpr size_t kUnit = P::kUnitCodes;
  static_assert(kUnit <= 8, "bitnet: a unit of codes must fit a word");
  std::memset(codes + n, static_cast<int>(FormatTraits<F>::kZeroCode), kPackCodesSlack);
  const size_t units = n / kUnit + (n % kUnit != 0 ? 1 : 0);
  for (size_t u = 0; u < units; ++u) {
    uint64_t word;
    std::memcpy(&word, codes + u * kUnit, sizeof(word));
    if constexpr (P::kUnitBytes == 1) {
      // Byte kUnit - 1 of the product is the sum of codes times powers of the base; no lower sum exceeds a byte.
      constexpr uint64_t kBase = P::kIsRadix ? P::kCount : 2;
      constexpr uint64_t kGather = [] {
        uint64_t gather = 0;
        uint64_t weight = 1;
        for (size_t i = 0; i < kUnit; ++i, weight *= kBase) gather |= weight << (8 * (kUnit - 1 - i));
        return gather;
      }();
      packed[u] = static_cast<uint8_t>((word * kGather) >> (8 * (kUnit - 1)));
    } else {
      constexpr size_t kBits = P::kUnitBytes;
      if constexpr (kBits < 8) {
        word = (word & 0x00ff00ff00ff00ffu) | ((word & 0xff00ff00ff00ff00u) >> (8 - kBits));
        word = (word & 0x0000ffff0000ffffu) | ((word & 0xffff0000ffff0000u) >> (16 - 2 * kBits));
        word = (word & 0x00000000ffffffffu) | (word >> 32 << (4 * kBits));
      }
      std::memcpy(packed + u * kBits, &word, kBits);
    }
  }
}

}  // namespace bitnet

#endif  // BITNET_IO_PACK_CODES_H_
