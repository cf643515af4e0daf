#include "benchmarks/cuda/bf16_kernels.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "testing/device_memory.h"
#include "testing/emulated_stream.h"
#include "testing/random_values.h"
#include "testing/simt.h"

namespace bitnet::bf16_kernels_test {
namespace {

using namespace cuda_bench;
using testing::DeviceMemory;
using testing::EmulatedStream;
using testing::kSchedules;
using testing::Schedule;

// Random values, as bfloat16 and as what that is.
struct Values {
  std::vector<Bf16> bits;
  Values(size_t n, uint64_t seed) {
    for (const float v : testing::NormalValues(n, seed)) bits.push_back(Bf16Of(v));
  }
  double operator[](size_t i) const { return static_cast<double>(FloatOf(bits[i])); }
};

// Whether a result is right, rounded to bfloat16 (2^-9) after a sum in float.
bool Near(Bf16 actual, double expected, double size = 1.0) {
  return std::fabs(static_cast<double>(FloatOf(actual)) - expected) <= 0x1p-8 * std::fabs(expected) + 1e-5 * size;
}

TEST_CASE("bf16 kernels: conversion is to the nearest, ties to even") {
  CHECK(FloatOf(Bf16Of(-1.5f)) == -1.5f);
  CHECK(FloatOf(Bf16Of(1.0f + 0x1p-8f)) == 1.0f);
  CHECK(FloatOf(Bf16Of(1.0f + 0x3p-8f)) == 1.0f + 0x1p-6f);
  CHECK(FloatOf(Bf16Of(1.0f + 0x1.01p-8f)) == 1.0f + 0x1p-7f);
}

TEST_CASE("bf16 kernels: weights are noise without a mean") {
  DeviceMemory memory;
  EmulatedStream stream(kSchedules[0]);
  constexpr size_t kCount = 10000;
  Bf16* to = memory.Allocate<Bf16>(kCount);
  stream.Launch(FillKernel{to, kCount, 0.5f, 3}, Grid{7, 1});
  double sum = 0.0, squares = 0.0;
  for (size_t i = 0; i < kCount; ++i) {
    const auto v = static_cast<double>(FloatOf(to[i]));
    CHECK(std::fabs(v) <= 0.5);
    sum += v;
    squares += v * v;
  }
  CHECK(std::fabs(sum / kCount) < 0.01);
  CHECK(std::fabs(squares / kCount - 0.25 / 3) < 0.01);
}

TEST_CASE("bf16 kernels: norm, gated product and lookup are those of double loops") {
  constexpr uint32_t kTokens = 3, kHidden = 100;
  for (const Schedule& schedule : kSchedules) {
    CAPTURE(schedule);
    DeviceMemory memory;
    EmulatedStream stream(schedule);
    const Values x(kTokens * 2 * kHidden, 1);
    Bf16* y = memory.Allocate<Bf16>(kTokens * kHidden);
    stream.Launch(NormKernel{memory.Upload(x.bits), y, kHidden}, Grid{kTokens, 1});
    for (size_t t = 0; t < kTokens; ++t) {
      double squares = 0.0;
      for (size_t i = 0; i < kHidden; ++i) squares += x[t * kHidden + i] * x[t * kHidden + i];
      for (size_t i = 0; i < kHidden; ++i) {
        CHECK(Near(y[t * kHidden + i], x[t * kHidden + i] / std::sqrt(squares / kHidden + 1e-5)));
      }
    }
    stream.Launch(GluKernel{memory.Upload(x.bits), y, kHidden}, Grid{1, kTokens});
    for (size_t t = 0; t < kTokens; ++t) {
      for (size_t i = 0; i < kHidden; ++i) {
        const double gate = x[2 * t * kHidden + i];
        CHECK(Near(y[t * kHidden + i], x[(2 * t + 1) * kHidden + i] * gate / (1.0 + std::exp(-gate))));
      }
    }
    stream.Launch(EmbedKernel{memory.Upload(x.bits), memory.Upload(std::vector<uint32_t>{5, 0, 2}), y, kHidden},
                  Grid{kTokens, 1});
    for (size_t i = 0; i < kHidden; ++i) CHECK(y[i] == x.bits[5 * kHidden + i]);
  }
}

TEST_CASE("bf16 kernels: heads are turned by their position, and stored") {
  const Heads of = {3, 1, 12, 40};
  for (const bool is_prompt : {false, true}) {
    for (const Schedule& schedule : kSchedules) {
      DeviceMemory memory;
      EmulatedStream stream(schedule);
      constexpr uint32_t kTokens = 2, kPosition = 17;
      const Values x(kTokens * of.width(), 2);
      Bf16* qkv = memory.Upload(x.bits);
      Bf16* keys = memory.Allocate<Bf16>(of.At(kTokens, 0, 0));
      Bf16* values = memory.Allocate<Bf16>(of.At(kTokens, 0, 0));
      stream.Launch(RotateAndStoreKernel{qkv, keys, values, of, kPosition, is_prompt, std::log2(100.0f)},
                    Grid{of.heads + 2 * of.kv_heads, kTokens});
      for (uint32_t t = 0; t < kTokens; ++t) {
        const size_t at = is_prompt ? of.At(0, 0, kPosition + t) : of.At(t, 0, kPosition);
        const double position = is_prompt ? kPosition + t : kPosition;
        for (uint32_t head = 0; head < 5; ++head) {
          const Bf16* to = head < 3 ? qkv + t * of.width() + head * 12 : (head == 3 ? keys : values) + at;
          for (uint32_t i = 0; i < 6; ++i) {
            const size_t first = t * of.width() + head * 12 + i;
            const double angle = head == 4 ? 0.0 : position * std::pow(100.0, -2.0 * i / 12);
            const double a = x[first], b = x[first + 6];
            CHECK(Near(to[i], a * std::cos(angle) - b * std::sin(angle)));
            CHECK(Near(to[6 + i], a * std::sin(angle) + b * std::cos(angle)));
          }
        }
      }
    }
  }
}

// Sums of weights times values, by double loops: softmax(q k / sqrt(dim)) v of head `head` of row `token` of qkv.
std::vector<double> Attended(const Values& qkv, const Values& keys, const Values& values, const Heads& of, size_t token,
                             size_t conversation, uint32_t head, uint32_t tokens) {
  const uint32_t kv_head = head / (of.heads / of.kv_heads);
  std::vector<double> weights(tokens), y(of.head_dim);
  double sum = 0.0;
  for (uint32_t t = 0; t < tokens; ++t) {
    double score = 0.0;
    for (uint32_t i = 0; i < of.head_dim; ++i) {
      score += qkv[token * of.width() + head * of.head_dim + i] * keys[of.At(conversation, kv_head, t) + i];
    }
    weights[t] = std::exp(score / std::sqrt(of.head_dim));
    sum += weights[t];
  }
  for (uint32_t t = 0; t < tokens; ++t) {
    for (uint32_t i = 0; i < of.head_dim; ++i) {
      y[i] += weights[t] / sum * values[of.At(conversation, kv_head, t) + i];
    }
  }
  return y;
}

TEST_CASE("bf16 kernels: attention of single tokens is that of double loops, in any number of parts") {
  size_t next = 0;
  for (const Heads& of : {Heads{2, 2, 64, 310}, Heads{8, 2, 100, 310}, Heads{4, 1, 128, 310}}) {
    for (const uint32_t tokens : {1u, 5u, 64u, 65u, 300u}) {
      for (const uint32_t parts : {1u, 3u, 20u}) {
        if (tokens == 300 && parts == 1) continue;
        DeviceMemory memory;
        EmulatedStream stream(kSchedules[next++ % std::size(kSchedules)]);
        constexpr uint32_t kConversations = 2;
        const Values qkv(kConversations * of.width(), 1), keys(of.At(kConversations, 0, 0), 2),
            values(of.At(kConversations, 0, 0), 3);
        Bf16* y = memory.Allocate<Bf16>(kConversations * of.heads * of.head_dim);
        Attend(stream, memory.Upload(qkv.bits), memory.Upload(keys.bits), memory.Upload(values.bits),
               memory.Allocate<AttentionPart>(kConversations * of.heads * parts), y, of, kConversations, tokens, parts);
        size_t wrong = 0;
        for (uint32_t row = 0; row < kConversations * of.heads; ++row) {
          const auto expected = Attended(qkv, keys, values, of, row / of.heads, row / of.heads, row % of.heads, tokens);
          for (uint32_t i = 0; i < of.head_dim; ++i) wrong += Near(y[row * of.head_dim + i], expected[i]) ? 0u : 1u;
        }
        CHECK_MESSAGE(wrong == 0, of.head_dim << " dimensions, " << tokens << " tokens, " << parts << " parts");
      }
    }
  }
  CHECK(AttentionPartsFor(1, 32, 512, 132) == 8);
  CHECK(AttentionPartsFor(16, 32, 512, 132) == 3);
  CHECK(AttentionPartsFor(1, 32, 32768, 132) == 33);
  CHECK(AttentionPartsFor(400, 32, 1, 132) == 1);
}

TEST_CASE("bf16 kernels: weights of a prompt are those of the tokens so far") {
  constexpr uint32_t kTokens = 300, kHeads = 2;
  const std::vector<float> scores = testing::NormalValues(kHeads * kTokens * kTokens, 4, 3.0f);
  DeviceMemory memory;
  EmulatedStream stream(kSchedules[1]);
  Bf16* weights = memory.Allocate<Bf16>(scores.size());
  stream.Launch(SoftmaxKernel{memory.Upload(scores), weights, kTokens, 0.25f * 1.44269504f}, Grid{kTokens, kHeads});
  size_t wrong = 0;
  for (size_t row = 0; row < kHeads * kTokens; ++row) {
    double sum = 0.0;
    const auto weight = [&](size_t i) { return std::exp(0.25 * static_cast<double>(scores[row * kTokens + i])); };
    for (size_t i = 0; i <= row % kTokens; ++i) sum += weight(i);
    for (size_t i = 0; i < kTokens; ++i) {
      wrong += Near(weights[row * kTokens + i], i <= row % kTokens ? weight(i) / sum : 0.0, 0.0) ? 0u : 1u;
    }
  }
  CHECK(wrong == 0);
}

}  // namespace
}  // namespace bitnet::bf16_kernels_test
