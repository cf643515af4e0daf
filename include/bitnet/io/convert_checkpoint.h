// A checkpoint of one kind as one of the other: a GGUF file as a folder of transformers with packed weights, and such a
// folder as a GGUF file.
//
//   ConvertToHf(checkpoint, "folder")                     model.safetensors, config.json and the tokenizer's files
//   ConvertToGguf(checkpoint, "out.gguf", {.type = ...})  one file, with the tokenizer of the folder
//
// Codes are exact. So are scales in a folder, where they are floats by which outputs are multiplied (`autobitlinear`);
// in GGUF they are what the type holds (io/convert_gguf.h), and the report says what that loses. Gains become floats,
// which is exact; embeddings and heads of 16 or 32 bits stay what they are, and others become floats in a folder.
// Masters are quantized as they are loaded to run: by the mean magnitude of each matrix.
//
// Refused by a sentence: what the other kind cannot say. (Of a tokenizer that is a note, and the model is without one.)
// Each file takes its place when all of it is on the disk; of a folder the weights go first, then config.json, then the
// tokenizer's files. One matrix at a time is in memory.
#ifndef BITNET_IO_CONVERT_CHECKPOINT_H_
#define BITNET_IO_CONVERT_CHECKPOINT_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "bitnet/base/file.h"
#include "bitnet/base/result.h"
#include "bitnet/io/checkpoint.h"
#include "bitnet/io/checkpoint_config.h"
#include "bitnet/io/convert_gguf.h"
#include "bitnet/io/encode_tensor.h"
#include "bitnet/io/gguf_writer.h"
#include "bitnet/io/hf_config.h"
#include "bitnet/io/hf_names.h"
#include "bitnet/io/hf_packed.h"
#include "bitnet/io/load_tokenizer.h"
#include "bitnet/io/quantize_rows.h"
#include "bitnet/io/rope_scaling.h"
#include "bitnet/io/safetensors_writer.h"
#include "bitnet/io/tensor_matrix.h"
#include "bitnet/io/write_tokenizer_gguf.h"
#include "bitnet/io/write_tokenizer_hf.h"
#include "bitnet/model/tensors.h"
#include "bitnet/quant/quantizer.h"
#include "bitnet/quant/scale_rule.h"

