// The two sums of attention that must have the order of Backend::Attend, for several rows at once: dot products of
// reals in eight double lanes, and weighted sums of real values in the order of the tokens of a block.
//
// Products of two floats are exact in double, so the order of the additions alone decides the bits; here the rows run
// side by side in vectors (Eigen's, of whatever width), and each keeps its order.
#ifndef BITNET_TRAIN_ATTENTION_KERNELS_H_
#define BITNET_TRAIN_ATTENTION_KERNELS_H_

#include <Eigen/Core>
#include <algorithm>
#include <cstddef>

#include "bitnet/base/exact_math.h"
#include "bitnet/base/size.h"
#include "bitnet/tensor/aligned_vector.h"
#include "bitnet/tensor/matrix_view.h"

namespace bitnet::detail {

inline constexpr size_t kWide = 8;
using WideDoubles = Eigen::Array<double, kWide, 1>;

inline auto Wide(const double* x) { return Eigen::Map<const WideDoubles, Eigen::Unaligned>(x); }

// Keys transposed, so that those of eight tokens lie side by side: [head_dim, tokens rounded up].
class TransposedKeys {
 public:
  void Transpose(MatrixView<const float> k) {
    dim_ = k.cols();
    stride_ = RoundUp(k.rows(), kWide);
    values_.assign(ElementCount<double>(dim_, stride_), 0.0);
    for (size_t s = 0; s < k.rows(); ++s) {
      for (size_t i = 0; i < dim_; ++i) values_[i * stride_ + s] = k.Row(s)[i];
    }
  }

  // dots[s] for s in [0, count), which is rounded up to a multiple of eight: the ordered sum of q[i] k[s][i].
  void Dots(const float* q, size_t count, double* dots) const {
    for (size_t s = 0; s < count; s += kWide) {
      BlockTree<WideLanes> blocks;
      for (size_t begin = 0; begin < dim_; begin += kSumBlock) {
        blocks.Add(DotsOfBlock(q, values_.data() + s, begin, std::min(dim_, begin + kSumBlock)));
      }
      Eigen::Map<WideDoubles, Eigen::Unaligned>(dots + s) = blocks.Total().Fold();
    }
  }

 private:
  // The lanes of the sums of eight tokens.
  struct WideLanes {
    double lane[kSumLanes][kWide] = {};

    auto Lane(size_t i) const { return Wide(lane[i]); }
    WideDoubles Fold() const {
      return ((Lane(0) + Lane(4)) + (Lane(2) + Lane(6))) + ((Lane(1) + Lane(5)) + (Lane(3) + Lane(7)));
    }
    friend WideLanes operator+(WideLanes a, const WideLanes& b) {
      for (size_t i = 0; i < kSumLanes; ++i) {
        for (size_t s = 0; s < kWide; ++s) a.lane[i][s] += b.lane[i][s];
      }
      return a;
    }
  };

  // Of dimensions [begin, end).
  WideLanes DotsOfBlock(const float* q, const double* keys, size_t begin, size_t end) const {
    static_assert(kSumLanes == 8);
    const double* k = keys + begin * stride_;
    WideDoubles lane0, lane1, lane2, lane3, lane4, lane5, lane6, lane7;
    WideDoubles* const lanes[] = {&lane0, &lane1, &lane2, &lane3, &lane4, &lane5, &lane6, &lane7};
    for (WideDoubles* lane : lanes) lane->setZero();
    size_t i = begin;
    for (; i + 8 <= end; i += 8, k += 8 * stride_) {
      lane0 += double(q[i]) * Wide(k);
      lane1 += double(q[i + 1]) * Wide(k + stride_);
      lane2 += double(q[i + 2]) * Wide(k + 2 * stride_);
      lane3 += double(q[i + 3]) * Wide(k + 3 * stride_);
      lane4 += double(q[i + 4]) * Wide(k + 4 * stride_);
      lane5 += double(q[i + 5]) * Wide(k + 5 * stride_);
      lane6 += double(q[i + 6]) * Wide(k + 6 * stride_);
      lane7 += double(q[i + 7]) * Wide(k + 7 * stride_);
    }
    for (size_t lane = 0; i < end; ++i, ++lane, k += stride_) *lanes[lane] += double(q[i]) * Wide(k);
    WideLanes sums;
    for (size_t lane = 0; lane < kSumLanes; ++lane) {
      Eigen::Map<WideDoubles, Eigen::Unaligned>(sums.lane[lane]) = *lanes[lane];
    }
    return sums;
  }

