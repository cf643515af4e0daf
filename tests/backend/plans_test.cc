// Nothing slow is silent: what runs for every scheme that the library ships, for those of the guides, and for formats
// that public files have. A plan that goes row by row, or token by token, is a fallback; the ones that are meant are
// listed here with their reason.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "bitnet/backend/simd/simd_backend.h"
#include "bitnet/layer/attention.h"
#include "bitnet/layer/sparse_ffn.h"
#include "bitnet/scheme/scheme.h"
#include "testing/awkward_formats.h"

namespace bitnet::testing {
namespace {

bool IsFallback(const std::string& plan) {
  for (const char* word : {"row by row", "one by one", "plain loops"}) {
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
  constexpr bool kSkips = S::FfnActivation::kMakesZeros;
  using Output = std::conditional_t<S::OutputKeep::kAll, Uses<Dense>, Uses<ChosenColumns>>;
  using Up = std::conditional_t<kSkips, Uses<ChosenRows>, Uses<Dense>>;
  using Down = std::conditional_t<kSkips, Uses<ChosenColumns>, Uses<Dense>>;
  return {
      {"q, k, v, gate", ProductPlan<W, typename S::Input, Uses<Dense>>()},
      {"up", ProductPlan<W, typename S::Input, Up>()},
      {"output", ProductPlan<W, typename S::OutputInput, Output>()},
      {"down", ProductPlan<W, typename S::DownInput, Down>()},
      {"head", ProductPlan<typename S::HeadWeight, typename S::HeadInput, Uses<Dense, RowLookup>>()},
      {"embedding", ProductPlan<typename S::HeadWeight, typename S::HeadInput, Uses<RowLookup>>()},
      {"attention", SimdBackend::DescribeAttention<CacheQuantizersOf<S>>()},
  };
}

template <Scheme S>
void CheckPlans() {
  for (const NamedPlan& plan : PlansOf<S>()) {
    INFO(S::kName << ", " << plan.name << ": " << plan.plan);
    CHECK(!plan.plan.empty());
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
// Steps for groups.
template <size_t kGroup>
struct GroupedWeights : A48 {
  static constexpr const char* kName = "GroupedWeights";
  using Weight = Quantizer<Ternary, AbsMean, PerGroup<kGroup>>;
  using HeadWeight = Quantizer<Int<4>, AbsMax, PerGroup<32>>;
  using HeadInput = Quantizer<Int<8>, AbsMax>;
};
struct GroupedInputs : A48 {
  static constexpr const char* kName = "GroupedInputs";
  using Input = Quantizer<Int<8>, AbsMax, PerGroup<128>>;
};
// Caches of 8 bits, FP4, 4 unsigned bits.
template <class F>
struct CacheOf : B158 {
  static constexpr const char* kName = "CacheOf";
  using Query = Quantizer<Int<8>, AbsMax>;
  using Key = Quantizer<F, MinMax>;
  using Value = Key;
  using FirstKey = Key;
  using FirstValue = Key;
};

TEST_CASE("Plans: no scheme that is shipped or shown falls back") {
  CheckPlans<A48>();
  CheckPlans<A48Fp4>();
  CheckPlans<B158>();
  CheckPlans<Fp32>();
  CheckPlans<WithSubLayerNorms<A48>>();
  CheckPlans<ThreeBit>();
  CheckPlans<FiveLevel>();
  CheckPlans<GroupedWeights<64>>();
  CheckPlans<GroupedWeights<128>>();
  CheckPlans<GroupedInputs>();
  CheckPlans<CacheOf<Int<8>>>();
  CheckPlans<CacheOf<UInt<4>>>();
  CheckPlans<CacheOf<Fp4E2M1>>();
}

}  // namespace
}  // namespace bitnet::testing
