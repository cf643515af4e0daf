#include "bitnet/layer/norm_quantize.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "bitnet/backend/erased.h"
#include "bitnet/backend/reference.h"
#include "testing/conformance_products.h"
#include "testing/conformance_tokens.h"
#include "testing/random_values.h"
#include "testing/tiny_model.h"

namespace bitnet {
namespace {

// Offers the two as one operation, and counts.
class FusingBackend : public ReferenceBackend {
 public:
  template <AnyQuantizer Q>
  void RmsNormQuantize(Stream& stream, MatrixView<const float> x, const Vector& gain, float eps,
                       Rows<OperandOf<Q>>& out) const {
    ++calls;
    std::vector<float> normed(x.cols());
    QuantizedRows<OperandOf<Q>> row;
    out.Resize(x.rows(), x.cols(), kGroupSize<typename Q::Granularity>);
    for (size_t t = 0; t < x.rows(); ++t) {
      RmsNorm(stream, x.Rows(t, 1), gain, eps, AsRow(std::span(normed)));
      Quantize<Q>(stream, AsRow(std::span<const float>(normed)), row);
      std::ranges::copy(row[0], out[t].begin());
      std::ranges::copy(row.Steps(0), out.Steps(t).begin());
    }
  }
  mutable size_t calls = 0;
};

template <AnyQuantizer Q>
void CheckFused() {
  constexpr size_t kTokens = 3, kWidth = 40;
  const std::vector<float> x = testing::NormalValues(kTokens * kWidth, 1), gain = testing::NormalValues(kWidth, 2);
  const MatrixView<const float> view(x.data(), kTokens, kWidth);
  const ReferenceBackend plain;
  const FusingBackend fusing;
  ReferenceBackend::Stream stream;
  GrowingMatrix normed, unused;
  QuantizedRows<OperandOf<Q>> composed, fused;
  NormQuantize<Q>(plain, stream, RmsNorm<ReferenceBackend>(gain, 0.01f, plain), view, normed, composed);
  NormQuantize<Q>(fusing, stream, RmsNorm<FusingBackend>(gain, 0.01f, fusing), view, unused, fused);
  CHECK(fusing.calls == 1);
  for (size_t t = 0; t < kTokens; ++t) {
    CHECK(std::ranges::equal(fused[t], composed[t]));
    CHECK(std::ranges::equal(fused.Steps(t), composed.Steps(t)));
  }
}

TEST_CASE("NormQuantize: TestBackend compares what is fused, and Erased passes it on") {
  testing::TestRmsNormQuantize<Quantizer<Int<4>, AbsMean>>(FusingBackend(), "fused");
  testing::TestRmsNormQuantize<Quantizer<Int<8>, AbsMax, PerGroup<5>>>(FusingBackend(), "fused, in groups");
  const Erased<FusingBackend> erased;
  testing::TestRmsNormQuantize<Quantizer<Int<4>, AbsMean>>(erased, "fused, erased");
  CHECK(erased.backend().calls > 100);
}

// The norm of inputs that some matrices want as reals and others as codes.
TEST_CASE("NormQuantize: Erased passes it on for reals too, and for codes of them") {
  using B = Erased<FusingBackend>;
  using U = Uses<Dense>;
  constexpr size_t kTokens = 2, kWidth = 300, kRows = 5;
  const std::vector<float> x = testing::NormalValues(kTokens * kWidth, 1), gain = testing::NormalValues(kWidth, 2);
  const MatrixView<const float> view(x.data(), kTokens, kWidth);
  const auto weights = testing::DrawWeights<Int<8>>({kRows, 0, {true, 16}, 0, testing::Fill::kRandom}, kWidth, 3);
  const auto run = [&]<class Of>(const Of& backend) {
    typename Of::Stream stream = backend.NewStream();
    GrowingMatrix normed;
    typename Of::template Rows<Float> inputs;
    const RmsNorm<Of> norm(gain, 0.01f, backend);
    NormQuantize<Unquantized>(backend, stream, norm, view, normed, inputs);
    std::vector<float> y(2 * kTokens * kRows);
    const auto reals = backend.template PrepareMatrix<Grouped<Int<8>>, Float, U>(weights);
    backend.MatMul(stream, reals, inputs, {y.data(), kTokens, kRows});
    const auto codes = backend.template PrepareForCodes<Grouped<Int<8>>, U>(weights);
    backend.MatMul(stream, codes, inputs, {y.data() + kTokens * kRows, kTokens, kRows});
    return y;
  };
  const B fusing;
  const std::vector<float> fused = run(fusing), composed = run(Erased<ReferenceBackend>());
  CHECK(fusing.backend().calls == 2);
  CHECK(testing::SameBits(fused, composed));
}

TEST_CASE("NormQuantize: a backend's own operation where there is one, else the norm and the quantizer") {
  CheckFused<Quantizer<Int<4>, AbsMean>>();
  CheckFused<Quantizer<Int<8>, AbsMax, PerGroup<16>>>();
  CheckFused<Unquantized>();
}

}  // namespace
}  // namespace bitnet
