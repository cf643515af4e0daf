// Four bytes of sixteen by an instruction that selects four of eight.
#ifndef BITNET_BACKEND_CUDA_SELECT4_H_
#define BITNET_BACKEND_CUDA_SELECT4_H_

#include <cstdint>

#include "bitnet/backend/cuda/device.h"

namespace bitnet::cuda {

// Byte i is byte n of the table's words, n being byte i of `four`, at most 15. permute(x, y, s) is __byte_perm: byte i
// is byte n of x and y, n being nibble i of s, at most 7.
template <class Permute>
BITNET_DEVICE uint32_t Select4By(Permute permute, const uint32_t (&table)[4], uint32_t four) {
  const uint32_t pairs = four | four >> 4;
  const uint32_t nibbles = permute(pairs, 0u, 0x4420u);  // the four, of 4 bits each
  const uint32_t low = permute(table[0], table[1], nibbles & 0x7777u);
  const uint32_t high = permute(table[2], table[3], nibbles & 0x7777u);
  return permute(low, high, 0x3210u | (nibbles & 0x8888u) >> 1);
}

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_SELECT4_H_
