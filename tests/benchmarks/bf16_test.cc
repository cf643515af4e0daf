#include "benchmarks/bf16.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "bitnet/base/random.h"

namespace bitnet {
namespace {

std::vector<float> Normals(size_t n, uint64_t seed) {
  Random random(seed);
  std::vector<float> x(n);
  for (float& v : x) v = Normal(random);
  return x;
}

TEST_CASE("Bf16: conversion is to the nearest, ties to even") {
  CHECK(FloatFromBf16(Bf16FromFloat(-1.5f)) == -1.5f);
  CHECK(FloatFromBf16(Bf16FromFloat(1.0f + 0x1p-8f)) == 1.0f);               // a tie
  CHECK(FloatFromBf16(Bf16FromFloat(1.0f + 0x3p-8f)) == 1.0f + 0x1p-6f);     // a tie
  CHECK(FloatFromBf16(Bf16FromFloat(1.0f + 0x1.01p-8f)) == 1.0f + 0x1p-7f);  // above one
}

// Sums of n products in float, in any order: n * 2^-24 of the sum of magnitudes.
TEST_CASE("Bf16: products are those of double loops") {
  Bf16Scratch scratch;
  for (const size_t threads : {1u, 2u, 3u}) {
    ThreadPool pool(threads);
    for (const size_t rows : {1u, 7u, 16u, 53u, 200u}) {
      for (const size_t cols : {1u, 31u, 32u, 100u, 1030u, 2049u}) {
        const std::vector<float> w = Normals(rows * cols, 1);
        const Bf16Matrix matrix(MatrixView<const float>(w.data(), rows, cols));
        for (const size_t tokens : {1u, 2u, 7u, 67u}) {
          const std::vector<float> x = Normals(tokens * cols, 2);
          std::vector<float> y(tokens * rows, NAN);
          bf16::MatMul(pool, matrix, {x.data(), tokens, cols}, scratch, {y.data(), tokens, rows});
          for (size_t t = 0; t < tokens; ++t) {
            for (size_t r = 0; r < rows; ++r) {
              double sum = 0.0, size = 0.0;
              for (size_t c = 0; c < cols; ++c) {
                const double product = double(FloatFromBf16(matrix.Row(r)[c])) * double(x[t * cols + c]);
                sum += product;
                size += std::abs(product);
              }
              if (!(std::abs(double(y[t * rows + r]) - sum) <= static_cast<double>(cols) * 0x1p-24 * size)) {
                FAIL_CHECK(rows << "x" << cols << ", token " << t << ", row " << r << ": " << y[t * rows + r]
                                << " instead of " << sum);
              }
            }
          }
        }
      }
    }
  }
}

// The exponential of Highway has an error of a few units in the last place, the score one of some 2^-20.
TEST_CASE("Bf16: attention is that of double loops") {
  Bf16Scratch scratch;
  const struct { size_t heads, kv_heads, dim; } shapes[] = {{1, 1, 32}, {4, 2, 100}, {20, 5, 128}, {3, 3, 64}};
  for (const size_t threads : {1u, 2u, 3u}) {
    ThreadPool pool(threads);
    for (const auto& [heads, kv_heads, dim] : shapes) {
      constexpr size_t kMost = 300;
      Bf16Cache cache(kv_heads, dim, kMost);
      const std::vector<float> k = Normals(kv_heads * kMost * dim, 3);
      const std::vector<float> v = Normals(kv_heads * kMost * dim, 4);
      cache.keys = Bf16Matrix(MatrixView<const float>(k.data(), kv_heads * kMost, dim));
      cache.values = Bf16Matrix(MatrixView<const float>(v.data(), kv_heads * kMost, dim));
      const std::vector<float> q = Normals(heads * dim, 5);
      for (const size_t visible : {1u, 2u, 9u, 100u, 300u}) {
        std::vector<float> out(heads * dim, NAN);
        bf16::Attend(pool, cache, {q.data(), heads, dim}, visible, scratch, out);
        for (size_t h = 0; h < heads; ++h) {
          const size_t row = h / (heads / kv_heads) * kMost;
          std::vector<double> sum(dim);
          double total = 0.0;
          for (size_t s = 0; s < visible; ++s) {
            double dot = 0.0;
            for (size_t i = 0; i < dim; ++i) {
              dot += double(q[h * dim + i]) * double(FloatFromBf16(cache.keys.Row(row + s)[i]));
            }
            const double weight = std::exp(dot / std::sqrt(static_cast<double>(dim)));
            total += weight;
            for (size_t i = 0; i < dim; ++i) sum[i] += weight * double(FloatFromBf16(cache.values.Row(row + s)[i]));
          }
          for (size_t i = 0; i < dim; ++i) {
            if (!(std::abs(double(out[h * dim + i]) - sum[i] / total) <= 2e-5)) {
              FAIL_CHECK("head " << h << " of " << heads << ", dimension " << i << ", " << visible
                                 << " tokens: " << out[h * dim + i] << " instead of " << sum[i] / total);
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace bitnet
