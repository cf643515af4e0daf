// docs/add-a-backend.md, followed to the letter: the blocks of that page are pieces of this file.
#include <bitnet/bitnet.h>
#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "bitnet/backend/reference.h"
#include "guides/shown_in.h"
#include "testing/backend_conformance.h"

namespace bitnet::testing {
namespace {

// The canonical form and, beside it, the levels unpacked: more memory, no unpacking in MatMul.
template <Format W, Format X>
class UnpackedMatrix : public ReferenceMatrix<W, X> {
 public:
  UnpackedMatrix() = default;
  explicit UnpackedMatrix(const QuantizedMatrix<W>& weights)
      : ReferenceMatrix<W, X>(weights), levels_(weights.rows() * weights.cols()) {
    for (size_t r = 0; r < weights.rows(); ++r) {
      weights.UnpackRow(r, std::span(levels_).subspan(r * weights.cols(), weights.cols()));
    }
  }
  const LevelOf<W>* Row(size_t r) const { return levels_.data() + r * this->cols(); }
  size_t StoredBytes() const { return ReferenceMatrix<W, X>::StoredBytes() + levels_.size() * sizeof(LevelOf<W>); }

 private:
  std::vector<LevelOf<W>> levels_;
};

class UnpackedBackend : public ReferenceBackend {
 public:
  template <Format W, Format X>
  using Matrix = UnpackedMatrix<W, X>;

  using ReferenceBackend::ReferenceBackend;  // the constructor, which takes an Executor

  template <Format X, Format W>
  Matrix<W, X> Prepare(const QuantizedMatrix<W>& weights, Access) const {
    BITNET_ASSERT((DotFits<W, X>(weights.cols())), "Prepare: a dot product of this many columns could reach 2^29");
    return Matrix<W, X>(weights);
  }

  template <Format W, Format X>
  void MatMul(const Matrix<W, X>& matrix, const QuantizedTokens<X>& x, MatrixView<float> y) const {
    if constexpr (kIsFloat<W> || kIsFloat<X>) {
      ReferenceBackend::MatMul(matrix, x, y);  // a sum of reals has its order: leave it alone
    } else {
      CheckShapes(matrix, x, y);
      ParallelRanges(executor(), matrix.rows(), 16, 1, [&](size_t begin, size_t end) {
        for (size_t r = begin; r < end; ++r) {
          for (size_t t = 0; t < x.tokens(); ++t) y[t][r] = Dot(matrix, r, x, t);
        }
      });
    }
  }

 private:
  template <Format W, Format X>
  static float Dot(const Matrix<W, X>& matrix, size_t r, const QuantizedTokens<X>& x, size_t t) {
    const LevelOf<W>* w = matrix.Row(r);
    const LevelOf<X>* v = x.Row(t);
    double total = 0.0;
    EachCommonSegment(matrix.weights().segments(), x.segments(),
                      [&](size_t begin, size_t end, size_t w_segment, size_t x_segment) {
                        int32_t dot = 0;
                        for (size_t c = begin; c < end; ++c) dot += int32_t{w[c]} * int32_t{v[c]};
                        const float step = matrix.weights().Step(r, w_segment) * x.Step(t, x_segment);
                        total += double(dot) * double(step);
                      });
    return static_cast<float>(total);
  }
};

static_assert(Backend<UnpackedBackend>);

TEST_CASE("UnpackedBackend: has the bits of the reference") { TestBackend<UnpackedBackend>(); }

template <class B>
std::vector<float> Logits(const ModelWeights<A48>& weights, const B& backend) {
  const Transformer<A48, B> model(weights, backend);
  auto state = model.NewState();
  const std::vector<Token> tokens = {'b', 'i', 't', 's'};
  const std::span<const float> logits = *model.Forward(tokens, state);
  return {logits.begin(), logits.end()};
}

TEST_CASE("UnpackedBackend: a model runs on it, with threads of one's own") {
  ModelConfig config;
  config.hidden = 64;
  config.layers = 2;
  config.heads = 2;
  config.kv_heads = 2;
  config.head_dim = 32;
  config.ffn = 172;
  Random random(3);
  const auto weights = ModelWeights<A48>::From(LatentWeights::Initial(config, false, random));

  ThreadPool two_threads(2);
  CHECK(Logits(weights, UnpackedBackend(two_threads)) == Logits(weights, ReferenceBackend()));
}

TEST_CASE("Guide to backends: every block is code of this test") {
  CHECK(ShownIn("docs/add-a-backend.md", "tests/guides/add_a_backend_test.cc"));
}

}  // namespace
}  // namespace bitnet::testing
