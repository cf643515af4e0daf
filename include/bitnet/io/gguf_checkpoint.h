// LoadGguf<S>: the weights of a GGUF file as a scheme has them, for Transformer<S>.
//
//   Result<GgufFile> file = GgufFile::Open("ggml-model-i2_s.gguf");
//   using Scheme = WithInt8Cache<WithFloat16Head<B158>>;  // that of the released 2B model
//   Result<ModelWeights<Scheme>> weights = LoadGguf<Scheme>(*file);
//
// Codes stay codes, and reals what they are, where the scheme has that format and steps for as many weights. Where it
// has another, reals are quantized by its quantizer, and a head of codes becomes reals if the scheme has them there.
// Every tensor of the file must be one that the model has: what is too many, missing or of another shape is refused by
// its name, and so is what the scheme does otherwise than the file says (the activation, norms of heads, scaled rotary
// embeddings).
#ifndef BITNET_IO_GGUF_CHECKPOINT_H_
#define BITNET_IO_GGUF_CHECKPOINT_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "bitnet/base/result.h"
#include "bitnet/io/blocks.h"
#include "bitnet/io/gguf.h"
#include "bitnet/io/gguf_config.h"
#include "bitnet/io/quantize_rows.h"
#include "bitnet/io/quoted.h"
#include "bitnet/model/check_scheme.h"
#include "bitnet/model/weights.h"
#include "bitnet/scheme/scheme.h"

namespace bitnet {

struct GgufLoadOptions {
  TensorDecodeOptions decode;
  // Called before each tensor: (tensors read so far, of so many).
  std::function<void(size_t, size_t)> progress;
};

namespace detail {

// The names of model/tensors.h in GGUF.
inline std::string GgufNameOf(const TensorInfo& tensor) {
  static constexpr std::pair<std::string_view, std::string_view> kNames[] = {
      {"embedding", "token_embd"},
      {"final_norm", "output_norm"},
      {"head", "output"},
      {"attn_norm", "attn_norm"},
      {"q", "attn_q"},
      {"k", "attn_k"},
      {"v", "attn_v"},
      {"o", "attn_output"},
      {"attn_sub_norm", "attn_sub_norm"},
      {"ffn_norm", "ffn_norm"},
      {"gate", "ffn_gate"},
      {"up", "ffn_up"},
      {"down", "ffn_down"},
      {"ffn_sub_norm", "ffn_sub_norm"},
  };
  for (const auto& [name, gguf] : kNames) {
    if (name != tensor.name) continue;
    return (tensor.layer ? "blk." + std::to_string(*tensor.layer) + "." : "") + std::string(gguf) + ".weight";
  }
  BITNET_ASSERT(false, "GgufNameOf: GGUF has no name for this tensor");
  return {};
}

// Rows of heads that lie as pairs of neighbours, brought to rotate-half: row 2 i + j of a head becomes row
// j * head_dim / 2 + i.
template <Format F>
void PairsToHalves(QuantizedMatrix<F>& matrix, size_t head_dim) {
  const QuantizedMatrix<F> from = matrix;
  const size_t row_bytes = QuantizedMatrix<F>::RowBytes(matrix.cols());
  const size_t row_steps = matrix.granularity().per_row ? matrix.step_groups().Count() : 0;
  for (size_t r = 0; r < matrix.rows(); ++r) {
    const size_t head = r / head_dim * head_dim, in_head = r % head_dim;
    const size_t to = head + in_head % 2 * (head_dim / 2) + in_head / 2;
    std::copy_n(from.bytes().begin() + static_cast<std::ptrdiff_t>(r * row_bytes), row_bytes,
                matrix.bytes().begin() + static_cast<std::ptrdiff_t>(to * row_bytes));
    std::copy_n(from.steps().begin() + static_cast<std::ptrdiff_t>(r * row_steps), row_steps,
                matrix.steps().begin() + static_cast<std::ptrdiff_t>(to * row_steps));
  }
}

template <Scheme S>
class GgufLoader {
 public:
  GgufLoader(const GgufFile& file, const CheckpointConfig& checkpoint, const GgufLoadOptions& options)
      : file_(file), checkpoint_(checkpoint), options_(options) {}

