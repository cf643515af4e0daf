// The paper's equations in doubles, as an oracle of the layers: nothing here calls the library.
//
// A double and a float that meet a rounding tie from two sides give different codes, and both are right. So the oracle
// remembers how near it came to one (`margin`), and tests compare only where it stayed away.
#ifndef BITNET_TESTS_LAYER_PAPER_ORACLE_H_
#define BITNET_TESTS_LAYER_PAPER_ORACLE_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

namespace bitnet::testing {

using Reals = std::vector<double>;

inline Reals ToReals(std::span<const float> x) { return {x.begin(), x.end()}; }

// step * level
struct Quantized {
  Reals level;
  double step = 1.0;
  double Value(size_t i) const { return step * level[i]; }
};

// Which quantizer stands where, by the table of docs/numerics.md.
enum class PaperQuantizer { kReal, kTernary, kInt4, kInt8, kE2m1 };
struct PaperScheme {
  PaperQuantizer weight = PaperQuantizer::kReal;
  PaperQuantizer input = PaperQuantizer::kReal;         // of Q, K, V, gate and up
  PaperQuantizer output_input = PaperQuantizer::kReal;  // of the attention output projection
  PaperQuantizer down_input = PaperQuantizer::kReal;
  bool top_half = false;                        // eq. 1
  int q_bits = 0, kv_bits = 0, first_bits = 0;  // of the heads; 0: real
  bool sub_norms = false;
};
inline PaperScheme PaperA48() {
  using enum PaperQuantizer;
  return {.weight = kTernary,
          .input = kInt4,
          .output_input = kInt8,
          .down_input = kInt8,
          .top_half = true,
          .q_bits = 4,
          .kv_bits = 3,
          .first_bits = 4};
}
inline PaperScheme PaperA48Fp4() {
  PaperScheme scheme = PaperA48();
  scheme.input = scheme.output_input = PaperQuantizer::kE2m1;
  return scheme;
}
inline PaperScheme PaperB158() {
  using enum PaperQuantizer;
  return {.weight = kTernary, .input = kInt8, .output_input = kInt8, .down_input = kInt8};
}
inline PaperScheme PaperFp32() { return {}; }

class PaperOracle {
 public:
  explicit PaperOracle(const PaperScheme& scheme) : scheme_(scheme) {}

  // The smallest distance to a tie so far, in units of the largest level (or of the largest value, for top-k).
  double margin() const { return margin_; }

  Quantized Quantize(PaperQuantizer kind, const Reals& x) {
    double max = 0.0, sum = 0.0;
    for (const double v : x) max = std::max(max, std::fabs(v)), sum += std::fabs(v);
    const double mean = sum / static_cast<double>(x.size());
    switch (kind) {
      case PaperQuantizer::kTernary:
        return Nearest(x, mean, Range(-1, 1, 1));  // eq. 2
      case PaperQuantizer::kInt4:
        return Nearest(x, mean / std::sqrt(7.0), Range(-8, 7, 1));  // eq. 7
      case PaperQuantizer::kInt8:
        return Nearest(x, max / 127, Range(-128, 127, 1));  // eq. 3
      case PaperQuantizer::kE2m1:
        return Nearest(x, max / 6, {-6, -4, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, 6});
      default:
        return {x, 1.0};
    }
  }
  Quantized QuantizeHead(int bits, const Reals& x) {
    if (bits == 0) return {x, 1.0};
    double max = 0.0;
    for (const double v : x) max = std::max(max, std::fabs(v));
    const int top = (1 << bits) - 1;
    return Nearest(x, max / top, Range(-top, top, 2));
  }

  // y [tokens, rows] of quantized tokens and weights [rows, cols].
  std::vector<Reals> Product(const std::vector<Quantized>& x, const Reals& weights) {
    const Quantized w = Quantize(scheme_.weight, weights);
    const size_t cols = x[0].level.size();
    const size_t rows = weights.size() / cols;
    std::vector<Reals> y(x.size(), Reals(rows));
    for (size_t t = 0; t < x.size(); ++t) {
      for (size_t r = 0; r < rows; ++r) {
        for (size_t c = 0; c < cols; ++c) y[t][r] += w.Value(r * cols + c) * x[t].Value(c);
      }
    }
    return y;
  }

  static Reals Norm(const Reals& x, const Reals& gain, double eps) {
    double squares = 0.0;
    for (const double v : x) squares += v * v;
    Reals y(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      y[i] = x[i] / std::sqrt(squares / static_cast<double>(x.size()) + eps) * gain[i];
    }
    return y;
  }

  static void Rotate(Reals& head, size_t position, double base) {
    const size_t half = head.size() / 2;
    for (size_t i = 0; i < half; ++i) {
      const double angle =
          static_cast<double>(position) * std::pow(base, -static_cast<double>(i) / static_cast<double>(half));
      const double a = head[i], b = head[i + half];
      head[i] = a * std::cos(angle) - b * std::sin(angle);
      head[i + half] = a * std::sin(angle) + b * std::cos(angle);
    }
  }

