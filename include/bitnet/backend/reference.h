// ReferenceBackend: docs/numerics.md as plain loops. It defines every result and is the oracle of every other backend.
// Meant to be read and checked against the paper, not to be fast.
#ifndef BITNET_BACKEND_REFERENCE_H_
#define BITNET_BACKEND_REFERENCE_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "bitnet/backend/backend.h"
#include "bitnet/base/exact_math.h"

namespace bitnet {

// The canonical form itself.
template <Format W, Format X>
class ReferenceMatrix {
 public:
  ReferenceMatrix() = default;
  explicit ReferenceMatrix(QuantizedMatrix<W> weights) : weights_(std::move(weights)) {}
  size_t rows() const { return weights_.rows(); }
  size_t cols() const { return weights_.cols(); }
  size_t StoredBytes() const { return weights_.StoredBytes(); }
  const QuantizedMatrix<W>& weights() const { return weights_; }

 private:
  QuantizedMatrix<W> weights_;
};

// Whether a dot product of `cols` levels stays below 2^29, as products require of integer formats: it fits 32 bits, and
// its product with a step (24 bits) is exact in double.
template <Format W, Format X>
constexpr bool DotFits(size_t cols) {
  if constexpr (kIsFloat<W> || kIsFloat<X>) {
    return true;
  } else {
    constexpr auto kLargest =
        static_cast<size_t>(FormatTraits<W>::kMaxMagnitude) * static_cast<size_t>(FormatTraits<X>::kMaxMagnitude);
    return cols <= ((size_t{1} << 29) - 1) / kLargest;
  }
}

class ReferenceBackend {
 public:
  template <Format W, Format X>
  using Matrix = ReferenceMatrix<W, X>;

  explicit ReferenceBackend(Executor& executor = DefaultExecutor()) : executor_(&executor) {}
  Executor& executor() const { return *executor_; }

  template <Format X, Format W>
  Matrix<W, X> Prepare(const QuantizedMatrix<W>& weights, Access) const {
    BITNET_ASSERT((DotFits<W, X>(weights.cols())), "Prepare: a dot product of this many columns could reach 2^29");
    return Matrix<W, X>(weights);
  }

  template <class M, Format X>
  void PrepareInputs(const M&, QuantizedTokens<X>&) const {}

  template <Format W, Format X>
  void DequantizeRow(const Matrix<W, X>& matrix, size_t row, std::span<float> values) const {
    matrix.weights().DequantizeRow(row, values);
  }

  template <Format W, Format X>
  void MatMul(const Matrix<W, X>& matrix, const QuantizedTokens<X>& x, MatrixView<float> y) const {
    CheckShapes(matrix, x, y);
    ParallelRanges(executor(), matrix.rows(), 16, 1, [&](size_t begin, size_t end) {
      std::vector<LevelOf<W>> w(matrix.cols());
      for (size_t r = begin; r < end; ++r) {
        matrix.weights().UnpackRow(r, w);
        for (size_t t = 0; t < x.tokens(); ++t) y[t][r] = Dot(matrix.weights(), r, w.data(), x, t);
      }
    });
  }

  template <Format W, Format X>
  void MatMulRows(const Matrix<W, X>& matrix, const QuantizedTokens<X>& x, const ChannelLists& rows,
                  MatrixView<float> y) const {
    CheckShapes(matrix, x, y);
    BITNET_ASSERT(rows.tokens() == x.tokens(), "MatMulRows: a list of rows for each token");
    std::vector<LevelOf<W>> w(matrix.cols());
    for (size_t t = 0; t < x.tokens(); ++t) {
      for (const uint32_t r : rows[t]) {
        matrix.weights().UnpackRow(r, w);
        y[t][r] = Dot(matrix.weights(), r, w.data(), x, t);
      }
    }
  }

