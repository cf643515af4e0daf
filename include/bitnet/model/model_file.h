// Files of packed models: ModelWeights in canonical form, the same on every machine.
//
// After the seal (base/bytes.h): the configuration, then every tensor in the order of ForEachTensor. A tensor says its
// format, a quantized one by its levels, so one of other weights is refused; which quantizers the activations have is
// not in the file: that is the caller's scheme to know.
// Little-endian; every length is checked against the configuration and against what is left of the file before memory
// is taken. Steps are finite and not negative; gains and real weights are finite: others are neither written nor read.
#ifndef BITNET_MODEL_MODEL_FILE_H_
#define BITNET_MODEL_MODEL_FILE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "bitnet/base/bytes.h"
#include "bitnet/base/check_numbers.h"
#include "bitnet/model/check_scheme.h"
#include "bitnet/model/tensors.h"
#include "bitnet/model/weights.h"

namespace bitnet {

inline constexpr FileKind kModelFile = {"BITNETMW", 1, "bitnet model file"};

namespace detail {

// A format's levels; none for floats. Of reals of 16 bits one number, as no list of levels is so short: the bits of
// their exponent.
inline constexpr int16_t kBFloat16Id = 8;
inline constexpr int16_t kFloat16Id = 5;
template <Format F>
std::vector<int16_t> FormatId() {
  std::vector<int16_t> id;
  if constexpr (LevelFormat<F>) {
    for (const int level : F::kLevels) id.push_back(static_cast<int16_t>(level));
  } else if constexpr (std::is_same_v<F, BFloat16>) {
    id.push_back(kBFloat16Id);
  } else if constexpr (std::is_same_v<F, Float16>) {
    id.push_back(kFloat16Id);
  }
  return id;
}

// A format in words: all of a short list of levels, the ends of a long one.
inline std::string LevelsInWords(std::span<const int16_t> levels) {
  if (levels.empty()) return "reals";
  if (levels.size() == 1 && levels[0] == kBFloat16Id) return "reals of 16 bits (bfloat16)";
  if (levels.size() == 1 && levels[0] == kFloat16Id) return "reals of 16 bits (float16)";
  if (levels.size() > 8) {
    return "the levels " + std::to_string(levels.front()) + " ... " + std::to_string(levels.back()) + " (" +
           std::to_string(levels.size()) + " levels)";
  }
  std::string words = "the levels ";
  for (size_t i = 0; i < levels.size(); ++i) words += (i == 0 ? "" : ", ") + std::to_string(levels[i]);
  return words;
}

// How many steps a matrix has, in words.
inline std::string StepsInWords(bool per_row, uint64_t group) {
  if (group == 0) return per_row ? "one step a row" : "one step a matrix";
  return "one step for each " + std::to_string(group) + " columns" + (per_row ? "" : " of all rows together");
}

// What is wrong with the numbers of a tensor, or nothing. A step is a distance: scale rules give none below zero, and
// NaN for weights that cannot be quantized (docs/numerics.md). Reals have the step 1.
inline std::string FaultOf(const std::vector<float>& gain) { return FaultOfNumbers(gain, NumberRange::kFinite); }
template <Format F>
std::string FaultOf(const QuantizedMatrix<F>& matrix) {
  if constexpr (kIsFloat<F>) {
    for (const float step : matrix.steps()) {
      if (step != 1.0f) return "it holds reals, and a step that is not 1";
    }
    std::vector<float> row(matrix.cols());
    for (size_t r = 0; r < matrix.rows(); ++r) {
      matrix.UnpackRow(r, row);
      const std::string fault = FaultOfNumbers(row, NumberRange::kFinite);
      if (!fault.empty()) return "row " + std::to_string(r) + ", " + fault;
    }
    return {};
  } else {
    if (!matrix.IsValid()) return "it holds codes that its number format does not have";
    return FaultOfNumbers(matrix.steps(), NumberRange::kFiniteNotNegative, "step");
  }
}

// The values that share a step, of the matrices of a role.
template <Scheme S, TensorRole kRole, bool kEdge>
StepGranularity GranularityAt() {
  return StepGranularity::Of<typename QuantizerAt<S, kRole, kEdge>::Granularity>();
}

inline void WriteGain(ByteWriter& to, const std::vector<float>& gain) { to.Numbers(std::span<const float>(gain)); }

template <Format F>
void WriteMatrix(ByteWriter& to, const QuantizedMatrix<F>& matrix) {
  const std::vector<int16_t> id = FormatId<F>();
  to.Numbers(std::span<const int16_t>(id));
  to.Number(static_cast<uint64_t>(matrix.rows()));
  to.Number(static_cast<uint64_t>(matrix.cols()));
  to.Number(static_cast<uint8_t>(matrix.granularity().per_row));
  to.Number(static_cast<uint64_t>(matrix.granularity().group));
  to.Numbers(matrix.bytes());
  to.Numbers(matrix.steps());
}

inline void ReadGain(ByteReader& from, const std::string& name, std::vector<float>& gain, size_t width) {
  if (width > from.remaining() / sizeof(float)) {
    from.Fail(name, "the file is too short for " + std::to_string(width) + " values");
    return;
  }
  gain.resize(width);
  from.Numbers(name, std::span(gain));
}

// The levels of the file's number format; fails where they are not the expected ones. (What follows is no template over
// formats where it need not be: a program has several.)
inline void ReadFormat(ByteReader& from, const std::string& name, const char* scheme,
                       const std::vector<int16_t>& expected) {
  const auto count = from.Number<uint64_t>(name);
  std::vector<int16_t> stored;
  if (from.ok() && count > 256) {
    from.Fail(name, "its number format has " + std::to_string(count) + " levels; there are at most 256");
    return;
  }
  for (uint64_t i = 0; i < count && from.ok(); ++i) stored.push_back(from.Number<int16_t>(name));
  if (!from.ok() || stored == expected) return;
  std::string difference;
  if (LevelsInWords(stored) == LevelsInWords(expected)) {
    const auto at = std::mismatch(stored.begin(), stored.end(), expected.begin());
    difference = ", of which level " + std::to_string(at.first - stored.begin()) + " is " + std::to_string(*at.second) +
                 ", not " + std::to_string(*at.first);
  }
  from.Fail(name, "the file has " + LevelsInWords(stored) + "; the scheme " + scheme + " expects " +
                      LevelsInWords(expected) + difference);
}

// What stands before the codes of a matrix of so many bytes a row: it must have the given format, shape and
// granularity, and a file that is long enough. Fails where it has not.
inline void ReadMatrixHeader(ByteReader& from, const std::string& name, const char* scheme,
                             const std::vector<int16_t>& format, size_t row_bytes, size_t rows, size_t cols,
                             StepGranularity granularity) {
  ReadFormat(from, name, scheme, format);
  const auto stored_rows = from.Number<uint64_t>(name);
  const auto stored_cols = from.Number<uint64_t>(name);
  const bool per_row = from.Flag(name);
  const auto group = from.Number<uint64_t>(name);
  if (from.ok() && (stored_rows != rows || stored_cols != cols)) {
    from.Fail(name, "it is " + std::to_string(stored_rows) + " x " + std::to_string(stored_cols) + ", expected " +
                        std::to_string(rows) + " x " + std::to_string(cols));
  }
  if (from.ok() && (per_row != granularity.per_row || group != granularity.group)) {
    from.Fail(name, "the file has " + StepsInWords(per_row, group) + "; the scheme " + scheme + " expects " +
                        StepsInWords(granularity.per_row, granularity.group));
  }
  if (!from.ok()) return;
  // What is left of the file bounds what is allocated. Dimensions are at most 2^24: nothing here reaches 2^63.
  const uint64_t steps = (granularity.per_row ? uint64_t{rows} : 1) * StepGroups{cols, granularity.group}.Count();
  const uint64_t codes = uint64_t{rows} * row_bytes;
  if (codes + steps * sizeof(float) > from.remaining()) {
    from.Fail(name, "the file is too short for " + std::to_string(rows) + " x " + std::to_string(cols) + " values");
  }
}

// The matrix must have the given shape and granularity: that of the scheme and the configuration.
template <Format F>
void ReadMatrix(ByteReader& from, const std::string& name, const char* scheme, QuantizedMatrix<F>& to, size_t rows,
                size_t cols, StepGranularity granularity) {
  ReadMatrixHeader(from, name, scheme, FormatId<F>(), QuantizedMatrix<F>::RowBytes(cols), rows, cols, granularity);
  if (!from.ok()) return;
  to = QuantizedMatrix<F>(rows, cols, granularity);
  from.Numbers(name, to.bytes());
  from.Numbers(name, to.steps());
}

}  // namespace detail

// What LoadModel would refuse, said before a file is made of it: another shape than the configuration's, codes without
// levels, and numbers that are not finite. The sentence names the tensor and the element.
template <Scheme S>
Result<Done> CheckModel(const ModelWeights<S>& model) {
  const ModelConfig& c = model.config;
  if (Result<Done> valid = c.Validate(); !valid.ok()) return valid;
  if (Result<Done> fits = CheckScheme<S>(c); !fits.ok()) return fits;
  if (model.layers.size() + model.edges.size() != c.layers) {
    return Error{"the model has " + std::to_string(model.layers.size() + model.edges.size()) +
                 " layers, its configuration " + std::to_string(c.layers)};
  }
  if (model.edges.size() != EdgeCount<S>(c)) {
    return Error{"the model has " + std::to_string(model.edges.size()) + " layers in `edges`, the scheme " + S::kName +
                 " " + std::to_string(EdgeCount<S>(c))};
  }
  for (size_t i = 0; i < c.layers; ++i) {
    const auto stray_norms = [&](const auto& layer) -> const char* {
      if (!c.sub_layer_norms && (!layer.attn_sub_norm.empty() || !layer.ffn_sub_norm.empty())) return "sub-layer norms";
      if (!c.head_norms && (!layer.q_norm.empty() || !layer.k_norm.empty())) return "norms of heads";
      return nullptr;
    };
    if (const char* stray = AtLayer<S>(c, i, stray_norms, model)) {
      return Error{"layer" + std::to_string(i) + " has gains of " + stray + ", which its configuration has not"};
    }
  }
  std::string fault;
  ForEachTensor(
      c,
      [&](auto tensor, const auto& values) {
        if (!fault.empty()) return;
        bool fits = false;
        if constexpr (tensor.kRole == TensorRole::kGain) {
          fits = values.size() == tensor.cols;
        } else {
          fits = values.rows() == tensor.rows && values.cols() == tensor.cols &&
                 values.granularity() == detail::GranularityAt<S, tensor.kRole, tensor.kEdge>();
        }
        fault =
            fits ? detail::FaultOf(values)
                 : "its shape or its steps are not those of the configuration and the scheme " + std::string(S::kName);
        if (!fault.empty()) fault = tensor.FullName() + ": " + fault;
      },
      model);
  if (!fault.empty()) return Error{fault};
  return Done{};
}

// Writes what is there: CheckModel says whether it will be read.
template <Scheme S>
std::vector<uint8_t> SerializeModel(const ModelWeights<S>& model) {
  ByteWriter to;
  model.config.Write(to);
  const auto write = [&](auto tensor, const auto& values) {
    if constexpr (tensor.kRole == TensorRole::kGain) {
      detail::WriteGain(to, values);
    } else {
      detail::WriteMatrix(to, values);
    }
  };
  ModelConfig there = model.config;
  there.layers = static_cast<uint32_t>(model.layers.size() + model.edges.size());
  ForEachTensor(there, write, model);
  return std::move(to.bytes());
}

// Reads a packed model part by part, in this order: BeforeLayers, each Layer, AfterLayers. After an error nothing more
// is read.
template <Scheme S>
class ModelReader {
 public:
  // `payload` starts at kSealHeaderBytes of the file, for messages.
  explicit ModelReader(std::span<const uint8_t> payload)
      : size_(payload.size()), from_(payload, kSealHeaderBytes), config_(ModelConfig::Read(from_)) {
    if (!from_.ok()) {
      error_ = from_.error();
    } else if (Result<Done> valid = config_.Validate(); !valid.ok()) {
      error_ = valid.error();
    } else if (Result<Done> fits = CheckScheme<S>(config_); !fits.ok()) {
      error_ = fits.error();
    }
  }

