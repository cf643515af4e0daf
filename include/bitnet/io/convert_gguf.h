// ConvertGguf: a GGUF file with its ternary weights in another type: I2_S (layout A), TQ1_0, TQ2_0 or Q2_0.
//
//   Result<ConvertReport> report = ConvertGguf(*GgufFile::Open("in.gguf"), "out.gguf", {.type = "TQ2_0"});
//
// Converted is every tensor whose type has codes of two bits or less; codes stay what they are, and scales as exact as
// the type holds them: halves in TQ1_0, TQ2_0 and Q2_0, a float in I2_S. The report says what that loses. All else is
// copied, byte for byte: metadata, and the bytes of other tensors. Two keys differ where they must: general.file_type,
// if it is there and the type has a number of it, and an alignment below 8.
//
// Refused, by the tensor's name: levels that the type lacks (2, of Q2_0), several scales where it has one, rows that
// are no multiple of its block, scales that a half cannot hold, tensors whose length is not known. The output may be
// the input; it takes its place when all of it is on the disk (io/gguf_writer.h), and whatever goes wrong before leaves
// the old file as it was. One tensor at a time is in memory.
#ifndef BITNET_IO_CONVERT_GGUF_H_
#define BITNET_IO_CONVERT_GGUF_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "bitnet/base/result.h"
#include "bitnet/io/blocks.h"
#include "bitnet/io/encode_tensor.h"
#include "bitnet/io/gguf.h"
#include "bitnet/io/gguf_types.h"
#include "bitnet/io/gguf_value.h"
#include "bitnet/io/gguf_writer.h"
#include "bitnet/io/quoted.h"

namespace bitnet {

struct ConvertOptions {
  std::string type;                                   // of the ternary weights in the output
  I2sLayout i2s = I2sLayout::kA;                      // of I2_S in the input
  std::function<void(size_t, size_t)> progress = {};  // called before each converted tensor: (done, of so many)
};

struct ConvertedTensor {
  std::string name;
  std::string from;
  std::string to;
  double loss = 0.0;    // the largest relative difference of a scale
  bool folded = false;  // its scales were all the same, and are one for the tensor where the type has one
};

struct ConvertReport {
  std::vector<ConvertedTensor> converted;
  size_t copied = 0;               // other tensors
  std::vector<std::string> notes;  // what else differs, a sentence each

