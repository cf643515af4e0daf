// QuantizedHeads<F, First>: the keys or the values of one layer at max_tokens tokens that follow each other. Each
// (token, head) holds head_dim packed codes of F and one step, or reals; the first token of a sequence, where token 0
// is one, holds codes of First instead. The plain form, on the host; backends have their own.
#ifndef BITNET_TENSOR_QUANTIZED_HEADS_H_
#define BITNET_TENSOR_QUANTIZED_HEADS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
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
  using FormatOfRest = F;
  using FormatOfFirst = First;

  QuantizedHeads() = default;
  QuantizedHeads(size_t heads, size_t head_dim, size_t max_tokens)
      : heads_(heads),
        head_dim_(head_dim),
        max_tokens_(max_tokens),
        codes_(ElementCount<uint8_t>(
            max_tokens == 0 ? size_t{0}
                            : SizeProduct(heads, SizeSum(FirstBytes(), SizeProduct(max_tokens, TokenBytes()))))),
        steps_(kIsFloat<F> ? 0 : ElementCount<float>(heads, max_tokens)) {}

  size_t heads() const { return heads_; }
  size_t head_dim() const { return head_dim_; }
  size_t max_tokens() const { return max_tokens_; }

  // Stores levels[0, head_dim) of F; of First, at the first token of a sequence, which is token 0 here.
  void Store(size_t head, size_t token, const LevelOf<F>* levels, float step) {
    StoreAs<F>(head, token, levels, step, Offset(head, token));
  }
  void StoreFirst(size_t head, const LevelOf<First>* levels, float step) {
    StoreAs<First>(head, 0, levels, step, FirstOffset(head));
  }

  // levels[0, head_dim) of a head at a token; of the first token of a sequence.
  void Load(size_t head, size_t token, std::span<LevelOf<F>> levels) const {
    LoadAs<F>(head, token, Offset(head, token), levels);
  }
  void LoadFirst(size_t head, std::span<LevelOf<First>> levels) const {
    LoadAs<First>(head, 0, FirstOffset(head), levels);
  }
  float Step(size_t head, size_t token) const { return kIsFloat<F> ? 1.0f : steps_[token * heads_ + head]; }

  // Raw access for files: codes of the first token [head], of all [token][head] (the first token's slot there is empty
  // where token 0 is one); steps [token][head]. Whoever writes must leave valid codes.
  std::span<const uint8_t> codes() const { return codes_; }
  std::span<uint8_t> codes() { return codes_; }
  std::span<const float> steps() const { return steps_; }
  std::span<float> steps() { return steps_; }
  // Whether all codes have levels, where token 0 is the first of a sequence.
  bool IsValid() const {
    for (size_t head = 0; head < heads_ && max_tokens_ != 0; ++head) {
      if (!IsValid<First>(FirstOffset(head))) return false;
      for (size_t token = 1; token < max_tokens_; ++token) {
        if (!IsValid<F>(Offset(head, token))) return false;
      }
    }
    return true;
  }

  // Of one with the same sizes.
  void CopyFrom(const QuantizedHeads& other) {
    BITNET_ASSERT(codes_.size() == other.codes_.size() && steps_.size() == other.steps_.size(),
                  "QuantizedHeads::CopyFrom: both must have the same sizes");
    std::copy(other.codes_.begin(), other.codes_.end(), codes_.begin());
    std::copy(other.steps_.begin(), other.steps_.end(), steps_.begin());
  }

  // Bytes that one token after the first takes, over all heads, its steps included.
  size_t BytesPerToken() const { return heads_ * (TokenBytes() + (kIsFloat<F> ? 0 : sizeof(float))); }
  size_t StoredBytes() const { return codes_.size() + steps_.size() * sizeof(float); }
  // What it would be for these sizes, if it fits size_t.
  static std::optional<size_t> StoredBytes(size_t heads, size_t head_dim, size_t max_tokens) {
    if (max_tokens == 0) return 0;
    const auto codes = CheckedSum(CheckedProduct(heads, QuantizedMatrix<First>::RowBytes(head_dim)),
                                  CheckedProduct(heads, max_tokens, QuantizedMatrix<F>::RowBytes(head_dim)));
    if constexpr (kIsFloat<F>) return codes;
    return CheckedSum(codes, CheckedProduct(heads, max_tokens, sizeof(float)));
  }

 private:
  size_t TokenBytes() const { return QuantizedMatrix<F>::RowBytes(head_dim_); }
  size_t FirstBytes() const { return QuantizedMatrix<First>::RowBytes(head_dim_); }
  size_t FirstOffset(size_t head) const { return head * FirstBytes(); }
  size_t Offset(size_t head, size_t token) const {
    return heads_ * FirstBytes() + (token * heads_ + head) * TokenBytes();
  }
  void Check(size_t head, size_t token) const {
    BITNET_ASSERT(head < heads_ && token < max_tokens_, "QuantizedHeads: head or token out of range");
  }
  template <Format Stored>
  bool IsValid(size_t offset) const {
    if constexpr (kIsFloat<Stored>) {
      return true;
    } else {
      return Packing<Stored>::Valid(
          std::span<const uint8_t>(codes_).subspan(offset, QuantizedMatrix<Stored>::RowBytes(head_dim_)), head_dim_);
    }
  }
  template <Format Stored>
  void StoreAs(size_t head, size_t token, const LevelOf<Stored>* levels, float step, size_t offset) {
    Check(head, token);
    uint8_t* to = codes_.data() + offset;
    if constexpr (kIsFloat<Stored>) {
      StoreReals<Stored>({levels, head_dim_}, to);
    } else {
      Packing<Stored>::PackLevels({levels, head_dim_}, {to, QuantizedMatrix<Stored>::RowBytes(head_dim_)});
      steps_[token * heads_ + head] = step;
    }
  }
  template <Format Stored>
  void LoadAs(size_t head, size_t token, size_t offset, std::span<LevelOf<Stored>> levels) const {
    Check(head, token);
    BITNET_ASSERT(levels.size() == head_dim_, "QuantizedHeads: a head has head_dim levels");
    const uint8_t* from = codes_.data() + offset;
    if constexpr (kIsFloat<Stored>) {
      LoadReals<Stored>(from, levels);
    } else {
      Packing<Stored>::UnpackLevels(from, 0, levels);
    }
  }

  size_t heads_ = 0;
  size_t head_dim_ = 0;
  size_t max_tokens_ = 0;
  std::vector<uint8_t> codes_;  // [head][code] of the first token, [token][head][code], packed
  std::vector<float> steps_;    // [token][head]
};

// Keys and values in the plain form.
template <class Formats>
using HostKeyValues = KeyValues<QuantizedHeads<typename Formats::Key, typename Formats::FirstKey>,
                                QuantizedHeads<typename Formats::Value, typename Formats::FirstValue>>;

// A cache in pages, and one sequence of a cache in one piece.
template <class Quantizers>
using HostPages = CacheBy<Quantizers, PagedKeyValues<HostKeyValues<typename Quantizers::Formats>>>;
template <class Quantizers>
using HostCache = CacheBy<Quantizers, HostKeyValues<typename Quantizers::Formats>>;

}  // namespace bitnet

#endif  // BITNET_TENSOR_QUANTIZED_HEADS_H_
