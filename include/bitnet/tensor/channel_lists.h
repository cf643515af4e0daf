// ChannelLists: for each token the ascending list of some of `width` channels: open gates, non-zero inputs.
#ifndef BITNET_TENSOR_CHANNEL_LISTS_H_
#define BITNET_TENSOR_CHANNEL_LISTS_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "bitnet/base/size.h"
#include "bitnet/tensor/aligned_vector.h"

namespace bitnet {

// A buffer that is kept between calls: Resize allocates only where it grows.
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

}  // namespace bitnet

#endif  // BITNET_TENSOR_CHANNEL_LISTS_H_
