// The operations of a backend as plain loops over the plain types of tensor/: docs/numerics.md, to be read and checked
// against the paper, not to be fast. They define every result. ReferenceBackend is made of them, and a new backend may
// call any of them.
#ifndef BITNET_BACKEND_REFERENCE_OPERATIONS_H_
#define BITNET_BACKEND_REFERENCE_OPERATIONS_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <type_traits>
#include <vector>

#include "bitnet/backend/check_shapes.h"
#include "bitnet/backend/definitions.h"
#include "bitnet/backend/where.h"
#include "bitnet/base/exact_math.h"
#include "bitnet/quant/quantizer.h"
#include "bitnet/quant/top_k.h"
#include "bitnet/quant/transform.h"
#include "bitnet/scheme/activation.h"
#include "bitnet/tensor/channel_lists.h"
#include "bitnet/tensor/key_values.h"
#include "bitnet/tensor/matrix_view.h"
#include "bitnet/tensor/quantized_heads.h"
#include "bitnet/tensor/quantized_matrix.h"
#include "bitnet/tensor/quantized_rows.h"

namespace bitnet {

namespace reference {

// ---- Products: y [tokens, rows] = x [tokens, cols] * matrix^T.

// sum_i a_i * b_i: exact for levels, float(the ordered sum in double) with a float operand.
template <class A, class B>
double DotOf(const A* a, const B* b, size_t n) {
  if constexpr (std::is_same_v<A, float> || std::is_same_v<B, float>) {
    return static_cast<float>(OrderedSum(n, [&](size_t i) { return double(a[i]) * double(b[i]); }));
  } else {
    int32_t sum = 0;
    for (size_t i = 0; i < n; ++i) sum += int32_t{a[i]} * int32_t{b[i]};
    return sum;
  }
}

// A row, whose levels are w, times a token: a dot for each run of columns in which both steps are constant.
template <Format W, Operand X>
float DotOfRow(const QuantizedMatrix<W>& weights, size_t row, const LevelOf<W>* w, const QuantizedRows<X>& x,
               size_t token) {
  double total = 0.0;
  EachCommonRun(weights.step_groups(), x.step_groups(), [&](size_t begin, size_t end, size_t ws, size_t xs) {
    const float scale = weights.Step(row, ws) * x.Steps(token)[xs];
    total += DotOf(w + begin, x[token].data() + begin, end - begin) * double(scale);
  });
  return static_cast<float>(total);
}

template <Format W, Operand X>
void MatMul(const QuantizedMatrix<W>& matrix, const QuantizedRows<X>& x, MatrixView<float> y) {
  CheckProduct(matrix, x, y);
  std::vector<LevelOf<W>> w(matrix.cols());
  for (size_t r = 0; r < matrix.rows(); ++r) {
    matrix.UnpackRow(r, w);
    for (size_t t = 0; t < x.rows(); ++t) y[t][r] = DotOfRow(matrix, r, w.data(), x, t);
  }
}

// The outputs that `rows` lists for each token; the others are left alone.
template <Format W, Operand X>
void MatMulRows(const QuantizedMatrix<W>& matrix, const QuantizedRows<X>& x, const ChannelLists& rows,
                MatrixView<float> y) {
  CheckProduct(matrix, x, y);
  BITNET_ASSERT(rows.tokens() == x.rows(), "MatMulRows: a list of rows for each token");
  std::vector<LevelOf<W>> w(matrix.cols());
  for (size_t t = 0; t < x.rows(); ++t) {
    for (const uint32_t r : rows[t]) {
      matrix.UnpackRow(r, w);
      y[t][r] = DotOfRow(matrix, r, w.data(), x, t);
    }
  }
}

// Zero inputs contribute nothing: the columns that x.nonzero() lists alone give the dense result.
template <Format W, Operand X>
void MatMulColumns(const QuantizedMatrix<W>& matrix, const QuantizedRows<X>& x, MatrixView<float> y) {
  CheckProduct(matrix, x, y);
  BITNET_ASSERT(x.nonzero().tokens() == x.rows(), "MatMulColumns: FindNonzero must come first");
  std::vector<LevelOf<W>> w(matrix.cols());
  std::vector<LevelOf<W>> read(matrix.cols());
  for (size_t r = 0; r < matrix.rows(); ++r) {
    matrix.UnpackRow(r, w);
    for (size_t t = 0; t < x.rows(); ++t) {
      std::fill(read.begin(), read.end(), LevelOf<W>{});
      for (const uint32_t c : x.nonzero()[t]) read[c] = w[c];
      y[t][r] = DotOfRow(matrix, r, read.data(), x, t);
    }
  }
}

// y [rows.size(), cols] = step * level of the rows by their numbers.
template <Format W>
void Embed(const QuantizedMatrix<W>& matrix, std::span<const uint32_t> rows, MatrixView<float> y) {
  CheckEmbed(matrix, rows, y);
  for (size_t i = 0; i < rows.size(); ++i) matrix.DequantizeRow(rows[i], y[i]);
}

// ---- Quantized rows.

// y = T x, row by row; y may be x.
template <AnyTransform T>
void Transform(MatrixView<const float> x, MatrixView<float> y) {
  CheckTransform(x, y);
  for (size_t t = 0; t < x.rows(); ++t) {
    if (y.Row(t) != x.Row(t)) std::copy(x[t].begin(), x[t].end(), y.Row(t));
    T::Apply(y[t]);
  }
}

// out = Q(x), row by row.
template <AnyQuantizer Q>
void Quantize(MatrixView<const float> x, QuantizedRows<OperandOf<Q>>& out) {
  CheckQuantizes<Q>();
  out.Resize(x.rows(), x.cols(), kGroupSize<typename Q::Granularity>);
  const StepGroups step_groups = out.step_groups();
  for (size_t t = 0; t < x.rows(); ++t) {
    for (size_t begin = 0; begin < x.cols(); begin = step_groups.End(begin)) {
      const auto span = x[t].subspan(begin, step_groups.End(begin) - begin);
      out.Steps(t)[step_groups.Of(begin)] = Q::Quantize(span, out[t].data() + begin);
    }
  }
}

// Only the k largest magnitudes of each row keep their level, the others get 0 (eq. 1); of equal ones the first.
template <AnyQuantizer Q>
void QuantizeTopK(MatrixView<const float> x, size_t k, QuantizedRows<OperandOf<Q>>& out) {
  static_assert(HasZero<typename Q::Format>(),
                "bitnet: top-k sets inputs to zero, so its quantizer needs a format with the level 0");
  Quantize<Q>(x, out);
  for (size_t t = 0; t < x.rows(); ++t) {
    TopKThreshold threshold = FindTopK(x[t], k);
    for (size_t c = 0; c < x.cols(); ++c) {
      if (!KeepNext(threshold, x[t][c])) out[t][c] = 0;
    }
  }
}

// Fills x.nonzero().
template <Operand X>
void FindNonzero(QuantizedRows<X>& x) {
  x.nonzero().Resize(x.rows(), x.cols());
  for (size_t t = 0; t < x.rows(); ++t) {
    size_t count = 0;
    for (size_t c = 0; c < x.cols(); ++c) {
      // Counted up always, kept only if non-zero: no branch to mispredict.
      x.nonzero().Row(t)[count] = static_cast<uint32_t>(c);
      count += x[t][c] != LevelOf<FormatOf<X>>{} ? 1u : 0u;
    }
    x.nonzero().SetCount(t, count);
  }
}

// How many levels of a row are not zero.
template <Operand X>
size_t NonzeroOfRow(const QuantizedRows<X>& x, size_t row) {
  size_t count = 0;
  for (const auto level : x[row]) count += level != LevelOf<FormatOf<X>>{} ? 1u : 0u;
  return count;
}
// Over all rows; and, where each row's inputs meet as many outputs as `lists` has for it, over all pairs of the two.
template <Operand X>
uint64_t CountNonzero(const QuantizedRows<X>& x) {
  uint64_t count = 0;
  for (size_t t = 0; t < x.rows(); ++t) count += NonzeroOfRow(x, t);
  return count;
}
template <Operand X>
uint64_t CountNonzero(const QuantizedRows<X>& x, const ChannelLists& lists) {
  uint64_t count = 0;
  for (size_t t = 0; t < x.rows(); ++t) count += uint64_t{NonzeroOfRow(x, t)} * lists.Count(t);
  return count;
}

// ---- Reals.

// y = norm(x) * gain, row by row; y may be x.
inline void RmsNorm(MatrixView<const float> x, std::span<const float> gain, float eps, MatrixView<float> y) {
  CheckRmsNorm(x, gain, y);
  for (size_t t = 0; t < x.rows(); ++t) {
    const float* row = x.Row(t);
    const double squares = OrderedSum(x.cols(), [&](size_t i) { return double(row[i]) * double(row[i]); });
    const float r = InverseRms(squares, x.cols(), eps);
    for (size_t i = 0; i < x.cols(); ++i) y[t][i] = (row[i] * r) * gain[i];
  }
}

// Rotates the pairs (i, i + head_dim / 2) of a head by their angles.
inline void RotateHead(std::span<const float> cos, std::span<const float> sin, std::span<float> head) {
  const size_t half = head.size() / 2;
  BITNET_ASSERT(head.size() % 2 == 0 && cos.size() == half && sin.size() == half,
                "Rotate: head_dim must be even, with an angle for each pair");
  for (size_t i = 0; i < half; ++i) {
    const double a = head[i];
    const double b = head[i + half];
    head[i] = static_cast<float>(a * double(cos[i]) - b * double(sin[i]));
    head[i + half] = static_cast<float>(b * double(cos[i]) + a * double(sin[i]));
  }
}

// All heads of all tokens, in place; y [tokens, heads * head_dim].
inline void Rotate(const HostWhere& where, MatrixView<float> y) {
  const size_t head_dim = CheckRotate(where, y);
  for (size_t t = 0; t < y.rows(); ++t) {
    for (size_t first = 0; first < y.cols(); first += head_dim) {
      RotateHead(where.Cos(t), where.Sin(t), y[t].subspan(first, head_dim));
    }
  }
}

// to = from.
inline void Copy(MatrixView<const float> from, MatrixView<float> to) {
  BITNET_ASSERT(from.rows() == to.rows() && from.cols() == to.cols(), "Copy: both must have the same shape");
  for (size_t t = 0; t < from.rows(); ++t) std::copy(from[t].begin(), from[t].end(), to.Row(t));
}

// y += x.
inline void Add(MatrixView<const float> x, MatrixView<float> y) {
  CheckAdd(x, y);
  for (size_t t = 0; t < x.rows(); ++t) {
    for (size_t i = 0; i < x.cols(); ++i) y[t][i] += x[t][i];
  }
}

// Lists the channels where the activation of the gate is not zero (all, if it makes no zeros).
template <Activation A>
void OpenGates(MatrixView<const float> gate, ChannelLists& open) {
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

// y = up * activation(gate) where `open` lists the channel, 0 elsewhere; y may be up (eq. 5).
template <Activation A>
void Glu(MatrixView<const float> gate, MatrixView<const float> up, const ChannelLists& open, MatrixView<float> y) {
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

// ---- The cache, and attention over it.

// Quantizes a head of a token, at position 0 by First, and stores it.
template <AnyQuantizer Q, AnyQuantizer First, class Heads>
void StoreHead(std::span<const float> x, size_t head, size_t position, Heads& to) {
  if (position == 0) {
    std::vector<LevelOf<typename First::Format>> levels(x.size());
    const float step = First::Quantize(x, levels.data());
    to.StoreFirst(head, levels.data(), step);
  } else {
    std::vector<LevelOf<typename Q::Format>> levels(x.size());
    const float step = Q::Quantize(x, levels.data());
    to.Store(head, position % kPageTokens, levels.data(), step);
  }
}

// Quantizes keys and values [tokens, kv_heads * head_dim], keys already rotated, and stores them, each at its token's
// position of its sequence.
template <class Cache>
void Store(MatrixView<const float> keys, MatrixView<const float> values, const HostWhere& where, Cache& cache) {
  using Q = typename Cache::Quantizers;
  CheckStore(keys, values, where, cache);
  const size_t dim = cache.head_dim();
  for (size_t t = 0; t < keys.rows(); ++t) {
    const size_t position = where[t].position;
    auto& page = PagedSequence(cache, where.Table(where[t].sequence)).Page(position);
    for (size_t h = 0; h < cache.kv_heads(); ++h) {
      StoreHead<typename Q::Key, typename Q::FirstKey>(keys[t].subspan(h * dim, dim), h, position, page.keys);
      StoreHead<typename Q::Value, typename Q::FirstValue>(values[t].subspan(h * dim, dim), h, position, page.values);
    }
  }
}

// Which part of a page.
inline constexpr auto kKeys = [](auto& page) -> auto& { return page.keys; };
inline constexpr auto kValues = [](auto& page) -> auto& { return page.values; };

// f(the levels of a head at a position, the step).
void WithHead(const auto& sequence, auto part, size_t head, size_t position, auto&& f) {
  const auto& heads = part(sequence.Page(position));
  using Heads = std::remove_cvref_t<decltype(heads)>;
  const size_t slot = sequence.Slot(position);
  if (position == 0) {
    std::vector<LevelOf<typename Heads::FormatOfFirst>> levels(heads.head_dim());
    heads.LoadFirst(head, levels);
    f(levels.data(), heads.Step(head, slot));
  } else {
    std::vector<LevelOf<typename Heads::FormatOfRest>> levels(heads.head_dim());
    heads.Load(head, slot, levels);
    f(levels.data(), heads.Step(head, slot));
  }
}

// The first so many tokens of a sequence become those of another, which may have another layout and more room.
void CopyTokens(const auto& from, size_t tokens, auto&& to) {
  BITNET_ASSERT(from.kv_heads() == to.kv_heads() && from.head_dim() == to.head_dim() && tokens <= from.max_tokens() &&
                    tokens <= to.max_tokens(),
                "ReadCache, WriteCache: both sequences must have the same heads, and room for the tokens");
  const auto copy = [&](auto part) {
    using Heads = std::remove_cvref_t<decltype(part(from.Page(0)))>;
    std::vector<LevelOf<typename Heads::FormatOfFirst>> of_first(from.head_dim());
    std::vector<LevelOf<typename Heads::FormatOfRest>> levels(from.head_dim());
    for (size_t position = 0; position < tokens; ++position) {
      const auto& source = part(from.Page(position));
      auto& destination = part(to.Page(position));
      const size_t slot = from.Slot(position);
      for (size_t head = 0; head < from.kv_heads(); ++head) {
        if (position == 0) {
          source.LoadFirst(head, of_first);
          destination.StoreFirst(head, of_first.data(), source.Step(head, slot));
        } else {
          source.Load(head, slot, levels);
          destination.Store(head, to.Slot(position), levels.data(), source.Step(head, slot));
        }
      }
    }
  };
  copy(kKeys);
  copy(kValues);
}

// to = the first so many tokens of a sequence, in one piece.
template <class Quantizers>
void ReadCache(const auto& from, PageTable table, size_t tokens, HostCache<Quantizers>& to) {
  CheckPages(table, tokens, from);
  to = HostCache<Quantizers>(from.kv_heads(), from.head_dim(), tokens);
  CopyTokens(PagedSequence(from, table), tokens, to);
}
// The first so many tokens of `from` become those of a sequence, whose pages have room for them.
template <class Quantizers>
void WriteCache(const HostCache<Quantizers>& from, size_t tokens, PageTable table, auto& to) {
  CheckPages(table, tokens, to);
  CopyTokens(from, tokens, PagedSequence(to, table));
}

// sum += the values of tokens [begin, end), which are of one block, each times p and its step.
template <class Sequence>
void AddValues(const Sequence& sequence, size_t kv_head, size_t begin, size_t end, const float* p,
               std::vector<double>& sum) {
  const auto& heads = sequence.Page(begin).values;
  const auto weight = [&](size_t s) { return p[s] * heads.Step(kv_head, sequence.Slot(s)); };
  if constexpr (kIsFloat<typename std::remove_cvref_t<decltype(heads)>::FormatOfRest>) {
    std::vector<double> of_block(sum.size());
    for (size_t s = begin; s < end; ++s) {
      WithHead(sequence, kValues, kv_head, s, [&](const float* v, float) {
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
      WithHead(sequence, kValues, kv_head, s, [&](const auto* v, float) {
        for (size_t i = 0; i < sum.size(); ++i) of_block[i] += int64_t{WeightInUnits(weight(s), unit)} * v[i];
      });
    }
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += double(of_block[i]) * unit;
  }
}

// out [head_dim] = attention of one query over the first `visible` tokens of a key/value head.
template <Operand Q, class Sequence>
void AttendOne(const QuantizedRows<Q>& q, size_t q_row, const Sequence& sequence, size_t kv_head, size_t visible,
               std::span<float> out) {
  const size_t dim = q.cols();
  std::vector<float> p(visible);
  const float a = ScoreFactor(q.Steps(q_row)[0], dim);
  for (size_t s = 0; s < visible; ++s) {
    WithHead(sequence, kKeys, kv_head, s, [&](const auto* k, float step) {
      p[s] = static_cast<float>(DotOf(q[q_row].data(), k, dim) * double(a * step));
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
    AddValues(sequence, kv_head, begin, end, p.data(), sum);
  }
  for (size_t i = 0; i < dim; ++i) out[i] = static_cast<float>(sum[i] / total);
}

// y [tokens, heads * head_dim] = attention of the queries q [tokens * heads, head_dim]; each token sees the tokens of
// its sequence up to its own position.
template <Operand Q, class Cache>
void Attend(const QuantizedRows<Q>& q, const HostWhere& where, const Cache& cache, const AttentionShape& shape,
            MatrixView<float> y) {
  CheckHeadDotsFit<Q, typename Cache::Quantizers::Formats>(shape.head_dim);
  CheckAttend(q, where, cache, shape, y);
  for (size_t t = 0; t < y.rows(); ++t) {
    const PagedSequence sequence(cache, where.Table(where[t].sequence));
    for (size_t h = 0; h < shape.heads; ++h) {
      AttendOne(q, t * shape.heads + h, sequence, h / (shape.heads / shape.kv_heads), size_t{where[t].position} + 1,
                y[t].subspan(h * shape.head_dim, shape.head_dim));
    }
  }
}

}  // namespace reference
}  // namespace bitnet

#endif  // BITNET_BACKEND_REFERENCE_OPERATIONS_H_
