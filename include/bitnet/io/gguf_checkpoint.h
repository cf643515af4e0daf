// GgufCheckpoint: the model in a GGUF file, as loaders see a checkpoint (io/checkpoint.h): a configuration, gains, and
// matrices in the formats of their tensors, one at a time.
//
// What is too many, missing or of another shape is refused by its name, and so is what the file declares and models
// here do not do.
#ifndef BITNET_IO_GGUF_CHECKPOINT_H_
#define BITNET_IO_GGUF_CHECKPOINT_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "bitnet/base/assert.h"
#include "bitnet/base/result.h"
#include "bitnet/io/blocks.h"
#include "bitnet/io/checkpoint_config.h"
#include "bitnet/io/gguf.h"
#include "bitnet/io/gguf_config.h"
#include "bitnet/io/quoted.h"
#include "bitnet/io/tensor_matrix.h"
#include "bitnet/model/config.h"
#include "bitnet/model/tensors.h"

namespace bitnet {

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
      {"q_norm", "attn_q_norm"},
      {"k_norm", "attn_k_norm"},
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

}  // namespace detail

class GgufCheckpoint {
 public:
  // Reads the metadata, and checks that the tensors are those of the model that it describes.
  static Result<GgufCheckpoint> Open(GgufFile file, const TensorDecodeOptions& options = {}) {
    GgufCheckpoint checkpoint(std::move(file), options);
    const auto refuse = [&](const std::string& why) { return Error{checkpoint.path() + ": " + why}; };
    Result<CheckpointConfig> config = ReadGgufConfig(checkpoint.file_);
    if (!config.ok()) return Error{config.error()};
    checkpoint.config_ = *std::move(config);
    Result<ModelConfig> model = ModelConfigOf(checkpoint.config_);
    if (!model.ok()) return refuse(model.error());
    checkpoint.model_config_ = *std::move(model);
    if (Result<Done> rope = checkpoint.ReadRopeFactors(); !rope.ok()) return Error{rope.error()};
    if (Result<Done> all = checkpoint.CheckTensors(); !all.ok()) return Error{all.error()};
    return Result<GgufCheckpoint>(std::move(checkpoint));
  }
  static Result<GgufCheckpoint> Open(const std::string& path, const TensorDecodeOptions& options = {}) {
    Result<GgufFile> file = GgufFile::Open(path);
    if (!file.ok()) return Error{file.error()};
    return Open(*std::move(file), options);
  }

  const std::string& path() const { return file_.path(); }
  const GgufFile& file() const { return file_; }
  const CheckpointConfig& config() const { return config_; }
  const ModelConfig& model_config() const { return model_config_; }

  // A norm's gain.
  Result<std::vector<float>> Gain(const TensorInfo& tensor) const {
    const GgufTensor& from = TensorOf(tensor);
    Result<std::vector<float>> gain = DecodeReals(file_, from);
    if (gain.ok()) file_.Release(from);
    return gain;
  }

  // A matrix in the format of its tensor. Several threads may read at once.
  Result<TensorMatrix> Matrix(const TensorInfo& tensor) const {
    const GgufTensor& from = TensorOf(tensor);
    Result<DecodedTensor> decoded = DecodeTensor(file_, from, options_);
    if (!decoded.ok()) return Error{decoded.error()};
    file_.Release(from);
    TensorMatrix matrix = std::move(decoded->matrix);
    if (tensor.role == TensorRole::kProjection) {
      if (Result<Done> scaled = ScaleSteps(ScaleName(from.name), matrix); !scaled.ok()) return Error{scaled.error()};
      const std::string_view which = tensor.name;
      if (HasAdjacentPairs(config_.architecture) && (which == "q" || which == "k")) {
        std::visit([&](auto& m) { detail::PairsToHalves(m, model_config_.head_dim); }, matrix);
      }
    }
    return matrix;
  }

  // "FILE: tensor 'NAME': why", with the file's name of the tensor.
  Error Refuse(const TensorInfo& tensor, const std::string& why) const {
    return Error{path() + ": tensor " + Quoted(detail::GgufNameOf(tensor)) + ": " + why};
  }
  // The type of a tensor, in the file's words.
  std::string TypeName(const TensorInfo& tensor) const { return TensorOf(tensor).TypeName(); }

 private:
  GgufCheckpoint(GgufFile file, const TensorDecodeOptions& options) : file_(std::move(file)), options_(options) {}

  const GgufTensor& TensorOf(const TensorInfo& tensor) const {
    const GgufTensor* found = file_.FindTensor(detail::GgufNameOf(tensor));
    BITNET_ASSERT(found != nullptr, "GgufCheckpoint: the tensor is none of this model");
    return *found;
  }

