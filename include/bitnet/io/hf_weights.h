// Weights of a transformers checkpoint: from safetensors files into matrices, without a float copy of any.
//
//   CheckHfTensors(files, config)                    which tensors there are: all that the model needs, and no others
//   LoadHfTernary(files, name, rows, cols, meaning)  packed ternary weights and their scale (io/hf_packed.h)
//   LoadHfMatrix<Q>(files, name, rows, cols)         reals, quantized by Q as they are read (io/quantize_rows.h)
//   LoadHfReals(files, name, shape, values)          reals as they are: gains
//   LoadHfLatentWeights(files, config)               all reals of a checkpoint, to train on from
//
// Names are those of tensors (io/hf_names.h). Reals are F32, F16 or BF16, and must be finite. Each function leaves the
// pages of what it has read to others; several threads may load at once.
#ifndef BITNET_IO_HF_WEIGHTS_H_
#define BITNET_IO_HF_WEIGHTS_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bitnet/base/assert.h"
#include "bitnet/base/check_numbers.h"
#include "bitnet/base/result.h"
#include "bitnet/format/format.h"
#include "bitnet/io/checkpoint_config.h"
#include "bitnet/io/hf_names.h"
#include "bitnet/io/hf_packed.h"
#include "bitnet/io/quantize_rows.h"
#include "bitnet/io/safetensors.h"
#include "bitnet/model/tensors.h"
#include "bitnet/model/weights.h"
#include "bitnet/tensor/quantized_matrix.h"
#include "bitnet/tensor/stored_reals.h"

namespace bitnet {

namespace detail {

// A tensor of reals, row by row of `cols`.
class HfReals {
 public:
  static Result<HfReals> Find(const Safetensors& files, std::string_view name, std::span<const uint64_t> shape) {
    const Result<const SafetensorsTensor*> tensor = files.Get(name, shape);
    if (!tensor.ok()) return Error{tensor.error()};
    switch ((*tensor)->type) {
      case SafetensorsType::kF32:
      case SafetensorsType::kF16:
      case SafetensorsType::kBF16:
        return HfReals(files, **tensor);
      default:
        return files.Refuse(**tensor, "reals were expected: F32, F16 or BF16");
    }
  }

  // values[0, n) = those from value number `first` on.
  void Read(size_t first, std::span<float> values) const {
    const std::span<const uint8_t> bytes = files_->Bytes(*tensor_);
    switch (tensor_->type) {
      case SafetensorsType::kF32:
        return LoadReals<Float>(bytes.data() + first * sizeof(float), values);
      case SafetensorsType::kF16:
        return LoadReals<Float16>(bytes.data() + first * sizeof(Float16), values);
      default:
        return LoadReals<BFloat16>(bytes.data() + first * sizeof(BFloat16), values);
    }
  }

  Error Refuse(const std::string& why) const { return files_->Refuse(*tensor_, why); }
  void Release() const { files_->Release(*tensor_); }

