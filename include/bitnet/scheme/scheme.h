// A scheme says which quantizer stands where. To make one, derive from the nearest and override aliases:
//   struct Mine : A48 {
//     using Weight = Quantizer<Binary, AbsMean>;
//     using Input = Quantizer<Int<3>, AbsMean>;
//   };
// Layers, model, training and export are templates over it. `Unquantized` may stand anywhere, and so may
// Rounded<BFloat16> and Rounded<Float16>, which take half of its bytes; Transformed<T, Q> at inputs and heads.
#ifndef BITNET_SCHEME_SCHEME_H_
#define BITNET_SCHEME_SCHEME_H_

#include <cstddef>
#include <type_traits>

#include "bitnet/format/format.h"
#include "bitnet/quant/quantizer.h"
#include "bitnet/quant/top_k.h"
#include "bitnet/quant/transform.h"
#include "bitnet/scheme/activation.h"

namespace bitnet {

// BitNet a4.8 with INT4 inputs.
struct A48 {
  static constexpr const char* kName = "A48";

  using Weight = Quantizer<Ternary, AbsMean>;     // every projection, eq. 2
  using Input = Quantizer<Int<4>, AbsMean>;       // what Q, K, V, gate and up read, eq. 7
  using OutputInput = Quantizer<Int<8>, AbsMax>;  // what the attention output projection reads, eqs. 1 and 3
  using OutputKeep = KeepHalf;                    // ... of which the largest are kept
  using DownInput = Quantizer<Int<8>, AbsMax>;    // what down reads, eq. 5

  using Query = Quantizer<MidRise<4>, AbsMax>;  // heads, after the rotary embedding
  using Key = Quantizer<MidRise<3>, AbsMax>;
  using Value = Quantizer<MidRise<3>, AbsMax>;
  using FirstKey = Quantizer<MidRise<4>, AbsMax>;  // heads of the first token (bos)
  using FirstValue = Quantizer<MidRise<4>, AbsMax>;

  using HeadWeight = Unquantized;  // token embedding and output head
  using HeadInput = Unquantized;

