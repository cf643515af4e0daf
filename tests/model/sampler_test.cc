#include "bitnet/model/sampler.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <set>
#include <vector>

#include "testing/expect_assertion.h"

namespace bitnet {
namespace {

using testing::Breaks;

constexpr float kInf = std::numeric_limits<float>::infinity();

uint32_t Draw(const SamplerOptions& options, const std::vector<float>& logits, Random& random) {
  const Result<uint32_t> token = Sampler(options)(logits, random);
  REQUIRE(token.ok());
  return *token;
}

std::vector<size_t> Counts(const SamplerOptions& options, const std::vector<float>& logits, size_t draws,
                           uint64_t seed) {
  Random random(seed);
  Sampler sampler(options);
  std::vector<size_t> counts(logits.size());
  for (size_t i = 0; i < draws; ++i) {
    const Result<uint32_t> token = sampler(logits, random);
    REQUIRE(token.ok());
    REQUIRE(*token < logits.size());
    ++counts[*token];
  }
  return counts;
}

// sum (count - expected)^2 / expected; every token with probability 0 must have been left out.
double ChiSquare(const std::vector<size_t>& counts, std::vector<double> probability) {
  double total = 0.0, chi = 0.0, draws = 0.0;
  for (const double p : probability) total += p;
  for (const size_t n : counts) draws += static_cast<double>(n);
  for (size_t i = 0; i < counts.size(); ++i) {
    const double expected = draws * probability[i] / total;
    if (expected == 0.0) {
      CHECK(counts[i] == 0);
    } else {
      chi += std::pow(static_cast<double>(counts[i]) - expected, 2) / expected;
    }
  }
  return chi;
}

std::vector<double> Softmax(const std::vector<float>& logits, double temperature) {
  std::vector<double> p;
  for (const float v : logits) p.push_back(std::exp(static_cast<double>(v) / temperature));
  return p;
}

const std::vector<float> kLogits = {0.5f, 2.0f, -1.0f, 1.5f, 0.0f, 1.0f};

TEST_CASE("Sampler: greedy takes the largest logit, the lowest token among equals, and no random number") {
  Random random(1);
  const SamplerOptions greedy{.temperature = 0.0f};
  CHECK(Draw(greedy, {1.0f}, random) == 0);
  CHECK(Draw(greedy, {1.0f, 3.0f, 2.0f}, random) == 1);
  CHECK(Draw(greedy, {1.0f, 3.0f, 3.0f, 3.0f}, random) == 1);
  CHECK(Draw(greedy, {-kInf, -5.0f, -kInf}, random) == 1);
  CHECK(Draw(greedy, {0.0f, -0.0f}, random) == 0);
  CHECK(Draw({.temperature = 0.0f, .top_k = 2, .top_p = 0.1f}, {1.0f, 3.0f, 2.0f}, random) == 1);
  CHECK(random.state() == 1);
}

TEST_CASE("Sampler: draws from softmax(logits / temperature), one number a token") {
  // 99.9 % of chi-squares with 5 degrees of freedom lie below 20.5.
  constexpr size_t kDraws = 20000;
  for (const float temperature : {0.5f, 1.0f, 3.0f}) {
    CAPTURE(temperature);
    const std::vector<size_t> counts = Counts({.temperature = temperature}, kLogits, kDraws, 7);
    CHECK(ChiSquare(counts, Softmax(kLogits, static_cast<double>(temperature))) < 20.5);
    CHECK(ChiSquare(counts, Softmax(kLogits, static_cast<double>(temperature) * 1.2)) > 20.5);  // not loose
  }
  Random random(3), expected(3);
  Draw({}, kLogits, random);
  expected();
  CHECK(random.state() == expected.state());
}

TEST_CASE("Sampler: top-k draws from the k most probable tokens, with their own odds") {
  std::vector<double> p = Softmax(kLogits, 1.0);
  p[0] = p[2] = p[4] = 0.0;  // tokens 1, 3 and 5 remain; 99.9 % for 2 degrees of freedom: 13.8
  CHECK(ChiSquare(Counts({.top_k = 3}, kLogits, 20000, 8), p) < 13.8);
  // 1 is greedy; more than there are tokens is all; among equals the lowest tokens.
  CHECK(Counts({.top_k = 1}, kLogits, 100, 9)[1] == 100);
  CHECK(ChiSquare(Counts({.top_k = 99}, kLogits, 20000, 10), Softmax(kLogits, 1.0)) < 20.5);
  CHECK(ChiSquare(Counts({.top_k = 6}, kLogits, 20000, 10), Softmax(kLogits, 1.0)) < 20.5);
  CHECK(ChiSquare(Counts({.top_k = 2}, {1.0f, 1.0f, 1.0f, 1.0f}, 1000, 11), {1.0, 1.0, 0.0, 0.0}) < 10.9);
}

TEST_CASE("Sampler: top-p draws from the fewest tokens whose probability reaches p") {
  // Probabilities 0.4, 0.3, 0.2, 0.1, not in this order.
  const std::vector<float> logits = {std::log(0.2f), std::log(0.4f), std::log(0.1f), std::log(0.3f)};
  const auto drawn = [&](float p, size_t k = 0) {
    std::set<size_t> tokens;
    const std::vector<size_t> counts = Counts({.top_k = k, .top_p = p}, logits, 2000, 12);
    for (size_t i = 0; i < counts.size(); ++i) {
      if (counts[i] != 0) tokens.insert(i);
    }
    return tokens;
  };
  CHECK(drawn(1e-6f) == std::set<size_t>{1});
  CHECK(drawn(0.39f) == std::set<size_t>{1});
  CHECK(drawn(0.41f) == std::set<size_t>{1, 3});
  CHECK(drawn(0.69f) == std::set<size_t>{1, 3});
  CHECK(drawn(0.71f) == std::set<size_t>{0, 1, 3});
  CHECK(drawn(0.91f) == std::set<size_t>{0, 1, 2, 3});
  CHECK(drawn(1.0f) == std::set<size_t>{0, 1, 2, 3});
  // After top-k, p is of what that left: of 0.4 and 0.3, the first is 57 %.
  CHECK(drawn(0.56f, 2) == std::set<size_t>{1});
  CHECK(drawn(0.58f, 2) == std::set<size_t>{1, 3});
  // Within the set the odds are the tokens' own; 99.9 % for 1 degree of freedom: 10.9.
  CHECK(ChiSquare(Counts({.top_p = 0.5f}, logits, 20000, 13), {0.0, 0.4, 0.0, 0.3}) < 10.9);
  // The temperature comes first: at 2 the largest has 30.6 %.
  CHECK(Counts({.temperature = 2.0f, .top_p = 0.35f}, logits, 2000, 14)[3] > 0);
  CHECK(Counts({.temperature = 1.0f, .top_p = 0.35f}, logits, 2000, 14)[3] == 0);
}

TEST_CASE("Sampler: extreme logits and temperatures") {
  const std::vector<float> logits = {-kInf, 3e38f, -3e38f, -kInf};
  for (const float temperature : {std::numeric_limits<float>::denorm_min(), 1e-30f, 1.0f, 3e38f}) {
    CAPTURE(temperature);
    const std::vector<size_t> counts = Counts({.temperature = temperature}, logits, 200, 15);
    CHECK(counts[0] + counts[3] == 0);
    CHECK((counts[2] == 0) == (temperature <= 1.0f));
  }
  // A generator at its end does not run past the last possible token.
  struct Highest {
    static constexpr uint64_t min() { return 0; }
    static constexpr uint64_t max() { return std::numeric_limits<uint64_t>::max(); }
    uint64_t operator()() { return max(); }
  } highest;
  Random random(16);
  for (int i = 0; i < 200; ++i) {
    std::vector<float> logits_of_some(20, -kInf);
    for (size_t t = 0; t < 17; ++t) logits_of_some[t] = 3.0f * Normal(random);
    CHECK(*Sampler()(logits_of_some, highest) == 16);
  }
  std::mt19937_64 engine(4);
  CHECK(Sampler()(kLogits, engine).ok());
}

TEST_CASE("Sampler: the same seed draws the same tokens, whatever the sampler drew before") {
  for (const SamplerOptions& options :
       {SamplerOptions{}, SamplerOptions{.top_k = 3}, SamplerOptions{.temperature = 0.7f, .top_p = 0.8f}}) {
    Sampler used(options);
    Random warm(99);
    for (int i = 0; i < 10; ++i) REQUIRE(used(std::vector<float>(50, 1.0f), warm).ok());
    Random a(5), b(5), c(6);
    bool differs = false;
    for (int i = 0; i < 50; ++i) {
      const uint32_t token = *used(kLogits, a);
      CHECK(token == Draw(options, kLogits, b));
      differs |= token != Draw(options, kLogits, c);
    }
    CHECK(differs);
  }
}

TEST_CASE("Sampler: logits that no token can be drawn from are refused with a sentence") {
  Random random(1);
  for (const float temperature : {0.0f, 1.0f}) {
    Sampler sampler({.temperature = temperature});
    const auto refusal = [&](const std::vector<float>& logits) {
      const Result<uint32_t> token = sampler(logits, random);
      return token.ok() ? std::string() : token.error();
    };
    CHECK(refusal({1.0f, 2.0f, kNaN}).find("the logit of token 2 is NaN") != std::string::npos);
    CHECK(refusal({kNaN, 2.0f}).find("the logit of token 0 is NaN") != std::string::npos);
    CHECK(refusal({1.0f, kInf}).find("no token can be drawn") != std::string::npos);
    CHECK(refusal({-kInf, -kInf}).find("no token can be drawn") != std::string::npos);
    CHECK(refusal({}).find("no token can be drawn") != std::string::npos);
  }
}

TEST_CASE("SamplerOptions: are validated, with a sentence") {
  const auto refusal = [](const SamplerOptions& options) {
    const Result<Done> valid = options.Validate();
    return valid.ok() ? std::string() : valid.error();
  };
  CHECK(refusal({}) == "");
  CHECK(refusal({.temperature = 0.0f, .top_k = 5, .top_p = 1.0f}) == "");
  for (const float temperature : {-0.1f, kInf, kNaN}) {
    CHECK(refusal({.temperature = temperature}).starts_with("sampling: temperature is "));
  }
  for (const float top_p : {0.0f, -1.0f, 1.01f, kInf, kNaN}) {
    CHECK(refusal({.top_p = top_p}).starts_with("sampling: top_p is "));
  }
  CHECK(Breaks("options are not valid", [] { Sampler({.top_p = 2.0f}); }));
  SampleScratch scratch;
  const float logits[] = {1.0f, 2.0f};
  for (const SamplerOptions& options : {SamplerOptions{.top_p = 0.0f}, SamplerOptions{.temperature = kNaN}}) {
    CHECK(Breaks("options are not valid", [&] { (void)SampleToken(logits, options, 1, scratch); }));
  }
}

}  // namespace
}  // namespace bitnet
