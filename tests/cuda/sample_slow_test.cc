#include "bitnet/backend/cuda/sample.h"

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "bitnet/backend/sampling.h"
#include "bitnet/base/random.h"
#include "testing/awkward_values.h"
#include "testing/simt.h"

namespace bitnet {
namespace {

using testing::AwkwardValues;
using testing::DeviceMemory;
using testing::EmulatedStream;
using testing::Kind;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

Result<uint32_t> SampleOnDevice(const std::vector<float>& logits, const SamplerOptions& options, uint64_t random,
                                const testing::Schedule& schedule) {
  EmulatedStream stream(schedule);
  DeviceMemory memory;
  auto* result = memory.Allocate<cuda::SampleResult>(1);
  cuda::Sample(stream, memory.Upload(logits), logits.size(), options, memory.Upload(std::vector<uint64_t>{random}),
               result);
  return cuda::ResultOf(*result);
}

const SamplerOptions kOptions[] = {{.temperature = 0.0f},
                                   {},
                                   {.temperature = 0.3f},
                                   {.temperature = 1e-40f},
                                   {.temperature = 100.0f},
                                   {.top_k = 1},
                                   {.top_k = 7},
                                   {.top_k = 400},
                                   {.top_p = 0.5f},
                                   {.top_p = 1e-9f},
                                   {.top_p = 0.999f},
                                   {.temperature = 5.0f, .top_k = 40, .top_p = 0.9f},
                                   {.top_k = 2, .top_p = 0.5f},
                                   {.min_p = 0.2f},
                                   {.top_p = 0.9f, .min_p = 1.0f},
                                   {.temperature = 2.0f, .top_k = 100, .top_p = 0.8f, .min_p = 0.01f}};

// Logits that are awkward to cut.
std::vector<float> Logits(const std::string& kind, size_t vocab) {
  std::vector<float> logits = AwkwardValues(kind == "ties" ? Kind::kTies : Kind::kNormal, vocab, vocab);
  Random random(vocab);
  for (size_t i = 0; i < vocab; ++i) {
    if (kind == "equal") logits[i] = -2.5f;
    if (kind == "zeros") logits[i] = random() % 2 == 0 ? 0.0f : -0.0f;
    if (kind == "one above" && i != vocab / 3) logits[i] = 1e-3f * logits[i] - 60.0f;
    if (kind == "mostly minus infinity" && i % 5 != 0) logits[i] = -kInfinity;
    if (kind == "huge") logits[i] *= 1e38f / 8.0f;
    if (kind == "below zero") logits[i] = -20.0f - logits[i] * logits[i];
  }
  return logits;
}

void ExpectSame(const std::vector<float>& logits, const SamplerOptions& options, uint64_t number,
                const testing::Schedule& schedule, const std::string& kind) {
  static SampleScratch scratch;
  const Result<uint32_t> actual = SampleOnDevice(logits, options, number, schedule);
  const Result<uint32_t> expected = SampleToken(logits, options, number, scratch);
  const bool same =
      actual.ok() == expected.ok() && (actual.ok() ? *actual == *expected : actual.error() == expected.error());
  if (same) return;
  const auto text = [](const Result<uint32_t>& r) { return r.ok() ? std::to_string(*r) : r.error(); };
  FAIL_CHECK(logits.size() << " logits, " << kind << ", temperature " << options.temperature << ", top_k "
                           << options.top_k << ", top_p " << options.top_p << ", min_p " << options.min_p << ", random "
                           << number << ", " << schedule << ": " << text(actual) << ", not " << text(expected));
}

TEST_CASE("Sample on a device: the token of SampleToken, for all options") {
  Random random(11);
  size_t run = 0;
  for (const char* kind :
       {"normal", "ties", "equal", "zeros", "one above", "mostly minus infinity", "huge", "below zero"}) {
    for (const size_t vocab : {1u, 63u, 257u, 1000u}) {
      const std::vector<float> logits = Logits(kind, vocab);
      for (const SamplerOptions& options : kOptions) {
        // (One number each: borders of shares are the next test's.)
        const uint64_t number = run % 5 == 0 ? ~uint64_t{0} : run % 5 == 1 ? 0 : RandomBits(random);
        ExpectSame(logits, options, number, testing::kSchedules[run++ % testing::kSchedules.size()], kind);
      }
    }
  }
}

TEST_CASE("Sample on a device: every share of a draw, and ties that a filter cuts") {
  // Few tokens, and numbers at all borders of their shares.
  const std::vector<float> logits = {1.0f, 3.0f, 3.0f, -kInfinity, 2.0f, 3.0f, 1.0f, 3.0f, 2.0f};
  for (const SamplerOptions& options :
       {SamplerOptions{}, SamplerOptions{.top_k = 2}, SamplerOptions{.top_k = 3}, SamplerOptions{.top_k = 5},
        SamplerOptions{.top_p = 0.45f}, SamplerOptions{.top_p = 0.7f}, SamplerOptions{.top_p = 0.93f},
        SamplerOptions{.top_k = 3, .top_p = 0.6f}, SamplerOptions{.min_p = 0.3f}}) {
    for (uint64_t i = 0; i <= 16; ++i) {
      const uint64_t number = i == 16 ? ~uint64_t{0} : i << 60;
      ExpectSame(logits, options, number, testing::kSchedules[i % testing::kSchedules.size()], "few");
    }
  }
}

TEST_CASE("Sample on a device: the largest vocabularies, ranges of several tokens a thread") {
  Random random(12);
  size_t run = 0;
  for (const size_t vocab : {32769u, 128256u}) {
    for (const char* kind : {"normal", "ties"}) {
      const std::vector<float> logits = Logits(kind, vocab);
      for (const SamplerOptions& options : {SamplerOptions{}, SamplerOptions{.temperature = 0.0f},
                                            SamplerOptions{.temperature = 3.0f, .top_k = 5000, .top_p = 0.9f}}) {
        ExpectSame(logits, options, RandomBits(random), testing::kSchedules[run++ % testing::kSchedules.size()], kind);
      }
    }
  }
}

TEST_CASE("Sample on a device: a cut within what one thread has, between tokens that are equal") {
  // (Two or three tokens a thread.)
  std::vector<float> logits(66000);
  Random random(13);
  for (float& logit : logits) logit = random() % 2 == 0 ? 0.0f : 0.5f;
  for (size_t i = 0; i < 6; ++i) {
    ExpectSame(logits, {.top_k = 36000 + 4000 * i}, RandomBits(random),
               testing::kSchedules[i % testing::kSchedules.size()], "two values");
  }
}

TEST_CASE("Sample on a device: what cannot be drawn is refused with the sentences of SampleToken") {
  for (const SamplerOptions& options : kOptions) {
    size_t run = 0;
    for (const size_t vocab : {0u, 1u, 2u, 700u}) {
      for (const char* kind : {"a NaN", "two NaNs", "infinite", "a NaN and infinite", "minus infinity"}) {
        const std::string name = kind;
        std::vector<float> logits = AwkwardValues(Kind::kNormal, vocab, vocab);
        for (float& logit : logits) logit = name == "minus infinity" ? -kInfinity : logit;
        if (vocab != 0) {
          if (name == "infinite") logits[vocab / 2] = kInfinity;
          if (name == "a NaN and infinite") logits[0] = kInfinity;
          if (name.find("NaN") != std::string::npos) logits[vocab / 2] = kNaN;
          if (name == "two NaNs") logits[vocab - 1] = -kNaN;
        }
        ExpectSame(logits, options, 7, testing::kSchedules[run++ % testing::kSchedules.size()], kind);
      }
    }
  }
}

TEST_CASE("Sample on a device: launches only what the options want") {
  const std::vector<float> logits = Logits("normal", 1000);
  DeviceMemory memory;
  auto* result = memory.Allocate<cuda::SampleResult>(1);
  const float* on_device = memory.Upload(logits);
  const uint64_t* random = memory.Upload(std::vector<uint64_t>{1});
  const auto launches = [&](const SamplerOptions& options) {
    EmulatedStream stream(testing::kSchedules[0]);
    cuda::Sample(stream, on_device, logits.size(), options, random, result);
    return stream.launches();
  };
  CHECK(launches({.temperature = 0.0f, .top_k = 5, .top_p = 0.5f}) == 2);
  CHECK(launches({.min_p = 0.5f}) == 3);
  CHECK(launches({.top_p = 0.5f}) == 6);
  CHECK(launches({.top_k = 5, .top_p = 0.5f}) == 9);
  CHECK(launches({.top_k = 1000}) == 3);
}

}  // namespace
}  // namespace bitnet