  // All tensors that the model needs, each of its shape, and no others.
  Result<Done> CheckTensors() const {
    std::set<std::string, std::less<>> known;
    std::string problem;
    const auto check = [&](const TensorInfo& tensor) {
      if (!problem.empty()) return;
      const std::string name = detail::GgufNameOf(tensor);
      known.insert(name);
      if (tensor.role == TensorRole::kProjection) known.insert(ScaleName(name));
      const GgufTensor* found = file_.FindTensor(name);
      if (found == nullptr) {
        problem = path() + ": there is no tensor " + Quoted(name);
      } else if (found->rows() != tensor.rows || found->cols() != tensor.cols) {
        problem = path() + ": tensor " + Quoted(name) + " is " + std::to_string(found->rows()) + " x " +
                  std::to_string(found->cols()) + "; " + std::to_string(tensor.rows) + " x " +
                  std::to_string(tensor.cols) + " was expected";
      }
    };
    ForEachTensorBeforeLayers(model_config_, check);
    // Layer by layer: how many there are is believed only as far as the file has them.
    for (size_t i = 0; i < model_config_.layers && problem.empty(); ++i) ForEachTensorOfLayer(model_config_, i, check);
    ForEachTensorAfterLayers(model_config_, check);
    for (const GgufTensor& tensor : file_.tensors()) {
      if (!problem.empty() || known.contains(tensor.name) || tensor.name == kRopeFactors) continue;
      problem = path() + ": tensor " + Quoted(tensor.name) + " is none that this model has";
    }
    if (!problem.empty()) return Error{problem};
    return Done{};
  }

  // Llama 3's scaling: factors that divide the frequencies.
  static constexpr std::string_view kRopeFactors = "rope_freqs.weight";
  Result<Done> ReadRopeFactors() {
    const GgufTensor* tensor = file_.FindTensor(kRopeFactors);
    if (tensor == nullptr) return Done{};
    const auto refuse = [&](const std::string& why) {
      return Error{path() + ": tensor " + Quoted(kRopeFactors) + ": " + why};
    };
    const size_t pairs = model_config_.head_dim / 2;
    if (tensor->rows() != 1 || tensor->cols() != pairs) {
      return refuse("it has " + std::to_string(tensor->rows()) + " x " + std::to_string(tensor->cols()) +
                    " values; one for each of the " + std::to_string(pairs) + " pairs of a head was expected");
    }
    if (!model_config_.rope_frequencies.empty()) {
      return refuse("the metadata declare another scaling of the rotary embedding beside it");
    }
    const Result<std::vector<float>> factors = DecodeReals(file_, *tensor);
    if (!factors.ok()) return Error{factors.error()};
    model_config_.rope_frequencies =
        RopeFrequencies(model_config_.head_dim, double{model_config_.rope_base}, RopeScaling());
    for (size_t i = 0; i < pairs; ++i) {
      if (!((*factors)[i] > 0.0f)) return refuse("factor " + std::to_string(i) + " is not above 0");
      model_config_.rope_frequencies[i] /= double{(*factors)[i]};
    }
    if (Result<Done> valid = model_config_.Validate(); !valid.ok()) return refuse(valid.error());
    return Done{};
  }

  // Of the community's models of 2024: what a projection's weights are multiplied by, beside them.
  static std::string ScaleName(std::string_view name) {
    return std::string(name.substr(0, name.size() - std::string_view("weight").size())) + "scale";
  }
  Result<Done> ScaleSteps(const std::string& name, TensorMatrix& matrix) const {
    const GgufTensor* tensor = file_.FindTensor(name);
    if (tensor == nullptr) return Done{};
    const auto refuse = [&](const std::string& why) { return Error{path() + ": tensor " + Quoted(name) + ": " + why}; };
    const Result<std::vector<float>> scale = DecodeReals(file_, *tensor);
    if (!scale.ok()) return Error{scale.error()};
    if (scale->size() != 1 || !((*scale)[0] >= 0.0f)) return refuse("one scale, not negative, was expected");
    return std::visit(
        [&]<Format F>(QuantizedMatrix<F>& m) -> Result<Done> {
          if constexpr (kIsFloat<F>) {
            return refuse("a scale, of weights that are reals");
          } else {
            for (float& step : m.steps()) {
              step *= (*scale)[0];
              if (!std::isfinite(step)) return refuse("with it a step of the weights is not finite");
            }
            return Done{};
          }
        },
        matrix);
  }

  GgufFile file_;
  TensorDecodeOptions options_;
  CheckpointConfig config_;
  ModelConfig model_config_;
};

}  // namespace bitnet

#endif  // BITNET_IO_GGUF_CHECKPOINT_H_
