// SimdHeads<F, First>: the keys or the values of one layer at max_tokens tokens that follow each other, packed. Each
// (head, token) holds head_dim codes of F and one step; 3-bit codes of a head of 128 take exactly 48 bytes.
//
// Four tokens lie side by side, a unit (head_layout.h) of each after the other:
//   [head][token / 4][unit][token % 4][unit bytes]
// so that sums of products come out with a token, or a dimension of four tokens, in each 32-bit lane. Where token 0 is
// the first of a sequence its slot stays empty: its levels are of First and lie apart, as they are. Reals are kept as
// they are stored, [head][token][head_dim].
#ifndef BITNET_BACKEND_SIMD_SIMD_HEADS_H_
#define BITNET_BACKEND_SIMD_SIMD_HEADS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "bitnet/backend/simd/head_layout.h"
#include "bitnet/base/assert.h"
#include "bitnet/base/size.h"
#include "bitnet/format/format.h"
#include "bitnet/tensor/slab.h"
#include "bitnet/tensor/stored_reals.h"

namespace bitnet {

template <Format F, Format First = F>
class SimdHeads {
  static_assert(kIsFloat<F> == kIsFloat<First>,
                "bitnet: a cache keeps its first token quantized if and only if the others are");

 public:
  using FormatOfRest = F;
  using FormatOfFirst = First;
  // Tokens that lie side by side: groups are tokens 0 ... 3, 4 ... 7, ...
  static constexpr size_t kGroupTokens = kIsFloat<F> ? 1 : 4;

  SimdHeads() = default;
  SimdHeads(const SimdHeads&) = default;
  SimdHeads(SimdHeads&&) noexcept = default;
  // Where memory ends, what is assigned to stays as it was.
  SimdHeads& operator=(const SimdHeads& other) {
    SimdHeads copy(other);
    return *this = std::move(copy);
  }
  SimdHeads& operator=(SimdHeads&&) noexcept = default;
  // In memory of a slab, if there is one.
  SimdHeads(size_t heads, size_t head_dim, size_t max_tokens, const std::shared_ptr<Slab>& slab = nullptr)
      : heads_(heads),
        head_dim_(head_dim),
        max_tokens_(max_tokens),
        head_stride_(SizeProduct(RoundUp(max_tokens, kGroupTokens), TokenBytes())),
        bytes_(ElementCount<uint8_t>(SizeSum(SizeProduct(heads, SizeSum(head_stride_, ApartBytes())), kReadBeyond)),
               SlabAllocator<uint8_t>(slab)),
        steps_(
            kIsFloat<F> ? 0 : ElementCount<float>(SizeSum(SizeProduct(heads, max_tokens), kReadBeyond / sizeof(float))),
            SlabAllocator<float>(slab)) {}

  size_t heads() const { return heads_; }
  size_t head_dim() const { return head_dim_; }
  size_t max_tokens() const { return max_tokens_; }

  // Bytes of one head at a token after the first, and at the first.
  size_t TokenBytes() const { return TokenBytes(head_dim_); }
  size_t FirstBytes() const { return FirstBytes(head_dim_); }
  // Bytes that one token after the first takes, over all heads, its steps included.
  size_t BytesPerToken() const { return heads_ * (TokenBytes() + (kIsFloat<F> ? 0 : sizeof(float))); }

  // The group that holds `token`, and its size. Vector loads may read up to kReadBeyond bytes past a group.
  static constexpr size_t kReadBeyond = 128;
  const uint8_t* Group(size_t head, size_t token) const { return bytes_.data() + GroupOffset(head, token); }
  size_t GroupBytes() const { return kGroupTokens * TokenBytes(); }
  // The levels of a sequence's first token (of reals: as they are stored).
  const uint8_t* FirstToken(size_t head) const { return bytes_.data() + FirstOffset(head); }

  float Step(size_t head, size_t token) const {
    if constexpr (kIsFloat<F>) {
      return 1.0f;
    } else {
      return Steps(head)[token];
    }
  }
  // The steps of a head's tokens; readable kReadBeyond bytes beyond the last. (Reals have none.)
  const float* Steps(size_t head) const { return steps_.data() + head * max_tokens_; }

  // Stores levels[0, head_dim) of F; of First, at the first token of a sequence, which is token 0 here.
  void Store(size_t head, size_t token, const LevelOf<F>* levels, float step) {
    Check(head, token);
    uint8_t* to = bytes_.data() + Offset(head, token);
    if constexpr (kIsFloat<F>) {
      StoreReals<F>({levels, head_dim_}, to);
    } else {
      EachUnit([&](size_t first, size_t n, size_t offset) { HeadLayout<F>::Pack(levels + first, n, to + offset); });
      steps_[head * max_tokens_ + token] = step;
    }
  }
  void StoreFirst(size_t head, const LevelOf<First>* levels, float step) {
    Check(head, 0);
    uint8_t* to = bytes_.data() + FirstOffset(head);
    if constexpr (kIsFloat<First>) {
      StoreReals<First>({levels, head_dim_}, to);
    } else {
      std::memcpy(to, levels, FirstBytes());
      steps_[head * max_tokens_] = step;
    }
  }

