// Rows written to the columns of a layout of which threads write different bytes.
#ifndef BITNET_BACKEND_SIMD_STORE_TRANSPOSED_H_
#define BITNET_BACKEND_SIMD_STORE_TRANSPOSED_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace bitnet {

// to[v * stride + i] = rows[i][v], for v < n and the first `count` rows of n bytes.
inline void StoreTransposed(const std::vector<uint8_t>& rows, size_t n, size_t count, size_t stride, uint8_t* to) {
  for (size_t v = 0; v < n; ++v) {
    for (size_t i = 0; i < count; ++i) to[v * stride + i] = rows[i * n + v];
  }
}

}  // namespace bitnet

#endif  // BITNET_BACKEND_SIMD_STORE_TRANSPOSED_H_
