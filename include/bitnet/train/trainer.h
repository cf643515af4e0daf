// Trainer<Stage1, Stage2>: a run of the two-stage recipe. The last steps (5 % in the paper) use the second scheme; the
// weights and the state of the optimizer stay.
//
//   auto trainer = Trainer<B158, A48>::Create(config, options, corpus);          // a Result
//   auto done = trainer->Run([&](const StepReport& r) { return true; });         // false pauses
//   auto packed = ModelWeights<A48>::Quantize(trainer->weights());                   // export
//
// A run is reproduced exactly from its options and its text, on any number of threads, by the same program on the same
// kind of CPU (Eigen orders sums by the caches it finds); also if it is interrupted by Save and a Load in another
// process. Trainer<S, S> trains with one scheme.
//
// Several machines share the batches of one run. Each has a trainer of the same options, but for its share, and adds up
// gradients in between (`AllReduce` is the caller's; all ranks must get the same bits):
//
//   options.share = {rank, ranks};
//   ...
//   trainer.Gradients(trainer.Batch());     // forward and backward
//   AllReduce(trainer.gradients());         // sums of the ranks'
//   auto report = trainer.Apply();          // clipping, AdamW, schedule
//
// Weights, optimizer and schedule then have the same bits on all ranks (of one program), and any rank's checkpoint goes
// on with any number of ranks. Beside one machine with the whole batch the sums of gradients are taken in another
// order.
//
// Where memory ends std::bad_alloc leaves (base/result.h): weights, optimizer and step() are as they were, gradients
// that were not applied are forgotten, and the step may be made again.
#ifndef BITNET_TRAIN_TRAINER_H_
#define BITNET_TRAIN_TRAINER_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include "bitnet/model/check_scheme.h"
#include "bitnet/train/check_quantizers.h"
#include "bitnet/train/checkpoint.h"
#include "bitnet/train/corpus.h"
#include "bitnet/train/model.h"
#include "bitnet/train/options.h"

namespace bitnet {

struct StepReport {
  uint64_t step = 0;           // from 0
  int stage = 1;               // 1 or 2
  double loss = 0.0;           // of the batch, before the update; nats a token. Ranks' losses add up to the batch's
  double gradient_norm = 0.0;  // before clipping
  float learning_rate = 0.0f;
};

namespace detail {
struct NoScheme {};
}  // namespace detail

template <class Stage1, class Stage2 = detail::NoScheme, class B = DefaultBackend<Stage1>>
class Trainer;

// The stages share their weights, so they must agree about all that makes the weights what they are, the transforms of
// their inputs too; otherwise inputs, heads and what top-k keeps are free. (Weights can be trained for other weights or
// another activation on purpose, by TrainingModel and AdamW: Gradients and Apply below show how.)
template <Scheme Stage1, Scheme Stage2, HostBackend B>
class Trainer<Stage1, Stage2, B> {
  static_assert(std::is_same_v<typename Stage1::FfnActivation, typename Stage2::FfnActivation> &&
                    std::is_same_v<typename EdgeOf<Stage1>::FfnActivation, typename EdgeOf<Stage2>::FfnActivation>,
                "bitnet: the schemes of both stages must have one FfnActivation: the weights are trained for it");
  static_assert(
      std::is_same_v<typename Stage1::Weight, typename Stage2::Weight> &&
          std::is_same_v<typename EdgeOf<Stage1>::Weight, typename EdgeOf<Stage2>::Weight>,
      "bitnet: the schemes of both stages must have one Weight: what stage 1 trains is its quantized weights");
  static_assert(std::is_same_v<typename Stage1::HeadWeight, typename Stage2::HeadWeight> &&
                    std::is_same_v<EmbeddingWeightOf<Stage1>, EmbeddingWeightOf<Stage2>>,
                "bitnet: the schemes of both stages must have one HeadWeight: what stage 1 trains is its quantized "
                "weights");

  static_assert(
      std::is_same_v<TransformOf<typename Stage1::Input>, TransformOf<typename Stage2::Input>> &&
          std::is_same_v<TransformOf<typename Stage1::OutputInput>, TransformOf<typename Stage2::OutputInput>> &&
          std::is_same_v<TransformOf<typename Stage1::DownInput>, TransformOf<typename Stage2::DownInput>> &&
          std::is_same_v<TransformOf<typename Stage1::HeadInput>, TransformOf<typename Stage2::HeadInput>> &&
          std::is_same_v<TransformOf<typename EdgeOf<Stage1>::Input>, TransformOf<typename EdgeOf<Stage2>::Input>> &&
          std::is_same_v<TransformOf<typename EdgeOf<Stage1>::OutputInput>,
                         TransformOf<typename EdgeOf<Stage2>::OutputInput>> &&
          std::is_same_v<TransformOf<typename EdgeOf<Stage1>::DownInput>,
                         TransformOf<typename EdgeOf<Stage2>::DownInput>>,
      "bitnet: the schemes of both stages must have the same transforms at Input, OutputInput, DownInput and "
      "HeadInput: the weights are trained for transformed inputs");

