// docs/add-a-backend.md, followed to the letter: the blocks of that page are pieces of this file.
#include "guides/shown_in.h"

#include <bitnet/bitnet.h>
#include <doctest/doctest.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "bitnet/backend/reference.h"
#include "bitnet/backend/reference_operations.h"
#include "testing/backend_conformance.h"

using namespace bitnet;
using namespace bitnet::testing;  // of the folder tests/

namespace {

// Weights with their levels unpacked: more memory, no unpacking in a product.
template <Operand W, class U>
class UnpackedMatrix {
 public:
  UnpackedMatrix() = default;
  explicit UnpackedMatrix(const QuantizedMatrix<FormatOf<W>>& weights)
      : weights_(weights), levels_(weights.rows() * weights.cols()) {
    for (size_t r = 0; r < rows(); ++r) {
      weights.UnpackRow(r, std::span(levels_).subspan(r * cols(), cols()));
    }
  }
  size_t rows() const { return weights_.rows(); }
  size_t cols() const { return weights_.cols(); }
  size_t StoredBytes() const { return weights_.StoredBytes() + levels_.size() * sizeof(levels_[0]); }

  const QuantizedMatrix<FormatOf<W>>& weights() const { return weights_; }
  const LevelOf<FormatOf<W>>* Row(size_t r) const { return levels_.data() + r * cols(); }

 private:
  QuantizedMatrix<FormatOf<W>> weights_;
  std::vector<LevelOf<FormatOf<W>>> levels_;
};

class UnpackedBackend {
 public:
  // What it owns. All but the matrix are the plain types.
  template <Operand W, Operand X, class U>
  using Matrix = UnpackedMatrix<W, U>;
  template <Operand X>
  using Rows = QuantizedRows<X>;
  template <class Quantizers>
  using Cache = HostPages<Quantizers>;
  using Lists = ChannelLists;
  using Reals = GrowingMatrix;
  using Vector = std::vector<float>;
  using Where = HostWhere;
  struct Stream {};

  // Objects.
  template <Operand W, Operand X, class U>
  Matrix<W, X, U> PrepareMatrix(const QuantizedMatrix<FormatOf<W>>& weights) const {
    CheckDotFits<W, X>(weights.cols());
    return Matrix<W, X, U>(weights);
  }
  Vector PrepareVector(std::span<const float> values) const { return {values.begin(), values.end()}; }
  template <class Quantizers>
  Cache<Quantizers> NewCache(size_t kv_heads, size_t head_dim) const {
    return {kv_heads, head_dim};
  }
  void ResizeCache(auto& cache, size_t pages) const { cache.Resize(pages); }
  template <class Quantizers>
  std::optional<size_t> PageBytes(size_t kv_heads, size_t head_dim) const {
    return HostCache<Quantizers>::StoredBytes(kv_heads, head_dim, kPageTokens);
  }
  Stream NewStream() const { return {}; }
  MatrixView<float> Shape(Stream&, Reals& reals, size_t rows, size_t cols) const { return reals.Shape(rows, cols); }
  void SetWhere(Stream&, std::span<const Place> places, std::span<const PageTable> tables, const Rope& rope,
                Where& where) const {
    where.Set(places, tables, rope);
  }

  // The one operation of its own: y [tokens, rows] = x [tokens, cols] * matrix^T.
  template <Operand W, Operand X, class U>
  void MatMul(Stream&, const UnpackedMatrix<W, U>& matrix, Rows<X>& x, MatrixView<float> y) const {
    CheckMultiplies<U>();
    CheckProduct(matrix, x, y);
    for (size_t r = 0; r < matrix.rows(); ++r) {
      for (size_t t = 0; t < x.rows(); ++t) {
        y[t][r] = reference::DotOfRow(matrix.weights(), r, matrix.Row(r), x, t);
      }
    }
  }

