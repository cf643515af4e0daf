#include "bitnet/io/gguf.h"

#include <cmath>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "bitnet/base/assert.h"
#include "bitnet/io/blocks.h"
#include "bitnet/io/encode_tensor.h"
#include "fuzz/fuzz.h"
#include "io/gguf_seeds.h"

namespace bitnet::testing::gguf_fuzz {

namespace {

void ReadAll(const bitnet::GgufValue& value) {
  const auto integer = value.As<int64_t>();
  const auto real = value.As<double>();
  const auto flag = value.As<bool>();
  const auto text = value.As<std::string_view>();
  BITNET_ASSERT(integer.ok() + real.ok() + flag.ok() + text.ok() <= 1, "a value has one type");
  const auto texts = value.As<std::vector<std::string_view>>();
  const auto bytes = value.As<std::vector<uint8_t>>();
  const auto reals = value.As<std::vector<float>>();
  if (!value.is_array()) return;
  BITNET_ASSERT(!texts.ok() || texts->size() == value.size(), "an array is given with all its elements");
  uint64_t count = 0;
  value.ForEach([&](const bitnet::GgufValue& element) {
    ++count;
    ReadAll(element);
  });
  BITNET_ASSERT(count == value.size(), "an array has as many elements as it says");
}

template <bitnet::Format F>
void Check(const bitnet::QuantizedMatrix<F>& matrix, const bitnet::GgufTensor& tensor) {
  BITNET_ASSERT(matrix.rows() == tensor.rows() && matrix.cols() == tensor.cols(), "a matrix has the tensor's shape");
  BITNET_ASSERT(matrix.IsValid(), "codes have levels");
  for (const float step : matrix.steps()) BITNET_ASSERT(std::isfinite(step), "steps are finite");
  // What was decoded can be encoded again, where the type is written and its steps are not beyond a half's.
  const bitnet::Result<bitnet::EncodedTensor> encoded = bitnet::EncodeTensor(matrix, *tensor.type);
  if (encoded.ok())
    BITNET_ASSERT(encoded->bytes.size() == tensor.bytes.size(), "as many bytes are written as were read");
}

}  // namespace

std::vector<std::vector<uint8_t>> Seeds() { return GgufSeeds(); }

int OneInput(const uint8_t* data, size_t size) {
  const bitnet::Result<bitnet::GgufFile> file =
      bitnet::GgufFile::Parse(bitnet::MappedFile::FromBytes({data, data + size}, "f"));
  if (!file.ok()) {
    BITNET_ASSERT(!file.error().empty() && file.error().size() < 2000, "an error is a sentence");
    return 0;
  }
  for (const bitnet::GgufEntry& entry : file->metadata()) {
    BITNET_ASSERT(file->Find(entry.key) == &entry.value, "an entry is found by its key");
    ReadAll(entry.value);
  }
  uint64_t total = 0;
  for (const bitnet::GgufTensor& tensor : file->tensors()) {
    BITNET_ASSERT(file->FindTensor(tensor.name) == &tensor, "a tensor is found by its name");
    total += tensor.bytes.size();
    for (const auto i2s : {bitnet::I2sLayout::kA, bitnet::I2sLayout::kB, bitnet::I2sLayout::kC}) {
      const bitnet::Result<bitnet::DecodedTensor> decoded = bitnet::DecodeTensor(*file, tensor, {i2s});
      BITNET_ASSERT(decoded.ok() || decoded.error().size() < 2000, "an error is a sentence");
      if (decoded.ok()) std::visit([&](const auto& matrix) { Check(matrix, tensor); }, decoded->matrix);
      if (tensor.type == nullptr || tensor.type->name != "I2_S") break;
    }
    const auto reals = bitnet::DecodeReals(*file, tensor);
    BITNET_ASSERT(!reals.ok() || reals->size() == tensor.rows() * tensor.cols(), "a vector has the tensor's values");
  }
  BITNET_ASSERT(total <= size, "tensors lie in the file, each in its own bytes");
  return 0;
}

BITNET_FUZZ_TARGET(gguf);

}  // namespace bitnet::testing::gguf_fuzz