  // Of all converted tensors.
  double LargestLoss() const {
    double largest = 0.0;
    for (const ConvertedTensor& tensor : converted) largest = std::max(largest, tensor.loss);
    return largest;
  }
  size_t WithLoss() const {
    return static_cast<size_t>(
        std::count_if(converted.begin(), converted.end(), [](const ConvertedTensor& t) { return t.loss > 0.0; }));
  }
};

namespace detail {

inline constexpr auto kConvertTargets = std::to_array<std::string_view>({"I2_S", "TQ1_0", "TQ2_0", "Q2_0"});
inline constexpr auto kConvertSources = std::to_array<std::string_view>(
    {"I2_S", "TQ1_0", "TQ2_0", "IQ1_BN", "IQ2_BN", "IQ2_BN_R4", "Q1_0", "Q2_0", "PQ2_0", "PTQ1_0"});

// What llama.cpp and its forks number files of mostly this type.
inline std::optional<uint32_t> GgufFileTypeOf(std::string_view type) {
  if (type == "TQ1_0") return 36;
  if (type == "TQ2_0") return 37;
  if (type == "I2_S") return 40;
  return std::nullopt;
}

// The type that tensors are converted to; an error that says which there are.
inline Result<const GgufType*> ConvertTarget(const std::string& type) {
  std::string known;
  for (const std::string_view target : kConvertTargets) {
    if (target == type) return FindGgufType(target);
    known += (known.empty() ? "" : ", ") + std::string(target);
  }
  return Error{"nothing is converted to " + Quoted(type) + "; known are " + known};
}

// A matrix in the target's type. A step that becomes 0 leaves nothing of its weights: that is refused.
template <Format F>
Result<std::vector<uint8_t>> EncodeConverted(const QuantizedMatrix<F>& matrix, const GgufType& type,
                                             ConvertedTensor& to) {
  Result<EncodedTensor> encoded = EncodeTensor(matrix, type);
  if (!encoded.ok()) return Error{encoded.error()};
  if (encoded->loss >= 1.0) {
    return Error{std::string(type.name) + ": a step is so small that it is 0 as a half, which the type holds"};
  }
  to.loss = encoded->loss;
  return std::move(encoded->bytes);
}

}  // namespace detail

inline Result<ConvertReport> ConvertGguf(const GgufFile& in, const std::string& out, const ConvertOptions& options) {
  const Result<const GgufType*> target = detail::ConvertTarget(options.type);
  if (!target.ok()) return Error{target.error()};
  const GgufType& type = **target;
  // (Any multiple of the file's alignment is one that it could have had.)
  const auto alignment = static_cast<uint32_t>(std::max<uint64_t>(in.alignment(), 8));
  GgufWriter writer(alignment);
  ConvertReport report;
  const std::optional<uint32_t> file_type = detail::GgufFileTypeOf(type.name);
  for (const GgufEntry& entry : in.metadata()) {
    // The writer says it itself, where it is not the usual one.
    if (entry.key == "general.alignment" && alignment != 32) continue;
    if (entry.key == "general.file_type" && file_type) {
      writer.Set(std::string(entry.key), *file_type);
      continue;
    }
    writer.Set(std::string(entry.key), entry.value);
  }
  size_t count = 0, done = 0;
  const auto is_converted = [&](const GgufTensor& tensor) {
    if (std::find(detail::kConvertSources.begin(), detail::kConvertSources.end(), tensor.type->name) ==
        detail::kConvertSources.end()) {
      return false;
    }
    return tensor.type->name != type.name || (type.name == "I2_S" && options.i2s != I2sLayout::kA);
  };
  for (const GgufTensor& tensor : in.tensors()) {
    const auto refuse = [&](const std::string& why) {
      return Error{in.path() + ": tensor " + Quoted(tensor.name) + ": " + why};
    };
    if (tensor.type == nullptr || tensor.type->block_values == 0) {
      return refuse("its type is " + tensor.TypeName() + ", whose length is not known: it cannot be copied");
    }
    if (!is_converted(tensor)) continue;
    ++count;
    if (!type.Bytes(tensor.rows(), tensor.cols())) {
      return refuse("its rows have " + std::to_string(tensor.cols()) + " values; in " + std::string(type.name) +
                    " they have multiples of " + std::to_string(type.block_values));
    }
  }
  report.converted.reserve(count);  // the functions below keep addresses
  for (const GgufTensor& tensor : in.tensors()) {
    const std::vector<uint64_t> dims(tensor.dims.begin(), tensor.dims.begin() + std::max<uint32_t>(tensor.rank, 1));
    if (!is_converted(tensor)) {
      ++report.copied;
      writer.AddTensor(std::string(tensor.name), dims, *tensor.type, tensor.bytes,
                       [&in, &tensor] { in.Release(tensor); });
      continue;
    }
    report.converted.push_back({std::string(tensor.name), tensor.TypeName(), std::string(type.name)});
    ConvertedTensor& to = report.converted.back();
    writer.AddTensor(std::string(tensor.name), dims, type,
                     [&in, &tensor, &to, &type, &options, &done, count]() -> Result<std::vector<uint8_t>> {
                       if (options.progress) options.progress(done, count);
                       ++done;
                       Result<DecodedTensor> decoded = DecodeTensor(in, tensor, {options.i2s});
                       if (!decoded.ok()) return Error{decoded.error()};
                       in.Release(tensor);
                       to.folded = decoded->folded;
                       return std::visit([&](const auto& matrix) { return detail::EncodeConverted(matrix, type, to); },
                                         decoded->matrix);
                     });
  }
  if (Result<Done> written = writer.Write(out); !written.ok()) return Error{written.error()};
  return report;
}

}  // namespace bitnet

#endif  // BITNET_IO_CONVERT_GGUF_H_
