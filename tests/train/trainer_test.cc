#include <bitnet/backend/reference.h>
#include <bitnet/bitnet.h>
#include <bitnet/train.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "testing/expect_assertion.h"
#include "testing/tiny_model.h"

namespace bitnet::testing::trainer_test {
namespace {

struct BinaryWeights : A48 {
  static constexpr const char* kName = "BinaryWeights";
  using Weight = Quantizer<Binary, AbsMean>;
  using Input = Quantizer<Int<3>, AbsMean>;
};
struct BinaryStage1 : B158 {
  static constexpr const char* kName = "BinaryStage1";
  using Weight = Quantizer<Binary, AbsMean>;
};

// A rotation of pairs, then INT8: nothing that straight-through could train.
struct Rotated : Quantizer<Int<8>, AbsMax> {
  static float Quantize(std::span<const float> x, int8_t* levels) {
    std::vector<float> y(x.begin(), x.end());
    for (size_t i = 0; i + 1 < x.size(); i += 2) {
      y[i] = (x[i] + x[i + 1]) * 0.70710678f;
      y[i + 1] = (x[i] - x[i + 1]) * 0.70710678f;
    }
    return Quantizer<Int<8>, AbsMax>::Quantize(y, levels);
  }
};
struct RotatedInputs : A48 {
  static constexpr const char* kName = "RotatedInputs";
  using Input = Rotated;
};

ModelConfig SmallConfig() {
  ModelConfig config = TinyConfig();
  config.vocab = 64;
  return config;
}

TrainOptions SmallOptions() {
  TrainOptions options;
  options.steps = 6;
  options.batch = 3;
  options.sequence = 20;
  options.stage2_share = 0.5;
  options.learning_rate = 3e-3f;
  options.second_learning_rate = 2e-3f;
  options.warmup = 2;
  options.validation_windows = 5;
  return options;
}

Corpus SmallCorpus(uint64_t seed = 1) { return Corpus(RandomTokens(1500, 64, seed)); }

template <class T>
T Value(Result<T> result) {
  if (!result.ok()) FAIL(result.error());
  return *std::move(result);
}

template <Scheme S1 = B158, Scheme S2 = A48, class B = DefaultBackend<S1>>
Trainer<S1, S2, B> NewTrainer(const TrainOptions& options = SmallOptions(), B backend = B()) {
  return Value(Trainer<S1, S2, B>::Create(SmallConfig(), options, SmallCorpus(), backend));
}

std::vector<float> AllWeights(const LatentWeights& weights) { return Copy(weights.values()); }

// Losses of the steps up to `until`, then the validation loss and all weights.
template <class T>
std::vector<double> Course(T& trainer, uint64_t until) {
  std::vector<double> course;
  while (trainer.step() < until) {
    const StepReport report = Value(trainer.Step());
    course.push_back(report.loss);
    course.push_back(report.gradient_norm);
  }
  course.push_back(trainer.ValidationLoss());
  for (const float w : AllWeights(trainer.weights())) course.push_back(double(w));
  return course;
}

TEST_CASE("Trainer: a run is reproduced from its seed, on any number of threads and with either backend") {
  auto first = NewTrainer();
  const std::vector<double> course = Course(first, 6);
  auto again = NewTrainer();
  CHECK(Course(again, 6) == course);
  for (const size_t threads : {1u, 3u}) {
    ThreadPool pool(threads);
    auto other = NewTrainer<B158, A48>(SmallOptions(), DefaultBackend<B158>(pool));
    CHECK(Course(other, 6) == course);
  }
  auto reference = NewTrainer<B158, A48, ReferenceBackend>();
  CHECK(Course(reference, 6) == course);
  TrainOptions options = SmallOptions();
  options.seed = 2;
  auto different = NewTrainer(options);
  CHECK(Course(different, 6) != course);
}

TEST_CASE("Trainer: a validation in between changes nothing") {
  auto plain = NewTrainer();
  auto watched = NewTrainer();
  while (!watched.done()) {
    Value(watched.Step());
    watched.ValidationLoss(1);
    watched.ValidationLoss(2);
  }
  Course(plain, 6);
  CHECK(AllWeights(plain.weights()) == AllWeights(watched.weights()));
}

TEST_CASE("Trainer: the second scheme takes over at its step, with the weights and moments kept") {
  auto two = NewTrainer();
  auto one = NewTrainer<B158, B158>();
  std::vector<int> stages;
  for (int i = 0; i < 6; ++i) {
    CHECK(two.stage() == (i <= 3 ? 1 : 2));
    const StepReport a = Value(two.Step());
    const StepReport b = Value(one.Step());
    stages.push_back(a.stage);
    CHECK((a.loss == b.loss) == (i < 3));
  }
  CHECK(stages == std::vector<int>{1, 1, 1, 2, 2, 2});
  CHECK(two.done());
  CHECK(Breaks("all steps are done", [&] { (void)two.Step(); }));
}

TEST_CASE("Trainer: is the recipe written out, and the switch of schemes touches nothing but the scheme") {
  TrainOptions options = SmallOptions();
  options.clip_norm = 0.2f;  // below most gradients
  options.linear_decay = false;
  auto trainer = NewTrainer(options);
  const Corpus corpus = SmallCorpus();
  Random random(options.seed);
  LatentWeights weights = LatentWeights::Initial(SmallConfig(), random);
  LatentWeights gradients = weights;
  AdamW optimizer(weights, options.adam);
  TrainingModel<B158> stage1(SmallConfig());
  TrainingModel<A48> stage2(SmallConfig());
  const auto gradient_of = [&](auto& model, const TokenBatch& batch) {
    model.Quantize(weights);
    const double loss = model.Forward(batch);
    std::fill(gradients.values().begin(), gradients.values().end(), 0.0f);
    model.Backward(batch, gradients);
    return loss;
  };
  const float rates[] = {1.5e-3f, 3e-3f, 3e-3f, 2e-3f, 2e-3f, 2e-3f};
  const float decays[] = {0.1f, 0.1f, 0.1f, 0.0f, 0.0f, 0.0f};
  size_t clipped = 0;
  for (uint64_t step = 0; step < 6; ++step) {
    const TokenBatch batch = corpus.Sample(random, options.batch, options.sequence);
    const double loss = step < 3 ? gradient_of(stage1, batch) : gradient_of(stage2, batch);
    const double norm = GlobalNorm(DefaultExecutor(), gradients);
    clipped += norm > 0.2;
    optimizer.Update(DefaultExecutor(), step, rates[step], decays[step], AdamW::ClipScale(norm, 0.2f), gradients,
                     weights);
    const StepReport report = Value(trainer.Step());
    CHECK(report.step == step);
    CHECK(report.loss == loss);
    CHECK(report.gradient_norm == norm);
    CHECK(report.learning_rate == rates[step]);
  }
  CHECK(clipped >= 3);
  CHECK(AllWeights(trainer.weights()) == AllWeights(weights));
}

// What AllReduce does: both get the sum.
template <class T>
void AddUp(T& first, T& second) {
  const std::span<float> a = first.gradients(), b = second.gradients();
  for (size_t i = 0; i < a.size(); ++i) a[i] = b[i] = a[i] + b[i];
}

TEST_CASE("Trainer: Gradients and Apply are a step, a batch is the same until Apply") {
  auto whole = NewTrainer();
  const std::vector<double> expected = Course(whole, 6);
  auto trainer = NewTrainer();
  std::vector<double> course;
  while (!trainer.done()) {
    trainer.Batch();
    const TokenBatch batch = trainer.Batch();
    const double loss = trainer.Gradients(batch);
    trainer.ValidationLoss(1);
    trainer.ValidationLoss(2);
    const StepReport report = Value(trainer.Apply());
    CHECK(report.loss == loss);
    course.push_back(report.loss);
    course.push_back(report.gradient_norm);
  }
  CHECK(std::equal(course.begin(), course.end(), expected.begin()));
  CHECK(AllWeights(trainer.weights()) == AllWeights(whole.weights()));
  CHECK(Breaks("all steps are done", [&] { (void)trainer.Apply(); }));
}

TEST_CASE("Trainer: two shares of a batch, added up, are the batch but for the order of float sums") {
  TrainOptions options = SmallOptions();  // batches of 3: shares of 1 and of 2
  auto whole = NewTrainer(options);
  options.share = {0, 2};
  auto first = NewTrainer(options);
  options.share = {1, 2};
  auto second = NewTrainer(options);
  CHECK(Breaks("add up the gradients() of all ranks", [&] { (void)first.Step(); }));
  double most = 0.0, least = 1.0;
  while (!whole.done()) {
    INFO("step " << whole.step());
    const TokenBatch batch = whole.Batch(), one = first.Batch(), two = second.Batch();
    // Exact: the batch is its shares, one after the other ...
    CHECK(one.sequences == 1);
    CHECK(two.sequences == 2);
    std::vector<uint32_t> inputs = one.inputs, targets = one.targets;
    inputs.insert(inputs.end(), two.inputs.begin(), two.inputs.end());
    targets.insert(targets.end(), two.targets.begin(), two.targets.end());
    CHECK(inputs == batch.inputs);
    CHECK(targets == batch.targets);

    const double loss = whole.Gradients(batch);
    const double losses = first.Gradients(one) + second.Gradients(two);
    AddUp(first, second);
    if (whole.step() == 0) {
      // 60 losses in double, and a float head's logits, whose sums Eigen may take in another order.
      CHECK(losses == doctest::Approx(loss).epsilon(1e-6));
      // The sums over 60 tokens: in another order, each rounds by 2^-24 of what has come together; of the largest
      // gradient of a tensor that is less than 60 * 2^-24.
      size_t at = 0;
      whole.weights().ForEach([&](const TensorInfo& tensor, std::span<const float> values) {
        double error = 0.0, largest = 0.0;
        for (size_t i = at; i < at + values.size(); ++i) {
          error = std::max(error, std::fabs(double(first.gradients()[i]) - double(whole.gradients()[i])));
          largest = std::max(largest, std::fabs(double(whole.gradients()[i])));
        }
        INFO(tensor.FullName() << ": " << error / largest);
        CHECK(error <= 60 * 0x1p-24 * largest);
        most = std::max(most, error / largest);
        least = std::min(least, error / largest);
        at += values.size();
      });
      CHECK(most > 0x1p-24);  // the order does matter
    }
    const StepReport report = Value(whole.Apply()), a = Value(first.Apply()), b = Value(second.Apply());
    // ... and what the ranks do with the sum.
    CHECK(a.gradient_norm == b.gradient_norm);
    CHECK(a.learning_rate == report.learning_rate);
    CHECK(AllWeights(first.weights()) == AllWeights(second.weights()));
    CHECK(a.gradient_norm == doctest::Approx(report.gradient_norm).epsilon(whole.step() == 1 ? 1e-6 : 1e-2));
    CHECK(a.loss + b.loss == doctest::Approx(report.loss).epsilon(1e-3));
  }
  // A rank's checkpoint is the run's: it goes on anywhere.
  CHECK(first.ValidationLoss() == second.ValidationLoss());
  CHECK(first.ValidationLoss() == doctest::Approx(whole.ValidationLoss()).epsilon(1e-3));
}

TEST_CASE("Trainer: gradients of several batches are added up") {
  // Both shares on one machine, one after the other: it needs memory for half of the batch.
  auto whole = NewTrainer();
  auto parts = NewTrainer();
  const TokenBatch batch = whole.Batch();
  const Corpus corpus = SmallCorpus();
  parts.Batch();
  for (const uint32_t rank : {0u, 1u}) {
    Random random(SmallOptions().seed);
    LatentWeights::Initial(SmallConfig(), random);  // draws what a trainer's weights draw
    parts.Gradients(corpus.Sample(random, 3, 20, {rank, 2}));
  }
  whole.Gradients(batch);
  const StepReport a = Value(whole.Apply()), b = Value(parts.Apply());
  CHECK(b.loss == doctest::Approx(a.loss).epsilon(1e-6));
  CHECK(b.gradient_norm == doctest::Approx(a.gradient_norm).epsilon(1e-6));
  CHECK(parts.step() == 1);
  // The next batch is the same one, and nothing of the last step is left in its gradients.
  CHECK(parts.Batch().inputs == whole.Batch().inputs);
  for (const float g : parts.gradients()) REQUIRE(g == 0.0f);
}

TEST_CASE("Trainer: gradients that are not finite, from whichever rank, are refused, and the step can be made again") {
  auto undisturbed = NewTrainer();
  auto trainer = NewTrainer();
  Value(undisturbed.Step());
  trainer.Gradients(trainer.Batch());
  trainer.gradients()[5] = std::numeric_limits<float>::infinity();
  const Result<StepReport> refused = trainer.Apply();
  REQUIRE(!refused.ok());
  CHECK(refused.error().find("training diverged at step 0: the gradient's norm is inf") == 0);
  CHECK(trainer.step() == 0);
  Value(trainer.Step());
  CHECK(AllWeights(trainer.weights()) == AllWeights(undisturbed.weights()));
  // A loss that is not finite makes all gradients so, for the other ranks to see.
  TrainOptions options = SmallOptions();
  options.learning_rate = options.second_learning_rate = 1e30f;
  options.warmup = 0;
  auto diverging = NewTrainer<Fp32, Fp32>(options);
  Value(diverging.Step());
  CHECK(!std::isfinite(diverging.Gradients(diverging.Batch())));
  for (const float g : diverging.gradients()) REQUIRE(std::isnan(g));
}

TEST_CASE("Trainer: a fork goes on as a run with that scheme would have") {
  auto whole = NewTrainer<B158, A48>();
  const std::vector<double> expected = Course(whole, 6);
  auto trunk = NewTrainer<B158, B158>();
  std::vector<double> course = Course(trunk, 3);
  course.resize(6);
  auto fork = trunk.Fork<A48>();
  for (const double value : Course(fork, 6)) course.push_back(value);
  CHECK(course == expected);
}

TEST_CASE("Trainer: begins with weights that are there already") {
  auto donor = NewTrainer<B158, A48>();
  Course(donor, 3);
  using T = Trainer<B158, A48>;
  auto from = Value(T::CreateFrom(donor.weights(), SmallOptions(), SmallCorpus()));
  CHECK(AllWeights(from.weights()) == AllWeights(donor.weights()));
  CHECK(from.step() == 0);
  CHECK(from.ValidationLoss(1) == donor.ValidationLoss(1));
  CHECK(from.ValidationLoss(2) == donor.ValidationLoss(2));
  // The first step is the loss of a batch of its own, by these weights.
  const TokenBatch batch = from.Batch();
  TrainingModel<B158> model(SmallConfig());
  model.Quantize(donor.weights());
  const double loss = model.Forward(batch);
  CHECK(Value(from.Step()).loss == loss);
  auto again = Value(T::CreateFrom(donor.weights(), SmallOptions(), SmallCorpus()));
  Value(again.Step());
  CHECK(Course(from, 6) == Course(again, 6));

  LatentWeights broken = donor.weights();
  broken.layer(1).up[3] = std::numeric_limits<float>::quiet_NaN();
  const auto refused = T::CreateFrom(broken, SmallOptions(), SmallCorpus());
  REQUIRE(!refused.ok());
  CHECK(refused.error() == "training: layer1.up: value 3 is nan; it must be finite");
  ModelConfig config = SmallConfig();
  config.head_norms = true;
  const auto untrained = T::CreateFrom(LatentWeights::Zeros(config), SmallOptions(), SmallCorpus());
  REQUIRE(!untrained.ok());
  CHECK(untrained.error() == "config: head_norms is set; norms of query and key heads cannot be trained yet");
}

TEST_CASE("Trainer: Run stops where its caller says and goes on after") {
  auto trainer = NewTrainer();
  std::vector<uint64_t> steps;
  const auto until = [&](uint64_t last) {
    return trainer.Run([&, last](const StepReport& report) {
      steps.push_back(report.step);
      return report.step != last;
    });
  };
  CHECK(until(1).ok());
  CHECK(trainer.step() == 2);
  CHECK(until(99).ok());
  CHECK(steps == std::vector<uint64_t>{0, 1, 2, 3, 4, 5});
  CHECK(until(99).ok());
  CHECK(steps.size() == 6);
}

// A tiny text again and again: the loss must go from ln 64 = 4.16 to next to nothing.
template <Scheme S1, Scheme S2>
double Overfit(const ModelConfig& config = SmallConfig()) {
  TrainOptions options = SmallOptions();
  options.steps = 150;
  options.batch = 2;
  options.sequence = 8;
  options.warmup = 10;
  options.learning_rate = options.second_learning_rate = 1e-2f;
  std::vector<uint32_t> tokens;
  for (uint32_t i = 0; i < 200; ++i) tokens.push_back(i % 11 * 5);
  auto trainer = Value(Trainer<S1, S2>::Create(config, options, Corpus(tokens)));
  CHECK(trainer.ValidationLoss() == doctest::Approx(std::log(64.0)).epsilon(0.05));
  Value(trainer.Run([](const StepReport&) { return true; }));

  // What was trained is what is exported.
  const Transformer<S2> model(ModelWeights<S2>::Quantize(trainer.weights()));
  auto state = model.NewState();
  const std::vector<uint32_t> prompt(tokens.begin(), tokens.begin() + 6);
  const std::span<const float> logits = *model.Forward(prompt, state);
  CHECK(std::max_element(logits.begin(), logits.end()) - logits.begin() == tokens[6]);
  return trainer.ValidationLoss();
}

TEST_CASE("Trainer: learns a short text by heart, in every scheme") {
  CHECK(Overfit<B158, A48>() < 0.1);
  CHECK(Overfit<B158, A48Fp4>() < 0.1);
  CHECK(Overfit<Fp32, Fp32>() < 0.1);
  CHECK(Overfit<BinaryStage1, BinaryWeights>() < 0.3);
  CHECK(Overfit<B158, A48>(WithSubLayerNorms(SmallConfig())) < 0.1);
}

TEST_CASE("Trainer: a step that diverges is refused and changes nothing") {
  TrainOptions options = SmallOptions();
  options.learning_rate = options.second_learning_rate = 1e30f;
  options.warmup = 0;
  auto trainer = NewTrainer<Fp32, Fp32>(options);
  Result<StepReport> report = trainer.Step();
  while (report.ok() && !trainer.done()) report = trainer.Step();
  REQUIRE(!report.ok());
  CHECK(report.error().find("training diverged at step 1: the loss is ") == 0);
  CHECK(trainer.step() == 1);
  const std::vector<float> before = AllWeights(trainer.weights());
  CHECK(!trainer.Run([](const StepReport&) { return true; }).ok());
  CHECK(trainer.step() == 1);
  CHECK(AllWeights(trainer.weights()) == before);
}

TEST_CASE("Trainer: what cannot be trained is refused with a sentence") {
  const auto refused = [](const ModelConfig& config, const TrainOptions& options, const Corpus& corpus,
                          const std::string& why) {
    const auto trainer = Trainer<B158, A48>::Create(config, options, corpus);
    REQUIRE(!trainer.ok());
    INFO(trainer.error());
    CHECK(trainer.error().find(why) != std::string::npos);
  };
  ModelConfig config = SmallConfig();
  config.kv_heads = 3;
  refused(config, SmallOptions(), SmallCorpus(), "kv_heads must divide heads");
  config = SmallConfig();
  config.ffn = (1u << 22) + 1;
  refused(config, SmallOptions(), SmallCorpus(), "ffn is 4194305; with the scheme B158");
  TrainOptions options = SmallOptions();
  options.batch = 0;
  refused(SmallConfig(), options, SmallCorpus(), "batch is 0");
  for (const BatchShare share : {BatchShare{0, 0}, BatchShare{2, 2}, BatchShare{0, 4}}) {
    options = SmallOptions();
    options.share = share;
    refused(SmallConfig(), options, SmallCorpus(),
            "share is rank " + std::to_string(share.rank) + " of " + std::to_string(share.ranks) +
                "; it must be one of as many ranks as there are sequences in a batch, or fewer: at most 3");
  }
  // Numbers that take more memory than there is.
  config = SmallConfig();
  config.layers = (1u << 24) - 1;
  refused(config, SmallOptions(), SmallCorpus(), "training: 16777215 layers and 60 tokens a step would take ");
  config.hidden = config.ffn = 1u << 20;
  refused(config, SmallOptions(), SmallCorpus(), "would take more memory than there are addresses; max_bytes is ");
  options = SmallOptions();
  options.batch = 1u << 20;
  options.max_bytes = uint64_t{1} << 30;
  refused(SmallConfig(), options, SmallCorpus(), "20971520 tokens a step would take ");
  options = SmallOptions();
  options.max_bytes = *Trainer<B158, A48>::Bytes(SmallConfig(), options) - 1;
  refused(SmallConfig(), options, SmallCorpus(), "; max_bytes is 0 MiB");
  ++options.max_bytes;
  CHECK(Trainer<B158, A48>::Create(SmallConfig(), options, SmallCorpus()).ok());
  refused(SmallConfig(), SmallOptions(), Corpus(RandomTokens(209, 64)), "validation part has 20 tokens");
  refused(SmallConfig(), SmallOptions(), Corpus(RandomTokens(15, 64), 0.0), "training part has 15 tokens");
  std::vector<uint32_t> tokens = RandomTokens(300, 64);
  tokens[17] = 64;
  refused(SmallConfig(), SmallOptions(), Corpus(tokens), "token 17 of the text is 64; the vocabulary has 64");
}

TEST_CASE("Trainer, TrainingModel: a quantizer that is not element by element is refused with a sentence") {
  const std::string sentence = "scheme RotatedInputs: its quantizer Input is not element by element";
  const auto second = Trainer<B158, RotatedInputs>::Create(SmallConfig(), SmallOptions(), SmallCorpus());
  REQUIRE(!second.ok());
  CHECK(second.error().find(sentence) == 0);
  const auto first = Trainer<RotatedInputs, B158>::Create(SmallConfig(), SmallOptions(), SmallCorpus());
  REQUIRE(!first.ok());
  CHECK(first.error() == second.error());
  CHECK(Breaks(sentence, [] { TrainingModel<RotatedInputs> model(SmallConfig()); }));
  const auto trunk = NewTrainer<B158, B158>();
  CHECK(Breaks(sentence, [&] { (void)trunk.Fork<RotatedInputs>(); }));
  // What is not trained may be what it likes.
  const Transformer<RotatedInputs> model(TinyWeights<RotatedInputs>());
  auto state = model.NewState();
  CHECK(model.Forward(std::vector<Token>{1, 2, 3}, state).ok());
}

}  // namespace
}  // namespace bitnet::testing::trainer_test
