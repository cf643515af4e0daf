// PlaneRun<Codes>: how `count` byte codes, of a row or of a column, lie in planes (codes-inl.h): whole blocks, then a
// smaller one, of a multiple of 16 bytes, so that 3200 codes of 2 bits take 800 bytes with any vector.
#if defined(BITNET_BACKEND_SIMD_PLANE_RUN_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_PLANE_RUN_INL_H_
#undef BITNET_BACKEND_SIMD_PLANE_RUN_INL_H_
#else
#define BITNET_BACKEND_SIMD_PLANE_RUN_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "bitnet/backend/simd/codes-inl.h"
#include "bitnet/base/size.h"
#include "bitnet/tensor/aligned_vector.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

template <class Codes>
struct PlaneRun {
  explicit PlaneRun(size_t count = 0) : whole_blocks(count / Codes::kBlockCodes) {
    SizeProduct(Codes::kBlockBytes, whole_blocks + 1);  // Bytes() fits
    const size_t rest = count % Codes::kBlockCodes;
    // Only byte codes have smaller blocks.
    tail_bytes = !Codes::kIsByte && rest != 0 ? Codes::kBlockBytes
                                              : RoundUp((rest + Codes::kPlanes - 1) / Codes::kPlanes, kTailBytes);
    if (tail_bytes == Codes::kBlockBytes) ++whole_blocks, tail_bytes = 0;
  }
  size_t Bytes() const { return whole_blocks * Codes::kBlockBytes + tail_bytes; }
  // The byte and the plane of code i.
  size_t Byte(size_t i) const {
    const size_t block = i / Codes::kBlockCodes;
    const size_t within = i % Codes::kBlockCodes;
    return block * Codes::kBlockBytes + within % (block < whole_blocks ? kVectorBytes : tail_bytes);
  }
  size_t Plane(size_t i) const {
    return i % Codes::kBlockCodes / (i / Codes::kBlockCodes < whole_blocks ? kVectorBytes : tail_bytes);
  }

  // f(byte, plane, i, n): codes i ... i + n - 1 are in this plane of the bytes from `byte` on; for all `count` codes.
  template <class F>
  void EachPlane(size_t count, F&& f) const {
    for (size_t i = 0; i < count;) {
      const size_t n = i / Codes::kBlockCodes < whole_blocks ? kVectorBytes : tail_bytes;
      f(Byte(i), Plane(i), i, std::min(n, count - i));
      i += n;
    }
  }

  static constexpr size_t kTailBytes = 16;
  size_t whole_blocks;
  size_t tail_bytes = 0;  // 0: none
};

// Offsets of columns [first, first + n) of a packed row; `first` is a multiple of Codes::kBlockCodes. Writes whole
// planes: up to kVectorBytes beyond.
template <class Codes>
HWY_INLINE void UnpackOffsets(const uint8_t* HWY_RESTRICT row, const PlaneRun<Codes>& run, size_t first, size_t n,
                              typename Codes::Unpacked* HWY_RESTRICT to) {
  const uint8_t* HWY_RESTRICT at = row + first / Codes::kBlockCodes * Codes::kBlockBytes;
  const uint8_t* const tail = row + run.whole_blocks * Codes::kBlockBytes;
  size_t i = 0;
  for (; i < n && at < tail; i += Codes::kBlockCodes, at += Codes::kBlockBytes) {
    auto block = Codes::Block::Load(at);
    HWY_UNROLL(8) for (size_t p = 0; p < Codes::kPlanes; ++p) {
      Codes::StorePlane(block.Next(), to + i + p * kVectorBytes);
    }
  }
  if (i < n) {
    auto block = Codes::Block::LoadTail(at, run.tail_bytes);
    for (size_t p = 0; p < Codes::kPlanes; ++p) Codes::StorePlane(block.Next(), to + i + p * run.tail_bytes);
    // Whole vectors are read.
    const size_t end = i + Codes::kPlanes * run.tail_bytes;
    std::fill(to + end, to + RoundUp(end, kVectorBytes), typename Codes::Unpacked{});
  }
}

// What vectors may read past the last run: a block, and the planes of a smaller one.
inline constexpr size_t kReadBeyondRuns = 128;

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_PLANE_RUN_INL_H_