namespace bitnet {

namespace detail {

// A projection as codes: masters are quantized.
inline TensorMatrix CodesOfProjection(TensorMatrix matrix) {
  return std::visit(
      []<Format F>(QuantizedMatrix<F>& m) -> TensorMatrix {
        if constexpr (RealFormat<F>) {
          return QuantizeRows<Quantizer<Ternary, AbsMean>>(
              m.rows(), m.cols(), [&](size_t row, std::span<float> values) { m.UnpackRow(row, values); });
        } else {
          return std::move(m);
        }
      },
      matrix);
}

// A projection as one ternary matrix with one step, as packed weights are.
inline Result<QuantizedMatrix<Ternary>> PackedProjection(const Checkpoint& checkpoint, const TensorInfo& tensor) {
  Result<TensorMatrix> read = checkpoint.Matrix(tensor);
  if (!read.ok()) return Error{read.error()};
  TensorMatrix codes = CodesOfProjection(*std::move(read));
  auto* const matrix = std::get_if<QuantizedMatrix<Ternary>>(&codes);
  if (matrix == nullptr) {
    return checkpoint.Refuse(tensor, "it has other levels than -1, 0 and 1, which packed weights have not");
  }
  const float step = matrix->steps().empty() ? 0.0f : matrix->steps()[0];
  for (const float other : matrix->steps()) {
    if (other != step) return checkpoint.Refuse(tensor, "it has several scales; packed weights have one");
  }
  if (!std::isnormal(step) || step < 0.0f) {
    return checkpoint.Refuse(tensor, "its scale is " + std::to_string(step) + "; packed weights have a positive one");
  }
  if (matrix->rows() % 4 != 0) {
    return checkpoint.Refuse(tensor,
                             "it has " + std::to_string(matrix->rows()) + " rows; packed weights have multiples of 4");
  }
  if (!matrix->granularity().per_row) return std::move(*matrix);
  QuantizedMatrix<Ternary> one(matrix->rows(), matrix->cols(), StepGranularity::Of<Whole>());
  std::copy(matrix->bytes().begin(), matrix->bytes().end(), one.bytes().begin());
  one.steps()[0] = step;
  return one;
}

// Rows of heads brought from rotate-half to pairs of neighbours: the opposite of PairsToHalves.
template <Format F>
void HalvesToPairs(QuantizedMatrix<F>& matrix, size_t head_dim) {
  const QuantizedMatrix<F> from = matrix;
  const size_t row_bytes = QuantizedMatrix<F>::RowBytes(matrix.cols());
  const size_t row_steps = matrix.granularity().per_row ? matrix.step_groups().Count() : 0;
  for (size_t r = 0; r < matrix.rows(); ++r) {
    const size_t in_head = r % head_dim;
    const size_t source = r - in_head + in_head % 2 * (head_dim / 2) + in_head / 2;
    std::copy_n(from.bytes().begin() + static_cast<std::ptrdiff_t>(source * row_bytes), row_bytes,
                matrix.bytes().begin() + static_cast<std::ptrdiff_t>(r * row_bytes));
    std::copy_n(from.steps().begin() + static_cast<std::ptrdiff_t>(source * row_steps), row_steps,
                matrix.steps().begin() + static_cast<std::ptrdiff_t>(r * row_steps));
  }
}

// What transformers calls a model of this configuration; an error where it has none such.
inline Result<CheckpointConfig> HfConfigOf(const Checkpoint& checkpoint) {
  CheckpointConfig c = checkpoint.config();
  if (c.architecture == "bitnet-b1.58" || c.architecture == "bitnet-25") c.architecture = "bitnet";
  c.weights = CheckpointWeights::kPackedMultiplying;
  c.input_bits = 8;
  if (c.rope_scaling.kind == RopeScalingKind::kDefault && !checkpoint.model_config().rope_frequencies.empty()) {
    return Error{checkpoint.path() + ": its rotary embedding has frequencies of its own, which config.json cannot say"};
  }
  const bool is_known = std::any_of(kHfLayouts.begin(), kHfLayouts.end(), [&](const HfLayout& line) {
    return line.model_type == c.architecture && line.sub_layer_norms == c.sub_layer_norms &&
           line.head_norms == c.head_norms;
  });
  if (!is_known) {
    return Error{checkpoint.path() + ": transformers has no model like " + Quoted(c.architecture) + " with such norms"};
  }
  // What is written must be read, and say the same.
  const Result<CheckpointConfig> read = ParseHfConfig(HfConfigText(c), "config.json of " + checkpoint.path());
  if (!read.ok()) return Error{read.error()};
  if (!(*read == c)) return Error{checkpoint.path() + ": config.json cannot say all that its configuration says"};
  return c;
}

}  // namespace detail

namespace detail {

// The files of a checkpoint's tokenizer in another folder: those of a GGUF file's, and copies of a folder's. A note
// where there are none. Refuses a folder that has others, which would be taken for this model's.
inline Result<std::vector<NamedFile>> TokenizerFilesOf(const Checkpoint& checkpoint, const std::string& folder,
                                                       std::vector<std::string>& notes) {
  constexpr const char* kNames[] = {"tokenizer.json",          "tokenizer.model",   "tokenizer_config.json",
                                    "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"};
  std::vector<NamedFile> files;
  std::error_code error;
  std::string why = checkpoint.path() + " has none";
  if (checkpoint.gguf() == nullptr) {
    if (std::filesystem::equivalent(checkpoint.path(), folder, error)) return files;
    for (const char* name : kNames) {
      const std::string path = (std::filesystem::path(checkpoint.path()) / name).string();
      if (!std::filesystem::exists(path, error)) continue;
      const Result<std::vector<uint8_t>> bytes = ReadFile(path);
      if (!bytes.ok()) return Error{bytes.error()};
      files.push_back({name, std::string(bytes->begin(), bytes->end())});
    }
  } else {
    const Result<TokenizerDescription> tokenizer = DescribeTokenizer(checkpoint.path());
    Result<std::vector<NamedFile>> written =
        tokenizer.ok() ? HfTokenizerFiles(*tokenizer) : Result<std::vector<NamedFile>>(Error{tokenizer.error()});
    if (written.ok()) {
      files = *std::move(written);
      notes.insert(notes.end(), tokenizer->notes.begin(), tokenizer->notes.end());
    } else {
      why = written.error();
    }
  }
  for (const char* name : kNames) {
    const auto is_it = [&](const NamedFile& file) { return file.name == name; };
    if (std::any_of(files.begin(), files.end(), is_it)) continue;
    if (!std::filesystem::exists(std::filesystem::path(folder) / name, error)) continue;
    return Error{folder + ": has a " + name +
                 ", which is not replaced, so that readers would take it for this model's; write into an empty folder"};
  }
  if (files.empty()) notes.push_back(folder + ": there is no tokenizer in it: " + why);
  return files;
}

}  // namespace detail

// Makes the folder where it is missing.
inline Result<ConvertReport> ConvertToHf(const Checkpoint& checkpoint, const std::string& folder,
                                         const ConvertOptions& options = {}) {
  const Result<CheckpointConfig> config = detail::HfConfigOf(checkpoint);
  if (!config.ok()) return Error{config.error()};
  ConvertReport report;
  struct Source {
    TensorInfo tensor;
    float scale;  // of projections
    bool is_scale;
  };
  std::map<std::string, Source> sources;
  std::vector<SafetensorsTensor> tensors;
  const auto add = [&](const std::string& name, SafetensorsType type, std::vector<uint64_t> shape, Source source) {
    SafetensorsTensor tensor;
    tensor.name = name;
    tensor.type = type;
    tensor.shape = std::move(shape);
    tensors.push_back(std::move(tensor));
    sources.emplace(name, source);
  };
  // Scales go before weights in the file, so all matrices are read once for them; and refused before anything is
  // written.
  std::vector<TensorInfo> all;
  ForEachTensor(checkpoint.model_config(), [&](const TensorInfo& tensor) { all.push_back(tensor); });
  for (size_t i = 0; i < all.size(); ++i) {
    if (options.progress) options.progress(i, 2 * all.size());
    const TensorInfo& tensor = all[i];
    const std::string name = HfNameOf(tensor.layer, tensor.name).now;
    if (tensor.role == TensorRole::kGain) {
      add(name, SafetensorsType::kF32, {tensor.cols}, {tensor, 0.0f, false});
      ++report.copied;
      continue;
    }
    if (tensor.role != TensorRole::kProjection) {
      const Result<TensorMatrix> matrix = checkpoint.Matrix(tensor);
      if (!matrix.ok()) return Error{matrix.error()};
      const SafetensorsType type = std::holds_alternative<QuantizedMatrix<Float16>>(*matrix)    ? SafetensorsType::kF16
                                   : std::holds_alternative<QuantizedMatrix<BFloat16>>(*matrix) ? SafetensorsType::kBF16
                                                                                                : SafetensorsType::kF32;
      if (!std::visit([]<Format F>(const QuantizedMatrix<F>&) { return kIsFloat<F>; }, *matrix)) {
        report.notes.push_back(name + ": its type was " + checkpoint.TypeName(tensor) + "; its values are floats now");
      }
      add(name, type, {tensor.rows, tensor.cols}, {tensor, 0.0f, false});
      ++report.copied;
      continue;
    }
    const Result<QuantizedMatrix<Ternary>> matrix = detail::PackedProjection(checkpoint, tensor);
    if (!matrix.ok()) return Error{matrix.error()};
    add(name, SafetensorsType::kU8, {tensor.rows / 4, tensor.cols}, {tensor, 0.0f, false});
    add(name + "_scale", SafetensorsType::kF32, {1},
        {tensor, HfScaleOfStep(matrix->steps()[0], HfScale::kMultiplies), true});
    report.converted.push_back({name, checkpoint.TypeName(tensor), "packed"});
  }

  const Result<std::vector<NamedFile>> tokenizer = detail::TokenizerFilesOf(checkpoint, folder, report.notes);
  if (!tokenizer.ok()) return Error{tokenizer.error()};
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed) return Error{folder + ": cannot be made: " + failed.message()};
  Result<SafetensorsWriter> writer =
      SafetensorsWriter::Begin(folder + "/model.safetensors", std::move(tensors), {{"format", "pt"}});
  if (!writer.ok()) return Error{writer.error()};
  const std::vector<SafetensorsTensor> in_order = writer->tensors();
  size_t done = all.size();
  for (const SafetensorsTensor& stored : in_order) {
    const Source& source = sources.at(stored.name);
    if (source.is_scale) {
      if (Result<Done> written = writer->Write(std::span(&source.scale, 1)); !written.ok())
        return Error{written.error()};
      continue;
    }
    if (options.progress) options.progress(done++, 2 * all.size());
    Result<Done> written = Done{};
    if (source.tensor.role == TensorRole::kGain) {
      const Result<std::vector<float>> gain = checkpoint.Gain(source.tensor);
      if (!gain.ok()) return Error{gain.error()};
      written = writer->Write(*gain);
    } else if (source.tensor.role == TensorRole::kProjection) {
      const Result<QuantizedMatrix<Ternary>> matrix = detail::PackedProjection(checkpoint, source.tensor);
      if (!matrix.ok()) return Error{matrix.error()};
      std::vector<uint8_t> row(matrix->cols());
      for (size_t r = 0; r < matrix->rows() / 4 && written.ok(); ++r) {
        PackHfRow(*matrix, r, row);
        written = writer->Write(std::span<const uint8_t>(row));
      }
    } else {
      const Result<TensorMatrix> matrix = checkpoint.Matrix(source.tensor);
      if (!matrix.ok()) return Error{matrix.error()};
      written = std::visit(
          [&]<Format F>(const QuantizedMatrix<F>& m) -> Result<Done> {
            if constexpr (kIsFloat<F>) {
              return writer->Write(std::span<const uint8_t>(m.bytes()));
            } else {
              std::vector<float> row(m.cols());
              for (size_t r = 0; r < m.rows(); ++r) {
                m.DequantizeRow(r, row);
                if (Result<Done> part = writer->Write(std::span<const float>(row)); !part.ok()) return part;
              }
              return Done{};
            }
          },
          *matrix);
    }
    if (!written.ok()) return Error{written.error()};
  }
  if (Result<Done> committed = writer->Commit(); !committed.ok()) return Error{committed.error()};
  std::vector<NamedFile> files = {{"config.json", HfConfigText(*config)}};
  files.insert(files.end(), tokenizer->begin(), tokenizer->end());
  for (const auto& [name, text] : files) {
    const std::span bytes(reinterpret_cast<const uint8_t*>(text.data()), text.size());
    if (Result<Done> written = WriteFile(folder + "/" + name, bytes); !written.ok()) return Error{written.error()};
  }
  return report;
}