 public:
  // Fresh weights, from options.seed. Refuses what cannot be trained with a sentence.
  static Result<Trainer> Create(const ModelConfig& config, const TrainOptions& options, Corpus corpus,
                                B backend = B()) {
    if (Result<Done> good = Check(config, options, corpus); !good.ok()) return Error{good.error()};
    return Trainer(config, options, std::move(corpus), std::move(backend));
  }
  // Weights that are there already, to train on from: somebody's masters (io/hf_weights.h), another run's. The
  // optimizer begins anew.
  static Result<Trainer> CreateFrom(LatentWeights weights, const TrainOptions& options, Corpus corpus,
                                    B backend = B()) {
    if (Result<Done> good = Check(weights.config(), options, corpus); !good.ok()) return Error{good.error()};
    std::string fault;
    weights.ForEach([&](const TensorInfo& tensor, std::span<const float> values) {
      if (!fault.empty()) return;
      fault = FaultOfNumbers(values, NumberRange::kFinite);
      if (!fault.empty()) fault = "training: " + tensor.FullName() + ": " + fault;
    });
    if (!fault.empty()) return Error{fault};
    TrainingState state;
    state.optimizer = AdamW(weights, options.adam);
    state.weights = std::move(weights);
    state.random = Random(options.seed).state();
    return Trainer(options, std::move(corpus), std::move(backend), std::move(state));
  }

  // What Create and CreateFrom refuse.
  static Result<Done> Check(const ModelConfig& config, const TrainOptions& options, const Corpus& corpus) {
    if (Result<Done> valid = config.Validate(); !valid.ok()) return Error{valid.error()};
    if (Result<Done> fits = CheckScheme<Stage1>(config); !fits.ok()) return Error{fits.error()};
    if (Result<Done> fits = CheckScheme<Stage2>(config); !fits.ok()) return Error{fits.error()};
    if (Result<Done> trainable = CheckQuantizers<Stage1>(config); !trainable.ok()) return Error{trainable.error()};
    if (Result<Done> trainable = CheckQuantizers<Stage2>(config); !trainable.ok()) return Error{trainable.error()};
    if (Result<Done> valid = options.Validate(config); !valid.ok()) return Error{valid.error()};
    if (Result<Done> valid = corpus.Check(options.sequence, config.vocab); !valid.ok()) return Error{valid.error()};
    if (const std::optional<size_t> bytes = Bytes(config, options); !bytes || *bytes > options.max_bytes) {
      const auto mib = [](uint64_t n) { return std::to_string(n >> 20) + " MiB"; };
      return Error{"training: " + std::to_string(config.layers) + " layers and " +
                   std::to_string(options.TokensPerStep()) + " tokens a step would take " +
                   (bytes ? mib(*bytes) : "more memory than there are addresses") + "; max_bytes is " +
                   mib(options.max_bytes)};
    }
    return Done{};
  }

  // About what the steps of a run take: weights, gradients, two moments, and a stage's model (not what Save and Load
  // take for a moment: some copies of the file); nothing if it does not fit size_t. Configuration and
  // options must be valid.
  static std::optional<size_t> Bytes(const ModelConfig& config, const TrainOptions& options) {
    return CheckedSum(
        CheckedProduct(LatentWeights::Count(config), std::optional(4 * sizeof(float))),
        TrainingModel<Stage1, B>::Bytes(config, options.share.End(options.batch) - options.share.Begin(options.batch),
                                        options.sequence));
  }

  const ModelConfig& config() const { return state_.weights.config(); }
  const TrainOptions& options() const { return options_; }
  const Corpus& corpus() const { return corpus_; }
  const LatentWeights& weights() const { return state_.weights; }
  // Steps done; the number of the next.
  uint64_t step() const { return state_.step; }
  bool done() const { return state_.step >= options_.steps; }
  // Of the last step done; 1 before the first.
  int stage() const { return state_.step == 0 ? 1 : StageOf(state_.step - 1); }
  int StageOf(uint64_t step) const { return step >= options_.Stage2Begin() ? 2 : 1; }

