#include "bitnet/train/attention_kernels.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "bitnet/train/matrix.h"
#include "testing/random_values.h"

namespace bitnet::testing {
namespace {

constexpr size_t kDims[] = {1, 7, 8, 9, 33, 64, 130, 256, 300, 1030};

// Doubles are compared: rounded to float, nearly every order gives the same bits.
TEST_CASE("TransposedKeys: dot products have the order of OrderedSum, to the last bit of a double") {
  for (const size_t dim : kDims) {
    for (const size_t tokens : {1u, 7u, 8u, 19u}) {
      INFO(dim << " dimensions, " << tokens << " tokens");
      const std::vector<float> q = SpreadValues(dim, dim);
      const std::vector<float> k = SpreadValues(tokens * dim, dim + tokens);
      detail::TransposedKeys keys;
      keys.Transpose(MatrixView<const float>(k.data(), tokens, dim));
      std::vector<double> dots(RoundUp(tokens, detail::kWide));
      keys.Dots(q.data(), tokens, dots.data());
      for (size_t s = 0; s < tokens; ++s) {
        CHECK(dots[s] == OrderedSum(dim, [&](size_t i) { return double(q[i]) * double(k[s * dim + i]); }));
      }
    }
  }
}

TEST_CASE("WideValues: weighted sums run over the tokens in order, and are added to what is there") {
  for (const size_t dim : kDims) {
    for (const size_t rows : {1u, 3u, 4u, 9u}) {
      constexpr size_t kTokens = 13;
      constexpr size_t kFirst = 2, kVisible = 7;
      INFO(dim << " dimensions, " << rows << " rows");
      const std::vector<float> v = SpreadValues((kFirst + kTokens) * dim, dim);
      const std::vector<float> w = SpreadValues(kTokens * rows, dim + 1);
      detail::WideValues values;
      values.Widen(MatrixView<const float>(v.data(), kFirst + kTokens, dim));
      detail::EigenMatrix<double> sums(static_cast<Eigen::Index>(rows), static_cast<Eigen::Index>(dim));
      sums.setConstant(0.1);
      values.AddSums(MatrixView<const float>(w.data(), rows, kTokens), kFirst, kVisible, sums);
      size_t wrong = 0;
      for (size_t r = 0; r < rows; ++r) {
        for (size_t i = 0; i < dim; ++i) {
          double sum = 0.0;
          for (size_t s = 0; s < std::min(kTokens, kVisible + r - kFirst); ++s) {
            sum += double(w[r * kTokens + s]) * double(v[(kFirst + s) * dim + i]);
          }
          wrong += sums(static_cast<Eigen::Index>(r), static_cast<Eigen::Index>(i)) != 0.1 + sum;
        }
      }
      CHECK(wrong == 0);
    }
  }
}

}  // namespace
}  // namespace bitnet::testing
