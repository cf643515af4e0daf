#include "bitnet/io/safetensors.h"

#include <array>
#include <string>
#include <utility>

#include "bitnet/base/assert.h"
#include "bitnet/io/hf_weights.h"
#include "bitnet/scheme/scheme.h"
#include "fuzz/fuzz.h"

namespace bitnet::testing::safetensors_fuzz {

namespace {

using Bytes = std::vector<uint8_t>;
using Type = bitnet::SafetensorsType;

// A file of these tensors, whose values are 1, 2, 3, ... bytes.
Bytes FileOf(std::vector<bitnet::SafetensorsTensor> tensors, const bitnet::SafetensorsMetadata& metadata = {}) {
  Bytes file = *bitnet::LayOutSafetensors(tensors, metadata, "seed");
  uint64_t values = 0;
  for (const bitnet::SafetensorsTensor& tensor : tensors) values += tensor.bytes;
  for (uint64_t i = 0; i < values; ++i) file.push_back(static_cast<uint8_t>(i % 37));
  return file;
}

}  // namespace

std::vector<Bytes> Seeds() {
  return {
      FileOf({}),
      FileOf({{"a", Type::kF32, {2, 3}}, {"b", Type::kBF16, {4, 1}}, {"c", Type::kU8, {}}}, {{"format", "pt"}}),
      FileOf({{"m.q.weight", Type::kU8, {2, 5}}, {"m.q.weight_scale", Type::kBF16, {1}}, {"m.norm", Type::kF16, {5}}}),
      FileOf({{"x", Type::kF4, {6}}, {"empty", Type::kI64, {0, 7}}, {"\xc3\xa9\"\\\n", Type::kBool, {1, 1, 1}}})};
}

int OneInput(const uint8_t* data, size_t size) {
  auto opened = bitnet::Safetensors::FromFile(bitnet::MappedFile::FromBytes(Bytes(data, data + size), "f"));
  if (!opened.ok()) {
    BITNET_ASSERT(!opened.error().empty() && opened.error().size() < 8000, "an error is a sentence");
    return 0;
  }
  const bitnet::Safetensors& files = *opened;
  uint64_t total = 0;
  std::vector<bitnet::SafetensorsTensor> tensors(files.tensors().begin(), files.tensors().end());
  for (const bitnet::SafetensorsTensor& tensor : tensors) {
    total += tensor.bytes;
    BITNET_ASSERT(files.Find(tensor.name) != nullptr, "a tensor is found by its name");
    uint64_t sum = 0;
    for (const uint8_t byte : files.Bytes(tensor)) sum += byte;
    BITNET_ASSERT(sum <= 255 * tensor.bytes, "the bytes can be read");
    if (tensor.shape.size() != 2) continue;
    const auto rows = static_cast<size_t>(tensor.shape[0]), cols = static_cast<size_t>(tensor.shape[1]);
    // Matrices of so many rows or columns of nothing are none that a configuration asks for.
    if (rows > 4096 || cols > 4096) continue;
    const auto masters = bitnet::LoadHfMatrix<bitnet::B158::Weight>(files, tensor.name, rows, cols);
    const auto packed = bitnet::LoadHfTernary(files, tensor.name, 4 * rows, cols, bitnet::HfScale::kDivides);
    BITNET_ASSERT(!masters.ok() || !packed.ok(), "a tensor is real or packed");
    if (packed.ok()) BITNET_ASSERT(packed->IsValid() && packed->steps()[0] > 0.0f, "codes and step of a matrix");
    bitnet::CheckpointConfig config;
    const auto checked = bitnet::CheckHfTensors(files, config);
    BITNET_ASSERT(!checked.ok(), "a configuration of nothing describes no model");
  }
  BITNET_ASSERT(total <= size, "tensors lie in the file");
  // What was read can be written, and read again.
  const auto header = bitnet::LayOutSafetensors(tensors, {}, "f");
  BITNET_ASSERT(header.ok(), "what was read can be laid out");
  Bytes again = *header;
  again.resize(again.size() + static_cast<size_t>(total));
  const auto read = bitnet::ReadSafetensorsHeader(again, "f");
  BITNET_ASSERT(read.ok() && read->tensors.size() == tensors.size(), "what is written is read");
  return 0;
}

BITNET_FUZZ_TARGET(safetensors);

}  // namespace bitnet::testing::safetensors_fuzz