  using FfnActivation = SquaredRelu;
};

// With FP4 (E2M1) inputs everywhere but at down, eqs. 8 and 9.
struct A48Fp4 : A48 {
  static constexpr const char* kName = "A48Fp4";
  using Input = Quantizer<Fp4E2M1, MinMax>;
  using OutputInput = Quantizer<Fp4E2M1, MinMax>;
};

// BitNet b1.58, W1.58A8: the predecessor, and stage 1 of training.
struct B158 : A48 {
  static constexpr const char* kName = "B158";
  using Input = Quantizer<Int<8>, AbsMax>;
  using OutputKeep = KeepAll;
  using Query = Unquantized;
  using Key = Unquantized;
  using Value = Unquantized;
  using FirstKey = Unquantized;
  using FirstValue = Unquantized;
};

// Nothing quantized: the "LLaMA" of every comparison.
struct Fp32 : B158 {
  static constexpr const char* kName = "Fp32";
  using Weight = Unquantized;
  using Input = Unquantized;
  using OutputInput = Unquantized;
  using DownInput = Unquantized;
};

// A scheme S whose token embedding and output head are INT4, a step a row, and the head's inputs 8-bit: what ./dev
// claims measures. (An embedding of a 2B model in floats is larger than all of its ternary weights.)
template <class S>
struct WithInt4Head : S {
  using HeadWeight = Quantizer<Int<4>, AbsMax, PerRow>;
  using HeadInput = Quantizer<Int<8>, AbsMax>;
};

// A scheme S with what public b1.58 models have: embedding and output head in 16 bits ...
template <class S>
struct WithFloat16Head : S {
  using HeadWeight = Rounded<Float16>;
};
// ... an INT8 cache (3 bits are for models that were trained with them) ...
template <class S>
struct WithInt8Cache : S {
  using Query = Quantizer<Int<8>, AbsMax>;
  using Key = Query;
  using Value = Query;
  using FirstKey = Query;
  using FirstValue = Query;
};
// ... or one in 16 bits, or of kBits as a4.8 has it (4 for the first token and queries) ...
template <class S>
struct WithFloat16Cache : S {
  using Query = Unquantized;
  using Key = Rounded<Float16>;
  using Value = Key;
  using FirstKey = Key;
  using FirstValue = Key;
};
template <class S, int kBits>
struct WithSmallCache : S {
  using Query = Quantizer<MidRise<4>, AbsMax>;
  using Key = Quantizer<MidRise<kBits>, AbsMax>;
  using Value = Key;
  using FirstKey = Quantizer<MidRise<4>, AbsMax>;
  using FirstValue = FirstKey;
};
// ... and, where they are LLaMA's otherwise, its activation.
template <class S>
struct WithSilu : S {
  using FfnActivation = Silu;
};

namespace detail {

template <class S>
inline constexpr bool kWeightsAreAsTheyAre =
    !kIsTransformed<typename S::Weight> && !kIsTransformed<typename S::HeadWeight>;
template <class S>
inline constexpr bool kScoresAreOfOneTransform =
    std::is_same_v<TransformOf<typename S::Query>, TransformOf<typename S::Key>>&&
        std::is_same_v<TransformOf<typename S::FirstKey>, TransformOf<typename S::Key>>;
template <class S>
inline constexpr bool kValuesHaveOneTransform =
    std::is_same_v<TransformOf<typename S::FirstValue>, TransformOf<typename S::Value>>;

template <class S>
struct EdgeOf {
  using type = S;
};
template <class S>
requires requires { typename S::Edge; }
struct EdgeOf<S> {
  using type = typename S::Edge;
};

template <class S>
struct EmbeddingWeightOf {
  using type = typename S::HeadWeight;
};
template <class S>
requires requires { typename S::EmbeddingWeight; }
struct EmbeddingWeightOf<S> {
  using type = typename S::EmbeddingWeight;
};

}  // namespace detail

// The scheme of a model's first and last layer: S::Edge where S names one, else S itself. Of S::Edge what is of layers
// counts: not its head, embedding or edges.
template <class S>
using EdgeOf = typename detail::EdgeOf<S>::type;
template <class S>
inline constexpr bool kHasEdges = !std::is_same_v<EdgeOf<S>, S>;

// What quantizes the token embedding: S::EmbeddingWeight where S names one (then it cannot be tied), else
// S::HeadWeight.
template <class S>
using EmbeddingWeightOf = typename detail::EmbeddingWeightOf<S>::type;
template <class S>
inline constexpr bool kMayTieEmbedding = std::is_same_v<EmbeddingWeightOf<S>, typename S::HeadWeight>;

namespace detail {

template <class S>
concept SchemeOfLayers = AnyQuantizer<typename S::Weight> && AnyQuantizer<typename S::Input> &&
    AnyQuantizer<typename S::OutputInput> && AnyQuantizer<typename S::DownInput> && AnyQuantizer<typename S::Query> &&
    AnyQuantizer<typename S::Key> && AnyQuantizer<typename S::Value> && AnyQuantizer<typename S::FirstKey> &&
    AnyQuantizer<typename S::FirstValue> && AnyQuantizer<typename S::HeadWeight> &&
    AnyQuantizer<typename S::HeadInput> && Activation<typename S::FfnActivation> && detail::kWeightsAreAsTheyAre<S> &&
    detail::kScoresAreOfOneTransform<S> && detail::kValuesHaveOneTransform<S> && requires {
  { S::OutputKeep::kAll } -> std::convertible_to<bool>;
  { S::OutputKeep::Count(size_t{}) } -> std::convertible_to<size_t>;
  { S::kName } -> std::convertible_to<const char*>;
};

}  // namespace detail

template <class S>
concept Scheme = detail::SchemeOfLayers<S> && detail::SchemeOfLayers<EdgeOf<S>> && AnyQuantizer<EmbeddingWeightOf<S>>;

namespace detail {

template <class S>
inline constexpr bool kIsScheme = Scheme<S>;
template <class A>
inline constexpr bool kIsActivation = Activation<A>;

template <class S>
concept HasSchemeMembers = requires {
  typename S::Weight;
  typename S::Input;
  typename S::OutputInput;
  typename S::DownInput;
  typename S::Query;
  typename S::Key;
  typename S::Value;
  typename S::FirstKey;
  typename S::FirstValue;
  typename S::HeadWeight;
  typename S::HeadInput;
  typename S::FfnActivation;
  S::OutputKeep::kAll;
  S::kName;
};
template <class S>
inline constexpr bool kHasSchemeMembers = HasSchemeMembers<S>;

// Instantiated, says why S is no scheme. Templates over a scheme do that where they are given something else, and then
// are what they are of A48, so that no other error follows. (As a base it would take the other base with it.)
template <class S>
struct SchemeSentence {
  static_assert(
      kHasSchemeMembers<S>,
      "bitnet: a scheme is needed here: A48 or another of scheme/scheme.h, or a struct that derives from one "
      "and overrides some of its members (which are kName, Weight, Input, OutputInput, OutputKeep, DownInput, "
      "Query, Key, Value, FirstKey, FirstValue, HeadWeight, HeadInput, FfnActivation)");
};
template <HasSchemeMembers S>
struct SchemeSentence<S> {
  static_assert(kIsQuantizer<typename S::Weight>,
                "bitnet: the scheme's Weight must be a quantizer, such as Quantizer<Ternary, AbsMean>");
  static_assert(kIsQuantizer<typename S::Input>,
                "bitnet: the scheme's Input must be a quantizer, such as Quantizer<Int<4>, AbsMean>");
  static_assert(kIsQuantizer<typename S::OutputInput>,
                "bitnet: the scheme's OutputInput must be a quantizer, such as Quantizer<Int<8>, AbsMax>");
  static_assert(kIsQuantizer<typename S::DownInput>,
                "bitnet: the scheme's DownInput must be a quantizer, such as Quantizer<Int<8>, AbsMax>");
  static_assert(kIsQuantizer<typename S::Query> && kIsQuantizer<typename S::Key> && kIsQuantizer<typename S::Value>,
                "bitnet: the scheme's Query, Key and Value must be quantizers, such as Quantizer<MidRise<3>, AbsMax>");
  static_assert(kIsQuantizer<typename S::FirstKey> && kIsQuantizer<typename S::FirstValue>,
                "bitnet: the scheme's FirstKey and FirstValue must be quantizers, such as Quantizer<MidRise<4>, "
                "AbsMax>");
  static_assert(kIsQuantizer<typename S::HeadWeight> && kIsQuantizer<typename S::HeadInput>,
                "bitnet: the scheme's HeadWeight and HeadInput must be quantizers, such as Unquantized");
  static_assert(kIsActivation<typename S::FfnActivation>,
                "bitnet: the scheme's FfnActivation must be an activation, such as SquaredRelu: see "
                "scheme/activation.h");
  static_assert(kWeightsAreAsTheyAre<S>,
                "bitnet: the scheme's Weight and HeadWeight may not be Transformed: what is transformed are inputs, "
                "and the weights are trained for that, or made by TransformWeights (model/transform_weights.h)");
  static_assert(kScoresAreOfOneTransform<S>,
                "bitnet: the scheme's Query, Key and FirstKey must have the same transform: scores are products of "
                "transformed queries and keys");
  static_assert(kValuesHaveOneTransform<S>,
                "bitnet: the scheme's Value and FirstValue must have the same transform: attention sums both, and "
                "takes the sum back");
  static_assert(!kHasEdges<S> || SchemeOfLayers<bitnet::EdgeOf<S>>,
                "bitnet: the scheme's Edge must be a scheme, that of the first and the last layer");
  static_assert(kMayTieEmbedding<S> || kIsQuantizer<bitnet::EmbeddingWeightOf<S>>,
                "bitnet: the scheme's EmbeddingWeight must be a quantizer, such as Unquantized");
  // What is left of the concept. (Without the conditions a wrong member above would be said twice.)
  static constexpr bool kHasKinds =
      kIsQuantizer<typename S::Weight> && kIsQuantizer<typename S::Input> && kIsQuantizer<typename S::OutputInput> &&
      kIsQuantizer<typename S::DownInput> && kIsQuantizer<typename S::Query> && kIsQuantizer<typename S::Key> &&
      kIsQuantizer<typename S::Value> && kIsQuantizer<typename S::FirstKey> && kIsQuantizer<typename S::FirstValue> &&
      kIsQuantizer<typename S::HeadWeight> && kIsQuantizer<typename S::HeadInput> &&
      kIsActivation<typename S::FfnActivation> && kWeightsAreAsTheyAre<S> && kScoresAreOfOneTransform<S> &&
      kValuesHaveOneTransform<S> &&
      (!kHasEdges<S> || SchemeOfLayers<bitnet::EdgeOf<S>>)&&kIsQuantizer<bitnet::EmbeddingWeightOf<S>>;
  static_assert(kIsScheme<S> || !kHasKinds,
                "bitnet: the scheme's kName must be a const char*, and its OutputKeep a Keep<N, D>");
};

}  // namespace detail

}  // namespace bitnet

#endif  // BITNET_SCHEME_SCHEME_H_
