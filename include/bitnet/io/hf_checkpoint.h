// HfCheckpoint: the model in a folder of transformers (config.json and safetensors), as loaders see a checkpoint
// (io/checkpoint.h): a configuration, gains, and matrices in the formats of their tensors, one at a time.
#ifndef BITNET_IO_HF_CHECKPOINT_H_
#define BITNET_IO_HF_CHECKPOINT_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "bitnet/base/assert.h"
#include "bitnet/base/result.h"
#include "bitnet/io/checkpoint_config.h"
#include "bitnet/io/hf_config.h"
#include "bitnet/io/hf_names.h"
#include "bitnet/io/hf_weights.h"
#include "bitnet/io/safetensors.h"
#include "bitnet/io/tensor_matrix.h"
#include "bitnet/model/config.h"
#include "bitnet/model/tensors.h"
#include "bitnet/scheme/scheme.h"

namespace bitnet {

class HfCheckpoint {
 public:
  // Reads the configuration, and checks that the tensors are those of the model that it describes.
  static Result<HfCheckpoint> Open(const std::string& folder, const HfConfigOptions& options = {}) {
    Result<CheckpointConfig> config = LoadHfConfig(folder, options);
    if (!config.ok()) return Error{config.error()};
    Result<Safetensors> files = Safetensors::Open(folder);
    if (!files.ok()) return Error{files.error()};
    Result<ModelConfig> model = ModelConfigOf(*config);
    if (!model.ok()) return Error{folder + ": " + model.error()};
    if (Result<Done> good = CheckHfTensors(*files, *config); !good.ok()) return Error{good.error()};
    return HfCheckpoint(folder, *std::move(files), *std::move(config), *std::move(model));
  }

  const std::string& path() const { return path_; }
  const Safetensors& files() const { return files_; }
  const CheckpointConfig& config() const { return config_; }
  const ModelConfig& model_config() const { return model_config_; }

  // A norm's gain.
  Result<std::vector<float>> Gain(const TensorInfo& tensor) const {
    std::vector<float> gain(tensor.cols);
    const uint64_t shape[] = {tensor.cols};
    if (Result<Done> read = LoadHfReals(files_, NameOf(tensor), shape, gain); !read.ok()) return Error{read.error()};
    return gain;
  }

  // A matrix in the format of its tensor. Several threads may read at once.
  Result<TensorMatrix> Matrix(const TensorInfo& tensor) const {
    const std::string name = NameOf(tensor);
    const auto made = [](auto matrix) -> Result<TensorMatrix> {
      if (!matrix.ok()) return Error{matrix.error()};
      return TensorMatrix(*std::move(matrix));
    };
    if (IsPacked() && tensor.role == TensorRole::kProjection) {
      const HfScale meaning =
          config_.weights == CheckpointWeights::kPackedDividing ? HfScale::kDivides : HfScale::kMultiplies;
      return made(LoadHfTernary(files_, name, tensor.rows, tensor.cols, meaning));
    }
    switch (files_.Find(name)->type) {
      case SafetensorsType::kF16:
        return made(LoadHfMatrix<Rounded<Float16>>(files_, name, tensor.rows, tensor.cols));
      case SafetensorsType::kBF16:
        return made(LoadHfMatrix<Rounded<BFloat16>>(files_, name, tensor.rows, tensor.cols));
      default:
        return made(LoadHfMatrix<Unquantized>(files_, name, tensor.rows, tensor.cols));
    }
  }

  Error Refuse(const TensorInfo& tensor, const std::string& why) const {
    return files_.Refuse(*files_.Find(NameOf(tensor)), why);
  }
  std::string TypeName(const TensorInfo& tensor) const { return files_.Find(NameOf(tensor))->TypeAndShape(); }

 private:
  HfCheckpoint(std::string path, Safetensors files, CheckpointConfig config, ModelConfig model)
      : path_(std::move(path)), files_(std::move(files)), config_(std::move(config)), model_config_(std::move(model)) {}

  bool IsPacked() const {
    return config_.weights == CheckpointWeights::kPackedDividing ||
           config_.weights == CheckpointWeights::kPackedMultiplying;
  }
  std::string NameOf(const TensorInfo& tensor) const {
    Result<std::string> name = FindHfName(files_, tensor.layer, tensor.name);
    BITNET_ASSERT(name.ok(), "HfCheckpoint: the tensor is none of this model");
    return *std::move(name);
  }

  std::string path_;
  Safetensors files_;
  CheckpointConfig config_;
  ModelConfig model_config_;
};

}  // namespace bitnet

#endif  // BITNET_IO_HF_CHECKPOINT_H_