  // Zero inputs contribute nothing: the listed columns alone give the dense result.
  template <Format W, Format X>
  void MatMulColumns(const Matrix<W, X>& matrix, const QuantizedTokens<X>& x, MatrixView<float> y) const {
    CheckShapes(matrix, x, y);
    BITNET_ASSERT(x.nonzero().tokens() == x.tokens(), "MatMulColumns: FindNonzero must come first");
    std::vector<LevelOf<W>> w(matrix.cols());
    std::vector<LevelOf<W>> read(matrix.cols());
    for (size_t r = 0; r < matrix.rows(); ++r) {
      matrix.weights().UnpackRow(r, w);
      for (size_t t = 0; t < x.tokens(); ++t) {
        std::fill(read.begin(), read.end(), LevelOf<W>{});
        for (const uint32_t c : x.nonzero()[t]) read[c] = w[c];
        y[t][r] = Dot(matrix.weights(), r, read.data(), x, t);
      }
    }
  }

  template <AnyQuantizer Q>
  void Quantize(MatrixView<const float> x, QuantizedTokens<typename Q::Format>& out) const {
    out.Resize(x.rows(), x.cols(), kGroupSize<typename Q::Granularity>);
    const Segments segments = out.segments();
    for (size_t t = 0; t < x.rows(); ++t) {
      for (size_t begin = 0; begin < x.cols(); begin = segments.End(begin)) {
        const auto span = x[t].subspan(begin, segments.End(begin) - begin);
        out.Step(t, segments.Of(begin)) = Q::Quantize(span, out.Row(t) + begin);
      }
    }
  }

  template <AnyQuantizer Q>
  void QuantizeTopK(MatrixView<const float> x, size_t k, QuantizedTokens<typename Q::Format>& out) const {
    static_assert(HasZero<typename Q::Format>(),
                  "bitnet: top-k sets inputs to zero, so its quantizer needs a format with the level 0");
    Quantize<Q>(x, out);
    for (size_t t = 0; t < x.rows(); ++t) {
      TopKThreshold threshold = FindTopK(x[t], k);
      for (size_t c = 0; c < x.cols(); ++c) {
        if (!KeepNext(threshold, x[t][c])) out.Row(t)[c] = 0;
      }
    }
  }

  template <Format X>
  void FindNonzero(QuantizedTokens<X>& x) const {
    x.nonzero().Resize(x.tokens(), x.cols());
    for (size_t t = 0; t < x.tokens(); ++t) {
      size_t count = 0;
      for (size_t c = 0; c < x.cols(); ++c) {
        // Counted up always, kept only if non-zero: no branch to mispredict.
        x.nonzero().Row(t)[count] = static_cast<uint32_t>(c);
        count += x.Row(t)[c] != LevelOf<X>{} ? 1u : 0u;
      }
      x.nonzero().SetCount(t, count);
    }
  }

  void RmsNorm(MatrixView<const float> x, std::span<const float> gain, float eps, MatrixView<float> y) const {
    BITNET_ASSERT(gain.size() == x.cols() && y.cols() == x.cols() && y.rows() == x.rows(),
                  "RmsNorm: x, y and gain must have the same width");
    for (size_t t = 0; t < x.rows(); ++t) {
      const float* row = x.Row(t);
      const double squares = OrderedSum(x.cols(), [&](size_t i) { return double(row[i]) * double(row[i]); });
      const float r = InverseRms(squares, x.cols(), eps);
      for (size_t i = 0; i < x.cols(); ++i) y[t][i] = (row[i] * r) * gain[i];
    }
  }

  // The factor of RMSNorm: shared with its backward pass.
  static float InverseRms(double sum_of_squares, size_t n, float eps) {
    return static_cast<float>(1.0 / std::sqrt(sum_of_squares / static_cast<double>(n) + double(eps)));
  }