  size_t dim_ = 0;
  size_t stride_ = 0;
  AlignedVector<double> values_;
};

// Values as doubles, a token's padded with zeros.
class WideValues {
 public:
  void Widen(MatrixView<const float> v) {
    dim_ = v.cols();
    stride_ = RoundUp(dim_, 2 * kWide);
    values_.assign(ElementCount<double>(v.rows(), stride_), 0.0);
    for (size_t s = 0; s < v.rows(); ++s) std::copy(v.Row(s), v.Row(s) + dim_, values_.data() + s * stride_);
  }

  // sums [rows, head_dim]: sums(r, i) += sum_s weights[r][s] v[first + s][i], s in order, for weights [rows, tokens] of
  // tokens first + s < visible + r.
  template <class Sums>
  void AddSums(MatrixView<const float> weights, size_t first, size_t visible, Sums& sums) const {
    const auto seen = [&](size_t r) { return visible + r < first ? 0 : std::min(weights.cols(), visible + r - first); };
    for (size_t r = 0; r < weights.rows(); r += kRows) {
      // Four rows side by side; the last ones more than once.
      const float* w[kRows];
      for (size_t k = 0; k < kRows; ++k) w[k] = weights.Row(std::min(r + k, weights.rows() - 1));
      for (size_t begin = 0; begin < dim_; begin += 2 * kWide) {
        WideDoubles a0, a1, b0, b1, c0, c1, d0, d1;
        for (WideDoubles* sum : {&a0, &a1, &b0, &b1, &c0, &c1, &d0, &d1}) sum->setZero();
        const double* v = values_.data() + first * stride_ + begin;
        for (size_t s = 0; s < seen(r); ++s, v += stride_) {
          const WideDoubles v0 = Wide(v);
          const WideDoubles v1 = Wide(v + kWide);
          a0 += double(w[0][s]) * v0;
          a1 += double(w[0][s]) * v1;
          b0 += double(w[1][s]) * v0;
          b1 += double(w[1][s]) * v1;
          c0 += double(w[2][s]) * v0;
          c1 += double(w[2][s]) * v1;
          d0 += double(w[3][s]) * v0;
          d1 += double(w[3][s]) * v1;
        }
        const WideDoubles* const of_rows[kRows][2] = {{&a0, &a1}, {&b0, &b1}, {&c0, &c1}, {&d0, &d1}};
        for (size_t k = 0; k < std::min(kRows, weights.rows() - r); ++k) {
          for (size_t i = 0; i < std::min(2 * kWide, dim_ - begin); ++i) {
            double sum = (*of_rows[k][i / kWide])[static_cast<Eigen::Index>(i % kWide)];
            // Tokens that the first of the four does not see.
            for (size_t s = seen(r); s < seen(r + k); ++s) {
              sum += double(w[k][s]) * values_[(first + s) * stride_ + begin + i];
            }
            sums(static_cast<Eigen::Index>(r + k), static_cast<Eigen::Index>(begin + i)) += sum;
          }
        }
      }
    }
  }

 private:
  static constexpr size_t kRows = 4;
  size_t dim_ = 0;
  size_t stride_ = 0;
  AlignedVector<double> values_;
};

}  // namespace bitnet::detail

#endif  // BITNET_TRAIN_ATTENTION_KERNELS_H_
