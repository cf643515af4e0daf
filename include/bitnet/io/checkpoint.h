// Checkpoint: a public model in a file or a folder, whatever kind it is: a GGUF file, or a folder of transformers. It
// knows the configuration and gives gains and matrices one at a time; io/load_weights.h and io/any_model.h make models
// of it.
//
//   Result<Checkpoint> checkpoint = Checkpoint::Open("ggml-model-i2_s.gguf");
//   checkpoint->config().architecture;
#ifndef BITNET_IO_CHECKPOINT_H_
#define BITNET_IO_CHECKPOINT_H_

#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include "bitnet/base/result.h"
#include "bitnet/io/blocks.h"
#include "bitnet/io/checkpoint_config.h"
#include "bitnet/io/gguf_checkpoint.h"
#include "bitnet/io/hf_checkpoint.h"
#include "bitnet/io/tensor_matrix.h"
#include "bitnet/model/config.h"
#include "bitnet/model/tensors.h"

namespace bitnet {

struct CheckpointOptions {
  TensorDecodeOptions decode = {};  // of GGUF
  HfConfigOptions hf = {};
  // Projections that are reals, of a model that nothing says was trained for quantized weights: an ordinary model
  // would load, quantized, and answer with nonsense. Refused unless this is set.
  bool quantize_any_reals = false;
};

class Checkpoint {
 public:
  static Result<Checkpoint> Open(const std::string& path, const CheckpointOptions& options = {}) {
    std::error_code error;
    if (std::filesystem::is_directory(path, error)) return Made(HfCheckpoint::Open(path, options.hf), options);
    return Made(GgufCheckpoint::Open(path, options.decode), options);
  }
  Checkpoint(GgufCheckpoint gguf, bool quantize_any_reals = false)  // NOLINT: implicit on purpose
      : source_(std::move(gguf)), quantize_any_reals_(quantize_any_reals) {}
  Checkpoint(HfCheckpoint hf, bool quantize_any_reals = false)  // NOLINT
      : source_(std::move(hf)), quantize_any_reals_(quantize_any_reals) {}

  const std::string& path() const {
    return std::visit([](const auto& s) -> const std::string& { return s.path(); }, source_);
  }
  const CheckpointConfig& config() const {
    return std::visit([](const auto& s) -> const CheckpointConfig& { return s.config(); }, source_);
  }
  const ModelConfig& model_config() const {
    return std::visit([](const auto& s) -> const ModelConfig& { return s.model_config(); }, source_);
  }
  // The GGUF file, or nullptr.
  const GgufFile* gguf() const {
    const auto* checkpoint = std::get_if<GgufCheckpoint>(&source_);
    return checkpoint == nullptr ? nullptr : &checkpoint->file();
  }

  // The tensors are those of model_config() (ForEachTensor). Several threads may read at once; what is read of a file
  // need not stay in memory.
  Result<std::vector<float>> Gain(const TensorInfo& tensor) const {
    return std::visit([&](const auto& s) { return s.Gain(tensor); }, source_);
  }
  Result<TensorMatrix> Matrix(const TensorInfo& tensor) const {
    Result<TensorMatrix> matrix = std::visit([&](const auto& s) { return s.Matrix(tensor); }, source_);
    if (!matrix.ok() || tensor.role != TensorRole::kProjection || MayQuantizeReals()) return matrix;
    const bool reals = std::visit([]<Format F>(const QuantizedMatrix<F>&) { return kIsFloat<F>; }, *matrix);
    if (!reals) return matrix;
    return Refuse(tensor, "its type is " + TypeName(tensor) +
                              ", and nothing says that the model was trained for quantized weights "
                              "(CheckpointOptions::quantize_any_reals quantizes them all the same)");
  }
  Error Refuse(const TensorInfo& tensor, const std::string& why) const {
    return std::visit([&](const auto& s) { return s.Refuse(tensor, why); }, source_);
  }
  std::string TypeName(const TensorInfo& tensor) const {
    return std::visit([&](const auto& s) { return s.TypeName(tensor); }, source_);
  }

 private:
  template <class Source>
  static Result<Checkpoint> Made(Result<Source> source, const CheckpointOptions& options) {
    if (!source.ok()) return Error{source.error()};
    return Checkpoint(*std::move(source), options.quantize_any_reals);
  }
  bool MayQuantizeReals() const {
    return quantize_any_reals_ || config().weights == CheckpointWeights::kMasters || config().sub_layer_norms ||
           config().architecture.starts_with("bitnet");
  }

  std::variant<GgufCheckpoint, HfCheckpoint> source_;
  bool quantize_any_reals_;
};

}  // namespace bitnet

#endif  // BITNET_IO_CHECKPOINT_H_
