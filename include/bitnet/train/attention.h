// Causal grouped-query attention over whole sequences, forward with the bits of Backend::Attend, and backward.
//
// Layout: `heads` [tokens, (heads + 2 kv_heads) * head_dim] holds the queries, keys and values of each token, after the
// rotary embedding and the transforms of the scheme's heads (what they need at the end, and backwards, is the
// caller's); token t of sequence b is row b * length + t. A task is one sequence and one key/value head.
#ifndef BITNET_TRAIN_ATTENTION_H_
#define BITNET_TRAIN_ATTENTION_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>

#include "bitnet/backend/backend.h"
#include "bitnet/scheme/scheme.h"
#include "bitnet/train/attention_kernels.h"
#include "bitnet/train/fake_quant.h"
#include "bitnet/train/linear.h"
#include "bitnet/train/matrix.h"
#include "bitnet/train/softmax.h"

namespace bitnet {

struct AttentionDims {
  size_t sequences = 0;
  size_t length = 0;  // tokens of each sequence
  size_t heads = 0;
  size_t kv_heads = 0;
  size_t head_dim = 0;

  size_t share() const { return heads / kv_heads; }
  size_t tasks() const { return sequences * kv_heads; }
  // Where head h of the queries, the keys, the values starts in a row of `heads`.
  size_t QueryColumn(size_t h) const { return h * head_dim; }
  size_t KeyColumn(size_t h) const { return (heads + h) * head_dim; }
  size_t ValueColumn(size_t h) const { return (heads + kv_heads + h) * head_dim; }
  // One head of all tokens of a sequence: [length, head_dim].
  template <class T>
  MatrixView<T> Head(MatrixView<T> rows, size_t sequence, size_t column) const {
    return rows.Rows(sequence * length, length).Cols(column, head_dim);
  }
  // Probabilities are kept as [sequences * heads * length, length].
  size_t ProbabilityRow(size_t sequence, size_t head) const { return (sequence * heads + head) * length; }
};

namespace detail {

// Levels and values of x [length, head_dim]: the first token by First, the others by Q.
template <AnyQuantizer First, AnyQuantizer Q, HostBackend B>
void QuantizeHead(const B& backend, MatrixView<float> x, FloatLevels& out) {
  out.Resize(x.rows(), x.cols(), 0);
  const auto rows = [&]<class Which>(size_t begin, size_t count) {
    thread_local typename B::template Rows<OperandOf<Which>> quantized;
    typename B::Stream stream = backend.NewStream();
    const MatrixView<float> some = x.Rows(begin, count);
    backend.template Quantize<Which>(stream, some, quantized);
    SpreadRows<typename Which::Format>(quantized, out.levels.Rows(begin, count), {out.steps.data() + begin, count},
                                       some);
  };
  rows.template operator()<First>(0, 1);
  if (x.rows() > 1) rows.template operator()<Q>(1, x.rows() - 1);
}

// sum_i a[i] * b[i] in double, in an order that depends on n alone.
inline float FloatDot(const float* a, const float* b, size_t n) {
  SumLanes sum;
  size_t i = 0;
  for (; i + kSumLanes <= n; i += kSumLanes) {
    for (size_t lane = 0; lane < kSumLanes; ++lane) sum.lane[lane] += double(a[i + lane]) * double(b[i + lane]);
  }
  for (; i < n; ++i) sum.lane[i % kSumLanes] += double(a[i]) * double(b[i]);
  return static_cast<float>(sum.Fold());
}

// OrderedSum of p[0, n), n <= kSumBlock: a block's tokens.
inline double SumOfLanes(const float* p, size_t n) {
  static_assert(kAttentionBlock <= kSumBlock);
  SumLanes sum;
  size_t i = 0;
  for (; i + kSumLanes <= n; i += kSumLanes) {
    for (size_t lane = 0; lane < kSumLanes; ++lane) sum.lane[lane] += double(p[i + lane]);
  }
  for (; i < n; ++i) sum.lane[i % kSumLanes] += double(p[i]);
  return sum.Fold();
}

// units[0, n) = the weights p * step in the units of their block (docs/numerics.md), of which there are n; returns the
// unit.
inline double WeightsInUnits(const float* p, const float* steps, size_t n, double* units) {
  float largest = 0.0f;
  bool finite = true;
  for (size_t s = 0; s < n; ++s) {
    const float magnitude = std::fabs(p[s] * steps[s]);
    finite &= magnitude <= std::numeric_limits<float>::max();
    largest = std::max(largest, magnitude);
  }
  const double unit = WeightUnit(finite ? largest : std::numeric_limits<float>::infinity());
  if (!(unit > 0.0)) {
    std::fill(units, units + n, 0.0);
    return unit;
  }
  const double inverse = 1.0 / unit;  // a power of two, like the unit
  constexpr double kMost = kMaxWeight;
  for (size_t s = 0; s < n; ++s) {
    units[s] = std::clamp(std::rint(double(p[s] * steps[s]) * inverse), -kMost, kMost);
  }
  return unit;
}

// Query rows that are multiplied at once: later blocks see more keys, so small ones waste less above the diagonal.
inline constexpr size_t kQueryBlock = 64;

}  // namespace detail

// Fake-quantizes `heads` in place; attended [tokens, heads * head_dim]; probabilities for the backward pass.
template <Scheme S, HostBackend B>
void AttentionForward(const B& backend, const AttentionDims& dims, MatrixView<float> heads,
                      MatrixView<float> probabilities, MatrixView<float> attended) {
  using Q = typename S::Query::Format;
  using K = typename S::Key::Format;
  using K0 = typename S::FirstKey::Format;
  using V = typename S::Value::Format;
  using Eigen::Index;
  constexpr bool kLevels = !kIsFloat<Q> && !kIsFloat<K> && !kIsFloat<K0>;
  // Dot products of levels are exact in any order, as long as they fit.
  const bool by_eigen = kLevels && FloatSumsSuffice<K, Q>(dims.head_dim) && FloatSumsSuffice<K0, Q>(dims.head_dim);
  const size_t length = dims.length;
  backend.executor().Run(dims.tasks(), [&](size_t task) {
    thread_local FloatLevels q, k, v;
    thread_local detail::TransposedKeys transposed_keys;
    thread_local detail::WideValues wide_values;
    thread_local AlignedVector<double> dots;
    thread_local detail::EigenMatrix<double> values, weights, sums;
    dots.resize(RoundUp(length, detail::kWide));
    const size_t sequence = task / dims.kv_heads;
    const size_t kv_head = task % dims.kv_heads;
    detail::QuantizeHead<Untransformed<typename S::FirstKey>, Untransformed<typename S::Key>>(
        backend, dims.Head(heads, sequence, dims.KeyColumn(kv_head)), k);
    detail::QuantizeHead<Untransformed<typename S::FirstValue>, Untransformed<typename S::Value>>(
        backend, dims.Head(heads, sequence, dims.ValueColumn(kv_head)), v);
    if (!by_eigen) transposed_keys.Transpose(k.levels);
    if constexpr (kIsFloat<V>) {
      wide_values.Widen(v.levels);
    } else {
      detail::Reshape(values, length, dims.head_dim);
      values = detail::AsEigen(MatrixView<const float>(v.levels)).template cast<double>();
    }
    for (size_t head = kv_head * dims.share(); head < (kv_head + 1) * dims.share(); ++head) {
      detail::QuantizeHead<Untransformed<typename S::Query>, Untransformed<typename S::Query>>(
          backend, dims.Head(heads, sequence, dims.QueryColumn(head)), q);
      const MatrixView<float> p = probabilities.Rows(dims.ProbabilityRow(sequence, head), length);
      const MatrixView<float> out = dims.Head(attended, sequence, dims.QueryColumn(head));

      // p[t][s] = the score of token s for query t.
      if (by_eigen) {
        for (size_t begin = 0; begin < length; begin += detail::kQueryBlock) {
          const size_t count = std::min(detail::kQueryBlock, length - begin);
          MultiplyTransposed(q.levels.Rows(begin, count), k.levels.Rows(0, begin + count),
                             p.Rows(begin, count).Cols(0, begin + count));
        }
      }
      for (size_t t = 0; t < length; ++t) {
        float* row = p.Row(t);
        const float a = ScoreFactor(q.steps[t], dims.head_dim);
        if (by_eigen) {
          for (size_t s = 0; s <= t; ++s) row[s] *= a * k.steps[s];
          continue;
        }
        transposed_keys.Dots(q.levels.Row(t), t + 1, dots.data());
        for (size_t s = 0; s <= t; ++s) {
          const double dot = kLevels ? dots[s] : double(static_cast<float>(dots[s]));
          row[s] = static_cast<float>(dot * double(a * k.steps[s]));
        }
      }

      for (size_t begin = 0; begin < length; begin += detail::kQueryBlock) {
        const size_t count = std::min(detail::kQueryBlock, length - begin);
        const size_t seen = begin + count;  // by the last of the rows
        double totals[detail::kQueryBlock] = {};
        for (size_t r = 0; r < count; ++r) {
          float* row = p.Row(begin + r);
          const size_t visible = begin + r + 1;
          ExpRow(row, visible, RowMax(row, visible));
          std::fill(row + visible, row + length, 0.0f);
        }
        detail::Reshape(sums, count, dims.head_dim);
        sums.setZero();
        for (size_t first = 0; first < seen; first += kAttentionBlock) {
          const size_t tokens = std::min(kAttentionBlock, seen - first);
          // Adding the zeros of tokens not seen changes nothing.
          for (size_t r = 0; r < count; ++r) totals[r] += detail::SumOfLanes(p.Row(begin + r) + first, tokens);
          if constexpr (kIsFloat<V>) {
            wide_values.AddSums(p.Rows(begin, count).Cols(first, tokens), first, begin + 1, sums);
          } else {
            double units[detail::kQueryBlock];
            detail::Reshape(weights, count, tokens);
            for (size_t r = 0; r < count; ++r) {
              const size_t visible = begin + r + 1 < first ? 0 : std::min(tokens, begin + r + 1 - first);
              double* row = weights.row(Index(r)).data();
              units[r] = detail::WeightsInUnits(p.Row(begin + r) + first, v.steps.data() + first, visible, row);
              std::fill(row + visible, row + tokens, 0.0);
            }
            // Integers below 2^53: exact in any order.
            const auto of_block = (weights * values.middleRows(Index(first), Index(tokens))).eval();
            for (size_t r = 0; r < count; ++r) sums.row(Index(r)) += of_block.row(Index(r)) * units[r];
          }
        }
        for (size_t r = 0; r < count; ++r) {
          float* to = out.Row(begin + r);
          for (size_t i = 0; i < dims.head_dim; ++i) {
            to[i] = static_cast<float>(sums(Index(r), Index(i)) / totals[r]);
          }
          const auto inverse = static_cast<float>(1.0 / totals[r]);
          for (size_t s = 0; s < seen; ++s) p.Row(begin + r)[s] *= inverse;
        }
      }
    }
  });
}

// dheads of dattended, given what AttentionForward left in `heads` and `probabilities`. With S = score and D = d loss:
//   dV = P^T dO,  dP = dO V^T,  dS = P * (dP - rowsum(P * dP)) / sqrt(d),  dQ = dS K,  dK = dS^T Q.
inline void AttentionBackward(Executor& executor, const AttentionDims& dims, MatrixView<const float> heads,
                              MatrixView<const float> probabilities, MatrixView<const float> dattended,
                              MatrixView<float> dheads) {
  const size_t length = dims.length;
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(dims.head_dim)));
  executor.Run(dims.tasks(), [&](size_t task) {
    thread_local FloatMatrix ds;
    const size_t sequence = task / dims.kv_heads;
    const size_t kv_head = task % dims.kv_heads;
    const auto k = dims.Head(heads, sequence, dims.KeyColumn(kv_head));
    const auto v = dims.Head(heads, sequence, dims.ValueColumn(kv_head));
    const auto dk = dims.Head(dheads, sequence, dims.KeyColumn(kv_head));
    const auto dv = dims.Head(dheads, sequence, dims.ValueColumn(kv_head));
    detail::AsEigen(dk).setZero();
    detail::AsEigen(dv).setZero();
    for (size_t head = kv_head * dims.share(); head < (kv_head + 1) * dims.share(); ++head) {
      const auto all_q = dims.Head(heads, sequence, dims.QueryColumn(head));
      const auto all_dq = dims.Head(dheads, sequence, dims.QueryColumn(head));
      const auto all_do = dims.Head(dattended, sequence, dims.QueryColumn(head));
      const auto all_p = probabilities.Rows(dims.ProbabilityRow(sequence, head), length);
      for (size_t begin = 0; begin < length; begin += detail::kQueryBlock) {
        const size_t count = std::min(length, begin + detail::kQueryBlock) - begin;
        const size_t seen = begin + count;
        const auto p = all_p.Rows(begin, count).Cols(0, seen);
        const auto out_gradient = all_do.Rows(begin, count);
        ds.Resize(count, seen);
        MultiplyTransposed(out_gradient, v.Rows(0, seen), ds);
        for (size_t t = 0; t < count; ++t) {
          float* d = ds.Row(t);
          const float* probability = p.Row(t);
          const float mean = detail::FloatDot(d, probability, seen);
          for (size_t s = 0; s < seen; ++s) d[s] = probability[s] * (d[s] - mean) * scale;
        }
        const auto d = detail::AsEigen(MatrixView<const float>(ds));
        detail::AsEigen(dv.Rows(0, seen)).noalias() += detail::AsEigen(p).transpose() * detail::AsEigen(out_gradient);
        detail::AsEigen(dk.Rows(0, seen)).noalias() += d.transpose() * detail::AsEigen(all_q.Rows(begin, count));
        Multiply(ds, k.Rows(0, seen), all_dq.Rows(begin, count));
      }
    }
  });
}

}  // namespace bitnet

#endif  // BITNET_TRAIN_ATTENTION_H_