  // All others are the reference's.
  template <Operand W, class U>
  void Embed(Stream&, const UnpackedMatrix<W, U>& matrix, std::span<const uint32_t> rows, MatrixView<float> y) const {
    CheckLooksUpRows<U>();
    reference::Embed(matrix.weights(), rows, y);
  }
  template <Operand W, Operand X, class U>
  void MatMulRows(Stream&, const UnpackedMatrix<W, U>& matrix, Rows<X>& x, const Lists& rows,
                  MatrixView<float> y) const {
    CheckChoosesRows<U>();
    reference::MatMulRows(matrix.weights(), x, rows, y);
  }
  template <Operand W, Operand X, class U>
  void MatMulColumns(Stream&, const UnpackedMatrix<W, U>& matrix, Rows<X>& x, MatrixView<float> y) const {
    CheckChoosesColumns<U>();
    reference::MatMulColumns(matrix.weights(), x, y);
  }
  template <AnyTransform T>
  void Transform(Stream&, MatrixView<const float> x, MatrixView<float> y) const {
    reference::Transform<T>(x, y);
  }
  template <AnyQuantizer Q>
  void Quantize(Stream&, MatrixView<const float> x, Rows<OperandOf<Q>>& out) const {
    reference::Quantize<Q>(x, out);
  }
  template <AnyQuantizer Q>
  void QuantizeTopK(Stream&, MatrixView<const float> x, size_t k, Rows<OperandOf<Q>>& out) const {
    reference::QuantizeTopK<Q>(x, k, out);
  }
  template <Operand X>
  void FindNonzero(Stream&, Rows<X>& x) const {
    reference::FindNonzero(x);
  }
  void RmsNorm(Stream&, MatrixView<const float> x, const Vector& gain, float eps, MatrixView<float> y) const {
    reference::RmsNorm(x, gain, eps, y);
  }
  void Rotate(Stream&, const Where& where, MatrixView<float> y) const { reference::Rotate(where, y); }
  void Add(Stream&, MatrixView<const float> x, MatrixView<float> y) const { reference::Add(x, y); }
  template <Activation A>
  void OpenGates(Stream&, MatrixView<const float> gate, Lists& open) const {
    reference::OpenGates<A>(gate, open);
  }
  template <Activation A>
  void Glu(Stream&, MatrixView<const float> gate, MatrixView<const float> up, const Lists& open,
           MatrixView<float> y) const {
    reference::Glu<A>(gate, up, open, y);
  }
  void Store(Stream&, MatrixView<const float> keys, MatrixView<const float> values, const Where& where,
             auto& cache) const {
    reference::Store(keys, values, where, cache);
  }
  template <Operand Q>
  void Attend(Stream&, Rows<Q>& q, const Where& where, const auto& cache, const AttentionShape& shape,
              MatrixView<float> y) const {
    reference::Attend(q, where, cache, shape, y);
  }
  void CopyPage(Stream&, auto& cache, uint32_t from, uint32_t to) const { cache.CopyPage(from, to); }
  Result<uint32_t> Sample(Stream&, MatrixView<const float> logits, const SamplerOptions& options,
                          uint64_t random) const {
    SampleScratch scratch;
    return SampleToken(logits[0], options, random, scratch);
  }

  // The border: memory is the host's, so there is nothing to wait for.
  MatrixView<const float> Read(Stream&, MatrixView<const float> from, GrowingMatrix&) const { return from; }
  void Write(Stream&, MatrixView<const float> from, MatrixView<float> to) const { reference::Copy(from, to); }
  template <class Same>
  void Read(Stream&, const Same& from, Same& to) const {
    to = from;
  }
  template <class Same>
  void Write(Stream&, const Same& from, Same& to) const {
    to = from;
  }
  template <class Quantizers>
  void ReadCache(Stream&, const Cache<Quantizers>& from, PageTable table, size_t tokens,
                 HostCache<Quantizers>& to) const {
    reference::ReadCache(from, table, tokens, to);
  }
  template <class Quantizers>
  void WriteCache(Stream&, const HostCache<Quantizers>& from, size_t tokens, PageTable table,
                  Cache<Quantizers>& to) const {
    reference::WriteCache(from, tokens, table, to);
  }
  template <Operand X>
  uint64_t CountNonzero(Stream&, const Rows<X>& x) const {
    return reference::CountNonzero(x);
  }
  template <Operand X>
  uint64_t CountNonzero(Stream&, const Rows<X>& x, const Lists& lists) const {
    return reference::CountNonzero(x, lists);
  }
  Result<Done> Finish(Stream&) const { return Done{}; }

  template <Operand W, Operand X, class U>
  static std::string DescribeProduct() {
    return "levels unpacked, plain loops";
  }
  template <class Quantizers>
  static std::string DescribeAttention() {
    return "reference: plain loops";
  }
};

static_assert(Backend<UnpackedBackend>);

TEST_CASE("UnpackedBackend: has the bits of the reference") { TestBackend<UnpackedBackend>(); }

ModelConfig SmallConfig() {
  ModelConfig config;
  config.hidden = 64;
  config.layers = 2;
  config.heads = 2;
  config.kv_heads = 2;
  config.head_dim = 32;
  config.ffn = 172;
  return config;
}

template <Scheme S, class B>
std::vector<float> Logits(const ModelWeights<S>& weights, const B& backend) {
  const Transformer<S, B> model(weights, backend);
  auto state = model.NewState();
  const std::vector<Token> tokens = {'b', 'i', 't', 's'};
  const std::span<const float> logits = *model.Forward(tokens, state);
  return {logits.begin(), logits.end()};
}

TEST_CASE("UnpackedBackend: a model runs on it") {
  Random random(3);
  const auto weights = ModelWeights<A48>::Quantize(LatentWeights::Initial(SmallConfig(), random));
  CHECK(Logits(weights, UnpackedBackend()) == Logits(weights, ReferenceBackend()));
}

// Binary weights, for binary inputs: 64 signs a word, row by row; bit 1 is +1.
class SignMatrix {
 public:
  SignMatrix() = default;
  explicit SignMatrix(const QuantizedMatrix<Binary>& weights)
      : steps_(weights.steps().begin(), weights.steps().end()),
        per_row_(weights.granularity().per_row),
        rows_(weights.rows()),
        cols_(weights.cols()),
        words_(weights.rows() * Words()) {
    std::vector<int8_t> levels(cols_);
    for (size_t r = 0; r < rows_; ++r) {
      weights.UnpackRow(r, levels);
      Pack(levels, words_.data() + r * Words());
    }
  }
  size_t rows() const { return rows_; }
  size_t cols() const { return cols_; }
  size_t StoredBytes() const { return words_.size() * sizeof(uint64_t) + steps_.size() * sizeof(float); }