namespace detail {

// What GGUF calls a model of this configuration.
inline Result<std::string> GgufArchitectureOf(const Checkpoint& checkpoint) {
  const CheckpointConfig& c = checkpoint.config();
  const bool is_relu = c.activation == ActivationKind::kSquaredRelu;
  if (checkpoint.gguf() != nullptr) {
    return Error{checkpoint.path() + ": it is a GGUF file already; ConvertGguf gives it another type"};
  }
  if (c.sub_layer_norms && !c.head_norms) return std::string(is_relu ? "bitnet-b1.58" : "bitnet");
  if (!c.sub_layer_norms && !is_relu && c.head_norms) return std::string("qwen3");
  if (!c.sub_layer_norms && !is_relu) return std::string("llama");
  return Error{checkpoint.path() + ": GGUF has no architecture like " + Quoted(c.architecture) +
               " with such norms and such an activation"};
}

// The keys that io/gguf_config.h reads.
inline Result<Done> SetGgufConfig(GgufWriter& to, const std::string& architecture, const CheckpointConfig& c,
                                  const std::string& path) {
  const std::string prefix = architecture + ".";
  to.Set("general.architecture", architecture);
  to.Set(prefix + "context_length", c.max_positions);
  to.Set(prefix + "embedding_length", c.hidden);
  to.Set(prefix + "block_count", c.layers);
  to.Set(prefix + "feed_forward_length", c.ffn);
  to.Set(prefix + "vocab_size", c.vocab);
  to.Set(prefix + "attention.head_count", c.heads);
  to.Set(prefix + "attention.head_count_kv", c.kv_heads);
  if (uint64_t{c.heads} * c.head_dim != c.hidden) {
    to.Set(prefix + "attention.key_length", c.head_dim);
    to.Set(prefix + "attention.value_length", c.head_dim);
  }
  to.Set(prefix + "attention.layer_norm_rms_epsilon", c.rms_eps);
  to.Set(prefix + "rope.dimension_count", c.head_dim);
  to.Set(prefix + "rope.freq_base", c.rope_base);
  const RopeScaling& rope = c.rope_scaling;
  if (rope.kind == RopeScalingKind::kLinear || rope.kind == RopeScalingKind::kYarn) {
    to.Set(prefix + "rope.scaling.type", rope.kind == RopeScalingKind::kLinear ? "linear" : "yarn");
    to.Set(prefix + "rope.scaling.factor", static_cast<float>(rope.factor));
  }
  if (rope.kind == RopeScalingKind::kYarn) {
    const RopeScaling usual;
    if (rope.beta_fast != usual.beta_fast || rope.beta_slow != usual.beta_slow || rope.truncate != usual.truncate) {
      return Error{path + ": its yarn scaling has other parameters than the usual ones, which GGUF cannot say"};
    }
    to.Set(prefix + "rope.scaling.original_context_length", rope.original_positions);
    // Readers multiply the usual factor by it.
    const double times = rope.attention_factor / YarnAttentionFactor(rope.factor, {}, {});
    if (times != 1.0) to.Set(prefix + "rope.scaling.attn_factor", static_cast<float>(times));
  }
  return Done{};
}

// Llama 3's scaling is said by factors that divide the frequencies.
inline std::vector<float> RopeFactors(const CheckpointConfig& c) {
  const std::vector<double> plain = RopeFrequencies(c.head_dim, double{c.rope_base}, RopeScaling());
  const std::vector<double> scaled = RopeFrequencies(c.head_dim, double{c.rope_base}, c.rope_scaling);
  std::vector<float> factors(plain.size());
  for (size_t i = 0; i < plain.size(); ++i) factors[i] = static_cast<float>(plain[i] / scaled[i]);
  return factors;
}

inline std::vector<uint8_t> BytesOfFloats(std::span<const float> values) {
  std::vector<uint8_t> bytes(values.size_bytes());
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

}  // namespace detail

// The tokenizer is that of the checkpoint's folder, if it has one that GGUF can say; else a note says why there is
// none.
inline Result<ConvertReport> ConvertToGguf(const Checkpoint& checkpoint, const std::string& out,
                                           const ConvertOptions& options) {
  const Result<const GgufType*> target = detail::ConvertTarget(options.type);
  if (!target.ok()) return Error{target.error()};
  const GgufType& type = **target;
  const CheckpointConfig& c = checkpoint.config();
  const Result<std::string> architecture = detail::GgufArchitectureOf(checkpoint);
  if (!architecture.ok()) return Error{architecture.error()};
  ConvertReport report;
  GgufWriter writer;
  if (Result<Done> set = detail::SetGgufConfig(writer, *architecture, c, checkpoint.path()); !set.ok()) {
    return Error{set.error()};
  }
  if (const std::optional<uint32_t> file_type = detail::GgufFileTypeOf(type.name)) {
    writer.Set("general.file_type", *file_type);
  }

  // The tokenizer, and the tokens that end a text: by both, at most two of which GGUF has keys for.
  std::optional<uint32_t> bos = c.bos;
  std::vector<uint32_t> ends = c.eos;
  const Result<TokenizerDescription> tokenizer = DescribeTokenizer(checkpoint.path());
  const Result<std::vector<std::string>> set = tokenizer.ok()
                                                   ? SetGgufTokenizer(writer, *tokenizer)
                                                   : Result<std::vector<std::string>>(Error{tokenizer.error()});
  if (set.ok()) {
    for (const std::string& note : *set) report.notes.push_back(note);
    const NamedTokens& named = NamedTokensOf(*tokenizer);
    // What a tokenizer puts around texts is its own.
    if (named.bos && bos && *named.bos != *bos) {
      report.notes.push_back("a text begins with token " + std::to_string(*named.bos) +
                             ", as the tokenizer says; config.json says " + std::to_string(*bos));
    }
    if (named.bos) bos = named.bos;
    if (named.eos && named.add_eos) {
      std::erase(ends, *named.eos);
      ends.insert(ends.begin(), *named.eos);
    }
    for (const std::optional<Token>& end : {named.eos, named.eot}) {
      if (end && std::find(ends.begin(), ends.end(), *end) == ends.end()) ends.push_back(*end);
    }
  } else {
    report.notes.push_back("there is no tokenizer in the file: " + set.error());
  }
  if (bos) writer.Set(detail::GgufKey("bos_token_id"), *bos);
  if (!ends.empty()) writer.Set(detail::GgufKey("eos_token_id"), ends[0]);
  if (ends.size() > 1) writer.Set(detail::GgufKey("eot_token_id"), ends[1]);
  if (ends.size() > 2) report.notes.push_back("of the tokens that end a text the file says the first two alone");

  if (c.rope_scaling.kind == RopeScalingKind::kLlama3) {
    const std::vector<float> factors = detail::RopeFactors(c);
    writer.AddTensor("rope_freqs.weight", {factors.size()}, *FindGgufType("F32"),
                     [bytes = detail::BytesOfFloats(factors)] { return bytes; });
  }
  std::vector<TensorInfo> all;
  ForEachTensor(checkpoint.model_config(), [&](const TensorInfo& tensor) { all.push_back(tensor); });
  report.converted.reserve(all.size());  // the functions below keep addresses
  size_t done = 0;
  const bool pairs = HasAdjacentPairs(*architecture);
  for (const TensorInfo& tensor : all) {
    const std::string name = detail::GgufNameOf(tensor);
    const auto begin = [&options, &done, count = all.size()] {
      if (options.progress) options.progress(done, count);
      ++done;
    };
    if (tensor.role == TensorRole::kGain) {
      ++report.copied;
      writer.AddTensor(name, {tensor.cols}, *FindGgufType("F32"),
                       [&checkpoint, tensor, begin]() -> Result<std::vector<uint8_t>> {
                         begin();
                         const Result<std::vector<float>> gain = checkpoint.Gain(tensor);
                         if (!gain.ok()) return Error{gain.error()};
                         return detail::BytesOfFloats(*gain);
                       });
      continue;
    }
    if (tensor.role == TensorRole::kProjection) {
      if (!type.Bytes(tensor.rows, tensor.cols)) {
        return checkpoint.Refuse(tensor, "its rows have " + std::to_string(tensor.cols) + " values; in " +
                                             std::string(type.name) + " they have multiples of " +
                                             std::to_string(type.block_values));
      }
      report.converted.push_back({name, checkpoint.TypeName(tensor), std::string(type.name)});
      ConvertedTensor& to = report.converted.back();
      const std::string_view which = tensor.name;
      const size_t head_dim = pairs && (which == "q" || which == "k") ? c.head_dim : 0;
      writer.AddTensor(name, {tensor.cols, tensor.rows}, type,
                       [&checkpoint, &type, &to, tensor, begin, head_dim]() -> Result<std::vector<uint8_t>> {
                         begin();
                         Result<TensorMatrix> read = checkpoint.Matrix(tensor);
                         if (!read.ok()) return Error{read.error()};
                         TensorMatrix codes = detail::CodesOfProjection(*std::move(read));
                         return std::visit(
                             [&](auto& matrix) {
                               if (head_dim != 0) detail::HalvesToPairs(matrix, head_dim);
                               return detail::EncodeConverted(matrix, type, to);
                             },
                             codes);
                       });
      continue;
    }
    // The type must be known before the matrix is read: that of the tensor.
    const Result<TensorMatrix> matrix = checkpoint.Matrix(tensor);
    if (!matrix.ok()) return Error{matrix.error()};
    const char* const real = std::holds_alternative<QuantizedMatrix<Float16>>(*matrix)    ? "F16"
                             : std::holds_alternative<QuantizedMatrix<BFloat16>>(*matrix) ? "BF16"
                                                                                          : "F32";
    ++report.copied;
    const GgufType& stored = *FindGgufType(real);
    writer.AddTensor(name, {tensor.cols, tensor.rows}, stored,
                     [&checkpoint, &stored, tensor, begin]() -> Result<std::vector<uint8_t>> {
                       begin();
                       const Result<TensorMatrix> read = checkpoint.Matrix(tensor);
                       if (!read.ok()) return Error{read.error()};
                       return std::visit(
                           [&](const auto& m) -> Result<std::vector<uint8_t>> {
                             Result<EncodedTensor> encoded = EncodeTensor(m, stored);
                             if (!encoded.ok()) return Error{encoded.error()};
                             return std::move(encoded->bytes);
                           },
                           *read);
                     });
  }
  if (Result<Done> written = writer.Write(out); !written.ok()) return Error{written.error()};
  return report;
}

}  // namespace bitnet

#endif  // BITNET_IO_CONVERT_CHECKPOINT_H_