 private:
  HfReals(const Safetensors& files, const SafetensorsTensor& tensor) : files_(&files), tensor_(&tensor) {}
  const Safetensors* files_;
  const SafetensorsTensor* tensor_;
};

}  // namespace detail

// values = the reals of a tensor of this shape, whose product their number must be.
inline Result<Done> LoadHfReals(const Safetensors& files, std::string_view name, std::span<const uint64_t> shape,
                                std::span<float> values) {
  const Result<detail::HfReals> reals = detail::HfReals::Find(files, name, shape);
  if (!reals.ok()) return Error{reals.error()};
  uint64_t count = 1;
  for (const uint64_t dimension : shape) count *= dimension;  // that of a tensor that is there
  BITNET_ASSERT(count == values.size(), "LoadHfReals: there must be room for each value of the shape");
  reals->Read(0, values);
  const std::string fault = FaultOfNumbers(values, NumberRange::kFinite);
  if (!fault.empty()) return reals->Refuse(fault);
  reals->Release();
  return Done{};
}

// A matrix [rows, cols] of reals, quantized by Q: QuantizedMatrix::Quantize<Q> of them, to the bit.
template <AnyQuantizer Q>
Result<QuantizedMatrix<typename Q::Format>> LoadHfMatrix(const Safetensors& files, std::string_view name, size_t rows,
                                                         size_t cols) {
  using F = typename Q::Format;
  const uint64_t shape[] = {rows, cols};
  const Result<detail::HfReals> reals = detail::HfReals::Find(files, name, shape);
  if (!reals.ok()) return Error{reals.error()};
  std::string fault;
  QuantizedMatrix<F> matrix = QuantizeRows<Q>(rows, cols, [&](size_t r, std::span<float> values) {
    reals->Read(r * cols, values);
    if constexpr (kIsFloat<F>) {
      for (size_t c = 0; c < cols && fault.empty(); ++c) {
        if (std::isfinite(float{NearestReal<F>(values[c])})) continue;
        fault = "row " + std::to_string(r) + ", column " + std::to_string(c) + " is " + std::to_string(values[c]) +
                ", which has no finite value in the matrix";
      }
    }
  });
  // Steps of what is not finite are not finite.
  if (fault.empty() && !kIsFloat<F>)
    fault = FaultOfNumbers(matrix.steps(), NumberRange::kFiniteNotNegative, "the step");
  if (!fault.empty()) return reals->Refuse(fault);
  reals->Release();
  return matrix;
}

// A matrix [rows, cols] of packed ternary weights: the bytes of tensor `name`, the scale of `name` + "_scale".
inline Result<QuantizedMatrix<Ternary>> LoadHfTernary(const Safetensors& files, std::string_view name, size_t rows,
                                                      size_t cols, HfScale meaning) {
  if (rows % 4 != 0) {
    return Error{files.Where() + ": " + Quoted(name) + ": packed weights have a multiple of 4 rows, not " +
                 std::to_string(rows)};
  }
  const uint64_t shape[] = {rows / 4, cols};
  const Result<const SafetensorsTensor*> packed = files.Get(name, shape);
  if (!packed.ok()) return Error{packed.error()};
  if ((*packed)->type != SafetensorsType::kU8) return files.Refuse(**packed, "packed weights were expected: U8");

  const std::string scale_name = std::string(name) + "_scale";
  const SafetensorsTensor* const scalar = files.Find(scale_name);
  const uint64_t one[] = {1};
  float scale = 0.0f;
  const std::span<const uint64_t> scale_shape =
      scalar != nullptr && scalar->shape.empty() ? std::span<const uint64_t>() : std::span<const uint64_t>(one);
  if (Result<Done> read = LoadHfReals(files, scale_name, scale_shape, std::span(&scale, 1)); !read.ok()) {
    return Error{read.error()};
  }
  const Result<float> step = StepOfHfScale(scale, meaning);
  if (!step.ok()) return files.Refuse(*scalar, step.error());
  Result<QuantizedMatrix<Ternary>> matrix = UnpackHf(files.Bytes(**packed), rows, cols, *step);
  if (!matrix.ok()) return files.Refuse(**packed, matrix.error());
  files.Release(**packed);
  return matrix;
}

// Whether the tensors are those of the model that `config` describes: each there, with its shape, and no others.
// (Scales go with packed weights. Tables of angles, which old files have, say nothing new; nor does a head that is a
// copy of the embedding, to which it is tied.)
inline Result<Done> CheckHfTensors(const Safetensors& files, const CheckpointConfig& config) {
  const Result<ModelConfig> model = ModelConfigOf(config);
  if (!model.ok()) return Error{model.error()};
  const bool packed =
      config.weights == CheckpointWeights::kPackedDividing || config.weights == CheckpointWeights::kPackedMultiplying;
  std::vector<std::string> known;
  std::string fault;
  const auto check = [&](std::optional<size_t> layer, std::string_view name, std::vector<uint64_t> shape,
                         bool is_packed) {
    if (!fault.empty()) return;
    const Result<std::string> found = FindHfName(files, layer, name);
    if (!found.ok()) {
      fault = found.error();
      return;
    }
    if (is_packed) {
      if (shape[0] % 4 != 0) {
        fault = files.Where() + ": " + *found + ": packed weights have a multiple of 4 rows, not " +
                std::to_string(shape[0]);
        return;
      }
      shape[0] /= 4;
    }
    const Result<const SafetensorsTensor*> tensor = files.Get(*found, shape);
    if (!tensor.ok()) {
      fault = tensor.error();
      return;
    }
    known.push_back(*found);
    if (!is_packed) return;
    if (files.Find(*found + "_scale") == nullptr) {
      fault = files.Refuse(**tensor, "there is no " + *found + "_scale").message;
      return;
    }
    known.push_back(*found + "_scale");
  };
  const auto check_info = [&](const TensorInfo& tensor) {
    if (tensor.role == TensorRole::kGain) {
      check(tensor.layer, tensor.name, {tensor.cols}, false);
    } else {
      check(tensor.layer, tensor.name, {tensor.rows, tensor.cols}, packed && tensor.role == TensorRole::kProjection);
    }
  };
  ForEachTensorBeforeLayers(*model, check_info);
  // Layer by layer: how many there are is believed only as far as the file has them.
  for (size_t i = 0; i < config.layers && fault.empty(); ++i) {
    ForEachTensorOfLayer(*model, i, check_info);
  }
  ForEachTensorAfterLayers(*model, check_info);
  if (!fault.empty()) return Error{fault};

  std::sort(known.begin(), known.end());
  const std::string head = HfNameOf({}, "head").now;
  for (const SafetensorsTensor& tensor : files.tensors()) {
    if (std::binary_search(known.begin(), known.end(), tensor.name)) continue;
    if (tensor.name.ends_with(".rotary_emb.inv_freq")) continue;
    if (tensor.name == head && config.tied_embedding) {
      const SafetensorsTensor& embedding = *files.Find(HfNameOf({}, "embedding").now);
      if (tensor.type == embedding.type && std::ranges::equal(files.Bytes(tensor), files.Bytes(embedding))) continue;
      return files.Refuse(tensor, "the head is tied to the embedding, and yet another matrix");
    }
    return files.Refuse(tensor, "the model that the configuration describes has no such tensor");
  }
  return Done{};
}

// All weights of a checkpoint of reals (masters). Precondition of training: what `config` says beside its dimensions
// (the activation, the scaling of the rotary embedding) is what the scheme and the model do. Norms of heads have no
// place in LatentWeights, and are refused.
inline Result<LatentWeights> LoadHfLatentWeights(const Safetensors& files, const CheckpointConfig& config) {
  if (config.head_norms) return Error{files.Where() + ": norms of query and key heads are not trained"};
  if (config.weights == CheckpointWeights::kPackedDividing || config.weights == CheckpointWeights::kPackedMultiplying) {
    return Error{files.Where() + ": the weights are packed, and no masters"};
  }
  // All tensors are there with their shapes: that bounds the memory.
  if (Result<Done> good = CheckHfTensors(files, config); !good.ok()) return Error{good.error()};
  const Result<ModelConfig> model = ModelConfigOf(config);
  LatentWeights weights = LatentWeights::Zeros(*model);
  std::string fault;
  weights.ForEach([&](const TensorInfo& tensor, std::span<float> values) {
    if (!fault.empty()) return;
    const Result<std::string> name = FindHfName(files, tensor.layer, tensor.name);
    std::vector<uint64_t> shape = {tensor.rows, tensor.cols};
    if (tensor.role == TensorRole::kGain) shape.erase(shape.begin());
    const Result<Done> loaded = LoadHfReals(files, *name, shape, values);
    if (!loaded.ok()) fault = loaded.error();
  });
  if (!fault.empty()) return Error{fault};
  return weights;
}

}  // namespace bitnet

#endif  // BITNET_IO_HF_WEIGHTS_H_