  void Rotate(std::span<const float> cos, std::span<const float> sin, MatrixView<float> heads) const {
    const size_t half = heads.cols() / 2;
    BITNET_ASSERT(heads.cols() % 2 == 0 && cos.size() == half && sin.size() == half,
                  "Rotate: head_dim must be even, with an angle for each pair");
    for (size_t h = 0; h < heads.rows(); ++h) {
      float* x = heads.Row(h);
      for (size_t i = 0; i < half; ++i) {
        const double a = x[i];
        const double b = x[i + half];
        x[i] = static_cast<float>(a * double(cos[i]) - b * double(sin[i]));
        x[i + half] = static_cast<float>(b * double(cos[i]) + a * double(sin[i]));
      }
    }
  }

  void Add(MatrixView<const float> x, MatrixView<float> y) const {
    BITNET_ASSERT(x.rows() == y.rows() && x.cols() == y.cols(), "Add: x and y must have the same shape");
    for (size_t t = 0; t < x.rows(); ++t) {
      for (size_t i = 0; i < x.cols(); ++i) y[t][i] += x[t][i];
    }
  }

  template <Activation A>
  void OpenGates(MatrixView<const float> gate, ChannelLists& open) const {
    open.Resize(gate.rows(), gate.cols());
    for (size_t t = 0; t < gate.rows(); ++t) {
      size_t count = 0;
      for (size_t c = 0; c < gate.cols(); ++c) {
        open.Row(t)[count] = static_cast<uint32_t>(c);
        count += !A::kMakesZeros || A::Value(gate[t][c]) != 0.0f ? 1u : 0u;
      }
      open.SetCount(t, count);
    }
  }

  template <Activation A>
  void Glu(MatrixView<const float> gate, MatrixView<const float> up, const ChannelLists& open,
           MatrixView<float> y) const {
    CheckGlu(gate, up, open, y);
    for (size_t t = 0; t < gate.rows(); ++t) {
      size_t next = 0;
      for (const uint32_t c : open[t]) {
        std::fill(y.Row(t) + next, y.Row(t) + c, 0.0f);
        y[t][c] = up[t][c] * A::Value(gate[t][c]);
        next = c + 1;
      }
      std::fill(y.Row(t) + next, y.Row(t) + y.cols(), 0.0f);
    }
  }

  template <Format Q, Format K, Format K0, Format V, Format V0>
  void Attend(const QuantizedTokens<Q>& q, const HeadCache<K, K0>& keys, const HeadCache<V, V0>& values,
              const AttentionShape& shape, AttentionScratch&, MatrixView<float> out) const {
    CheckAttend(q, keys, values, shape, out);
    ParallelRanges(executor(), out.rows() * shape.heads, 1, 1, [&](size_t begin, size_t end) {
      for (size_t row = begin; row < end; ++row) {
        const size_t token = row / shape.heads;
        const size_t head = row % shape.heads;
        AttendOne(q, row, keys, values, head / (shape.heads / shape.kv_heads), shape.first_position + token + 1,
                  out.Row(token) + head * shape.head_dim);
      }
    });
  }

  // ---- The scalar definitions that vector versions share.

  // Whether the next value of a row, in order, is among the k largest; uses up ties.
  static bool KeepNext(TopKThreshold& threshold, float value) {
    const uint32_t bits = MagnitudeBits(value);
    const bool tie = bits == threshold.bits && threshold.equal_kept > 0;
    threshold.equal_kept -= tie ? 1u : 0u;
    return bits > threshold.bits || tie;
  }

  template <Format X>
  static constexpr bool HasZero() {
    if constexpr (kIsFloat<X>) {
      return true;
    } else {
      return FormatTraits<X>::kHasZero;
    }
  }

