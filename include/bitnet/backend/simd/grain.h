// When a part of an operation is worth a thread of its own.
#ifndef BITNET_BACKEND_SIMD_GRAIN_H_
#define BITNET_BACKEND_SIMD_GRAIN_H_

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>

#include "bitnet/base/executor.h"

namespace bitnet {

// A part of an operation should be worth this many multiply-adds: waking a thread costs some microseconds.
inline constexpr size_t kWorthAThread = 64 * 1024;

// How many elements that is, of which each is worth the product of the factors.
constexpr size_t Grain(std::unsigned_integral auto... factors) {
  return static_cast<size_t>(std::max<uint64_t>(1, kWorthAThread / std::max<uint64_t>(1, (uint64_t{factors} * ...))));
}

// f(r) for `rows` rows of `cols` values, split among threads. A value counts as four multiply-adds.
template <class F>
void EachRow(Executor& executor, size_t rows, size_t cols, F&& f) {
  ParallelRanges(executor, rows, Grain(size_t{4}, cols), 1, [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r) f(r);
  });
}

}  // namespace bitnet

#endif  // BITNET_BACKEND_SIMD_GRAIN_H_
