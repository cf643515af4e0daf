// ModelConfig: the dimensions of a decoder-only transformer. Run-time values: checkpoints decide sizes.
#ifndef BITNET_MODEL_CONFIG_H_
#define BITNET_MODEL_CONFIG_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>

#include "bitnet/backend/sampling.h"
#include "bitnet/base/bytes.h"
#include "bitnet/base/result.h"

namespace bitnet {

struct ModelConfig {
  uint32_t vocab = 256;
  uint32_t hidden = 256;
  uint32_t layers = 4;
  uint32_t heads = 4;     // query heads
  uint32_t kv_heads = 4;  // key and value heads; divides heads
  uint32_t head_dim = 64;
  uint32_t ffn = 704;  // width of gate and up
  uint32_t max_positions = 2048;
  float rope_base = 10000.0f;
  float rms_eps = 1e-5f;
  bool tied_embedding = true;  // the output head is the token embedding

  uint32_t query_width() const { return heads * head_dim; }
  uint32_t kv_width() const { return kv_heads * head_dim; }
  // Weights of the projections of all layers.
  uint64_t ProjectionWeights() const {
    const uint64_t attention = uint64_t{hidden} * (2 * uint64_t{query_width()} + 2 * uint64_t{kv_width()});
    return layers * (attention + 3 * uint64_t{hidden} * ffn);
  }

  friend bool operator==(const ModelConfig&, const ModelConfig&) = default;

  // Whether a model of these dimensions can be built; the sentence names the member and what it must be.
  Result<Done> Validate() const {
    // Keeps every product of two dimensions, times the bytes of a float, far below 2^63. That a machine has memory for
    // all of a model is not said (see Transformer::CacheBytes and Trainer::Bytes), nor that 32 bits hold its sizes:
    // both are refused where memory is taken (base/size.h).
    // A vocabulary of one more could not be sampled from.
    constexpr uint32_t kLimit = kMostSampledTokens;
    const struct {
      const char* name;
      uint32_t value;
    } sizes[] = {{"vocab", vocab},       {"hidden", hidden},     {"layers", layers}, {"heads", heads},
                 {"kv_heads", kv_heads}, {"head_dim", head_dim}, {"ffn", ffn},       {"max_positions", max_positions}};
    for (const auto& size : sizes) {
      if (size.value == 0 || size.value > kLimit) {
        return Error{"config: " + std::string(size.name) + " is " + std::to_string(size.value) +
                     "; it must be between 1 and " + std::to_string(kLimit)};
      }
    }
    if (head_dim % 2 != 0) {
      return Error{"config: head_dim is " + std::to_string(head_dim) + "; the rotary embedding needs an even one"};
    }
    if (heads % kv_heads != 0) {
      return Error{"config: heads is " + std::to_string(heads) + " and kv_heads " + std::to_string(kv_heads) +
                   "; kv_heads must divide heads"};
    }
    if (uint64_t{heads} * head_dim > kLimit) {
      return Error{"config: heads * head_dim is " + std::to_string(uint64_t{heads} * head_dim) +
                   "; it must be at most " + std::to_string(kLimit)};
    }
    if (!(rope_base > 1.0f) || !std::isfinite(rope_base)) {
      return Error{"config: rope_base is " + std::to_string(rope_base) + "; it must be finite and above 1"};
    }
    // Above zero, or a row of zeros would be divided by zero.
    if (!(rms_eps > 0.0f) || !std::isfinite(rms_eps)) {
      return Error{"config: rms_eps is " + std::to_string(rms_eps) + "; it must be finite and above 0"};
    }
    return Done{};
  }

  void Write(ByteWriter& to) const {
    for (const uint32_t v : {vocab, hidden, layers, heads, kv_heads, head_dim, ffn, max_positions}) to.Number(v);
    to.Number(rope_base);
    to.Number(rms_eps);
    to.Number(static_cast<uint8_t>(tied_embedding));
  }
  // Not yet validated.
  static ModelConfig Read(ByteReader& from) {
    ModelConfig c;
    for (uint32_t* v : {&c.vocab, &c.hidden, &c.layers, &c.heads, &c.kv_heads, &c.head_dim, &c.ffn, &c.max_positions}) {
      *v = from.Number<uint32_t>("the configuration");
    }
    c.rope_base = from.Number<float>("the configuration");
    c.rms_eps = from.Number<float>("the configuration");
    c.tied_embedding = from.Flag("the configuration");
    return c;
  }
};

}  // namespace bitnet

#endif  // BITNET_MODEL_CONFIG_H_
