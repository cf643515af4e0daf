#include "bitnet/io/hf_weights.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bitnet/io/hf_config.h"
#include "bitnet/io/safetensors_writer.h"
#include "bitnet/scheme/scheme.h"
#include "testing/golden.h"
#include "testing/random_values.h"
#include "testing/temporary_file.h"

namespace bitnet::hf_weights_test {
namespace {

using Type = SafetensorsType;
using TernaryAbsMean = Quantizer<Ternary, AbsMean>;

const std::string kGolden = std::string(BITNET_SOURCE_DIR) + "/tests/golden/io/";

bool Has(const std::string& sentence, std::string_view part) { return sentence.find(part) != std::string::npos; }

struct Checkpoint {
  explicit Checkpoint(const std::string& name)
      : config(*LoadHfConfig(kGolden + name)), files(*Safetensors::Open(kGolden + name)) {}
  CheckpointConfig config;
  Safetensors files;
};

// Tensors of reals, or of bytes, written to a file by the project's own writer.
class Made {
 public:
  Made& Reals(const std::string& name, Type type, std::vector<uint64_t> shape, const std::vector<float>& values) {
    std::vector<uint8_t> bytes;
    const auto append = [&](const auto& value) {
      const auto* begin = reinterpret_cast<const uint8_t*>(&value);
      bytes.insert(bytes.end(), begin, begin + sizeof(value));
    };
    for (const float v : values) {
      if (type == Type::kF32) append(v);
      if (type == Type::kF16) append(Float16::Nearest(v));
      if (type == Type::kBF16) append(BFloat16::Nearest(v));
    }
    return Bytes(name, type, std::move(shape), bytes);
  }
  Made& Bytes(const std::string& name, Type type, std::vector<uint64_t> shape, std::vector<uint8_t> bytes) {
    tensors_.push_back({name, type, std::move(shape)});
    bytes_.emplace_back(name, std::move(bytes));
    return *this;
  }
  Safetensors Open() const {
    auto writer = SafetensorsWriter::Begin(file_.path(), tensors_);
    REQUIRE(writer.ok());
    for (const SafetensorsTensor& tensor : writer->tensors()) {
      for (const auto& [name, bytes] : bytes_) {
        if (name == tensor.name) REQUIRE(writer->Write(bytes).ok());
      }
    }
    REQUIRE(writer->Commit().ok());
    auto files = Safetensors::Open(file_.path());
    REQUIRE(files.ok());
    return *std::move(files);
  }

