// ModelConfig: the dimensions of a decoder-only transformer. Run-time values: checkpoints decide sizes.
#ifndef BITNET_MODEL_CONFIG_H_
#define BITNET_MODEL_CONFIG_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "bitnet/backend/rope.h"
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
  bool tied_embedding = true;    // the output head is the token embedding
  bool sub_layer_norms = false;  // norms before the attention output projection and before down
  bool head_norms = false;       // a norm of each query and key head, before the rotary embedding
  // Radians a position of each of the head_dim / 2 pairs, where they are not rope_base^(-2i / head_dim); and what
  // rotated pairs are then multiplied by. (io/rope_scaling.h makes them of what a checkpoint declares.)
  std::vector<double> rope_frequencies;
  float rope_magnitude = 1.0f;

  Rope MakeRope() const {
    return rope_frequencies.empty() ? Rope(head_dim, rope_base) : Rope(rope_frequencies, rope_magnitude);
  }

  // f(name, field) for every field up to sub_layer_norms, in the order of files.
  template <class F>
  void ForEachField(F&& f) {
    VisitFields(*this, f);
  }
  template <class F>
  void ForEachField(F&& f) const {
    VisitFields(*this, f);
  }

  uint32_t query_width() const { return heads * head_dim; }
  uint32_t kv_width() const { return kv_heads * head_dim; }

  friend bool operator==(const ModelConfig&, const ModelConfig&) = default;

  // Whether a model of these dimensions can be built; the sentence names the member and what it must be.
  Result<Done> Validate() const {
    // Keeps every product of two dimensions, times the bytes of a float, far below 2^63. That a machine has memory for
    // all of a model is not said (see Transformer::CacheBytes and Trainer::Bytes), nor that 32 bits hold its sizes:
    // both are refused where memory is taken (base/size.h).
    // A vocabulary of one more could not be sampled from.
    constexpr uint32_t kLimit = kMostSampledTokens;
    std::string problem;
    ForEachField([&](const char* name, const auto& field) {
      if constexpr (std::is_same_v<decltype(field), const uint32_t&>) {
        if (!problem.empty() || (field != 0 && field <= kLimit)) return;
        problem = "config: " + std::string(name) + " is " + std::to_string(field) + "; it must be between 1 and " +
                  std::to_string(kLimit);
      }
    });
    if (!problem.empty()) return Error{problem};
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
    if (!rope_frequencies.empty() && rope_frequencies.size() != head_dim / 2) {
      return Error{"config: rope_frequencies has " + std::to_string(rope_frequencies.size()) +
                   " values; a head has head_dim / 2 = " + std::to_string(head_dim / 2) + " pairs"};
    }
    for (const double f : rope_frequencies) {
      if (f >= 0.0 && f <= 1e6) continue;  // so that no angle is infinite
      return Error{"config: rope_frequencies holds " + std::to_string(f) + "; radians a position are 0 to 1000000"};
    }
    if (rope_magnitude != 1.0f && rope_frequencies.empty()) {
      return Error{"config: rope_magnitude is " + std::to_string(rope_magnitude) +
                   ", and there are no rope_frequencies; with rope_base it must be 1"};
    }
    if (!(rope_magnitude > 0.0f) || !std::isfinite(rope_magnitude)) {
      return Error{"config: rope_magnitude is " + std::to_string(rope_magnitude) + "; it must be finite and above 0"};
    }
    return Done{};
  }

  void Write(ByteWriter& to) const {
    ForEachField([&]<class T>(const char*, const T& field) {
      if constexpr (std::is_same_v<T, bool>) {
        if (&field == &sub_layer_norms) return;
        to.Number(static_cast<uint8_t>(field));
      } else {
        to.Number(field);
      }
    });
    to.Number(static_cast<uint8_t>((sub_layer_norms ? kSubLayerNormsBit : 0) | (head_norms ? kHeadNormsBit : 0) |
                                   (rope_frequencies.empty() ? 0 : kRopeBit)));
    if (rope_frequencies.empty()) return;
    to.Number(rope_magnitude);
    to.Numbers(std::span<const double>(rope_frequencies));
  }
  // Not yet validated.
  static ModelConfig Read(ByteReader& from) {
    ModelConfig config;
    config.ForEachField([&]<class T>(const char*, T& field) {
      if constexpr (std::is_same_v<T, bool>) {
        if (&field != &config.sub_layer_norms) field = from.Flag("the configuration");
      } else {
        field = from.Number<T>("the configuration");
      }
    });
    const auto features = from.Number<uint8_t>("the configuration");
    if (features > (kSubLayerNormsBit | kHeadNormsBit | kRopeBit)) {
      from.Fail("the configuration", "its features are " + std::to_string(features) + "; at most 7 is known");
    }
    config.sub_layer_norms = (features & kSubLayerNormsBit) != 0;
    config.head_norms = (features & kHeadNormsBit) != 0;
    if ((features & kRopeBit) == 0 || !from.ok()) return config;
    config.rope_magnitude = from.Number<float>("the configuration");
    const size_t pairs = config.head_dim / 2;
    if (pairs > from.remaining() / sizeof(double)) {
      from.Fail("the configuration", "the file is too short for " + std::to_string(pairs) + " rotary frequencies");
      return config;
    }
    config.rope_frequencies.resize(pairs);
    from.Numbers("the configuration", std::span(config.rope_frequencies));
    return config;
  }

 private:
  // Of the byte that once was sub_layer_norms alone.
  static constexpr uint8_t kSubLayerNormsBit = 1, kHeadNormsBit = 2, kRopeBit = 4;

  template <class Self, class F>
  static void VisitFields(Self& c, F& f) {
    f("vocab", c.vocab);
    f("hidden", c.hidden);
    f("layers", c.layers);
    f("heads", c.heads);
    f("kv_heads", c.kv_heads);
    f("head_dim", c.head_dim);
    f("ffn", c.ffn);
    f("max_positions", c.max_positions);
    f("rope_base", c.rope_base);
    f("rms_eps", c.rms_eps);
    f("tied_embedding", c.tied_embedding);
    f("sub_layer_norms", c.sub_layer_norms);
  }
};

}  // namespace bitnet

#endif  // BITNET_MODEL_CONFIG_H_