  // One step: Gradients(Batch()), then Apply(). Of the whole batch: who has a share adds gradients up in between.
  Result<StepReport> Step() {
    BITNET_ASSERT(
        options_.share.ranks == 1,
        "Trainer::Step: this trainer has a share of each batch: call Gradients, add up the gradients() of all "
        "ranks, and Apply");
    Gradients(Batch());
    return Apply();
  }

  // This trainer's share of the batch of the next step; the same one until Apply.
  TokenBatch Batch() {
    BITNET_ASSERT(!done(), "Trainer::Batch: all steps are done");
    Random random(state_.random);
    TokenBatch batch = corpus_.Sample(random, options_.batch, options_.sequence, options_.share);
    random_after_batch_ = random.state();
    return batch;
  }

  // Adds the gradients of a batch's loss to gradients(), by the scheme of the next step; returns that loss (of a share,
  // its part of the mean: see TokenBatch). Where it is not finite, no gradient is, so that every rank's Apply refuses.
  double Gradients(const TokenBatch& batch) {
    BITNET_ASSERT(!done(), "Trainer::Gradients: all steps are done");
    Forgetting forgetting{this};
    double loss = 0.0;
    OfStage(StageOf(state_.step), [&](auto& model) {
      model.Quantize(state_.weights);
      loss = model.Forward(batch);
      if (std::isfinite(loss)) model.Backward(batch, gradients_);
    });
    const std::span<float> all = gradients();
    if (!std::isfinite(loss)) std::fill(all.begin(), all.end(), std::numeric_limits<float>::quiet_NaN());
    loss_ += loss;
    forgetting.trainer = nullptr;
    return loss;
  }

  // What Gradients has added up since the last Apply, of all tensors in the order of ForEachTensor.
  std::span<float> gradients() { return gradients_.values(); }

  // The update, which uses the gradients up. A loss or gradient that is not finite is refused: the run has diverged,
  // and the weights, the optimizer and step() stay as they were before it.
  Result<StepReport> Apply() {
    BITNET_ASSERT(!done(), "Trainer::Apply: all steps are done");
    const Forgetting forgetting{this};
    StepReport report{state_.step, StageOf(state_.step), loss_, 0.0, options_.LearningRate(state_.step)};
    if (!std::isfinite(report.loss)) return Diverged(report, "loss", report.loss);
    report.gradient_norm = GlobalNorm(backend_.executor(), gradients_);
    if (!std::isfinite(report.gradient_norm)) return Diverged(report, "gradient's norm", report.gradient_norm);
    state_.optimizer.Update(backend_.executor(), state_.step, report.learning_rate, options_.WeightDecay(state_.step),
                            AdamW::ClipScale(report.gradient_norm, options_.clip_norm), gradients_, state_.weights);
    state_.random = random_after_batch_;
    ++state_.step;
    return report;
  }

  // Steps (of the whole batch) until all are done or on_step(report) -> bool says false.
  template <class OnStep>
  Result<Done> Run(OnStep&& on_step) {
    while (!done()) {
      const Result<StepReport> report = Step();
      if (!report.ok()) return Error{report.error()};
      if (!on_step(*report)) break;
    }
    return Done{};
  }

  // Mean loss over the held-out windows, with the scheme of a stage; of the last step's by default.
  double ValidationLoss() { return ValidationLoss(stage()); }
  double ValidationLoss(int stage) {
    const size_t windows = std::min<size_t>(options_.validation_windows, corpus_.ValidationWindows(options_.sequence));
    double sum = 0.0;
    OfStage(stage, [&](auto& model) {
      model.Quantize(state_.weights);
      for (size_t first = 0; first < windows; first += options_.batch) {
        const size_t count = std::min<size_t>(options_.batch, windows - first);
        sum += static_cast<double>(count) *
               model.template Forward<false>(corpus_.ValidationBatch(first, count, windows, options_.sequence));
      }
    });
    return sum / static_cast<double>(windows);
  }

  // A run that goes on from this one's state, on the same batches, with another second scheme, which must be one that
  // Create accepts.
  template <Scheme OtherStage2>
  Trainer<Stage1, OtherStage2, B> Fork() const {
    const Result<Done> fits = CheckScheme<OtherStage2>(config());
    BITNET_ASSERT(fits.ok(), fits.error().c_str());
    const Result<Done> trainable = CheckQuantizers<OtherStage2>(config());
    BITNET_ASSERT(trainable.ok(), trainable.error().c_str());
    return Trainer<Stage1, OtherStage2, B>(options_, corpus_, backend_, state_);
  }