  // levels[0, head_dim) of a head at a token; of the first token of a sequence.
  void Load(size_t head, size_t token, std::span<LevelOf<F>> levels) const {
    const uint8_t* from = bytes_.data() + Offset(head, token);
    if constexpr (kIsFloat<F>) {
      LoadReals<F>(from, levels);
    } else {
      EachUnit([&](size_t first, size_t n, size_t offset) {
        HeadLayout<F>::Unpack(from + offset, n, levels.data() + first);
      });
    }
  }
  void LoadFirst(size_t head, std::span<LevelOf<First>> levels) const {
    if constexpr (kIsFloat<First>) {
      LoadReals<First>(FirstToken(head), levels);
    } else {
      std::memcpy(levels.data(), FirstToken(head), FirstBytes());
    }
  }

  // Of one with the same sizes.
  void CopyFrom(const SimdHeads& other) {
    BITNET_ASSERT(bytes_.size() == other.bytes_.size() && steps_.size() == other.steps_.size(),
                  "SimdHeads::CopyFrom: both must have the same sizes");
    std::copy(other.bytes_.begin(), other.bytes_.end(), bytes_.begin());
    std::copy(other.steps_.begin(), other.steps_.end(), steps_.begin());
  }

  size_t StoredBytes() const { return bytes_.size() + steps_.size() * sizeof(float); }
  // What it would be for a cache of these sizes, if it fits size_t.
  static std::optional<size_t> StoredBytes(size_t heads, size_t head_dim, size_t max_tokens) {
    const size_t groups = max_tokens / kGroupTokens + (max_tokens % kGroupTokens != 0);
    const auto codes = CheckedProduct(heads, groups, kGroupTokens, TokenBytes(head_dim));
    const auto apart = CheckedProduct(heads, max_tokens == 0 ? 0 : FirstBytes(head_dim));
    if constexpr (kIsFloat<F>) {
      return CheckedSum(codes, apart, std::optional(kReadBeyond));
    } else {
      const auto steps = CheckedProduct(heads, max_tokens, sizeof(float));
      return CheckedSum(codes, apart, steps, std::optional(2 * kReadBeyond));
    }
  }

 private:
  static size_t TokenBytes(size_t head_dim) {
    if constexpr (kIsFloat<F>) {
      return SizeProduct(sizeof(StoredReal<F>), head_dim);
    } else {
      return HeadLayout<F>::Bytes(head_dim);
    }
  }
  static size_t FirstBytes(size_t head_dim) {
    if constexpr (kIsFloat<First>) {
      return SizeProduct(sizeof(StoredReal<First>), head_dim);
    } else {
      return SizeProduct(sizeof(LevelOf<First>), head_dim);
    }
  }
  // Of the first token of a sequence: behind the groups of all heads.
  size_t ApartBytes() const { return max_tokens_ == 0 ? 0 : FirstBytes(); }
  void Check(size_t head, size_t token) const {
    BITNET_ASSERT(head < heads_ && token < max_tokens_, "SimdHeads: head or token out of range");
  }

  size_t GroupOffset(size_t head, size_t token) const {
    return head * head_stride_ + token / kGroupTokens * GroupBytes();
  }
  size_t FirstOffset(size_t head) const { return heads_ * head_stride_ + head * ApartBytes(); }
  // Of a token's first unit.
  size_t Offset(size_t head, size_t token) const {
    size_t offset = GroupOffset(head, token);
    if constexpr (!kIsFloat<F>) offset += token % kGroupTokens * HeadLayout<F>::kUnitBytes;
    return offset;
  }
  // use(first dimension, dimensions, offset from Offset()) for the units of a token.
  template <class Use>
  void EachUnit(Use&& use) const {
    using Layout = HeadLayout<F>;
    size_t first = 0, offset = 0;
    for (; first + Layout::kUnitCodes <= head_dim_; first += Layout::kUnitCodes) {
      use(first, Layout::kUnitCodes, offset);
      offset += kGroupTokens * Layout::kUnitBytes;
    }
    if (first < head_dim_) use(first, head_dim_ - first, offset);
  }

  size_t heads_ = 0;
  size_t head_dim_ = 0;
  size_t max_tokens_ = 0;
  size_t head_stride_ = 0;  // bytes of the groups of a head
  SlabVector<uint8_t> bytes_;
  SlabVector<float> steps_;
};

}  // namespace bitnet

#endif  // BITNET_BACKEND_SIMD_SIMD_HEADS_H_