  Result<ModelWeights<S>> Load(const ModelConfig& config) {
    ModelWeights<S> model;
    model.config = config;
    model.layers.resize(InnerCount<S>(config));
    model.edges.resize(EdgeCount<S>(config));
    if (Result<Done> all = CheckTensors(config); !all.ok()) return Error{all.error()};
    size_t read = 0, count = 0;
    ForEachTensor(config, [&](const TensorInfo&) { ++count; });
    std::string problem;
    ForEachTensor(
        config,
        [&](auto tensor, auto& to) {
          if (!problem.empty()) return;
          if (options_.progress) options_.progress(read, count);
          ++read;
          const Result<Done> done = LoadTensor(tensor, to);
          if (!done.ok()) problem = done.error();
        },
        model);
    if (!problem.empty()) return Error{problem};
    return model;
  }

 private:
  // All tensors that the model needs, each of its shape, and no others.
  Result<Done> CheckTensors(const ModelConfig& config) {
    std::set<std::string, std::less<>> known;
    std::string problem;
    ForEachTensor(config, [&](const TensorInfo& tensor) {
      const std::string name = GgufNameOf(tensor);
      known.insert(name);
      if (tensor.role == TensorRole::kProjection) known.insert(ScaleName(name));
      if (!problem.empty()) return;
      const GgufTensor* found = file_.FindTensor(name);
      if (found == nullptr) {
        problem = file_.path() + ": there is no tensor " + Quoted(name);
      } else if (found->rows() != tensor.rows || found->cols() != tensor.cols) {
        problem = file_.path() + ": tensor " + Quoted(name) + " is " + std::to_string(found->rows()) + " x " +
                  std::to_string(found->cols()) + "; " + std::to_string(tensor.rows) + " x " +
                  std::to_string(tensor.cols) + " was expected";
      }
    });
    for (const GgufTensor& tensor : file_.tensors()) {
      if (!problem.empty() || known.contains(tensor.name)) continue;
      problem = file_.path() + ": tensor " + Quoted(tensor.name) + " is none that this model has";
    }
    if (!problem.empty()) return Error{problem};
    return Done{};
  }

  // Of the community's models of 2024: what a projection's weights are multiplied by, beside them.
  static std::string ScaleName(const std::string& name) {
    return name.substr(0, name.size() - std::string_view("weight").size()) + "scale";
  }

  Result<Done> LoadTensor(const TensorInfo& tensor, std::vector<float>& gains) {
    const GgufTensor& from = *file_.FindTensor(GgufNameOf(tensor));
    Result<std::vector<float>> read = DecodeReals(file_, from);
    if (!read.ok()) return Error{read.error()};
    gains = *std::move(read);
    file_.Release(from);
    return Done{};
  }

  template <TensorRole kRole, bool kEdge, Format F>
  Result<Done> LoadTensor(const Tensor<kRole, kEdge>& tensor, QuantizedMatrix<F>& to) {
    using Q = QuantizerAt<S, kRole, kEdge>;
    const std::string name = GgufNameOf(tensor);
    const GgufTensor& from = *file_.FindTensor(name);
    Result<DecodedTensor> decoded = DecodeTensor(file_, from, options_.decode);
    if (!decoded.ok()) return Error{decoded.error()};
    Result<Done> taken = std::visit(
        [&]<Format Stored>(QuantizedMatrix<Stored>& matrix) { return Take<Q>(name, matrix, to); }, decoded->matrix);
    if (!taken.ok()) return taken;
    file_.Release(from);
    if constexpr (kRole == TensorRole::kProjection) {
      if (Result<Done> scaled = ScaleSteps(ScaleName(name), to); !scaled.ok()) return scaled;
    }
    const std::string_view which = tensor.name;
    if (HasAdjacentPairs(checkpoint_.architecture) && (which == "q" || which == "k")) {
      PairsToHalves(to, checkpoint_.head_dim);
    }
    return Done{};
  }