  size_t Words() const { return (cols_ + 63) / 64; }
  const uint64_t* Row(size_t r) const { return words_.data() + r * Words(); }
  float Step(size_t r) const { return steps_[per_row_ ? r : 0]; }

  // Levels -1 and 1 to bits; zeros after the last.
  static void Pack(std::span<const int8_t> levels, uint64_t* words) {
    for (size_t c = 0; c < levels.size(); ++c) {
      if (c % 64 == 0) words[c / 64] = 0;
      words[c / 64] |= uint64_t{levels[c] > 0} << (c % 64);
    }
  }

 private:
  std::vector<float> steps_;
  bool per_row_ = false;
  size_t rows_ = 0;
  size_t cols_ = 0;
  std::vector<uint64_t> words_;
};

// The pair and the use that the kernel is for.
template <class W, class X, class U>
inline constexpr bool kIsXnor = std::is_same_v<W, Binary>&& std::is_same_v<X, Binary>&& std::is_same_v<U, Uses<Dense>>;

class XnorBackend : public SimdBackend {
 public:
  using SimdBackend::SimdBackend;

  // With memory for the signs of a token's inputs.
  struct Stream : SimdBackend::Stream {
    std::vector<uint64_t> signs;
  };
  Stream NewStream() const { return {}; }

  // A type of its own for the pair: what SimdBackend has no product for, so that one that is missing or misspelt here
  // does not compile.
  template <Operand W, Operand X, class U>
  using Matrix = std::conditional_t<kIsXnor<W, X, U>, SignMatrix, SimdBackend::Matrix<W, X, U>>;

  template <Operand W, Operand X, class U>
  Matrix<W, X, U> PrepareMatrix(const QuantizedMatrix<FormatOf<W>>& weights) const {
    if constexpr (kIsXnor<W, X, U>) {
      return SignMatrix(weights);
    } else {
      return SimdBackend::PrepareMatrix<W, X, U>(weights);
    }
  }

  using SimdBackend::MatMul;
  // Where the signs differ the product is -1: dot = cols - 2 * (how many differ).
  void MatMul(Stream& stream, const SignMatrix& matrix, Rows<Binary>& x, MatrixView<float> y) const {
    CheckProduct(matrix, x, y);
    const size_t words = matrix.Words();
    stream.signs.resize(words);
    for (size_t t = 0; t < x.rows(); ++t) {
      SignMatrix::Pack(x[t], stream.signs.data());
      // At least 64 rows for each of the executor's threads.
      ParallelRanges(executor(), matrix.rows(), 64, 1, [&](size_t begin, size_t end) {
        for (size_t r = begin; r < end; ++r) {
          int differ = 0;
          for (size_t i = 0; i < words; ++i) differ += std::popcount(matrix.Row(r)[i] ^ stream.signs[i]);
          const int dot = static_cast<int>(matrix.cols()) - 2 * differ;
          y[t][r] = static_cast<float>(0.0 + double(dot) * double(matrix.Step(r) * x.Steps(t)[0]));
        }
      });
    }
  }

  template <Operand W, Operand X, class U>
  static std::string DescribeProduct() {
    return kIsXnor<W, X, U> ? "signs: 64 a word" : SimdBackend::DescribeProduct<W, X, U>();
  }
};

static_assert(Backend<XnorBackend>);

TEST_CASE("XnorBackend: has the bits of the reference, its own pair among the others") {
  const XnorBackend backend;
  for (const size_t cols : {1u, 63u, 64u, 65u, 130u, 400u}) {
    for (const ProductCase& c : kProductCases) {
      TestUses<Binary, Binary, Uses<Dense>>(backend, "signs", ExpectProduct<Binary, Binary>("Binary", c, cols));
    }
  }
  TestTokenOperations<XnorBackend>();
}

// Signs in, signs out.
struct Xnor : A48 {
  static constexpr const char* kName = "Xnor";
  using Weight = Quantizer<Binary, AbsMean>;
  using Input = Quantizer<Binary, AbsMean>;
};

TEST_CASE("XnorBackend: a model runs on it") {
  Random random(3);
  const auto weights = ModelWeights<Xnor>::Quantize(LatentWeights::Initial(SmallConfig(), random));
  CHECK(Logits(weights, XnorBackend()) == Logits(weights, ReferenceBackend()));
}

TEST_CASE("Guide to backends: its blocks, one after another, are this test") {
  CHECK(ShownWhole("docs/add-a-backend.md", "tests/guides/add_a_backend_test.cc"));
}

}  // namespace
