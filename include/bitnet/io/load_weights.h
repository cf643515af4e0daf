// LoadWeights<S>: the weights of a public checkpoint as a scheme has them, for Transformer<S>.
//
//   Result<Checkpoint> checkpoint = Checkpoint::Open("ggml-model-i2_s.gguf");
//   using Scheme = WithInt8Cache<WithFloat16Head<B158>>;  // that of the released 2B model
//   Result<ModelWeights<Scheme>> weights = LoadWeights<Scheme>(*checkpoint);
//
// Codes stay codes, and reals what they are, where the scheme has that format and steps for as many weights. Where it
// has another, reals are quantized by its quantizer, and a head of codes becomes reals if the scheme has them there.
// What the scheme does otherwise than the file says is refused: so is another activation. (io/any_model.h has models of
// whatever formats a file has.)
#ifndef BITNET_IO_LOAD_WEIGHTS_H_
#define BITNET_IO_LOAD_WEIGHTS_H_

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "bitnet/base/result.h"
#include "bitnet/io/checkpoint.h"
#include "bitnet/io/quantize_rows.h"
#include "bitnet/io/quoted.h"
#include "bitnet/model/check_scheme.h"
#include "bitnet/model/model_file.h"
#include "bitnet/model/tensors.h"
#include "bitnet/model/weights.h"
#include "bitnet/scheme/scheme.h"

namespace bitnet {

// Called before each tensor: (tensors read so far, of so many). By one thread at a time.
using LoadProgress = std::function<void(size_t, size_t)>;

namespace detail {

// A matrix as the quantizer Q makes them: as it is, where it has that format and those steps; or quantized, where it
// has reals.
template <AnyQuantizer Q, Format Stored>
Result<QuantizedMatrix<typename Q::Format>> TakeMatrix(const Checkpoint& checkpoint, const TensorInfo& tensor,
                                                       QuantizedMatrix<Stored>&& from) {
  constexpr size_t kGroup = kGroupSize<typename Q::Granularity>;
  const auto steps = [](size_t group) {
    return group == 0 ? "whole rows" : "groups of " + std::to_string(group) + " columns";
  };
  // Reals of fewer bits may not hold them.
  const auto finite = [&](QuantizedMatrix<typename Q::Format> matrix) -> Result<QuantizedMatrix<typename Q::Format>> {
    if constexpr (kKeepsReals<Q>) {
      const std::string fault = FaultOf(matrix);
      if (!fault.empty()) return checkpoint.Refuse(tensor, "in the scheme's reals: " + fault);
    }
    return matrix;
  };
  if constexpr (std::is_same_v<Stored, typename Q::Format>) {
    if (from.granularity().group != kGroup) {
      return checkpoint.Refuse(tensor, "its steps stand for " + steps(from.granularity().group) +
                                           "; those of the scheme for " + steps(kGroup));
    }
    return std::move(from);
  } else if constexpr (RealFormat<Stored>) {
    return finite(QuantizeRows<Q>(from));
  } else if constexpr (kKeepsReals<Q>) {
    return finite(QuantizeRows<Q>(from.rows(), from.cols(),
                                  [&](size_t row, std::span<float> values) { from.DequantizeRow(row, values); }));
  } else {
    return checkpoint.Refuse(tensor,
                             "its type is " + checkpoint.TypeName(tensor) + ", and the scheme has other levels there");
  }
}

}  // namespace detail

// One tensor after the other.
template <Scheme S>
Result<ModelWeights<S>> LoadWeights(const Checkpoint& checkpoint, const LoadProgress& progress = {}) {
  const ModelConfig& config = checkpoint.model_config();
  const auto refuse = [&](const std::string& why) { return Error{checkpoint.path() + ": " + why}; };
  const bool is_silu = checkpoint.config().activation == ActivationKind::kSilu;
  if (is_silu ? !std::is_same_v<typename S::FfnActivation, Silu>
              : !std::is_same_v<typename S::FfnActivation, SquaredRelu>) {
    return refuse("architecture " + Quoted(checkpoint.config().architecture) + " has the activation " +
                  (is_silu ? "SiLU" : "squared ReLU") + ", and the scheme another");
  }
  if (Result<Done> fits = CheckScheme<S>(config); !fits.ok()) return refuse(fits.error());
  ModelWeights<S> model;
  model.config = config;
  model.layers.resize(InnerCount<S>(config));
  model.edges.resize(EdgeCount<S>(config));
  size_t read = 0, count = 0;
  ForEachTensor(config, [&](const TensorInfo&) { ++count; });
  std::string problem;
  const auto load = [&](auto tensor, auto& to) {
    if (!problem.empty()) return;
    if (progress) progress(read, count);
    ++read;
    if constexpr (tensor.kRole == TensorRole::kGain) {
      Result<std::vector<float>> gain = checkpoint.Gain(tensor);
      if (!gain.ok()) return void(problem = gain.error());
      to = *std::move(gain);
    } else {
      Result<TensorMatrix> matrix = checkpoint.Matrix(tensor);
      if (!matrix.ok()) return void(problem = matrix.error());
      auto taken = std::visit(
          [&](auto& from) {
            return detail::TakeMatrix<QuantizerAt<S, tensor.kRole, tensor.kEdge>>(checkpoint, tensor, std::move(from));
          },
          *matrix);
      if (!taken.ok()) return void(problem = taken.error());
      to = *std::move(taken);
    }
  };
  ForEachTensor(config, load, model);
  if (!problem.empty()) return Error{problem};
  return model;
}

}  // namespace bitnet

#endif  // BITNET_IO_LOAD_WEIGHTS_H_
