#include <bitnet/train/options.h>
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>

namespace bitnet::testing {
namespace {

TEST_CASE("TrainOptions: the defaults are the paper's schedule") {
  TrainOptions options;
  options.steps = 10000;
  CHECK(options.Validate(ModelConfig()).ok());
  CHECK(options.Stage2Begin() == 9500);
  CHECK(options.LearningRate(0) == doctest::Approx(1.5e-3 / 375));
  CHECK(options.LearningRate(187) == doctest::Approx(1.5e-3 * 188 / 375 * (1 - 0.0187)));
  CHECK(options.LearningRate(374) == doctest::Approx(1.5e-3 * (1 - 0.0374)));
  CHECK(options.LearningRate(4999) == doctest::Approx(7.5e-4).epsilon(1e-3));
  CHECK(options.LearningRate(5000) == 5e-4f);
  CHECK(options.LearningRate(9999) == doctest::Approx(1e-3 / 10000));
  CHECK(options.WeightDecay(4999) == 0.1f);
  CHECK(options.WeightDecay(5000) == 0.0f);
}

TEST_CASE("TrainOptions: without linear decay the rate is constant within each half") {
  TrainOptions options;
  options.steps = 10000;
  options.linear_decay = false;
  CHECK(options.LearningRate(187) == doctest::Approx(1.5e-3 * 188 / 375));
  CHECK(options.LearningRate(374) == 1.5e-3f);
  CHECK(options.LearningRate(4999) == 1.5e-3f);
  CHECK(options.LearningRate(5000) == 1e-3f);
  CHECK(options.LearningRate(9999) == 1e-3f);
}

TEST_CASE("TrainOptions: linear decay multiplies, warm-up of 0 is none") {
  TrainOptions options;
  options.steps = 8;
  options.warmup = 0;
  options.learning_rate = 2.0f;
  options.second_learning_rate = 1.0f;
  const float rates[] = {2.0f, 1.75f, 1.5f, 1.25f, 0.5f, 0.375f, 0.25f, 0.125f};
  for (uint64_t step = 0; step < 8; ++step) CHECK(options.LearningRate(step) == rates[step]);
}

TEST_CASE("TrainOptions: stage 2 is the share of the steps, rounded; none and all are possible") {
  TrainOptions options;
  const struct {
    uint64_t steps;
    double share;
    uint64_t begin;
  } cases[] = {{1000, 0.05, 950}, {1000, 0.0, 1000}, {1000, 1.0, 0}, {7, 0.5, 3}, {1, 0.05, 1}, {2000, 0.05, 1900}};
  for (const auto& c : cases) {
    options.steps = c.steps;
    options.stage2_share = c.share;
    CHECK(options.Stage2Begin() == c.begin);
  }
}

TEST_CASE("TrainOptions: each wrong option is refused by its name") {
  const auto refused = [](const std::string& name, auto&& change) {
    TrainOptions options;
    change(options);
    const Result<Done> valid = options.Validate(ModelConfig());
    INFO(name);
    REQUIRE(!valid.ok());
    CHECK(valid.error().find("training: " + name + " is ") == 0);
    CHECK(valid.error().find("; it must be ") != std::string::npos);
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  refused("steps", [](TrainOptions& o) { o.steps = 0; });
  refused("steps", [](TrainOptions& o) { o.steps = ~uint64_t{0}; });
  refused("batch", [](TrainOptions& o) { o.batch = 0; });
  refused("sequence", [](TrainOptions& o) { o.sequence = 0; });
  refused("sequence", [](TrainOptions& o) { o.sequence = 2049; });
  for (const float bad : {-0.1f, 1.1f, nan}) {
    refused("stage2_share", [&](TrainOptions& o) { o.stage2_share = double(bad); });
  }
  for (const float bad : {-1.0f, nan, inf}) {
    refused("learning_rate", [&](TrainOptions& o) { o.learning_rate = bad; });
    refused("second_learning_rate", [&](TrainOptions& o) { o.second_learning_rate = bad; });
    refused("weight_decay", [&](TrainOptions& o) { o.weight_decay = bad; });
    refused("second_weight_decay", [&](TrainOptions& o) { o.second_weight_decay = bad; });
    refused("initial_deviation", [&](TrainOptions& o) { o.initial_deviation = bad; });
    refused("eps of AdamW", [&](TrainOptions& o) { o.adam.eps = bad; });
  }
  refused("clip_norm", [](TrainOptions& o) { o.clip_norm = 0.0f; });
  refused("clip_norm", [&](TrainOptions& o) { o.clip_norm = nan; });
  refused("a beta of AdamW", [](TrainOptions& o) { o.adam.beta1 = 1.0f; });
  refused("a beta of AdamW", [](TrainOptions& o) { o.adam.beta2 = -0.5f; });
  refused("validation_windows", [](TrainOptions& o) { o.validation_windows = 0; });
}

}  // namespace
}  // namespace bitnet::testing