  const ModelConfig& config() const { return config_; }
  bool ok() const { return error_.empty(); }
  const std::string& error() const { return error_; }
  // Of the payload, how many bytes were read.
  size_t position() const { return size_ - from_.remaining(); }

  // The members of weights that stand before the layers; of layer i; and those that stand after them, which must be
  // all that is left.
  void BeforeLayers(ModelWeights<S>& weights) {
    Read([&](auto&& read) { ForEachTensorBeforeLayers(config_, read, weights); });
  }
  void Layer(size_t i, LayerWeights<S>& layer) {
    Read([&](auto&& read) { ForEachTensorOfLayer(config_, i, read, layer); });
  }
  void Edge(size_t i, LayerWeights<EdgeOf<S>>& layer) requires(kHasEdges<S>) {
    Read([&](auto&& read) { ForEachTensorOfLayer<true>(config_, i, read, layer); });
  }
  void AfterLayers(ModelWeights<S>& weights) {
    Read([&](auto&& read) {
      ForEachTensorAfterLayers(config_, read, weights);
      if (from_.ok() && from_.remaining() != 0) {
        from_.Fail("the end", std::to_string(from_.remaining()) + " bytes follow the last tensor; none were expected");
      }
    });
  }

 private:
  // each(read(tensor, values)).
  template <class Each>
  void Read(Each&& each) {
    if (!ok()) return;
    each([&](auto tensor, auto& values) {
      if (!from_.ok()) return;
      const std::string name = tensor.FullName();
      if constexpr (tensor.kRole == TensorRole::kGain) {
        detail::ReadGain(from_, name, values, tensor.cols);
      } else {
        detail::ReadMatrix(from_, name, S::kName, values, tensor.rows, tensor.cols,
                           detail::GranularityAt<S, tensor.kRole, tensor.kEdge>());
      }
      if (!from_.ok()) return;
      const std::string fault = detail::FaultOf(values);
      if (!fault.empty()) from_.Fail(name, fault);
    });
    if (!from_.ok()) error_ = from_.error();
  }

