#include "bitnet/scheme/scheme.h"

#include <doctest/doctest.h>

#include <string>
#include <type_traits>

namespace bitnet {
namespace {

template <class Q, class F, class R>
constexpr bool Is = std::is_same_v<typename Q::Format, F>&& std::is_same_v<typename Q::Rule, R>&&
    std::is_same_v<typename Q::Granularity, Whole>;
template <class Q>
constexpr bool IsFloat = std::is_same_v<Q, Unquantized>;

// The table of docs/numerics.md, row by row: A48, A48Fp4, B158, Fp32.
static_assert(Is<A48::Weight, Ternary, AbsMean> && Is<A48Fp4::Weight, Ternary, AbsMean> &&
              Is<B158::Weight, Ternary, AbsMean> && IsFloat<Fp32::Weight>);
static_assert(Is<A48::Input, Int<4>, AbsMean> && Is<A48Fp4::Input, Fp4E2M1, MinMax> &&
              Is<B158::Input, Int<8>, AbsMax> && IsFloat<Fp32::Input>);
static_assert(Is<A48::OutputInput, Int<8>, AbsMax> && Is<A48Fp4::OutputInput, Fp4E2M1, MinMax> &&
              Is<B158::OutputInput, Int<8>, AbsMax> && IsFloat<Fp32::OutputInput>);
static_assert(A48::OutputKeep::Count(4096) == 2048 && A48Fp4::OutputKeep::Count(4096) == 2048 &&
              B158::OutputKeep::kAll && Fp32::OutputKeep::kAll && !A48::OutputKeep::kAll);
static_assert(Is<A48::DownInput, Int<8>, AbsMax> && Is<A48Fp4::DownInput, Int<8>, AbsMax> &&
              Is<B158::DownInput, Int<8>, AbsMax> && IsFloat<Fp32::DownInput>);
static_assert(Is<A48::Query, MidRise<4>, AbsMax> && Is<A48Fp4::Query, MidRise<4>, AbsMax> && IsFloat<B158::Query> &&
              IsFloat<Fp32::Query>);
static_assert(Is<A48::Key, MidRise<3>, AbsMax> && Is<A48::Value, MidRise<3>, AbsMax> &&
              Is<A48::FirstKey, MidRise<4>, AbsMax> && Is<A48::FirstValue, MidRise<4>, AbsMax> &&
              Is<A48Fp4::Key, MidRise<3>, AbsMax> && Is<A48Fp4::FirstValue, MidRise<4>, AbsMax> && IsFloat<B158::Key> &&
              IsFloat<B158::Value> && IsFloat<B158::FirstKey> && IsFloat<B158::FirstValue> && IsFloat<Fp32::Key>);
static_assert(IsFloat<A48::HeadWeight> && IsFloat<A48::HeadInput> && IsFloat<B158::HeadWeight> &&
              IsFloat<Fp32::HeadInput>);
static_assert(std::is_same_v<A48::FfnActivation, SquaredRelu>);

static_assert(Scheme<A48> && Scheme<A48Fp4> && Scheme<B158> && Scheme<Fp32>);
static_assert(!Scheme<int> && !Scheme<Quantizer<Ternary, AbsMean>>);

// Of a user: derived by overriding aliases.
struct Mine : A48 {
  static constexpr const char* kName = "Mine";
  using Weight = Quantizer<Binary, AbsMean>;
  using Input = Quantizer<Int<3>, AbsMean, PerGroup<64>>;
  using FfnActivation = Silu;
};
static_assert(Scheme<Mine> && std::is_same_v<Mine::DownInput, A48::DownInput>);
struct NoScheme : A48 {
  using Weight = Ternary;  // a format, not a quantizer
};
static_assert(!Scheme<NoScheme>);

TEST_CASE("Scheme: each says its name") {
  CHECK(A48::kName == std::string("A48"));
  CHECK(A48Fp4::kName == std::string("A48Fp4"));
  CHECK(B158::kName == std::string("B158"));
  CHECK(Fp32::kName == std::string("Fp32"));
}

}  // namespace
}  // namespace bitnet
