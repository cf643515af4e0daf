#include "bitnet/io/rope_scaling.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "bitnet/base/file.h"
#include "bitnet/io/hf_config.h"
#include "testing/golden.h"

namespace bitnet::rope_scaling_test {
namespace {

const std::string kFolder = std::string(BITNET_SOURCE_DIR) + "/tests/golden/io/";

CheckpointConfig ConfigOf(const std::string& name) {
  const std::string path = kFolder + "hf_config_rope_" + name + ".json";
  const auto bytes = ReadFile(path);
  REQUIRE(bytes.ok());
  const auto config = ParseHfConfig(std::string(bytes->begin(), bytes->end()), path);
  INFO((config.ok() ? "" : config.error()));
  REQUIRE(config.ok());
  return *config;
}

TEST_CASE("RopeFrequencies: those of transformers' own functions, of its own configurations") {
  const testing::Golden golden("io/hf");
  for (const std::string name :
       {"default", "linear", "llama3", "yarn", "yarn_all", "yarn_slow", "yarn_slower", "yarn_attention"}) {
    const CheckpointConfig config = ConfigOf(name);
    CHECK(config.rope_base == 500000.0f);
    CHECK(config.rope_scaling.attention_factor ==
          doctest::Approx(golden.Double("rope/" + name + "/500000/attention")).epsilon(1e-12));
    for (const double base : {10000.0, 500000.0}) {
      const std::vector<double>& expected =
          golden.Doubles("rope/" + name + "/" + std::to_string(int(base)) + "/frequencies");
      const std::vector<double> got = RopeFrequencies(config.head_dim, base, config.rope_scaling);
      REQUIRE(got.size() == expected.size());
      for (size_t i = 0; i < got.size(); ++i) {
        INFO(name << ", base " << base << ", pair " << i);
        // Both are in double; a pair between the ends of a mixture is a difference of numbers of one size.
        CHECK(std::fabs(got[i] - expected[i]) <= 1e-12 * expected[i]);
      }
    }
  }
}

TEST_CASE("RopeFrequencies: the kinds differ from one another where they should") {
  const auto frequencies = [](const std::string& name) {
    const CheckpointConfig config = ConfigOf(name);
    return RopeFrequencies(config.head_dim, 10000.0, config.rope_scaling);
  };
  const std::vector<double> plain = frequencies("default");
  const std::vector<double> llama3 = frequencies("llama3");
  const std::vector<double> yarn = frequencies("yarn");
  CHECK(plain[0] == 1.0);
  CHECK(frequencies("linear")[0] == 0.4);
  CHECK(llama3.front() == plain.front());
  CHECK(llama3.back() == doctest::Approx(plain.back() / 8.0));
  CHECK(yarn.front() == plain.front());
  CHECK(yarn.back() == doctest::Approx(plain.back() / 4.0));
}

TEST_CASE("YarnAttentionFactor: worked by hand") {
  CHECK(YarnAttentionFactor(1.0, {}, {}) == 1.0);
  CHECK(YarnAttentionFactor(std::exp(1.0), {}, {}) == doctest::Approx(1.1));
  CHECK(YarnAttentionFactor(std::exp(1.0), 2.0, {}) == doctest::Approx(1.1));
  CHECK(YarnAttentionFactor(std::exp(1.0), 2.0, 0.0) == doctest::Approx(1.1));
  CHECK(YarnAttentionFactor(std::exp(1.0), 2.0, 1.0) == doctest::Approx(1.2 / 1.1));
}

}  // namespace
}  // namespace bitnet::rope_scaling_test