  size_t size_;
  ByteReader from_;
  ModelConfig config_;
  std::string error_;
};

// `payload` starts at kSealHeaderBytes of the file, for messages.
template <Scheme S>
Result<ModelWeights<S>> DeserializeModel(std::span<const uint8_t> payload) {
  ModelReader<S> reader(payload);
  ModelWeights<S> model;
  model.config = reader.config();
  reader.BeforeLayers(model);
  // Layers are made one by one: how many the file says is believed only as far as its bytes reach.
  for (size_t i = 0; i < model.config.layers && reader.ok(); ++i) {
    if constexpr (kHasEdges<S>) {
      if (IsEdge(model.config, i)) {
        reader.Edge(i, model.edges.emplace_back());
        continue;
      }
    }
    reader.Layer(i, model.layers.emplace_back());
  }
  reader.AfterLayers(model);
  if (!reader.ok()) return Error{reader.error()};
  return model;
}

// Refuses what CheckModel does, and leaves the old file.
template <Scheme S>
Result<Done> SaveModel(const ModelWeights<S>& model, const std::string& path) {
  if (Result<Done> good = CheckModel(model); !good.ok()) return Error{path + ": not written: " + good.error()};
  return SaveSealed(path, kModelFile, SerializeModel(model));
}

template <Scheme S>
Result<ModelWeights<S>> LoadModel(const std::string& path, const ReadLimits& limits = {}) {
  const Result<std::vector<uint8_t>> payload = LoadSealed(path, kModelFile, limits);
  if (!payload.ok()) return Error{payload.error()};
  Result<ModelWeights<S>> model = DeserializeModel<S>(*payload);
  if (!model.ok()) return Error{path + ": " + model.error()};
  return model;
}
// Of what is no scheme: ModelWeights says so.
template <class S>
requires(!detail::kIsScheme<S>) Result<ModelWeights<S>> LoadModel(const std::string&, const ReadLimits& = {}) {
  return ModelWeights<S>();
}

}  // namespace bitnet

#endif  // BITNET_MODEL_MODEL_FILE_H_
