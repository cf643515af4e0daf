// What quantizes a scheme's cache: CacheQuantizersOf<S>; and WithChosenCache<S>, a scheme whose cache is chosen when
// the program runs, one of a list.
//
//   using S = WithChosenCache<B158>;                    // INT8, 16 bits, 4 or 3
//   using T = WithChosenCache<B158, B158, Mine>;        // that of B158 or that of Mine
//
// Only a backend Erased<B> knows which (Erased's `cache`, an index of the list), so that one model is compiled for all.
#ifndef BITNET_SCHEME_CACHE_H_
#define BITNET_SCHEME_CACHE_H_

#include <array>
#include <cstddef>
#include <tuple>
#include <type_traits>
#include <variant>

#include "bitnet/format/format.h"
#include "bitnet/quant/quantizer.h"
#include "bitnet/quant/transform.h"
#include "bitnet/scheme/scheme.h"
#include "bitnet/tensor/key_values.h"
#include "bitnet/tensor/quantized_heads.h"

namespace bitnet {

// Stands for the format of queries, keys or values of a cache that is chosen when the program runs. (Nothing is ever
// quantized to it.)
struct ChosenFormat {
  static constexpr auto kLevels = std::array{0, 1};
};

// Stands for the quantizers of one of several schemes' caches.
template <class... Caches>
struct ChosenCache : Quantizer<ChosenFormat, AbsMax> {};

template <class S, class... Caches>
struct WithChosenCache : S {
  using Query = ChosenCache<Caches...>;
  using Key = Query;
  using Value = Query;
  using FirstKey = Query;
  using FirstValue = Query;
};
template <class S>
struct WithChosenCache<S>
    : WithChosenCache<S, WithInt8Cache<S>, WithFloat16Cache<S>, WithSmallCache<S, 4>, WithSmallCache<S, 3>> {};

// Beside CacheQuantizers: one of several of them.
template <class... Each>
struct OneOfCaches {
  using Query = Quantizer<ChosenFormat, AbsMax>;
  using Formats = CacheFormats<ChosenFormat, ChosenFormat, ChosenFormat, ChosenFormat>;
};

namespace detail {

template <class S, class Query>
struct QuantizersOfCache {
  using type =
      CacheQuantizers<Untransformed<Query>, Untransformed<typename S::Key>, Untransformed<typename S::FirstKey>,
                      Untransformed<typename S::Value>, Untransformed<typename S::FirstValue>>;
};
// How many of Caches have the formats of C: a file says no more of a cache (model/state_file.h).
template <class C, class... Caches>
inline constexpr size_t kCachesLike =
    (... + (std::is_same_v<typename QuantizersOfCache<C, typename C::Query>::type::Formats,
                           typename QuantizersOfCache<Caches, typename Caches::Query>::type::Formats>
                ? 1
                : 0));
template <class S, class... Caches>
struct QuantizersOfCache<S, ChosenCache<Caches...>> {
  static_assert((... && Scheme<Caches>), "bitnet: WithChosenCache<S, Caches...>: Caches are schemes");
  static_assert((... && (kTransformsNothing<typename Caches::Query> && kTransformsNothing<typename Caches::Key> &&
                         kTransformsNothing<typename Caches::FirstKey> && kTransformsNothing<typename Caches::Value> &&
                         kTransformsNothing<typename Caches::FirstValue>)),
                "bitnet: the heads of a cache that is chosen when the program runs may not be Transformed");
  static_assert((... && (kCachesLike<Caches, Caches...> == 1)),
                "bitnet: two of the caches to choose from have the same formats");
  using type = OneOfCaches<typename QuantizersOfCache<Caches, typename Caches::Query>::type...>;
};

template <class Quantizers>
struct EachCache {
  static constexpr bool kIsChosen = false;
  using Tuple = std::tuple<std::type_identity<Quantizers>>;
};
template <class... Each>
struct EachCache<OneOfCaches<Each...>> {
  static constexpr bool kIsChosen = true;
  using Tuple = std::tuple<std::type_identity<Each>...>;
};

}  // namespace detail

// What quantizes a scheme's cache, of heads that are transformed already.
template <Scheme S>
using CacheQuantizersOf = typename detail::QuantizersOfCache<S, typename S::Query>::type;

// Whether they are one of several.
template <class Quantizers>
inline constexpr bool kIsChosenCache = detail::EachCache<Quantizers>::kIsChosen;

// f(index, std::type_identity<of one>()) for each that a cache may have.
template <class Quantizers, class F>
constexpr void ForEachCache(F&& f) {
  size_t i = 0;
  std::apply([&](auto... each) { (f(i++, each), ...); }, typename detail::EachCache<Quantizers>::Tuple());
}

// Bits of a value in a cache (of a key, after the first token's).
template <class Quantizers>
constexpr size_t CacheBits() {
  using F = typename Quantizers::Key::Format;
  if constexpr (kIsFloat<F>) {
    return 8 * sizeof(StoredReal<F>);
  } else {
    return static_cast<size_t>(FormatTraits<F>::kCodeBits);
  }
}

// The HostCache of one of several.
template <class... Each, class OfFormats>
struct CacheBy<OneOfCaches<Each...>, OfFormats> {
  using Quantizers = OneOfCaches<Each...>;
  std::variant<HostCache<Each>...> one;

  size_t kv_heads() const {
    return std::visit([](const auto& cache) { return cache.kv_heads(); }, one);
  }
  size_t head_dim() const {
    return std::visit([](const auto& cache) { return cache.head_dim(); }, one);
  }
  size_t max_tokens() const {
    return std::visit([](const auto& cache) { return cache.max_tokens(); }, one);
  }
};

}  // namespace bitnet

#endif  // BITNET_SCHEME_CACHE_H_
