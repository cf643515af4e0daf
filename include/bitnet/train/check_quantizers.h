// CheckQuantizers<S>(config): whether the quantizers of a scheme can be trained: whether each is element by element.
//
// The gradient goes straight through a quantizer: what is asked of output i is given to input i. That is right as long
// as output i follows input i, be it rounded, clipped, scaled by a statistic of its neighbours or sometimes dropped. Of
// a quantizer that mixes its inputs (a rotation, a permutation, a change of sign) the gradient would be another one,
// and training would go wrong without a word. A Quantizer is element by element by itself; one of one's own is tried.
// What mixes belongs before the quantizer, in a Transformed, whose gradient is its transpose: that it is one is tried.
#ifndef BITNET_TRAIN_CHECK_QUANTIZERS_H_
#define BITNET_TRAIN_CHECK_QUANTIZERS_H_

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "bitnet/base/random.h"
#include "bitnet/base/result.h"
#include "bitnet/base/size.h"
#include "bitnet/model/config.h"
#include "bitnet/quant/quantizer.h"
#include "bitnet/quant/transform.h"
#include "bitnet/scheme/scheme.h"

namespace bitnet {

// Two places of a quantizer's span: what comes out at `output` follows more of what goes in at `input` than it follows
// of its own.
struct MixedPlaces {
  bool found = false;
  size_t output = 0;
  size_t input = 0;
};

// Tries Q on spans of n normal values. For those the mean of y_i x_j is the mean derivative of y_i by x_j (Stein's
// lemma), which straight-through takes to be 1 or 0: so for each i that of y_i x_i must be positive and twice as large
// as every other of y_i x_j.
// With 1024 spans a mean is off by sd(y_i) / 32, the largest of 127 * 128 by four times that, 0.13 sd(y_i). Of what
// rounds alone, the mean of y_i x_i is 0.80 sd(y_i) with the coarsest symmetric format (Binary), 0.5 with levels -1, 0
// and 64; a rotation of pairs by 27 degrees is the smallest that is told. A mixture of very many places of which none
// takes much, such as the reflection of one direction, is not; and one that keeps less than one value in fifty is
// refused for want of evidence. At most `most_outputs` of the y_i are looked at.
template <AnyQuantizer Q>
MixedPlaces FindMixedPlaces(size_t n, size_t most_outputs = std::numeric_limits<size_t>::max()) {
  const size_t outputs = std::min(n, most_outputs);
  const auto place = [&](size_t output) { return output * n / outputs; };
  constexpr size_t kSpans = 1024;
  std::vector<float> x(n);
  std::vector<LevelOf<typename Q::Format>> y(n);
  MixedPlaces mixed;
  // A quantizer with a step of its own may see nothing but zeros, or nothing but its last levels, at one size.
  for (const float size : {1.0f, 0x1p-6f, 0x1p6f, 0x1p-12f, 0x1p12f, 0x1p-18f, 0x1p18f, 0x1p-24f, 0x1p24f}) {
    Random random(1);
    std::vector<float> means(ElementCount<float>(outputs, n)), sum_of_x(n), sum_of_y(outputs);
    for (size_t span = 0; span < kSpans; ++span) {
      for (float& v : x) v = Normal(random);
      std::vector<float> sized = x;
      for (float& v : sized) v *= size;
      const float step = Q::Quantize(sized, y.data());
      for (size_t j = 0; j < n; ++j) sum_of_x[j] += x[j];
      for (size_t i = 0; i < outputs; ++i) {
        const float value = step * static_cast<float>(y[place(i)]);
        if (value == 0.0f) continue;
        sum_of_y[i] += value;
        for (size_t j = 0; j < n; ++j) means[i * n + j] += value * x[j];
      }
    }
    // Levels that are not about zero say nothing of the input.
    for (size_t i = 0; i < outputs; ++i) {
      for (size_t j = 0; j < n; ++j) means[i * n + j] -= sum_of_y[i] * sum_of_x[j] / kSpans;
    }
    mixed.found = false;
    for (size_t i = 0; i < outputs && !mixed.found; ++i) {
      const float own = means[i * n + place(i)];
      for (size_t j = 0; j < n && !mixed.found; ++j) {
        // Not so for a NaN.
        if (!(place(i) == j ? own > 0.0f : 2.0f * std::fabs(means[i * n + j]) < own)) mixed = {true, place(i), j};
      }
    }
    if (!mixed.found) break;
  }
  return mixed;
}

// What is wrong with T as a transform of n values, or nothing: T^T T x must be x, and (T x) y must be x (T^T y); of
// normal values, to a thousandth of their size.
template <AnyTransform T>
std::string FaultOfTransform(size_t n) {
  Random random(1);
  std::vector<float> x(n), y(n);
  for (size_t i = 0; i < n; ++i) x[i] = Normal(random), y[i] = Normal(random);
  std::vector<float> tx = x, ty = y;
  T::Apply(tx);
  T::ApplyTranspose(ty);
  double of_tx = 0.0, of_ty = 0.0;
  for (size_t i = 0; i < n; ++i) of_tx += double(tx[i]) * double(y[i]), of_ty += double(x[i]) * double(ty[i]);
  const double bound = 1e-3 * std::sqrt(static_cast<double>(n));
  // Not so for a NaN.
  if (!(std::fabs(of_tx - of_ty) <= bound)) return "its ApplyTranspose is not the transpose of its Apply";
  T::ApplyTranspose(tx);
  double squares = 0.0;
  for (size_t i = 0; i < n; ++i) squares += (double(tx[i]) - double(x[i])) * (double(tx[i]) - double(x[i]));
  if (!(std::sqrt(squares) <= bound)) return "its ApplyTranspose does not take its Apply back";
  return {};
}

template <Scheme S>
Result<Done> CheckQuantizers(const ModelConfig& c) {
  if (c.head_norms) return Error{"config: head_norms is set; norms of query and key heads cannot be trained yet"};
  std::string problem;
  const auto check = [&]<class Transformable>(const char* place, size_t width) {
    if constexpr (!kTransformsNothing<Transformable>) {
      const std::string fault = FaultOfTransform<TransformOf<Transformable>>(width);
      if (!fault.empty() && problem.empty()) {
        problem = "scheme " + std::string(S::kName) + ": the transform of its quantizer " + place +
                  " cannot be trained: of " + std::to_string(width) + " values, " + fault;
      }
    }
    using Q = Untransformed<Transformable>;
    if constexpr (!kIsBuiltInQuantizer<Q> && !kKeepsReals<Q>) {
      if (!problem.empty()) return;
      constexpr size_t kGroup = kGroupSize<typename Q::Granularity>;
      // All places of a short span; then some of a long one, for blocks of which a short span holds none.
      constexpr size_t kShort = 128, kLong = 4096, kPlaces = 16;
      const size_t whole = kGroup == 0 ? width : std::min(width, kGroup);
      size_t n = std::min(whole, kShort);
      MixedPlaces mixed = FindMixedPlaces<Q>(n);
      if (!mixed.found && whole > kShort) {
        n = std::min(whole, kLong);
        mixed = FindMixedPlaces<Q>(n, kPlaces);
      }
      if (!mixed.found) return;
      problem =
          "scheme " + std::string(S::kName) + ": its quantizer " + place + " is not element by element: of " +
          std::to_string(n) + " values, what it makes of value " + std::to_string(mixed.output) +
          (mixed.input == mixed.output ? " does not follow it" : " follows value " + std::to_string(mixed.input)) +
          "; straight-through gradients would be wrong (what mixes values belongs before the quantizer: Transformed<T, "
          "Q>)";
    }
  };
  // Weights whose step is one for the matrix are tried as a matrix of one row.
  const auto check_layers = [&]<class L>() {
    check.template operator()<typename L::Weight>("Weight", c.hidden);
    check.template operator()<typename L::Input>("Input", c.hidden);
    check.template operator()<typename L::OutputInput>("OutputInput", c.query_width());
    check.template operator()<typename L::DownInput>("DownInput", c.ffn);
    check.template operator()<typename L::Query>("Query", c.head_dim);
    check.template operator()<typename L::Key>("Key", c.head_dim);
    check.template operator()<typename L::Value>("Value", c.head_dim);
    check.template operator()<typename L::FirstKey>("FirstKey", c.head_dim);
    check.template operator()<typename L::FirstValue>("FirstValue", c.head_dim);
  };
  check_layers.template operator()<S>();
  if constexpr (kHasEdges<S>) check_layers.template operator()<EdgeOf<S>>();
  if constexpr (!kMayTieEmbedding<S>) check.template operator()<EmbeddingWeightOf<S>>("EmbeddingWeight", c.hidden);
  check.template operator()<typename S::HeadWeight>("HeadWeight", c.hidden);
  check.template operator()<typename S::HeadInput>("HeadInput", c.hidden);
  if (!problem.empty()) return Error{problem};
  return Done{};
}

}  // namespace bitnet

#endif  // BITNET_TRAIN_CHECK_QUANTIZERS_H_
