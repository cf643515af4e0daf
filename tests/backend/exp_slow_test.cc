#include <doctest/doctest.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "bitnet/backend/simd/simd_backend.h"
#include "bitnet/base/executor.h"
#include "testing/same_bits.h"

namespace bitnet {
namespace {

// simd_tokens_targets_test.cc takes one in 269 of these, on every target. exp-inl.h relies on all of them.
TEST_CASE("SimdBackend: the vectors' Exp has the bits of the reference for all 1.1e9 arguments from 0 down to -88") {
  constexpr uint32_t kFirst = 0x80000000u, kEnd = 0xc2b00000u + kAttentionBlock;
  constexpr size_t kBlocks = (kEnd - kFirst) / kAttentionBlock;
  const size_t parts = DefaultExecutor().Threads();
  DefaultExecutor().Run(parts, [&](size_t part) {
    std::vector<float> x(kAttentionBlock), y(kAttentionBlock);
    for (size_t block = kBlocks * part / parts; block < kBlocks * (part + 1) / parts; ++block) {
      for (size_t i = 0; i < x.size(); ++i) {
        x[i] = std::bit_cast<float>(static_cast<uint32_t>(kFirst + block * kAttentionBlock + i));
      }
      HWY_NAMESPACE::WeighScores<false>(x.data(), 0.0f, nullptr, x.size(), y.data());
      for (size_t i = 0; i < x.size(); ++i) {
        if (!testing::SameBits(y[i], Exp(x[i]))) FAIL_CHECK("Exp(" << x[i] << ") is " << y[i] << ", not " << Exp(x[i]));
      }
    }
  });
}

}  // namespace
}  // namespace bitnet