  // As it is, where the scheme has it so; or quantized by the scheme, where the file has reals.
  template <AnyQuantizer Q, Format Stored, Format F>
  Result<Done> Take(const std::string& name, QuantizedMatrix<Stored>& from, QuantizedMatrix<F>& to) {
    constexpr size_t kGroup = kGroupSize<typename Q::Granularity>;
    const auto refuse = [&](const std::string& why) {
      return Error{file_.path() + ": tensor " + Quoted(name) + ": " + why};
    };
    if constexpr (std::is_same_v<Stored, F>) {
      if (from.granularity().group != kGroup) {
        return refuse("its steps stand for " + Steps(from.granularity().group) + "; those of the scheme for " +
                      Steps(kGroup));
      }
      to = std::move(from);
      return Done{};
    } else if constexpr (RealFormat<Stored>) {
      to = QuantizeRows<Q>(from.rows(), from.cols(),
                           [&](size_t row, std::span<float> values) { from.UnpackRow(row, values); });
      return Done{};
    } else if constexpr (kKeepsReals<Q>) {
      to = QuantizeRows<Q>(from.rows(), from.cols(),
                           [&](size_t row, std::span<float> values) { from.DequantizeRow(row, values); });
      return Done{};
    } else {
      return refuse("its type is " + file_.FindTensor(name)->TypeName() + ", and the scheme has other levels there");
    }
  }
  static std::string Steps(size_t group) {
    return group == 0 ? "whole rows" : "groups of " + std::to_string(group) + " columns";
  }

  template <Format F>
  Result<Done> ScaleSteps(const std::string& name, QuantizedMatrix<F>& matrix) {
    const GgufTensor* tensor = file_.FindTensor(name);
    if (tensor == nullptr) return Done{};
    const Result<std::vector<float>> scale = DecodeReals(file_, *tensor);
    if (!scale.ok()) return Error{scale.error()};
    if (scale->size() != 1 || !((*scale)[0] >= 0.0f)) {
      return Error{file_.path() + ": tensor " + Quoted(name) + ": one scale, not negative, was expected"};
    }
    if constexpr (kIsFloat<F>) {
      return Error{file_.path() + ": tensor " + Quoted(name) + ": a scale, of weights that are reals"};
    } else {
      for (float& step : matrix.steps()) step *= (*scale)[0];
      return Done{};
    }
  }

  const GgufFile& file_;
  const CheckpointConfig& checkpoint_;
  const GgufLoadOptions& options_;
};

}  // namespace detail

// One tensor after the other; the file's pages may go as they are read.
template <Scheme S>
Result<ModelWeights<S>> LoadGguf(const GgufFile& file, const GgufLoadOptions& options = {}) {
  const Result<CheckpointConfig> checkpoint = ReadGgufConfig(file);
  if (!checkpoint.ok()) return Error{checkpoint.error()};
  const auto refuse = [&](const std::string& why) { return Error{file.path() + ": " + why}; };
  constexpr bool kIsSquaredRelu = std::is_same_v<typename S::FfnActivation, SquaredRelu>;
  if ((checkpoint->activation == CheckpointActivation::kSquaredRelu) != kIsSquaredRelu) {
    return refuse("architecture " + Quoted(checkpoint->architecture) + " has the activation " +
                  (kIsSquaredRelu ? "SiLU" : "squared ReLU") + ", and the scheme another");
  }
  if (checkpoint->head_norms) return refuse("it has norms of query and key heads, which models here have not yet");
  if (checkpoint->rope_scaling.kind != RopeScalingKind::kDefault || file.FindTensor("rope_freqs.weight") != nullptr) {
    return refuse("its rotary embedding is scaled, which models here do not do yet");
  }
  const Result<ModelConfig> config = ModelConfigOf(*checkpoint);
  if (!config.ok()) return refuse(config.error());
  if (Result<Done> fits = CheckScheme<S>(*config); !fits.ok()) return refuse(fits.error());
  return detail::GgufLoader<S>(file, *checkpoint, options).Load(*config);
}

}  // namespace bitnet

#endif  // BITNET_IO_GGUF_CHECKPOINT_H_