 private:
  testing::TemporaryFile file_;
  std::vector<SafetensorsTensor> tensors_;
  std::vector<std::pair<std::string, std::vector<uint8_t>>> bytes_;
};

// f(tensor) for every tensor of the model.
template <class F>
void ForEachInfo(const CheckpointConfig& config, F&& f) {
  ForEachTensor(
      *ModelConfigOf(config), [&](const TensorInfo& tensor, std::span<const float>) { f(tensor); },
      LatentWeights::Zeros(*ModelConfigOf(config)));
}

// f(tensor, its name in the checkpoint) for every projection.
template <class F>
void ForEachProjection(const Checkpoint& checkpoint, F&& f) {
  ForEachInfo(checkpoint.config, [&](const TensorInfo& tensor) {
    if (tensor.role == TensorRole::kProjection) f(tensor, *FindHfName(checkpoint.files, tensor.layer, tensor.name));
  });
}

void CheckMatrix(const testing::Golden& golden, const std::string& key, const QuantizedMatrix<Ternary>& matrix) {
  const std::vector<int> levels = golden.Ints(key + "/levels");
  REQUIRE(levels.size() == matrix.rows() * matrix.cols());
  std::vector<LevelOf<Ternary>> row(matrix.cols());
  for (size_t r = 0; r < matrix.rows(); ++r) {
    matrix.UnpackRow(r, row);
    for (size_t c = 0; c < row.size(); ++c) CHECK(int{row[c]} == levels[r * row.size() + c]);
  }
  // Steps are rounded once or twice.
  CHECK(static_cast<double>(matrix.steps()[0]) == doctest::Approx(golden.Double(key + "/step")).epsilon(1e-6));
}

TEST_CASE("LoadHfTernary: packed checkpoints by both meanings of the scale") {
  const testing::Golden golden("io/hf");
  for (const auto& packed : {std::pair{"hf_packed", HfScale::kMultiplies}, {"hf_packed_dividing", HfScale::kDivides}}) {
    const std::string name = packed.first;
    const HfScale meaning = packed.second;
    const Checkpoint checkpoint(name);
    const Result<Done> good = CheckHfTensors(checkpoint.files, checkpoint.config);
    INFO((good.ok() ? "" : good.error()));
    REQUIRE(good.ok());
    size_t projections = 0;
    ForEachProjection(checkpoint, [&](const TensorInfo& tensor, const std::string& full_name) {
      const auto matrix = LoadHfTernary(checkpoint.files, full_name, tensor.rows, tensor.cols, meaning);
      REQUIRE(matrix.ok());
      CheckMatrix(golden, name + "/" + full_name.substr(0, full_name.rfind('.')), *matrix);
      ++projections;
    });
    CHECK(projections == 14);
  }
}

TEST_CASE("LoadHfMatrix: masters of three files are quantized as transformers does") {
  const testing::Golden golden("io/hf");
  const Checkpoint checkpoint("hf_masters");
  CHECK(checkpoint.files.files().size() == 3);
  REQUIRE(CheckHfTensors(checkpoint.files, checkpoint.config).ok());
  ForEachProjection(checkpoint, [&](const TensorInfo& tensor, const std::string& name) {
    const auto matrix = LoadHfMatrix<TernaryAbsMean>(checkpoint.files, name, tensor.rows, tensor.cols);
    REQUIRE(matrix.ok());
    CheckMatrix(golden, "hf_masters/" + name.substr(0, name.rfind('.')), *matrix);
  });
}

TEST_CASE("LoadHfLatentWeights: every master, where its tensor is") {
  const testing::Golden golden("io/hf");
  const Checkpoint checkpoint("hf_masters");
  const auto weights = LoadHfLatentWeights(checkpoint.files, checkpoint.config);
  REQUIRE(weights.ok());
  const auto same = [&](std::span<const float> values, const std::string& name) {
    const std::vector<float> expected = golden.Floats("hf_masters/" + name);
    CHECK(std::ranges::equal(values, expected));
  };
  same(weights->embedding(), "model.embed_tokens.weight");
  same(weights->final_norm(), "model.norm.weight");
  same(weights->layer(1).ffn_sub_norm, "model.layers.1.mlp.ffn_sub_norm.weight");
  // Quantized later, they are what is quantized as it is read.
  ForEachProjection(checkpoint, [&](const TensorInfo& tensor, const std::string& name) {
    const auto at_once = LoadHfMatrix<TernaryAbsMean>(checkpoint.files, name, tensor.rows, tensor.cols);
    REQUIRE(at_once.ok());
    weights->ForEach([&](const TensorInfo& other, std::span<const float> values) {
      if (other.FullName() != tensor.FullName()) return;
      const auto later = QuantizedMatrix<Ternary>::Quantize<TernaryAbsMean>({values.data(), other.rows, other.cols});
      CHECK(std::ranges::equal(later.bytes(), at_once->bytes()));
      CHECK(later.steps()[0] == at_once->steps()[0]);
    });
  });
  CHECK(Has(LoadHfLatentWeights(Checkpoint("hf_packed").files, Checkpoint("hf_packed").config).error(), "are packed"));
  CheckpointConfig with_head_norms = checkpoint.config;
  with_head_norms.head_norms = true;
  CHECK(Has(LoadHfLatentWeights(checkpoint.files, with_head_norms).error(), "norms of query and key heads"));
}

TEST_CASE("LoadHfReals: F32, F16 and BF16, at any address; others, and what is not finite, are refused") {
  const std::vector<float> values = {1.0f, -0.5f, 1024.0f, 0.0f, -65504.0f, 0.25f};
  Made made;
  // An odd number of bytes before the rest: no alignment is needed.
  made.Bytes("z", Type::kU8, {3}, {1, 2, 3});
  made.Reals("f32", Type::kF32, {2, 3}, values)
      .Reals("f16", Type::kF16, {6}, values)
      .Reals("bf16", Type::kBF16, {6}, values);
  made.Reals("nan", Type::kF32, {2}, {1.0f, NAN}).Reals("inf", Type::kF16, {1}, {INFINITY});
  const Safetensors files = made.Open();
  std::vector<float> got(6);
  const uint64_t matrix[] = {2, 3};
  const uint64_t row[] = {6};
  REQUIRE(LoadHfReals(files, "f32", matrix, got).ok());
  CHECK(got == values);
  REQUIRE(LoadHfReals(files, "f16", row, got).ok());
  CHECK(got == values);
  REQUIRE(LoadHfReals(files, "bf16", row, got).ok());
  for (size_t i = 0; i < 6; ++i) CHECK(got[i] == float{BFloat16::Nearest(values[i])});
  const uint64_t two[] = {2}, one[] = {1}, three[] = {3};
  CHECK(Has(LoadHfReals(files, "nan", two, std::span(got).first(2)).error(), "value 1 is nan; it must be finite"));
  CHECK(Has(LoadHfReals(files, "inf", one, std::span(got).first(1)).error(), "value 0 is inf"));
  CHECK(Has(LoadHfReals(files, "z", three, std::span(got).first(3)).error(), "reals were expected: F32, F16 or BF16"));
  CHECK(Has(LoadHfReals(files, "f32", row, got).error(), "F32 [6] was expected"));
  CHECK(Has(LoadHfReals(files, "none", row, got).error(), "there is no tensor 'none'"));
}

TEST_CASE("LoadHfMatrix: by any quantizer; what cannot be quantized is refused") {
  const size_t rows = 33, cols = 301;
  std::vector<float> values = testing::NormalValues(rows * cols, 5);
  for (float& v : values) v = BFloat16::Nearest(v);
  std::vector<float> bad = values, large = values;
  bad[20 * cols + 7] = NAN;
  large[20 * cols + 7] = 65536.0f * 1024.0f;
  Made made;
  made.Reals("w", Type::kBF16, {rows, cols}, values).Reals("bad", Type::kBF16, {rows, cols}, bad);
  made.Reals("large", Type::kBF16, {rows, cols}, large);
  const Safetensors files = made.Open();
  const auto check = [&]<class Q>(Q) {
    const auto matrix = LoadHfMatrix<Q>(files, "w", rows, cols);
    REQUIRE(matrix.ok());
    const auto expected = QuantizedMatrix<typename Q::Format>::template Quantize<Q>({values.data(), rows, cols});
    CHECK(std::ranges::equal(matrix->bytes(), expected.bytes()));
    CHECK(std::ranges::equal(matrix->steps(), expected.steps()));
    CHECK_FALSE(LoadHfMatrix<Q>(files, "bad", rows, cols).ok());
    CHECK_FALSE(LoadHfMatrix<Q>(files, "w", cols, rows).ok());
    CHECK_FALSE(LoadHfMatrix<Q>(files, "v", rows, cols).ok());
  };
  check(TernaryAbsMean{});
  check(Quantizer<Int<4>, AbsMax, PerRow>{});
  check(Unquantized{});
  check(Rounded<BFloat16>{});
  check(Rounded<Float16>{});
  CHECK(Has(LoadHfMatrix<TernaryAbsMean>(files, "bad", rows, cols).error(), "the step 0 is nan"));
  CHECK(Has(LoadHfMatrix<Unquantized>(files, "bad", rows, cols).error(), "row 20, column 7 is nan"));
  CHECK(LoadHfMatrix<Rounded<BFloat16>>(files, "large", rows, cols).ok());
  CHECK(Has(LoadHfMatrix<Rounded<Float16>>(files, "large", rows, cols).error(), "row 20, column 7 is 67108864"));
}

TEST_CASE("LoadHfTernary: what is no packed matrix is refused with its place") {
  const std::vector<uint8_t> codes(6, 0b01011000);
  std::vector<uint8_t> wrong = codes;
  wrong[4] = 0xc0;
  Made made;
  made.Bytes("w", Type::kU8, {2, 3}, codes).Reals("w_scale", Type::kBF16, {1}, {2.0f});
  made.Bytes("scalar", Type::kU8, {2, 3}, codes).Reals("scalar_scale", Type::kF32, {}, {4.0f});
  made.Bytes("wrong", Type::kU8, {2, 3}, wrong).Reals("wrong_scale", Type::kF32, {1}, {1.0f});
  made.Bytes("zero", Type::kU8, {2, 3}, codes).Reals("zero_scale", Type::kF32, {1}, {0.0f});
  made.Bytes("two", Type::kU8, {2, 3}, codes).Reals("two_scale", Type::kF32, {2}, {1.0f, 1.0f});
  made.Bytes("none", Type::kU8, {2, 3}, codes);
  made.Bytes("signed", Type::kI8, {2, 3}, codes).Reals("signed_scale", Type::kF32, {1}, {1.0f});
  const Safetensors files = made.Open();
  const auto load = [&](const char* name, size_t rows = 8, size_t cols = 3) {
    return LoadHfTernary(files, name, rows, cols, HfScale::kMultiplies);
  };
  CHECK(load("w")->steps()[0] == 2.0f);
  CHECK(LoadHfTernary(files, "w", 8, 3, HfScale::kDivides)->steps()[0] == 0.5f);
  CHECK(load("scalar")->steps()[0] == 4.0f);
  CHECK(Has(load("wrong").error(), "): row 7, column 1: the code is 3"));
  CHECK(Has(load("zero").error(), "'zero_scale' (F32 [1], at byte "));
  CHECK(Has(load("zero").error(), "the scale is 0.0"));
  CHECK(Has(load("two").error(), "'two_scale' (F32 [2], at byte "));
  CHECK(Has(load("none").error(), "there is no tensor 'none_scale'"));
  CHECK(Has(load("signed").error(), "packed weights were expected: U8"));
  CHECK(Has(load("w", 6).error(), "a multiple of 4 rows, not 6"));
  CHECK(Has(load("w", 12).error(), "U8 [3, 3] was expected"));
  CHECK(Has(load("x").error(), "there is no tensor 'x'"));
}

// The tensors of a checkpoint, of which one can be left out, renamed or made another; values are zeros.
Safetensors Zeros(const CheckpointConfig& config, const std::string& changed, const std::string& to,
                  std::vector<uint64_t> shape = {}, const std::vector<std::string>& added = {}) {
  Made made;
  const auto add = [&](std::string name, std::vector<uint64_t> own_shape) {
    if (name == changed) {
      if (to.empty()) return;
      name = to;
      if (!shape.empty()) own_shape = shape;
    }
    uint64_t count = 1;
    for (const uint64_t dimension : own_shape) count *= dimension;
    made.Reals(name, Type::kBF16, own_shape, std::vector<float>(static_cast<size_t>(count)));
  };
  ForEachInfo(config, [&](const TensorInfo& tensor) {
    std::vector<uint64_t> own = {tensor.rows, tensor.cols};
    if (tensor.role == TensorRole::kGain) own.erase(own.begin());
    add(HfNameOf(tensor.layer, tensor.name).now, own);
  });
  for (const std::string& name : added) add(name, {4});
  return made.Open();
}

TEST_CASE("CheckHfTensors: tensors that are missing, of another shape, or too many are refused by name") {
  CheckpointConfig config = Checkpoint("hf_masters").config;
  const auto fault = [&](const std::string& changed, const std::string& to, std::vector<uint64_t> shape = {},
                         const std::vector<std::string>& added = {}) {
    const Safetensors files = Zeros(config, changed, to, std::move(shape), added);
    const Result<Done> good = CheckHfTensors(files, config);
    return good.ok() ? "" : good.error();
  };
  const std::string q = "model.layers.1.self_attn.q_proj.weight",
                    norm = "model.layers.0.self_attn.attn_sub_norm.weight";
  CHECK(fault("", "") == "");
  CHECK(Has(fault(q, ""), "there is no tensor 'model.layers.1.self_attn.q_proj.weight'"));
  CHECK(Has(fault(q, q, {12, 11}), "BF16 [12, 12] was expected"));
  CHECK(Has(fault(norm, norm, {11}), "BF16 [12] was expected"));
  CHECK(Has(fault(norm, norm, {1, 12}), "BF16 [12] was expected"));
  // The older names of sub-layer norms.
  CHECK(fault(norm, "model.layers.0.self_attn.inner_attn_ln.weight") == "");
  CHECK(Has(fault("", "", {}, {"model.layers.0.self_attn.inner_attn_ln.weight"}),
            "there is model.layers.0.self_attn.attn_sub_norm.weight too"));
  for (const char* name : {"model.layers.0.self_attn.q_proj.bias", "model.layers.0.self_attn.q_proj.rms_norm.weight",
                           "model.layers.2.self_attn.q_proj.weight", "model.layers.1.self_attn.q_proj.weight_scale",
                           "model.layers.0.self_attn.q_norm.weight", "hadamard"}) {
    CHECK(Has(fault("", "", {}, {name}), "'" + std::string(name) + "' (BF16 [4], at byte "));
    CHECK(Has(fault("", "", {}, {name}), "has no such tensor"));
  }
  CHECK(fault("", "", {}, {"model.layers.0.self_attn.rotary_emb.inv_freq"}) == "");
  config.head_norms = true;
  CHECK(fault("", "") == "");
  CHECK(Has(fault("model.layers.1.self_attn.k_norm.weight", ""),
            "there is no tensor 'model.layers.1.self_attn.k_norm.weight'"));
  config.layers = 1u << 23;
  CHECK(Has(CheckHfTensors(Checkpoint("hf_masters").files, config).error(),
            "there is no tensor 'model.layers.0.self_attn.q_norm"));
  config.heads = 0;
  CHECK(Has(CheckHfTensors(Checkpoint("hf_masters").files, config).error(), "heads is 0"));
}

TEST_CASE("CheckHfTensors: a tied head may be there if it is a copy") {
  CheckpointConfig config = Checkpoint("hf_masters").config;
  CheckpointConfig tied = config;
  tied.tied_embedding = true;
  CHECK(CheckHfTensors(Zeros(config, "", ""), tied).ok());
  CHECK(Has(CheckHfTensors(Checkpoint("hf_masters").files, tied).error(), "the head is tied to the embedding"));
}

TEST_CASE("CheckHfTensors: packed weights need their scales and rows by four") {
  CheckpointConfig config = Checkpoint("hf_packed").config;
  CHECK(Has(CheckHfTensors(Checkpoint("hf_masters").files, config).error(), "BF16 [3, 12] was expected"));
  Made made;
  const Safetensors packed = Checkpoint("hf_packed").files;
  for (const SafetensorsTensor& tensor : packed.tensors()) {
    if (tensor.name == "model.layers.1.mlp.up_proj.weight_scale") continue;
    const auto bytes = packed.Bytes(tensor);
    made.Bytes(tensor.name, tensor.type, tensor.shape, {bytes.begin(), bytes.end()});
  }
  CHECK(Has(CheckHfTensors(made.Open(), config).error(), "there is no model.layers.1.mlp.up_proj.weight_scale"));
  config.ffn = 27;
  CHECK(Has(CheckHfTensors(packed, config).error(),
            "mlp.gate_proj.weight: packed weights have a multiple of 4 rows, not 27"));
}

}  // namespace
}  // namespace bitnet::hf_weights_test
