// Files of packed models: ModelWeights in canonical form, the same on every machine.
//
// After the seal (base/bytes.h): the configuration, whether there are sub-layer norms, then every tensor in the order
// of the members. A quantized tensor says its format by its levels, so one of other weights is refused; which
// quantizers the activations have is not in the file: that is the caller's scheme to know.
// Little-endian; every length is checked against the configuration before memory is taken.
#ifndef BITNET_MODEL_MODEL_FILE_H_
#define BITNET_MODEL_MODEL_FILE_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bitnet/base/bytes.h"
#include "bitnet/base/size.h"
#include "bitnet/model/check_scheme.h"
#include "bitnet/model/weights.h"

namespace bitnet {

inline constexpr FileKind kModelFile = {"BITNETMW", 1, "bitnet model file"};

namespace detail {

template <Format F>
std::vector<int16_t> FormatId() {
  std::vector<int16_t> levels;
  if constexpr (!kIsFloat<F>) {
    for (const int level : F::kLevels) levels.push_back(static_cast<int16_t>(level));
  }
  return levels;
}

template <Format F>
void WriteMatrix(ByteWriter& to, const QuantizedMatrix<F>& matrix) {
  const std::vector<int16_t> id = FormatId<F>();
  to.Numbers(std::span<const int16_t>(id));
  to.Number(static_cast<uint64_t>(matrix.rows()));
  to.Number(static_cast<uint64_t>(matrix.cols()));
  to.Number(static_cast<uint8_t>(matrix.layout().per_row));
  to.Number(static_cast<uint64_t>(matrix.layout().group));
  to.Numbers(matrix.bytes());
  to.Numbers(matrix.steps());
}

// The matrix must have the given shape and step layout: that of the scheme and the configuration.
template <Format F>
QuantizedMatrix<F> ReadMatrix(ByteReader& from, const std::string& name, size_t rows, size_t cols, StepLayout layout) {
  const std::vector<int16_t> id = FormatId<F>();
  std::vector<int16_t> stored(id.size());
  from.Numbers(name + " (levels of its number format)", std::span(stored));
  if (from.ok() && stored != id) {
    from.Fail(name, "its number format has other levels than the scheme's: the file was made by another scheme");
  }
  const auto stored_rows = from.Number<uint64_t>(name);
  const auto stored_cols = from.Number<uint64_t>(name);
  const bool per_row = from.Number<uint8_t>(name) != 0;
  const auto group = from.Number<uint64_t>(name);
  if (from.ok() && (stored_rows != rows || stored_cols != cols)) {
    from.Fail(name, "it is " + std::to_string(stored_rows) + " x " + std::to_string(stored_cols) + ", expected " +
                        std::to_string(rows) + " x " + std::to_string(cols));
  }
  if (from.ok() && (per_row != layout.per_row || group != layout.group)) {
    from.Fail(name, "its steps have another granularity than the scheme's");
  }
  // What is left of the file bounds what is allocated.
  const std::optional<size_t> step_bytes =
      CheckedProduct(layout.per_row ? rows : size_t{1}, Segments{cols, layout.group}.Count(), sizeof(float));
  if (from.ok() && (!step_bytes || *step_bytes > from.remaining() ||
                    QuantizedMatrix<F>::RowBytes(cols) > (from.remaining() - *step_bytes) / rows)) {
    from.Fail(name, "the file is too short for " + std::to_string(rows) + " x " + std::to_string(cols) + " values");
  }
  if (!from.ok()) return {};
  QuantizedMatrix<F> matrix(rows, cols, layout);
  from.Numbers(name, matrix.bytes());
  from.Numbers(name, matrix.steps());
  if (from.ok() && !matrix.IsValid()) from.Fail(name, "it holds codes that its number format does not have");
  return matrix;
}

inline std::vector<float> ReadGain(ByteReader& from, const std::string& name, size_t width) {
  if (width > from.remaining() / sizeof(float)) {
    from.Fail(name, "the file is too short for " + std::to_string(width) + " values");
    return {};
  }
  std::vector<float> gain(width);
  from.Numbers(name, std::span(gain));
  return gain;
}

}  // namespace detail

template <Scheme S>
std::vector<uint8_t> SerializeModel(const ModelWeights<S>& model) {
  ByteWriter to;
  model.config.Write(to);
  to.Number(static_cast<uint8_t>(S::kSubLayerNorms));
  const auto gain = [&](const std::vector<float>& values) { to.Numbers(std::span<const float>(values)); };
  detail::WriteMatrix(to, model.embedding);
  for (const LayerWeights<S>& l : model.layers) {
    gain(l.attn_norm);
    for (const auto* m : {&l.q, &l.k, &l.v, &l.o}) detail::WriteMatrix(to, *m);
    if (S::kSubLayerNorms) gain(l.attn_sub_norm);
    gain(l.ffn_norm);
    for (const auto* m : {&l.gate, &l.up, &l.down}) detail::WriteMatrix(to, *m);
    if (S::kSubLayerNorms) gain(l.ffn_sub_norm);
  }
  gain(model.final_norm);
  if (!model.config.tied_embedding) detail::WriteMatrix(to, model.head);
  return std::move(to.bytes());
}

// `payload` starts at kSealHeaderBytes of the file, for messages.
template <Scheme S>
Result<ModelWeights<S>> DeserializeModel(std::span<const uint8_t> payload) {
  ByteReader from(payload, kSealHeaderBytes);
  ModelWeights<S> model;
  const ModelConfig c = model.config = ModelConfig::Read(from);
  const bool sub_norms = from.Number<uint8_t>("the configuration") != 0;
  if (!from.ok()) return Error{from.error()};
  if (Result<Done> valid = c.Validate(); !valid.ok()) return Error{valid.error()};
  if (Result<Done> fits = CheckScheme<S>(c); !fits.ok()) return Error{fits.error()};
  if (sub_norms != S::kSubLayerNorms) {
    return Error{std::string("the model has ") + (sub_norms ? "" : "no ") +
                 "sub-layer norms; the scheme is the other kind (see WithSubLayerNorms)"};
  }
  const auto head = [&](const std::string& name) {
    return detail::ReadMatrix<typename S::HeadWeight::Format>(from, name, c.vocab, c.hidden,
                                                              StepLayout::Of<typename S::HeadWeight::Granularity>());
  };
  model.embedding = head("embedding");
  for (uint32_t i = 0; i < c.layers && from.ok(); ++i) {
    const std::string at = "layer" + std::to_string(i) + ".";
    const auto matrix = [&](const char* name, size_t rows, size_t cols) {
      return detail::ReadMatrix<typename S::Weight::Format>(from, at + name, rows, cols,
                                                            StepLayout::Of<typename S::Weight::Granularity>());
    };
    LayerWeights<S>& l = model.layers.emplace_back();
    l.attn_norm = detail::ReadGain(from, at + "attn_norm", c.hidden);
    l.q = matrix("q", c.query_width(), c.hidden);
    l.k = matrix("k", c.kv_width(), c.hidden);
    l.v = matrix("v", c.kv_width(), c.hidden);
    l.o = matrix("o", c.hidden, c.query_width());
    if (S::kSubLayerNorms) l.attn_sub_norm = detail::ReadGain(from, at + "attn_sub_norm", c.query_width());
    l.ffn_norm = detail::ReadGain(from, at + "ffn_norm", c.hidden);
    l.gate = matrix("gate", c.ffn, c.hidden);
    l.up = matrix("up", c.ffn, c.hidden);
    l.down = matrix("down", c.hidden, c.ffn);
    if (S::kSubLayerNorms) l.ffn_sub_norm = detail::ReadGain(from, at + "ffn_sub_norm", c.ffn);
  }
  model.final_norm = detail::ReadGain(from, "final_norm", c.hidden);
  if (!c.tied_embedding) model.head = head("head");
  if (from.ok() && from.remaining() != 0) {
    from.Fail("the end", std::to_string(from.remaining()) + " bytes follow the last tensor; none were expected");
  }
  if (!from.ok()) return Error{from.error()};
  return model;
}

template <Scheme S>
Result<Done> SaveModel(const ModelWeights<S>& model, const std::string& path) {
  return SaveSealed(path, kModelFile, SerializeModel(model));
}

template <Scheme S>
Result<ModelWeights<S>> LoadModel(const std::string& path) {
  Result<std::vector<uint8_t>> payload = LoadSealed(path, kModelFile);
  if (!payload.ok()) return Error{payload.error()};
  Result<ModelWeights<S>> model = DeserializeModel<S>(*payload);
  if (!model.ok()) return Error{path + ": " + model.error()};
  return model;
}
// Of what is no scheme: ModelWeights says so.
template <class S>
requires(!detail::kIsScheme<S>) Result<ModelWeights<S>> LoadModel(const std::string&) { return ModelWeights<S>(); }

}  // namespace bitnet

#endif  // BITNET_MODEL_MODEL_FILE_H_
