// A transform before a quantizer: Transformed<T, Q> quantizes T x by Q.
//
//   using Input = Transformed<Hadamard<128>, Quantizer<Int<4>, AbsMean>>;
//
// T is orthogonal, so that a product loses nothing by it: W x = (W T^T)(T x). The weights of a layer whose input is
// transformed are those of T x, W T^T: trained as such, or made of others (model/transform_weights.h). What T is for:
// one value far beyond its neighbours, which would take all levels of their step for itself, is spread over them.
//
// To write one, supply the two members that AnyTransform lists; Apply must be linear, and ApplyTranspose its inverse
// and its transpose, for spans of any length. TestTransform (tests/testing/test_transform.h) checks that. For the same
// bits on every CPU, no product of floats may be added to something where compilers could fuse the two
// (docs/add-a-scheme.md).
#ifndef BITNET_QUANT_TRANSFORM_H_
#define BITNET_QUANT_TRANSFORM_H_

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "bitnet/base/random.h"
#include "bitnet/quant/quantizer.h"

namespace bitnet {

template <class T>
concept AnyTransform = requires(std::span<float> x) {
  T::Apply(x);           // x = T x, in place
  T::ApplyTranspose(x);  // x = T^T x
};

// T x = x: what a quantizer has that is not Transformed. Layers do not call it.
struct Identity {
  static void Apply(std::span<float>) {}
  static void ApplyTranspose(std::span<float>) {}
};

// T^T as a transform.
template <AnyTransform T>
struct Transposed {
  static void Apply(std::span<float> x) { T::ApplyTranspose(x); }
  static void ApplyTranspose(std::span<float> x) { T::Apply(x); }
};

template <class T>
inline constexpr bool kIsIdentity = std::is_same_v<T, Identity> || std::is_same_v<T, Transposed<Identity>>;

// ---- Signs: which values of a Hadamard block are negated before it. A rule of one's own is a struct with a constexpr
// IsNegative(i), i counted from the start of the block.

struct NoSigns {
  static constexpr bool IsNegative(size_t) { return false; }
};

// The i-th value is negated where the i-th number of Random(kSeed) has its highest bit.
template <uint64_t kSeed>
struct RandomSigns {
  static constexpr bool IsNegative(size_t i) { return Random(kSeed + i * Random::kIncrement)() >> 63 != 0; }
};

namespace detail {
template <class S>
concept IsSigns = requires {
  { S::IsNegative(size_t{}) } -> std::same_as<bool>;
  typename std::bool_constant<S::IsNegative(0)>;  // constexpr
};
template <class S>
inline constexpr bool kIsSigns = IsSigns<S>;
}  // namespace detail

// y = H D x / sqrt(n), block by block: D the signs, H the Walsh-Hadamard matrix of the block's n values in the natural
// (Sylvester) order, H_ij = -1 to the number of bits that i and j share. A row is cut from its start into as many
// blocks of kBlock as fit; the rest into the largest powers of two that fit: 5460 values are 42 blocks of 128, then 64,
// 16 and 4. (A block of one keeps its value, or negates it.) So it is orthogonal at every width.
//
// In floats: signs first; then for h = 1, 2, 4, ..., n/2 the pairs (a, b) = (x_i, x_{i+h}), where i has not the bit h,
// become (a + b, a - b); then each value is multiplied once by float(1 / sqrt(n)). No sum reads a product, so nothing
// can be fused. The transpose has its signs last. O(n log n). The sums are as large as n times the largest value.
template <size_t kBlock, class Signs = NoSigns>
struct Hadamard {
  static_assert(std::has_single_bit(kBlock) && kBlock <= (size_t{1} << 15),
                "bitnet: the block of a Hadamard transform must be a power of two, up to 32768");
  static_assert(detail::kIsSigns<Signs>,
                "bitnet: the signs of a Hadamard transform need a constexpr bool IsNegative(size_t), as NoSigns has");
  static constexpr bool kHasSigns = !std::is_same_v<Signs, NoSigns>;

  // f(begin, n) for each block of a row, in order.
  template <class F>
  static void EachBlock(size_t width, F&& f) {
    size_t begin = 0;
    for (; begin + kBlock <= width; begin += kBlock) f(begin, kBlock);
    for (; begin < width; begin += std::bit_floor(width - begin)) f(begin, std::bit_floor(width - begin));
  }
  // float(1 / sqrt(n)).
  static float Factor(size_t n) { return static_cast<float>(1.0 / std::sqrt(static_cast<double>(n))); }

