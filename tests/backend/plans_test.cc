// Nothing slow is silent: what runs for every scheme that the library ships, for those of the guides, and for formats
// that public files have. A plan that goes row by row, one by one, or token by token is a fallback, which none of them
// may have; the fallbacks that are meant are listed at the end, each with its reason.
#include <doctest/doctest.h>

#include <array>
#include <string>
#include <type_traits>
#include <vector>

#include "bitnet/backend/simd/simd_backend.h"
#include "bitnet/layer/attention.h"
#include "bitnet/layer/sparse_ffn.h"
#include "bitnet/scheme/scheme.h"
#include "testing/awkward_formats.h"

namespace bitnet::testing {
namespace {

bool IsFallback(const std::string& plan) {
  for (const char* word : {"row by row", "one by one", "token by token", "plain loops"}) {
    if (plan.find(word) != std::string::npos) return true;
  }
  return false;
}

// What a matrix of quantizer W for inputs of quantizer X and the uses U does.
template <AnyQuantizer W, AnyQuantizer X, class U>
std::string ProductPlan() {
  return SimdBackend::DescribeProduct<OperandOf<W>, OperandOf<X>, U>();
}

struct NamedPlan {
  std::string name;
  std::string plan;
};

// Every product of a scheme, and its attention.
template <Scheme S>
std::vector<NamedPlan> PlansOf() {
  using W = typename S::Weight;
  using Ffn = SparseFfn<S, SimdBackend>;
  return {
      {"q, k, v, gate", ProductPlan<W, typename S::Input, Uses<Dense>>()},
      {"up", ProductPlan<W, typename S::Input, typename Ffn::UpUses>()},
      {"output", ProductPlan<W, typename S::OutputInput, typename Attention<S, SimdBackend>::OutputUses>()},
      {"down", ProductPlan<W, typename S::DownInput, typename Ffn::DownUses>()},
      {"head", ProductPlan<typename S::HeadWeight, typename S::HeadInput, Uses<Dense, RowLookup>>()},
      {"embedding", ProductPlan<typename S::HeadWeight, typename S::HeadInput, Uses<RowLookup>>()},
      {"attention", SimdBackend::DescribeAttention<CacheQuantizersOf<S>>()},
  };
}

template <Scheme S>
void CheckPlans() {
  for (const NamedPlan& plan : PlansOf<S>()) {
    INFO(std::string(S::kName) << ", " << plan.name << ": " << plan.plan);
    CHECK(!IsFallback(plan.plan));
  }
}

// As docs/add-a-scheme.md and docs/add-a-format.md have them.
struct ThreeBit : A48 {
  static constexpr const char* kName = "ThreeBit";
  using Weight = Quantizer<Binary, AbsMean>;
  using Input = Quantizer<Int<3>, AbsMean>;
};
struct FiveLevel : A48 {
  static constexpr const char* kName = "FiveLevel";
  using Weight = Quantizer<FiveLevels, AbsMean>;
  using Key = Quantizer<FiveLevels, AbsMax>;
  using Value = Quantizer<FiveLevels, AbsMax>;
};
// Steps for groups, of weights and of every input.
template <class F, size_t kGroup>
struct GroupedWeights : A48 {
  static constexpr const char* kName = "GroupedWeights";
  using Weight = Quantizer<F, AbsMean, PerGroup<kGroup>>;
  using HeadWeight = Quantizer<Int<4>, AbsMax, PerGroup<32>>;
  using HeadInput = Quantizer<Int<8>, AbsMax>;
};
struct GroupedInputs : A48 {
  static constexpr const char* kName = "GroupedInputs";
  using Input = Quantizer<Int<8>, AbsMax, PerGroup<128>>;
  using OutputInput = Quantizer<Int<4>, AbsMean, PerGroup<128>>;
  using DownInput = Quantizer<Int<8>, AbsMax, PerGroup<64>>;
};
// Heads of public files: INT8 and INT4 with a step for each 32 columns, INT6 for each 16, reals of 16 bits.
template <class Q>
struct HeadOf : B158 {
  static constexpr const char* kName = "HeadOf";
  using HeadWeight = Q;
  using HeadInput = std::conditional_t<kIsFloat<typename Q::Format>, Unquantized, Quantizer<Int<8>, AbsMax>>;
};
struct FourLevels {
  static constexpr auto kLevels = std::array{-1, 0, 1, 2};
};
struct FourLevelWeights : A48 {
  static constexpr const char* kName = "FourLevelWeights";
  using Weight = Quantizer<FourLevels, AbsMean>;
};
struct UnsignedInputs : A48 {
  static constexpr const char* kName = "UnsignedInputs";
  using DownInput = Quantizer<UInt<8>, AbsMax>;
};
// Caches of 8 bits, FP4, 4 unsigned bits, five levels, reals of 16 bits.
template <class Q>
struct CacheOf : B158 {
  static constexpr const char* kName = "CacheOf";
  using Query = Quantizer<Int<8>, AbsMax>;
  using Key = Q;
  using Value = Key;
  using FirstKey = Key;
  using FirstValue = Key;
};

TEST_CASE("Plans: no scheme that is shipped or shown falls back") {
  CheckPlans<A48>();
  CheckPlans<A48Fp4>();
  CheckPlans<B158>();
  CheckPlans<Fp32>();
  CheckPlans<ThreeBit>();
  CheckPlans<FiveLevel>();
  CheckPlans<GroupedWeights<Ternary, 64>>();
  CheckPlans<GroupedWeights<Ternary, 128>>();
  CheckPlans<GroupedWeights<FourLevels, 256>>();
  CheckPlans<GroupedInputs>();
  CheckPlans<FourLevelWeights>();
  CheckPlans<UnsignedInputs>();
  CheckPlans<HeadOf<Quantizer<Int<8>, AbsMax, PerGroup<32>>>>();
  CheckPlans<HeadOf<Quantizer<Int<6>, AbsMax, PerGroup<16>>>>();
  CheckPlans<HeadOf<Rounded<BFloat16>>>();
  CheckPlans<HeadOf<Rounded<Float16>>>();
  CheckPlans<CacheOf<Quantizer<Int<8>, AbsMax>>>();
  CheckPlans<CacheOf<Quantizer<UInt<4>, MinMax>>>();
  CheckPlans<CacheOf<Quantizer<Fp4E2M1, AbsMax>>>();
  CheckPlans<CacheOf<Quantizer<FiveLevels, AbsMax>>>();
  CheckPlans<CacheOf<Rounded<BFloat16>>>();
  CheckPlans<CacheOf<Rounded<Float16>>>();
}

TEST_CASE("Plans: what falls back says so, and is meant to") {
  const auto falls_back = [](const std::string& plan) {
    INFO(plan);
    CHECK(IsFallback(plan));
  };
  // Groups of weights whose levels are beyond a byte: they are for trying a format.
  falls_back(SimdBackend::DescribeProduct<Grouped<BigSteps>, Int<4>, Uses<Dense>>());
  // Groups of weights, with inputs that are not signed bytes: no checkpoint has them.
  falls_back(SimdBackend::DescribeProduct<Grouped<Ternary>, UInt<8>, Uses<ChosenColumns>>());
  falls_back(SimdBackend::DescribeProduct<Grouped<Ternary>, UInt<8>, Uses<Dense>>());
  falls_back(SimdBackend::DescribeProduct<Grouped<Ternary>, Float, Uses<ChosenRows>>());
  // Queries as reals over keys of codes: a scheme that quantizes its cache quantizes the queries.
  using Cached = Quantizer<MidRise<3>, AbsMax>;
  falls_back(SimdBackend::DescribeAttention<CacheQuantizers<Unquantized, Cached, Cached, Cached, Cached>>());
}

}  // namespace
}  // namespace bitnet::testing
