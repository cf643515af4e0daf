// Causal grouped-query attention over whole sequences, forward with the bits of Backend::Attend, and backward.
//
// Layout: `heads` [tokens, (heads + 2 kv_heads) * head_dim] holds the queries, keys and values of each token, after the
// rotary embedding; token t of sequence b is row b * length + t. A task is one sequence and one key/value head.
#ifndef BITNET_TRAIN_ATTENTION_H_
#define BITNET_TRAIN_ATTENTION_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>

#include "bitnet/backend/reference.h"
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
template <AnyQuantizer First, AnyQuantizer Q, class B>
void QuantizeHead(const B& backend, MatrixView<float> x, FloatLevels& out) {
  out.Resize(x.rows(), x.cols(), 0);
  const auto rows = [&]<class Which>(size_t begin, size_t count) {
    thread_local QuantizedTokens<typename Which::Format> tokens;
    const MatrixView<float> some = x.Rows(begin, count);
    backend.template Quantize<Which>(some, tokens);
    SpreadRows(tokens, out.levels.Rows(begin, count), {out.steps.data() + begin, count}, some);
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

// Query rows that are multiplied at once: later blocks see more keys, so small ones waste less above the diagonal.
inline constexpr size_t kQueryBlock = 64;

}  // namespace detail

// Fake-quantizes `heads` in place; attended [tokens, heads * head_dim]; probabilities for the backward pass.
template <Scheme S, class B>
void AttentionForward(const B& backend, const AttentionDims& dims, MatrixView<float> heads,
                      MatrixView<float> probabilities, MatrixView<float> attended) {
  using Q = typename S::Query::Format;
  using K = typename S::Key::Format;
  using K0 = typename S::FirstKey::Format;
  constexpr bool kLevels = !kIsFloat<Q> && !kIsFloat<K> && !kIsFloat<K0>;
  // Dot products of levels are exact in any order, as long as they fit.
  const bool by_eigen = kLevels && FloatSumsSuffice<K, Q>(dims.head_dim) && FloatSumsSuffice<K0, Q>(dims.head_dim);
  const size_t length = dims.length;
  backend.executor().Run(dims.tasks(), [&](size_t task) {
    thread_local FloatLevels q, k, v;
    thread_local detail::TurnedKeys turned_keys;
    thread_local detail::WideValues wide_values;
    thread_local AlignedVector<double> dots, weights;
    dots.resize(RoundUp(length, detail::kWide));
    weights.resize(length * detail::kSumRows);
    const size_t sequence = task / dims.kv_heads;
    const size_t kv_head = task % dims.kv_heads;
    detail::QuantizeHead<typename S::FirstKey, typename S::Key>(backend,
                                                                dims.Head(heads, sequence, dims.KeyColumn(kv_head)), k);
    detail::QuantizeHead<typename S::FirstValue, typename S::Value>(
        backend, dims.Head(heads, sequence, dims.ValueColumn(kv_head)), v);
    if (!by_eigen) turned_keys.Turn(k.levels);
    wide_values.Widen(v.levels);
    for (size_t head = kv_head * dims.share(); head < (kv_head + 1) * dims.share(); ++head) {
      detail::QuantizeHead<typename S::Query, typename S::Query>(backend,
                                                                 dims.Head(heads, sequence, dims.QueryColumn(head)), q);
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
        const float a = ReferenceBackend::ScoreFactor(q.steps[t], dims.head_dim);
        if (by_eigen) {
          for (size_t s = 0; s <= t; ++s) row[s] *= a * k.steps[s];
          continue;
        }
        turned_keys.Dots(q.levels.Row(t), t + 1, dots.data());
        for (size_t s = 0; s <= t; ++s) {
          const double dot = kLevels ? dots[s] : double(static_cast<float>(dots[s]));
          row[s] = static_cast<float>(dot * double(a * k.steps[s]));
        }
      }

      for (size_t begin = 0; begin < length; begin += detail::kSumRows) {
        const size_t rows = std::min(detail::kSumRows, length - begin);
        const size_t seen = begin + rows;  // by the last of the rows
        double totals[detail::kSumRows] = {};
        std::fill(weights.data(), weights.data() + seen * detail::kSumRows, 0.0);
        for (size_t r = 0; r < rows; ++r) {
          float* row = p.Row(begin + r);
          const size_t visible = begin + r + 1;
          ExpRow(row, visible, RowMax(row, visible));
          std::fill(row + visible, row + length, 0.0f);
          for (size_t s = 0; s < visible; ++s) weights[s * detail::kSumRows + r] = row[s] * v.steps[s];
        }
        // Four sums side by side; adding the zeros of tokens not seen changes nothing.
        const float* const row[detail::kSumRows] = {p.Row(begin), p.Row(begin + std::min<size_t>(1, rows - 1)),
                                                    p.Row(begin + std::min<size_t>(2, rows - 1)),
                                                    p.Row(begin + rows - 1)};
        for (size_t s = 0; s < seen; ++s) {
          for (size_t r = 0; r < detail::kSumRows; ++r) totals[r] += double(row[r][s]);
        }
        wide_values.Sums(weights.data(), seen, totals, out.Rows(begin, rows));
        for (size_t r = 0; r < rows; ++r) {
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
