#include <doctest/doctest.h>

#include <string>

#include "bitnet/backend/simd/simd_backend.h"
#include "testing/awkward_formats.h"

namespace bitnet {
namespace {

using testing::BigSteps;
using testing::FiveLevels;
using testing::Squares;

template <Format Q, Format K, Format V = K, Format V0 = V>
std::string Described() {
  return SimdBackend::DescribeAttention<Q, CacheFormats<K, K, V, V0>>();
}
bool Contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST_CASE("SimdBackend: every cache of up to 256 levels within a byte has kernels") {
  const std::string bytes = "scores: byte dot product of offsets; sums of values: byte dot product of offsets";
  CHECK(Described<Int<8>, Int<8>>() == bytes);
  CHECK(Described<Int<8>, MidRise<8>>() == bytes);
  CHECK(Described<Int<4>, UInt<5>>() == bytes);
  CHECK(Described<Int<4>, Squares>() == bytes);
  CHECK(Described<Int<8>, UInt<4>>() ==
        "scores: byte dot product of 4-bit codes; sums of values: byte dot product of 4-bit codes");
  CHECK(Described<Int<8>, Fp4E2M1>() == Described<Int<8>, UInt<4>>());
  // In pairs or not, by the matrix unit or not, as the machine has it.
  for (const std::string& text : {Described<MidRise<4>, MidRise<3>>(), Described<Int<8>, FiveLevels>()}) {
    CAPTURE(text);
    CHECK(Contains(text, "3-bit codes; sums of values: byte dot product of "));
    CHECK(!Contains(text, "token by token"));
  }
  CHECK(Described<Float, Float>() == "scores: float, sums in double; sums of values: float, sums in double");
}

TEST_CASE("SimdBackend: what runs token by token is said") {
  CHECK(Contains(Described<MidRise<8>, Int<4>>(), "scores: token by token"));  // queries beyond a signed byte
  CHECK(Contains(Described<Float, Int<4>>(), "scores: token by token"));
  CHECK(Described<Int<8>, BigSteps>() == "scores: token by token; sums of values: token by token");
  // Sums that do not fit 32 bits, for the first token's sake.
  CHECK(Contains(Described<Int<8>, Int<8>, Int<8>, BigSteps>(), "sums of values: token by token"));
}

}  // namespace
}  // namespace bitnet
