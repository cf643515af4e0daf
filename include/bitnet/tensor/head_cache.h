// HeadCache<F, First>: the keys or the values of one layer, packed. Each (head, token) holds head_dim codes of F
// (token 0: of First) and one step; a head's history is contiguous: [head][token][code bytes].
//
// A format's codes start on a byte; 3-bit codes of a head of 128 take exactly 48 bytes. Float keeps the reals.
#ifndef BITNET_TENSOR_HEAD_CACHE_H_
#define BITNET_TENSOR_HEAD_CACHE_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

#include "bitnet/base/assert.h"
#include "bitnet/format/packing.h"
#include "bitnet/tensor/aligned_vector.h"
#include "bitnet/tensor/quantized_matrix.h"

namespace bitnet {

template <Format F, Format First = F>
class HeadCache {
  static_assert(kIsFloat<F> == kIsFloat<First>,
                "bitnet: a cache keeps its first token quantized if and only if the others are");

 public:
  HeadCache() = default;
  HeadCache(size_t heads, size_t head_dim, size_t max_tokens)
      : heads_(heads),
        head_dim_(head_dim),
        max_tokens_(max_tokens),
        bytes_(heads * HeadStride() + kReadBeyond),
        steps_(kIsFloat<F> ? 0 : heads * max_tokens) {}

  size_t heads() const { return heads_; }
  size_t head_dim() const { return head_dim_; }
  size_t max_tokens() const { return max_tokens_; }

  // Bytes of one head's codes at tokens after the first, and at the first.
  size_t TokenBytes() const { return QuantizedMatrix<F>::RowBytes(head_dim_); }
  size_t FirstBytes() const { return QuantizedMatrix<First>::RowBytes(head_dim_); }
  // Bytes that one token after the first takes, over all heads, its steps included.
  size_t BytesPerToken() const { return heads_ * (TokenBytes() + (kIsFloat<F> ? 0 : sizeof(float))); }

  // The packed codes of a head at a token. Vector loads may read up to kReadBeyond bytes past them.
  static constexpr size_t kReadBeyond = 128;
  const uint8_t* Codes(size_t head, size_t token) const { return bytes_.data() + Offset(head, token); }
  float Step(size_t head, size_t token) const {
    if constexpr (kIsFloat<F>) {
      return 1.0f;
    } else {
      return steps_[head * max_tokens_ + token];
    }
  }

  // Stores levels[0, head_dim) of F, or of First where token is 0.
  template <Format Stored>
  void Store(size_t head, size_t token, const LevelOf<Stored>* levels, float step) {
    BITNET_ASSERT(head < heads_ && token < max_tokens_, "HeadCache: head or token out of range");
    BITNET_ASSERT((std::is_same_v<Stored, First> && token == 0) || (std::is_same_v<Stored, F> && token != 0),
                  "HeadCache: token 0 is stored in the first token's format, the others in the cache's");
    uint8_t* to = bytes_.data() + Offset(head, token);
    if constexpr (kIsFloat<Stored>) {
      std::memcpy(to, levels, head_dim_ * sizeof(float));
    } else {
      // A unit at a time, so that nothing is allocated.
      constexpr size_t kUnit = Packing<Stored>::kUnitCodes;
      uint8_t codes[kUnit];
      for (size_t i = 0; i < head_dim_; i += kUnit) {
        const size_t n = head_dim_ - i < kUnit ? head_dim_ - i : kUnit;
        for (size_t j = 0; j < n; ++j) codes[j] = static_cast<uint8_t>(CodeOfLevel<Stored>(levels[i + j]));
        Packing<Stored>::Pack({codes, n}, {to + i / kUnit * Packing<Stored>::kUnitBytes, Packing<Stored>::kUnitBytes});
      }
      steps_[head * max_tokens_ + token] = step;
    }
  }

  // levels[0, head_dim) of a head at a token; Stored is First for token 0, else F.
  template <Format Stored>
  void Load(size_t head, size_t token, std::span<LevelOf<Stored>> levels) const {
    if constexpr (kIsFloat<Stored>) {
      std::memcpy(levels.data(), Codes(head, token), head_dim_ * sizeof(float));
    } else {
      Packing<Stored>::UnpackLevels(Codes(head, token), 0, levels);
    }
  }

  size_t StoredBytes() const { return bytes_.size() + steps_.size() * sizeof(float); }

 private:
  // The first token takes its own width; the others follow.
  size_t HeadStride() const { return max_tokens_ == 0 ? 0 : FirstBytes() + (max_tokens_ - 1) * TokenBytes(); }
  size_t Offset(size_t head, size_t token) const {
    return head * HeadStride() + (token == 0 ? 0 : FirstBytes() + (token - 1) * TokenBytes());
  }

  size_t heads_ = 0;
  size_t head_dim_ = 0;
  size_t max_tokens_ = 0;
  AlignedVector<uint8_t> bytes_;
  AlignedVector<float> steps_;
};

}  // namespace bitnet

#endif  // BITNET_TENSOR_HEAD_CACHE_H_
