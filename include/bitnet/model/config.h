// ModelConfig: the dimensions of a decoder-only transformer. Run-time values: checkpoints decide sizes.
#ifndef BITNET_MODEL_CONFIG_H_
#define BITNET_MODEL_CONFIG_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

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

  // f(name, field) for every field, in the order of files. A new one goes to the end.
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
    return Done{};
  }

  void Write(ByteWriter& to) const {
    ForEachField([&]<class T>(const char*, const T& field) {
      if constexpr (std::is_same_v<T, bool>) {
        to.Number(static_cast<uint8_t>(field));
      } else {
        to.Number(field);
      }
    });
  }
  // Not yet validated.
  static ModelConfig Read(ByteReader& from) {
    ModelConfig config;
    config.ForEachField([&]<class T>(const char*, T& field) {
      if constexpr (std::is_same_v<T, bool>) {
        field = from.Flag("the configuration");
      } else {
        field = from.Number<T>("the configuration");
      }
    });
    return config;
  }

 private:
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
