#include "bitnet/train/attention_kernels.h"

#include <doctest/doctest.h>

#include <cstddef>
#include <string>
#include <vector>

#include "testing/random_values.h"
#include "testing/same_bits.h"

namespace bitnet::testing {
namespace {

// Doubles are compared: rounded to float, nearly every order gives the same bits.
TEST_CASE("TurnedKeys: dot products have the order of OrderedSum, to the last bit of a double") {
  for (const size_t dim : kSizes) {
    for (const size_t tokens : {1, 7, 8, 19}) {
      INFO(dim << " dimensions, " << tokens << " tokens");
      const std::vector<float> q = SpreadValues(dim, dim);
      const std::vector<float> k = SpreadValues(tokens * dim, dim + tokens);
      detail::TurnedKeys keys;
      keys.Turn(MatrixView<const float>(k.data(), tokens, dim));
      std::vector<double> dots(RoundUp(tokens, detail::kWide));
      keys.Dots(q.data(), tokens, dots.data());
      for (size_t s = 0; s < tokens; ++s) {
        CHECK(dots[s] == OrderedSum(dim, [&](size_t i) { return double(q[i]) * double(k[s * dim + i]); }));
      }
    }
  }
}

TEST_CASE("WideValues: weighted sums run over the tokens in order") {
  for (const size_t dim : kSizes) {
    for (const size_t rows : {1, 3, 4}) {
      constexpr size_t kTokens = 13;
      INFO(dim << " dimensions, " << rows << " rows");
      const std::vector<float> v = SpreadValues(kTokens * dim, dim);
      const std::vector<float> w = SpreadValues(kTokens * detail::kSumRows, dim + 1);
      const std::vector<double> weights(w.begin(), w.end());
      const double totals[detail::kSumRows] = {1.0, 3.0, 0.7, 11.0};
      detail::WideValues values;
      values.Widen(MatrixView<const float>(v.data(), kTokens, dim));
      GuardedMatrix out(rows, dim), expected(rows, dim);
      values.Sums(weights.data(), kTokens, totals, out.view());
      for (size_t r = 0; r < rows; ++r) {
        for (size_t i = 0; i < dim; ++i) {
          double sum = 0.0;
          for (size_t s = 0; s < kTokens; ++s) sum += weights[s * detail::kSumRows + r] * double(v[s * dim + i]);
          expected.view()[r][i] = static_cast<float>(sum / totals[r]);
        }
      }
      out.ExpectSame(expected, "WideValues::Sums", std::to_string(dim) + " dimensions");
    }
  }
}

}  // namespace
}  // namespace bitnet::testing
