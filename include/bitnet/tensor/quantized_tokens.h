// QuantizedTokens<F>: the quantized inputs of a product, one row a token: levels unpacked (the form in which kernels
// read them), steps, and on demand the list of each token's non-zero columns and a form that the backend prepared.
//
// A buffer that layers keep between calls: Resize allocates only where it grows.
#ifndef BITNET_TENSOR_QUANTIZED_TOKENS_H_
#define BITNET_TENSOR_QUANTIZED_TOKENS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "bitnet/base/size.h"
#include "bitnet/format/format.h"
#include "bitnet/tensor/aligned_vector.h"
#include "bitnet/tensor/segments.h"

namespace bitnet {

// For each token the ascending list of some of `width` channels: open gates, non-zero inputs.
class ChannelLists {
 public:
  void Resize(size_t tokens, size_t width) {
    const size_t channels = ElementCount<uint32_t>(tokens, width);
    if (channels_.size() < channels) channels_.resize(channels);
    counts_.assign(ElementCount<uint32_t>(tokens), 0);
    width_ = width;
  }
  size_t tokens() const { return counts_.size(); }
  size_t width() const { return width_; }
  size_t Count(size_t token) const { return counts_[token]; }
  std::span<const uint32_t> operator[](size_t token) const {
    return {channels_.data() + token * width_, counts_[token]};
  }
  // Room for `width` channels of a token; call SetCount after writing.
  uint32_t* Row(size_t token) { return channels_.data() + token * width_; }
  void SetCount(size_t token, size_t count) { counts_[token] = static_cast<uint32_t>(count); }

 private:
  size_t width_ = 0;
  AlignedVector<uint32_t> channels_;
  AlignedVector<uint32_t> counts_;
};

// What a backend computed once of the inputs for all products that read them (Backend::PrepareInputs), in a form that
// `key` names; nullptr: nothing.
struct PreparedInputs {
  const void* key = nullptr;
  std::span<const uint8_t> bytes;
};

template <Format F>
class QuantizedTokens {
 public:
  using Level = LevelOf<F>;

  // Levels of a row are followed by zeros up to a multiple of this many, so that vector loads may run past the end.
  static constexpr size_t kPadding = 128;
  // So many more values after the last row may be read; what they are is unspecified.
  static constexpr size_t kReadBeyond = 1024;

  // [tokens, cols], a step for each `group` columns (0: one a token). Contents are unspecified, padding is zero;
  // nonzero() is empty until the next FindNonzero.
  void Resize(size_t tokens, size_t cols, size_t group = 0) {
    // The shape changes once there is memory for it.
    const Segments segments = {cols, group};
    const size_t stride = RoundUp(std::max<size_t>(cols, 1), kPadding);
    const size_t levels = ElementCount<Level>(SizeSum(SizeProduct(tokens, stride), kReadBeyond));
    const size_t steps = ElementCount<float>(tokens, segments.Count());
    if (levels_.size() < levels) levels_.resize(levels);
    if (steps_.size() < steps) steps_.resize(steps);
    tokens_ = tokens;
    segments_ = segments;
    stride_ = stride;
    for (size_t t = 0; t < tokens; ++t) std::fill(Row(t) + cols, Row(t) + stride_, Level{});
    nonzero_.Resize(0, cols);
    key_ = nullptr;
  }

  size_t tokens() const { return tokens_; }
  size_t cols() const { return segments_.cols; }
  size_t stride() const { return stride_; }
  Segments segments() const { return segments_; }

  Level* Row(size_t token) { return levels_.data() + token * stride_; }
  const Level* Row(size_t token) const { return levels_.data() + token * stride_; }
  float& Step(size_t token, size_t segment) { return steps_[token * segments_.Count() + segment]; }
  float Step(size_t token, size_t segment) const { return steps_[token * segments_.Count() + segment]; }
  // The steps of a token's segments.
  const float* Steps(size_t token) const { return steps_.data() + token * segments_.Count(); }

  // Columns of each token whose level is not zero; filled by FindNonzero.
  const ChannelLists& nonzero() const { return nonzero_; }
  ChannelLists& nonzero() { return nonzero_; }

  PreparedInputs prepared() const { return {key_, {prepared_.data(), prepared_bytes_}}; }
  // Room for a prepared form, which holds until the next Resize: levels must not change after it.
  uint8_t* Prepare(const void* key, size_t bytes) {
    if (prepared_.size() < bytes) prepared_.resize(ElementCount<uint8_t>(bytes));
    key_ = key;
    prepared_bytes_ = bytes;
    return prepared_.data();
  }

  // Values whose level is not zero, over all tokens; counts afresh.
  size_t CountNonzero() const {
    size_t count = 0;
    for (size_t t = 0; t < tokens_; ++t) {
      for (size_t c = 0; c < cols(); ++c) count += Row(t)[c] != Level{};
    }
    return count;
  }

 private:
  size_t tokens_ = 0;
  size_t stride_ = 0;
  Segments segments_;
  AlignedVector<Level> levels_;
  AlignedVector<float> steps_;
  ChannelLists nonzero_;
  const void* key_ = nullptr;
  size_t prepared_bytes_ = 0;
  AlignedVector<uint8_t> prepared_;
};

}  // namespace bitnet

#endif  // BITNET_TENSOR_QUANTIZED_TOKENS_H_
