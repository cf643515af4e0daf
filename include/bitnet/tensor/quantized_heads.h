// QuantizedHeads<F, First>: the keys or the values of one layer and one sequence. Each (token, head) holds head_dim
// packed codes of F (token 0: of First) and one step, or reals. The plain form, on the host; backends have their own.
#ifndef BITNET_TENSOR_QUANTIZED_HEADS_H_
#define BITNET_TENSOR_QUANTIZED_HEADS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

#include "bitnet/base/assert.h"
#include "bitnet/base/size.h"
#include "bitnet/format/packing.h"
#include "bitnet/tensor/key_values.h"
#include "bitnet/tensor/quantized_matrix.h"
#include "bitnet/tensor/stored_reals.h"

namespace bitnet {

template <Format F, Format First = F>
class QuantizedHeads {
  static_assert(kIsFloat<F> == kIsFloat<First>,
                "bitnet: a cache keeps its first token quantized if and only if the others are");

 public:
  QuantizedHeads() = default;
  QuantizedHeads(size_t heads, size_t head_dim, size_t max_tokens)
      : heads_(heads),
        head_dim_(head_dim),
        max_tokens_(max_tokens),
        codes_(ElementCount<uint8_t>(max_tokens == 0 ? size_t{0}
                                                     : SizeSum(SizeProduct(heads, FirstBytes()),
                                                               SizeProduct(heads, max_tokens - 1, TokenBytes())))),
        steps_(kIsFloat<F> ? 0 : ElementCount<float>(heads, max_tokens)) {}

  size_t heads() const { return heads_; }
  size_t head_dim() const { return head_dim_; }
  size_t max_tokens() const { return max_tokens_; }

  // Stores levels[0, head_dim) of F, or of First where token is 0.
  template <Format Stored>
  void Store(size_t head, size_t token, const LevelOf<Stored>* levels, float step) {
    Check<Stored>(head, token);
    uint8_t* to = codes_.data() + Offset(head, token);
    if constexpr (kIsFloat<Stored>) {
      StoreReals<Stored>({levels, head_dim_}, to);
    } else {
      std::vector<uint8_t> codes(head_dim_);
      for (size_t i = 0; i < head_dim_; ++i) codes[i] = static_cast<uint8_t>(CodeOfLevel<Stored>(levels[i]));
      Packing<Stored>::Pack(codes, {to, QuantizedMatrix<Stored>::RowBytes(head_dim_)});
      steps_[token * heads_ + head] = step;
    }
  }

  // levels[0, head_dim) of a head at a token; Stored is First for token 0, else F.
  template <Format Stored>
  void Load(size_t head, size_t token, std::span<LevelOf<Stored>> levels) const {
    Check<Stored>(head, token);
    BITNET_ASSERT(levels.size() == head_dim_, "QuantizedHeads: a head has head_dim levels");
    const uint8_t* from = codes_.data() + Offset(head, token);
    if constexpr (kIsFloat<Stored>) {
      LoadReals<Stored>(from, levels);
    } else {
      Packing<Stored>::UnpackLevels(from, 0, levels);
    }
  }
  float Step(size_t head, size_t token) const { return kIsFloat<F> ? 1.0f : steps_[token * heads_ + head]; }

  // Bytes that one token after the first takes, over all heads, its steps included.
  size_t BytesPerToken() const { return heads_ * (TokenBytes() + (kIsFloat<F> ? 0 : sizeof(float))); }
  size_t StoredBytes() const { return codes_.size() + steps_.size() * sizeof(float); }
  // What it would be for these sizes, if it fits size_t.
  static std::optional<size_t> StoredBytes(size_t heads, size_t head_dim, size_t max_tokens) {
    if (max_tokens == 0) return 0;
    const auto codes = CheckedSum(CheckedProduct(heads, QuantizedMatrix<First>::RowBytes(head_dim)),
                                  CheckedProduct(heads, max_tokens - 1, QuantizedMatrix<F>::RowBytes(head_dim)));
    if constexpr (kIsFloat<F>) return codes;
    return CheckedSum(codes, CheckedProduct(heads, max_tokens, sizeof(float)));
  }

 private:
  size_t TokenBytes() const { return QuantizedMatrix<F>::RowBytes(head_dim_); }
  size_t FirstBytes() const { return QuantizedMatrix<First>::RowBytes(head_dim_); }
  size_t Offset(size_t head, size_t token) const {
    if (token == 0) return head * FirstBytes();
    return heads_ * FirstBytes() + ((token - 1) * heads_ + head) * TokenBytes();
  }
  template <Format Stored>
  void Check(size_t head, size_t token) const {
    BITNET_ASSERT(head < heads_ && token < max_tokens_, "QuantizedHeads: head or token out of range");
    BITNET_ASSERT((std::is_same_v<Stored, First> && token == 0) || (std::is_same_v<Stored, F> && token != 0),
                  "QuantizedHeads: token 0 is stored in the first token's format, the others in the cache's");
  }

  size_t heads_ = 0;
  size_t head_dim_ = 0;
  size_t max_tokens_ = 0;
  std::vector<uint8_t> codes_;  // [token][head][code], packed
  std::vector<float> steps_;    // [token][head]
};

// Keys and values in the plain form.
template <class Formats>
using HostKeyValues = KeyValues<QuantizedHeads<typename Formats::Key, typename Formats::FirstKey>,
                                QuantizedHeads<typename Formats::Value, typename Formats::FirstValue>>;

template <class Quantizers>
using HostCache = CacheBy<Quantizers, HostKeyValues<typename Quantizers::Formats>>;

}  // namespace bitnet

#endif  // BITNET_TENSOR_QUANTIZED_HEADS_H_