  // The factor of an attention score: float(q_step * float(1 / sqrt(head_dim))).
  static float ScoreFactor(float q_step, size_t head_dim) {
    return q_step * static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_dim)));
  }

  // exp(score - max), not yet divided by the sum. A NaN score stays NaN; an infinite maximum gives NaN too.
  static float Probability(float score, float max) {
    const float x = score - max;
    return x <= 0.0f ? Exp(x) : std::numeric_limits<float>::quiet_NaN();
  }

  // The unit in which the weights of quantized values are counted within a block, given the largest magnitude of a
  // weight: the power of two that is contained 2^14 to 2^15 times. 0 for 0; NaN for what is not finite.
  static double WeightUnit(float largest) {
    if (!std::isfinite(largest)) return std::numeric_limits<double>::quiet_NaN();
    int exponent = 0;
    return std::frexp(largest, &exponent) == 0.0f ? 0.0 : std::ldexp(1.0, exponent - 15);
  }
  static constexpr int32_t kMaxWeight = 32767;
  // A weight in units, at most kMaxWeight; no weight counts where the unit is 0 or NaN.
  static int32_t WeightInUnits(float weight, double unit) {
    if (!(unit > 0.0)) return 0;
    const double units = std::rint(static_cast<double>(weight) / unit);
    return static_cast<int32_t>(std::clamp<double>(units, -kMaxWeight, kMaxWeight));
  }

 protected:
  static void CheckGlu(MatrixView<const float> gate, MatrixView<const float> up, const ChannelLists& open,
                       MatrixView<float> y) {
    BITNET_ASSERT(gate.rows() == y.rows() && gate.cols() == y.cols() && up.rows() == y.rows() &&
                      up.cols() == y.cols() && open.tokens() == y.rows() && open.width() == y.cols(),
                  "Glu: gate, up, the list of open gates and y must have the same shape");
  }
  template <Format Q, Format K, Format K0, Format V, Format V0>
  static void CheckAttend(const QuantizedTokens<Q>& q, const HeadCache<K, K0>& keys, const HeadCache<V, V0>& values,
                          const AttentionShape& shape, MatrixView<float> out) {
    const size_t tokens = out.rows();
    BITNET_ASSERT(
        q.tokens() == tokens * shape.heads && q.cols() == shape.head_dim && out.cols() == shape.heads * shape.head_dim,
        "Attend: queries and output must agree in shape");
    BITNET_ASSERT(shape.kv_heads != 0 && shape.heads % shape.kv_heads == 0 && keys.heads() == shape.kv_heads &&
                      values.heads() == shape.kv_heads && keys.head_dim() == shape.head_dim &&
                      values.head_dim() == shape.head_dim,
                  "Attend: the caches must have kv_heads heads of head_dim, and kv_heads must divide heads");
    BITNET_ASSERT(tokens <= keys.max_tokens() && shape.first_position <= keys.max_tokens() - tokens &&
                      tokens <= values.max_tokens() && shape.first_position <= values.max_tokens() - tokens,
                  "Attend: beyond the cache");
    BITNET_ASSERT((DotFits<Q, K>(shape.head_dim) && DotFits<Q, K0>(shape.head_dim)),
                  "Attend: a dot product of heads of this width could reach 2^29");
  }
  template <Format X>
  static void CheckShapes(const auto& matrix, const QuantizedTokens<X>& x, MatrixView<float> y) {
    BITNET_ASSERT(x.cols() == matrix.cols(), "a product needs inputs as wide as the matrix has columns");
    BITNET_ASSERT(y.rows() == x.tokens() && y.cols() == matrix.rows(), "a product's output must be [tokens, rows]");
  }

 private:
  // sum_i a_i * b_i: exact for levels, float(eight double lanes) with a float operand.
  template <class A, class B>
  static double DotOf(const A* a, const B* b, size_t n) {
    if constexpr (std::is_same_v<A, float> || std::is_same_v<B, float>) {
      return static_cast<float>(OrderedSum(n, [&](size_t i) { return double(a[i]) * double(b[i]); }));
    } else {
      int32_t sum = 0;
      for (size_t i = 0; i < n; ++i) sum += int32_t{a[i]} * int32_t{b[i]};
      return sum;
    }
  }

  template <Format W, Format X>
  static float Dot(const QuantizedMatrix<W>& weights, size_t row, const LevelOf<W>* w, const QuantizedTokens<X>& x,
                   size_t token) {
    double total = 0.0;
    EachCommonSegment(weights.segments(), x.segments(), [&](size_t begin, size_t end, size_t ws, size_t xs) {
      const float scale = weights.Step(row, ws) * x.Step(token, xs);
      total += DotOf(w + begin, x.Row(token) + begin, end - begin) * double(scale);
    });
    return static_cast<float>(total);
  }

  template <Format Q, Format K, Format K0, Format V, Format V0>
  static void AttendOne(const QuantizedTokens<Q>& q, size_t q_row, const HeadCache<K, K0>& keys,
                        const HeadCache<V, V0>& values, size_t kv_head, size_t visible, float* out) {
    const size_t dim = q.cols();
    std::vector<float> p(visible);
    const float a = ScoreFactor(q.Step(q_row, 0), dim);
    for (size_t s = 0; s < visible; ++s) {
      WithLevels(keys, kv_head, s, [&](const auto* k) {
        p[s] = static_cast<float>(DotOf(q.Row(q_row), k, dim) * double(a * keys.Step(kv_head, s)));
      });
    }
    float max = p[0];
    for (const float score : p) max = std::max(max, score);
    for (float& score : p) score = Probability(score, max);

    double total = 0.0;
    std::vector<double> sum(dim);
    for (size_t begin = 0; begin < visible; begin += kAttentionBlock) {
      const size_t end = std::min(visible, begin + kAttentionBlock);
      total += OrderedSum(end - begin, [&](size_t i) { return p[begin + i]; });
      AddValues(values, kv_head, begin, end, p.data(), sum);
    }
    for (size_t i = 0; i < dim; ++i) out[i] = static_cast<float>(sum[i] / total);
  }

  // sum += the values of tokens [begin, end), which are of one block, each times p and its step.
  template <Format V, Format V0>
  static void AddValues(const HeadCache<V, V0>& values, size_t kv_head, size_t begin, size_t end, const float* p,
                        std::vector<double>& sum) {
    const auto weight = [&](size_t s) { return p[s] * values.Step(kv_head, s); };
    if constexpr (kIsFloat<V>) {
      std::vector<double> of_block(sum.size());
      for (size_t s = begin; s < end; ++s) {
        WithLevels(values, kv_head, s, [&](const float* v) {
          for (size_t i = 0; i < sum.size(); ++i) of_block[i] += double(weight(s)) * double(v[i]);
        });
      }
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += of_block[i];
    } else {
      float largest = 0.0f;
      bool finite = true;
      for (size_t s = begin; s < end; ++s) {
        largest = std::max(largest, std::fabs(weight(s)));
        finite = finite && std::isfinite(weight(s));
      }
      const double unit = WeightUnit(finite ? largest : std::numeric_limits<float>::infinity());
      std::vector<int64_t> of_block(sum.size());
      for (size_t s = begin; s < end; ++s) {
        WithLevels(values, kv_head, s, [&](const auto* v) {
          for (size_t i = 0; i < sum.size(); ++i) of_block[i] += int64_t{WeightInUnits(weight(s), unit)} * v[i];
        });
      }
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += double(of_block[i]) * unit;
    }
  }

  // f(the levels of a head at a token).
  template <Format F, Format First>
  static void WithLevels(const HeadCache<F, First>& cache, size_t head, size_t token, auto&& f) {
    const auto with = [&]<Format Stored>(std::type_identity<Stored>) {
      std::vector<LevelOf<Stored>> levels(cache.head_dim());
      cache.template Load<Stored>(head, token, levels);
      f(levels.data());
    };
    if (token == 0) {
      with(std::type_identity<First>{});
    } else {
      with(std::type_identity<F>{});
    }
  }

  Executor* executor_;
};

static_assert(Backend<ReferenceBackend>);

}  // namespace bitnet

#endif  // BITNET_BACKEND_REFERENCE_H_
