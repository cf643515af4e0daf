#include <doctest/doctest.h>

#include <cstddef>
#include <new>
#include <thread>
#include <vector>

#include "bitnet/backend/reference.h"
#include "bitnet/backend/simd/simd_backend.h"
#include "bitnet/base/executor.h"
#include "bitnet/base/random.h"

namespace bitnet {
namespace {

// Hidden and FFN widths of the paper's models and of the released 2B.
constexpr size_t kShapes[][2] = {{1536, 4096}, {2048, 5460}, {3200, 8640}, {4096, 11008}, {2560, 6912}};

double BitsAWeight(size_t rows, size_t cols, Access access) {
  const QuantizedMatrix<Ternary> weights(rows, cols, {});
  const auto matrix = SimdBackend().Prepare<Int<4>>(weights, access);
  return 8.0 * static_cast<double>(matrix.StoredBytes()) / static_cast<double>(rows * cols);
}

TEST_CASE("SimdMatrix: ternary weights are held once, in at most 1.7 bits by lookups and 2 by rows and columns") {
  constexpr bool kHasLookups = HWY_NAMESPACE::kTableEntries != 0;
  // The step, and what vectors may read beyond the end, weigh less than this.
  constexpr double kRest = 0.002;
  for (const auto& shape : kShapes) {
    const size_t hidden = shape[0], ffn = shape[1];
    INFO(hidden << " and " << ffn);
    CHECK(BitsAWeight(hidden, hidden, Access::kDense) <= (kHasLookups ? 1.7 : 2.0 + kRest));
    CHECK(BitsAWeight(ffn, hidden, Access::kDense) <= (kHasLookups ? 1.7 : 2.0 + kRest));
    CHECK(BitsAWeight(ffn, hidden, Access::kRows) <= 2.0 + kRest);
    CHECK(BitsAWeight(hidden, hidden, Access::kColumns) <= 2.0 + kRest);
    CHECK(BitsAWeight(hidden, ffn, Access::kColumns) <= 2.0 + kRest);
  }
}

TEST_CASE("SimdMatrix: on 32 bits a layout that is too large to prepare throws, and is not memory that is too small") {
  if constexpr (sizeof(size_t) == 4) {
    // A column takes 16 bytes, however few rows it has: 2^32 bytes of 53 MB.
    const QuantizedMatrix<Ternary> weights(1, size_t{1} << 28, {});
    CHECK_THROWS_AS(SimdBackend().Prepare<Ternary>(weights, Access::kColumns), std::bad_array_new_length);
  }
}

TEST_CASE("SimdBackend: so many columns that the sums of codes multiplied in place would not fit 32 bits at once") {
  constexpr size_t kRows = 20;  // the last four in the upper bits of the first sixteen's bytes
  constexpr size_t kCols = 80000;
  const std::vector<float> ones(kRows * kCols, 1.0f);
  const auto weights = QuantizedMatrix<Int<4>>::From<Quantizer<Int<4>, AbsMax>>({ones.data(), kRows, kCols});
  const auto multiply = [&](const auto& backend) {
    QuantizedTokens<Int<8>> x;
    backend.template Quantize<Quantizer<Int<8>, AbsMax>>(MatrixView<const float>(ones.data(), 1, kCols), x);
    backend.FindNonzero(x);
    std::vector<float> y(kRows);
    backend.MatMulColumns(backend.template Prepare<Int<8>>(weights, Access::kColumns), x, {y.data(), 1, kRows});
    return y;
  };
  SequentialExecutor executor;  // threads would share the columns
  CHECK(multiply(SimdBackend(executor)) == multiply(ReferenceBackend(executor)));
}

TEST_CASE("SimdBackend: inputs prepared for few threads or few rows serve products of many") {
  constexpr size_t kCols = 2560;
  constexpr size_t kFewRows = 64;  // one range
  constexpr size_t kRows = 1000;   // a range for each thread
  Random random(1);
  std::vector<float> values(kRows * kCols);
  for (float& v : values) v = Normal(random);
  const auto prepare = [&](const SimdBackend& backend, size_t rows) {
    const auto weights = QuantizedMatrix<Ternary>::From<Quantizer<Ternary, AbsMean>>({values.data(), rows, kCols});
    return backend.Prepare<Int<4>>(weights, Access::kDense);
  };
  ThreadPool three_threads(3);
  SequentialExecutor one_thread;
  const SimdBackend three(three_threads), one(one_thread);
  const auto few = prepare(three, kFewRows);
  const auto many = prepare(three, kRows);
  const auto multiply = [&](auto&& prepare_inputs) {
    QuantizedTokens<Int<4>> x;
    three.Quantize<Quantizer<Int<4>, AbsMean>>({values.data(), 1, kCols}, x);
    prepare_inputs(x);
    std::vector<float> y(kRows);
    three.MatMul(many, x, {y.data(), 1, kRows});
    return y;
  };
  const std::vector<float> expected = multiply([](const auto&) {});
  CHECK(multiply([&](auto& x) { three.PrepareInputs(many, x); }) == expected);
  CHECK(multiply([&](auto& x) { three.PrepareInputs(few, x); }) == expected);
  CHECK(multiply([&](auto& x) { one.PrepareInputs(many, x); }) == expected);
}

TEST_CASE("SimdBackend: threads that share a pool, so that some get no workers, get the same bits") {
  constexpr size_t kRows = 512, kCols = 600, kCallers = 3;
  Random random(1);
  std::vector<float> reals(kRows * kCols);
  for (float& value : reals) value = Normal(random);
  ThreadPool pool(3);
  const SimdBackend backend(pool);
  const auto matrix = backend.Prepare<Int<4>>(
      QuantizedMatrix<Ternary>::From<Quantizer<Ternary, AbsMean>>({reals.data(), kRows, kCols}), Access::kDense);
  const auto multiply = [&](const SimdBackend& with, size_t tokens) {
    QuantizedTokens<Int<4>> x;
    with.Quantize<Quantizer<Int<4>, AbsMean>>(MatrixView<const float>(reals.data(), tokens, kCols), x);
    with.PrepareInputs(matrix, x);
    std::vector<float> y(tokens * kRows);
    with.MatMul(matrix, x, {y.data(), tokens, kRows});
    return y;
  };
  SequentialExecutor executor;
  const auto one = multiply(SimdBackend(executor), 1), many = multiply(SimdBackend(executor), 70);
  std::vector<std::thread> callers;
  std::vector<int> wrong(kCallers);
  for (size_t i = 0; i < kCallers; ++i) {
    callers.emplace_back([&, i] {
      for (int k = 0; k < 20; ++k) wrong[i] += (multiply(backend, 1) != one) + (multiply(backend, 70) != many);
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (size_t i = 0; i < kCallers; ++i) CHECK(wrong[i] == 0);
}

}  // namespace
}  // namespace bitnet