  // Whole sequence from position 0. Weights [outputs, inputs].
  std::vector<Reals> Attention(const std::vector<Reals>& x, const Reals& wq, const Reals& wk, const Reals& wv,
                               const Reals& wo, const Reals& sub_gain, double eps, double base, size_t heads,
                               size_t kv_heads, size_t dim, const Reals& q_gain = {}, const Reals& k_gain = {}) {
    std::vector<Quantized> input;
    for (const Reals& token : x) input.push_back(Quantize(scheme_.input, token));
    const std::vector<Reals> q = Product(input, wq), k = Product(input, wk), v = Product(input, wv);
    const auto head_of = [&](const Reals& all, size_t head) {
      return Reals(all.begin() + static_cast<std::ptrdiff_t>(head * dim),
                   all.begin() + static_cast<std::ptrdiff_t>((head + 1) * dim));
    };
    std::vector<Quantized> attended;
    for (size_t t = 0; t < x.size(); ++t) {
      Reals a;
      for (size_t h = 0; h < heads; ++h) {
        const size_t shared = h * kv_heads / heads;
        Reals query = head_of(q[t], h);
        if (!q_gain.empty()) query = Norm(query, q_gain, eps);
        Rotate(query, t, base);
        const Quantized quantized_query = QuantizeHead(scheme_.q_bits, query);
        Reals score, out(dim);
        std::vector<Quantized> values;
        for (size_t s = 0; s <= t; ++s) {
          const int bits = s == 0 ? scheme_.first_bits : scheme_.kv_bits;
          Reals key = head_of(k[s], shared);
          if (!k_gain.empty()) key = Norm(key, k_gain, eps);
          Rotate(key, s, base);
          const Quantized quantized_key = QuantizeHead(bits, key);
          values.push_back(QuantizeHead(bits, head_of(v[s], shared)));
          double dot = 0.0;
          for (size_t i = 0; i < dim; ++i) dot += quantized_query.Value(i) * quantized_key.Value(i);
          score.push_back(dot / std::sqrt(static_cast<double>(dim)));
        }
        const double max = *std::max_element(score.begin(), score.end());
        double total = 0.0;
        for (double& p : score) total += p = std::exp(p - max);
        if (scheme_.kv_bits != 0) CountWeights(score, values);
        for (size_t s = 0; s <= t; ++s) {
          for (size_t i = 0; i < dim; ++i) out[i] += score[s] / total * values[s].Value(i);
        }
        a.insert(a.end(), out.begin(), out.end());
      }
      if (scheme_.sub_norms) a = Norm(a, sub_gain, eps);
      Quantized reads = Quantize(scheme_.output_input, a);
      if (scheme_.top_half) KeepHalf(a, reads);  // eq. 1
      attended.push_back(reads);
    }
    return Product(attended, wo);
  }

  std::vector<Reals> Ffn(const std::vector<Reals>& x, const Reals& wgate, const Reals& wup, const Reals& wdown,
                         const Reals& sub_gain, double eps) {
    std::vector<Quantized> input, hidden;
    for (const Reals& token : x) input.push_back(Quantize(scheme_.input, token));
    const std::vector<Reals> gate = Product(input, wgate), up = Product(input, wup);
    for (size_t t = 0; t < x.size(); ++t) {
      Reals h(gate[t].size());
      for (size_t c = 0; c < h.size(); ++c) h[c] = up[t][c] * std::pow(std::max(gate[t][c], 0.0), 2);  // eq. 5
      if (scheme_.sub_norms) h = Norm(h, sub_gain, eps);
      hidden.push_back(Quantize(scheme_.down_input, h));
    }
    return Product(hidden, wdown);
  }

 private:
  static Reals Range(int first, int last, int spacing) {
    Reals levels;
    for (int level = first; level <= last; level += spacing) levels.push_back(level);
    return levels;
  }

  // docs/numerics.md: p * step is a whole number of units, of which the largest has 2^14 to 2^15. (One block of tokens;
  // a count that float rounds otherwise changes an output by 2^-15 at most, so it is no margin.)
  static void CountWeights(Reals& p, const std::vector<Quantized>& values) {
    double largest = 0.0;
    for (size_t s = 0; s < p.size(); ++s) largest = std::max(largest, p[s] * values[s].step);
    const double unit = std::exp2(std::floor(std::log2(largest)) - 14.0);
    for (size_t s = 0; s < p.size(); ++s) {
      if (values[s].step > 0.0)
        p[s] = std::min(std::rint(p[s] * values[s].step / unit), 32767.0) * unit / values[s].step;
    }
  }

  Quantized Nearest(const Reals& x, double step, const Reals& levels) {
    Quantized q{Reals(x.size()), step};
    for (size_t i = 0; i < x.size(); ++i) {
      const double v = x[i] / step;
      double best = std::numeric_limits<double>::infinity(), second = best;
      for (const double level : levels) {
        const double distance = std::fabs(v - level);
        // A zero is exact in float too; between -1 and 1 it goes to 1.
        if (distance < best || (distance == best && x[i] == 0.0)) {
          second = best;
          best = distance;
          q.level[i] = level;
        } else {
          second = std::min(second, distance);
        }
      }
      if (x[i] != 0.0) margin_ = std::min(margin_, (second - best) / 2.0 / levels.back());
    }
    return q;
  }

  void KeepHalf(const Reals& reals, Quantized& q) {
    std::vector<size_t> order(reals.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      const double left = std::fabs(reals[a]), right = std::fabs(reals[b]);
      return left != right ? left > right : a < b;
    });
    const size_t keep = (reals.size() + 1) / 2;
    if (keep < reals.size()) {
      const double gap = std::fabs(reals[order[keep - 1]]) - std::fabs(reals[order[keep]]);
      if (gap != 0.0) margin_ = std::min(margin_, gap / std::fabs(reals[order[0]]));
    }
    for (size_t i = keep; i < order.size(); ++i) q.level[order[i]] = 0.0;
  }

  PaperScheme scheme_;
  double margin_ = std::numeric_limits<double>::infinity();
};

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_LAYER_PAPER_ORACLE_H_