  static void Apply(std::span<float> x) {
    EachBlock(x.size(), [&](size_t begin, size_t n) {
      const std::span<float> block = x.subspan(begin, n);
      ChangeSigns(block);
      AddAndSubtract(block);
    });
  }
  static void ApplyTranspose(std::span<float> x) {
    EachBlock(x.size(), [&](size_t begin, size_t n) {
      const std::span<float> block = x.subspan(begin, n);
      AddAndSubtract(block);
      ChangeSigns(block);
    });
  }

 private:
  static void ChangeSigns(std::span<float> x) {
    if constexpr (kHasSigns) {
      for (size_t i = 0; i < x.size(); ++i) x[i] = Signs::IsNegative(i) ? -x[i] : x[i];
    }
  }
  // Not inlined, so that no caller's product meets these sums.
  [[gnu::noinline]] static void AddAndSubtract(std::span<float> x) {
    for (size_t h = 1; h < x.size(); h *= 2) {
      for (size_t i = 0; i < x.size(); ++i) {
        if ((i & h) != 0) continue;
        const float a = x[i];
        const float b = x[i + h];
        x[i] = a + b;
        x[i + h] = a - b;
      }
    }
    const float factor = Factor(x.size());
    for (float& v : x) v *= factor;
  }
};

// ---- The quantizer that has one.

template <class TransformT, class QuantizerT>
struct Transformed;

namespace detail {

template <class Q>
struct TransformedFacts {
  using Transform = Identity;
  using Quantizer = Q;
  static constexpr bool kIsTransformed = false;
};
template <AnyTransform T, AnyQuantizer Q>
requires(!TransformedFacts<Q>::kIsTransformed) struct TransformedFacts<Transformed<T, Q>> {
  using Transform = T;
  using Quantizer = Q;
  static constexpr bool kIsTransformed = true;
};

template <class T>
inline constexpr bool kIsTransform = AnyTransform<T>;

}  // namespace detail

// Whether Q is a Transformed.
template <class Q>
inline constexpr bool kIsTransformed = detail::TransformedFacts<Q>::kIsTransformed;
// What it does before it quantizes; Identity of every other quantizer.
template <class Q>
using TransformOf = typename detail::TransformedFacts<Q>::Transform;
// What quantizes then: what backends are asked for, of a row that Backend::Transform has transformed.
template <class Q>
using Untransformed = typename detail::TransformedFacts<Q>::Quantizer;
// Whether Q quantizes its values as they are.
template <class Q>
inline constexpr bool kTransformsNothing = kIsIdentity<TransformOf<Q>>;

// Q(T x) of a row x, a token or a head. It may stand at a scheme's inputs and heads, not at weights. At the heads it is
// taken back where it has done its work: a score is the same product (T q)(T k) = q k, and what attention sums of
// transformed values is multiplied by T^T.
template <AnyTransform TransformT, AnyQuantizer QuantizerT>
requires(!kIsTransformed<QuantizerT>) struct Transformed<TransformT, QuantizerT> final {
  using Format = typename QuantizerT::Format;
  using Granularity = typename QuantizerT::Granularity;
  using Level = LevelOf<Format>;

  // The definition; it takes memory. Levels of T x, and their step.
  static float Quantize(std::span<const float> x, Level* levels) {
    std::vector<float> transformed(x.begin(), x.end());
    TransformT::Apply(transformed);
    return QuantizerT::Quantize(transformed, levels);
  }
  // y = T^T of what the quantizer makes of T x: as near to x as that is to T x. Returns the quantizer's step.
  static float FakeQuantize(std::span<const float> x, float* y) {
    std::vector<float> transformed(x.begin(), x.end());
    TransformT::Apply(transformed);
    const float step = QuantizerT::FakeQuantize(transformed, y);
    TransformT::ApplyTranspose({y, x.size()});
    return step;
  }
  // Of T x.
  static QuantizationError Error(std::span<const float> x) {
    std::vector<float> transformed(x.begin(), x.end());
    TransformT::Apply(transformed);
    return QuantizerT::Error(transformed);
  }
};

// Of what is no transform, or no quantizer: says so, and is a quantizer all the same, so that no other error follows.
template <class TransformT, class QuantizerT>
struct Transformed : Quantizer<Int<4>, AbsMean> {
  static_assert(detail::kIsTransform<TransformT>,
                "bitnet: the first argument of Transformed must be a transform, such as Hadamard<128>: a struct with "
                "Apply and ApplyTranspose (quant/transform.h)");
  static_assert(detail::kIsQuantizer<QuantizerT> && !kIsTransformed<QuantizerT>,
                "bitnet: the second argument of Transformed must be a quantizer without a transform of its own, such "
                "as Quantizer<Int<4>, AbsMean>");
};

}  // namespace bitnet

#endif  // BITNET_QUANT_TRANSFORM_H_
