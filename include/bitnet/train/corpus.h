// Corpus: a text as tokens, its last tenth held out for validation. Byte-level by default: a token is a byte.
#ifndef BITNET_TRAIN_CORPUS_H_
#define BITNET_TRAIN_CORPUS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bitnet/base/bytes.h"
#include "bitnet/base/random.h"
#include "bitnet/base/result.h"
#include "bitnet/base/size.h"
#include "bitnet/train/batch.h"

namespace bitnet {

class Corpus {
 public:
  Corpus() = default;
  explicit Corpus(std::vector<uint32_t> tokens, double validation_share = 0.1) : tokens_(std::move(tokens)) {
    BITNET_ASSERT(validation_share >= 0.0 && validation_share < 1.0, "Corpus: the validation share is in [0, 1)");
    const auto held_out = static_cast<size_t>(static_cast<double>(tokens_.size()) * validation_share);
    train_size_ = tokens_.size() - held_out;
  }
  static Corpus FromBytes(std::string_view text) {
    std::vector<uint32_t> tokens(ElementCount<uint32_t>(text.size()));
    std::transform(text.begin(), text.end(), tokens.begin(), [](char c) { return static_cast<unsigned char>(c); });
    return Corpus(std::move(tokens));
  }
  // A file on a disk, or a pipe or device that ends before the limit.
  static Result<Corpus> FromFile(const std::string& path, const ReadLimits& limits = {}) {
    const Result<std::vector<uint8_t>> bytes = ReadFile(path, limits);
    if (!bytes.ok()) return Error{bytes.error()};
    return FromBytes({reinterpret_cast<const char*>(bytes->data()), bytes->size()});
  }

  std::span<const uint32_t> train() const { return std::span(tokens_).first(train_size_); }
  std::span<const uint32_t> validation() const { return std::span(tokens_).subspan(train_size_); }

  // Whether both parts hold a sequence of this length and the token after it, and all tokens are below vocab.
  Result<Done> Check(size_t length, uint32_t vocab) const {
    for (const auto& [name, part] : {std::pair{"training", train()}, std::pair{"validation", validation()}}) {
      if (part.size() <= length) {
        return Error{std::string("the text's ") + name + " part has " + std::to_string(part.size()) +
                     " tokens; sequences of " + std::to_string(length) + " need at least " +
                     std::to_string(uint64_t{length} + 1)};
      }
    }
    const auto bad = std::find_if(tokens_.begin(), tokens_.end(), [&](uint32_t token) { return token >= vocab; });
    if (bad == tokens_.end()) return Done{};
    return Error{"token " + std::to_string(bad - tokens_.begin()) + " of the text is " + std::to_string(*bad) +
                 "; the vocabulary has " + std::to_string(vocab)};
  }

  // Sequences that begin anywhere in the training part; of a batch of so many those of the share. What is drawn are the
  // numbers of the whole batch: ranks that draw from one seed have disjoint parts of one batch.
  TokenBatch Sample(Random& random, size_t sequences, size_t length, const BatchShare& share = {}) const {
    const size_t first = share.Begin(sequences), last = share.End(sequences);
    TokenBatch batch{last - first, length, {}, {}, sequences};
    for (size_t i = 0; i < sequences; ++i) {
      const auto start = static_cast<size_t>(UniformBelow(random, train().size() - length));
      if (first <= i && i < last) Append(batch, train(), start);
    }
    return batch;
  }

  // How many windows of `length` tokens the validation part has, without overlap.
  size_t ValidationWindows(size_t length) const {
    return validation().empty() ? 0 : (validation().size() - 1) / length;
  }
  // `count` windows from `first` on, of `total` that are spread evenly over all: fixed, so that losses compare.
  TokenBatch ValidationBatch(size_t first, size_t count, size_t total, size_t length) const {
    TokenBatch batch{count, length, {}, {}, count};
    for (size_t i = first; i < first + count; ++i) {
      Append(batch, validation(), PartBegin(ValidationWindows(length), i, total) * length);
    }
    return batch;
  }

  // Tells texts apart, for checkpoints.
  uint64_t Fingerprint() const {
    ByteWriter bytes;
    bytes.Number(static_cast<uint64_t>(train_size_));
    bytes.Numbers(std::span<const uint32_t>(tokens_));
    return Checksum(bytes.bytes());
  }

 private:
  static void Append(TokenBatch& batch, std::span<const uint32_t> from, size_t start) {
    const auto inputs = from.subspan(start, batch.length);
    const auto targets = from.subspan(start + 1, batch.length);
    batch.inputs.insert(batch.inputs.end(), inputs.begin(), inputs.end());
    batch.targets.insert(batch.targets.end(), targets.begin(), targets.end());
  }

  std::vector<uint32_t> tokens_;
  size_t train_size_ = 0;
};

}  // namespace bitnet

#endif  // BITNET_TRAIN_CORPUS_H_