  Result<Done> Save(const std::string& path) const { return SaveCheckpoint(path, Description(), state_); }
  // Goes on from a checkpoint of the same run: configuration, options, schemes and text. If it is refused, the trainer
  // stays as it was.
  Result<Done> Load(const std::string& path) {
    Result<Done> loaded = LoadCheckpoint(path, Description(), options_.steps, state_);
    if (loaded.ok()) {
      random_after_batch_ = state_.random;
      ForgetGradients();
    }
    return loaded;
  }

 private:
  template <class, class, class>
  friend class Trainer;

  Trainer(const TrainOptions& options, Corpus corpus, B backend, TrainingState state)
      : options_(options),
        corpus_(std::move(corpus)),
        backend_(std::move(backend)),
        state_(std::move(state)),
        gradients_(LatentWeights::Zeros(config())),
        random_after_batch_(state_.random) {}
  Trainer(const ModelConfig& config, const TrainOptions& options, Corpus corpus, B backend)
      : options_(options), corpus_(std::move(corpus)), backend_(std::move(backend)) {
    Random random(options.seed);
    state_.weights = LatentWeights::Initial(config, random, options.initial_deviation);
    state_.optimizer = AdamW(state_.weights, options.adam);
    state_.random = random_after_batch_ = random.state();
    gradients_ = LatentWeights::Zeros(config);
  }

  void ForgetGradients() {
    const std::span<float> all = gradients();
    std::fill(all.begin(), all.end(), 0.0f);
    loss_ = 0.0;
  }
  // However its scope is left.
  struct Forgetting {
    Trainer* trainer;
    ~Forgetting() {
      if (trainer != nullptr) trainer->ForgetGradients();
    }
  };

  // f(model of a stage), made where the last use was of the other's: two at once would take twice the memory.
  template <class F>
  void OfStage(int stage, F&& f) {
    if (stage == 1) {
      model2_.reset();
      if (!model1_) model1_ = std::make_unique<TrainingModel<Stage1, B>>(config(), backend_);
      f(*model1_);
    } else {
      model1_.reset();
      if (!model2_) model2_ = std::make_unique<TrainingModel<Stage2, B>>(config(), backend_);
      f(*model2_);
    }
  }

  static Error Diverged(const StepReport& report, const char* what, double value) {
    return Error{"training diverged at step " + std::to_string(report.step) + ": the " + what + " is " +
                 std::to_string(value) + "; the weights are those before this step (try a lower learning rate)"};
  }

  RunDescription Description() const {
    RunDescription list = DescribeConfig(config());
    for (auto& option : options_.List()) list.push_back(std::move(option));
    list.emplace_back("scheme of stage 1", DescribeScheme<Stage1>(config()));
    list.emplace_back("scheme of stage 2", DescribeScheme<Stage2>(config()));
    list.emplace_back("text's checksum", std::to_string(corpus_.Fingerprint()));
    return list;
  }

  TrainOptions options_;
  Corpus corpus_;
  B backend_;
  TrainingState state_;
  LatentWeights gradients_;
  double loss_ = 0.0;                // of the batches whose gradients those are
  uint64_t random_after_batch_ = 0;  // the state of the random numbers once the batch is drawn
  std::unique_ptr<TrainingModel<Stage1, B>> model1_;
  std::unique_ptr<TrainingModel<Stage2, B>> model2_;
};

namespace detail {

// Says which of the two is no scheme; the second may be forgotten.
template <class Stage1, class Stage2>
struct StagesSentence : SchemeSentence<Stage1>, SchemeSentence<Stage2> {};
template <class Stage1>
struct StagesSentence<Stage1, NoScheme> {
  static_assert(!std::is_same_v<Stage1, Stage1>,
                "bitnet: Trainer needs the schemes of both stages: Trainer<B158, A48>, or Trainer<A48, A48> to train "
                "with one");
};
template <class S>
struct StagesSentence<S, S> : SchemeSentence<S> {};

}  // namespace detail

// Of what are no two schemes.
template <class Stage1, class Stage2, class B>
class Trainer : public Trainer<A48, A48, typename detail::HostBackendOrDefault<B>::type> {
  static_assert(sizeof(detail::StagesSentence<Stage1, Stage2>) > 0);
};

}  // namespace bitnet

#endif  // BITNET_TRAIN_TRAINER_H_
