// The main job, end to end: trains a small BitNet a4.8 model on a text by the two-stage recipe, exports it to packed
// ternary weights, generates text with 4-bit inputs, sparse states and a 3-bit cache, and prints what that costs and
// saves: beside the same weights as b1.58, and beside a float model that was trained as long.
//
//   demo [--text FILE] [--minutes M | --steps N] [--prompt TEXT] [--seed N] [--csv FILE] [--save FILE] [--quick]
#include <bitnet/bitnet.h>
#include <bitnet/train.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "options.h"
#include "program.h"
#include "text_to_learn.h"

namespace {

using namespace bitnet;

struct DemoOptions {
  std::string text;               // empty: this repository's own headers and documents
  std::optional<double> minutes;  // without, and without `steps`: 2, or 40 steps with `quick`
  std::optional<uint64_t> steps;
  std::string prompt = "// The ";
  uint64_t seed = 1;
  std::string csv, save;
  bool quick = false;  // seconds instead of minutes, for tests: a smaller model, few steps

  uint32_t NewTokens() const { return quick ? 40 : 300; }
};

constexpr const char* kHelp =
    "demo: trains a small BitNet a4.8 model in two stages, and a float one to compare; packs, generates, measures\n"
    "  --text FILE    train on this text, byte by byte (default: the repository's headers and documents)\n"
    "  --minutes M    train both for about so long, if steps stay as fast as a few in the beginning (default 2)\n"
    "  --steps N      train each for so many steps instead\n"
    "  --prompt TEXT  generate from this prompt\n"
    "  --seed N       seed of weights, batches and sampling; with --steps, a run repeats exactly (default 1)\n"
    "  --csv FILE     write the losses of all steps of the packed model\n"
    "  --save FILE    write the packed model\n"
    "  --quick        a tiny model, and 40 steps unless --steps or --minutes says else\n"
    "The loss in the progress lines is a running mean of the steps' losses.\n";

DemoOptions ParseArguments(int argc, char** argv) {
  DemoOptions demo;
  Options options(argc, argv, kHelp);
  while (options.Next()) {
    if (options.Is("--quick")) {
      demo.quick = true;
    } else if (options.Is("--text")) {
      demo.text = options.Value();
    } else if (options.Is("--minutes")) {
      demo.minutes = options.Number(0.05, 1e5);
    } else if (options.Is("--steps")) {
      demo.steps = options.Whole(20, 1e9);
    } else if (options.Is("--prompt")) {
      demo.prompt = options.Value();
    } else if (options.Is("--seed")) {
      demo.seed = options.Whole(0, 1e15);
    } else if (options.Is("--csv")) {
      demo.csv = options.Value();
    } else if (options.Is("--save")) {
      demo.save = options.Value();
    } else {
      options.RefuseUnknown();
    }
  }
  if (demo.prompt.empty()) options.Misused("--prompt must not be empty: a model continues something");
  if (demo.minutes && demo.steps) options.Misused("--minutes and --steps exclude each other");
  return demo;
}

ModelConfig DemoConfig(bool quick) {
  ModelConfig config;
  config.vocab = 256;  // bytes
  config.hidden = quick ? 64 : 256;
  config.layers = quick ? 2 : 3;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = quick ? 16 : 64;
  config.ffn = quick ? 160 : 512;
  config.max_positions = 1024;
  return config;
}

// What would be refused only after the training.
void CheckBeforeTraining(const DemoOptions& demo, const ModelConfig& config) {
  const size_t longest = config.max_positions - demo.NewTokens();
  if (demo.prompt.size() > longest) {
    Stop("--prompt has " + std::to_string(demo.prompt.size()) + " bytes; " + std::to_string(longest) +
         " and the text generated after them fit the model");
  }
  if (!demo.csv.empty()) NeedWritable("--csv", demo.csv);
  if (!demo.save.empty()) {
    if (const Result<Done> writable = CheckWritable(demo.save); !writable.ok()) Stop("--save: " + writable.error());
  }
}

using DemoTrainer = Trainer<B158, A48>;
using FloatTrainer = Trainer<Fp32, Fp32>;
using Clock = std::chrono::steady_clock;

double Seconds(Clock::time_point since) { return std::chrono::duration<double>(Clock::now() - since).count(); }

double Median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// How the float model is trained: on the same batches, with a learning rate that suits floats. (Ternary weights bear a
// larger one. After 350 steps at 1, 1/2 and 1/3 of theirs the validation loss of floats was 1.615, 1.428 and 1.422.)
TrainOptions FloatOptions(TrainOptions options) {
  options.learning_rate /= 3.0f;
  options.second_learning_rate /= 3.0f;
  options.stage2_share = 0.0;
  return options;
}

// Seconds of a step, the stages in the proportion of `options`: from a rehearsal of a few steps of both. The first two
// of a stage do not count: they make its model and warm the caches.
template <class AnyTrainer>
double MeasureStep(const ModelConfig& config, TrainOptions options, const Corpus& corpus) {
  const double share = options.stage2_share;
  options.steps = 16;
  options.warmup = 0;
  options.stage2_share = 0.5;
  AnyTrainer rehearsal = Need(AnyTrainer::Create(config, options, corpus));
  std::vector<double> seconds[2];
  Clock::time_point start = Clock::now();
  Need(rehearsal.Run([&](const StepReport& report) {
    if (report.step % 8 >= 2) seconds[report.stage - 1].push_back(Seconds(start));
    start = Clock::now();
    return true;
  }));
  return (1.0 - share) * Median(seconds[0]) + share * Median(seconds[1]);
}

TrainOptions ChooseOptions(const DemoOptions& demo, const ModelConfig& config, const Corpus& corpus) {
  TrainOptions options;
  options.batch = demo.quick ? 4 : 16;
  options.sequence = demo.quick ? 48 : 128;
  options.seed = demo.seed;
  options.learning_rate = 3e-3f;  // smaller models bear larger rates than the paper's
  options.second_learning_rate = 2e-3f;
  options.linear_decay = true;
  options.validation_windows = demo.quick ? 8 : 64;
  if (demo.steps || (demo.quick && !demo.minutes)) {
    options.steps = demo.steps.value_or(40);
  } else {
    const double step = MeasureStep<DemoTrainer>(config, options, corpus) +
                        MeasureStep<FloatTrainer>(config, FloatOptions(options), corpus);
    options.steps = std::max<uint64_t>(40, static_cast<uint64_t>(60.0 * demo.minutes.value_or(2.0) / step));
  }
  options.warmup = std::min<uint64_t>(375, options.steps / 10);
  return options;
}

// Median tokens a second of prefill and decode.
struct Speed {
  double prefill = 0.0;
  double decode = 0.0;
};

template <Scheme S>
Speed MeasureSpeed(const Transformer<S>& model, std::span<const Token> tokens, bool quick) {
  const size_t prompt = std::min<size_t>(256, tokens.size() / 2);
  const size_t decoded = std::min<size_t>(64, tokens.size() - prompt);
  std::vector<double> prefill, decode;
  auto state = model.NewState(prompt + decoded);
  for (int repetition = 0; repetition < (quick ? 3 : 15); ++repetition) {
    state.Truncate(0);
    Clock::time_point start = Clock::now();
    Need(model.Forward(tokens.first(prompt), state));
    prefill.push_back(static_cast<double>(prompt) / Seconds(start));
    start = Clock::now();
    for (size_t i = 0; i < decoded; ++i) Need(model.Forward(tokens.subspan(prompt + i, 1), state));
    decode.push_back(static_cast<double>(decoded) / Seconds(start));
  }
  return {Median(prefill), Median(decode)};
}

template <Scheme S>
void PrintSpeed(const char* name, const LatentWeights& latent, std::span<const Token> tokens, bool quick) {
  const Transformer<S> model(ModelWeights<S>::Quantize(latent));
  const Speed speed = MeasureSpeed(model, tokens, quick);
  std::printf("  %-34s %12.0f %12.0f\n", name, speed.prefill, speed.decode);
}

// A number that a reader can hold: 106557440 is "107 M".
std::string Short(double value, const char* unit = "") {
  const char* prefix = "";
  for (const char* larger : {"K", "M", "G", "T"}) {
    if (value < 999.5) break;
    value /= 1000.0;
    prefix = larger;
  }
  char text[40];
  std::snprintf(text, sizeof(text), "%.*f %s%s", *prefix != '\0' && value < 9.95 ? 1 : 0, value, prefix, unit);
  return text;
}
std::string ShortBytes(size_t bytes) { return Short(static_cast<double>(bytes), bytes < 1000 ? "bytes" : "B"); }

// "0.03 nats a byte above".
std::string Compared(double loss, double other) {
  const double difference = std::fabs(loss - other);
  if (difference < 0.005) return "equal to";
  char text[40];
  std::snprintf(text, sizeof(text), "%.2f nats a byte %s", difference, loss < other ? "below" : "above");
  return text;
}

// Prints what the model writes after the prompt.
template <Scheme S>
void PrintText(const Transformer<S>& model, typename Transformer<S>::State& state, const DemoOptions& demo) {
  GenerateOptions options;
  options.max_new_tokens = demo.NewTokens();
  options.sampler.temperature = 0.7f;
  options.sampler.top_k = 40;
  std::vector<Token> prompt;
  for (const char c : demo.prompt) prompt.push_back(static_cast<unsigned char>(c));
  Random random(demo.seed);
  std::fputs(demo.prompt.c_str(), stdout);
  for (const Token token : Need(Generate(model, state, prompt, options, random, [](Token) { return true; })).tokens) {
    std::putchar(token == '\n' || (token >= 32 && token < 127) ? static_cast<int>(token) : '?');
  }
  std::putchar('\n');
}

void PrintSparsity(const char* name, const WeightCount& count, double paper) {
  std::printf("  %-24s %10s %10s %10.1f %% %10.1f %%\n", name, Short(static_cast<double>(count.used)).c_str(),
              Short(static_cast<double>(count.total)).c_str(), count.Sparsity(), paper);
}

void PrintBytes(const char* name, size_t bytes, const std::string& note = "") {
  std::printf("  %-34s %12s%s\n", name, ShortBytes(bytes).c_str(), note.c_str());
}

std::string BitsEach(size_t bytes, uint64_t weights) {
  char text[60];
  std::snprintf(text, sizeof(text), "   %.2f bits a weight", 8.0 * static_cast<double>(bytes) / double(weights));
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  const DemoOptions demo = ParseArguments(argc, argv);
  const ModelConfig config = DemoConfig(demo.quick);
  CheckBeforeTraining(demo, config);
  const auto [corpus, text_name] = LoadText(demo.text);
  std::printf("text: %s, %s, the last tenth held out\n", text_name.c_str(),
              ShortBytes(corpus.train().size() + corpus.validation().size()).c_str());
  std::printf("model: %s projection weights in %u layers, hidden %u; %zu threads, SIMD target %s\n",
              Short(static_cast<double>(ProjectionWeights(config))).c_str(), config.layers, config.hidden,
              DefaultExecutor().Threads(), hwy::TargetName(HWY_STATIC_TARGET));
  std::fflush(stdout);

  // Train: stage 1 is W1.58A8, stage 2 (the last 5 % of the steps) is a4.8.
  const TrainOptions options = ChooseOptions(demo, config, corpus);
  DemoTrainer trainer = Need(DemoTrainer::Create(config, options, corpus));
  std::printf("training with ternary weights: %llu steps of %llu bytes; 8-bit inputs, from step %llu on 4-bit ones\n",
              static_cast<unsigned long long>(options.steps), static_cast<unsigned long long>(options.TokensPerStep()),
              static_cast<unsigned long long>(options.Stage2Begin()));
  std::fflush(stdout);
  std::optional<LossLog> log;
  if (!demo.csv.empty()) log = Need(LossLog::Open(demo.csv));
  Progress progress(stdout, options);
  double after_stage1 = 0.0;
  double switched = 0.0;
  Need(trainer.Run([&](const StepReport& report) {
    progress.Step(report);
    std::optional<double> validation;
    if (report.step + 1 == options.Stage2Begin()) {
      validation = after_stage1 = trainer.ValidationLoss(1);
      switched = trainer.ValidationLoss(2);
    } else if (trainer.done()) {
      validation = trainer.ValidationLoss();
    }
    if (log) log->Write(report, validation);
    return true;
  }));
  if (log) Need(log->Close());
  const double after_stage2 = trainer.ValidationLoss(2);

  // Export: latent float weights to packed ternary ones.
  const ModelWeights<A48> packed = ModelWeights<A48>::Quantize(trainer.weights());
  if (!demo.save.empty()) {
    Need(SaveModel(packed, demo.save));
    std::printf("packed model written to %s\n", demo.save.c_str());
  }
  const Transformer<A48> model(packed);

  // The same model with float weights and inputs, to compare.
  const TrainOptions float_options = FloatOptions(options);
  FloatTrainer float_trainer = Need(FloatTrainer::Create(config, float_options, corpus));
  std::printf("training with floats, to compare: the same steps\n");
  std::fflush(stdout);
  Progress float_progress(stdout, float_options);
  Need(float_trainer.Run([&](const StepReport& report) {
    float_progress.Step(report);
    return true;
  }));
  const double in_floats = float_trainer.ValidationLoss();
  const Transformer<Fp32> float_model(ModelWeights<Fp32>::Quantize(float_trainer.weights()));

  const ModelBytes bytes = model.Bytes();
  const uint64_t weights = ProjectionWeights(config);
  const size_t fp16_bytes = 2 * static_cast<size_t>(weights);
  auto state = model.NewState();
  state.CountWeights(true);
  auto float_state = float_model.NewState();
  std::printf("\nText from the same prompt and seed\n---- packed: ternary weights, 4-bit inputs; %s\n",
              ShortBytes(bytes.projections).c_str());
  PrintText(model, state, demo);
  std::printf("---- floats; %s in FP16\n", ShortBytes(fp16_bytes).c_str());
  PrintText(float_model, float_state, demo);
  std::printf("----\n");

  std::printf("\nValidation loss, nats a byte\n");
  std::printf("  floats                             %12.3f\n", in_floats);
  std::printf("  b1.58: ternary, 8-bit inputs       %12.3f   the end of stage 1\n", after_stage1);
  std::printf("  the same with 4-bit inputs         %12.3f   before it is trained so\n", switched);
  std::printf("  a4.8: ternary, 4-bit inputs        %12.3f   the end of stage 2: the packed model\n", after_stage2);

  size_t file_bytes = 0;
  for (const auto& layer : packed.layers) {
    for (const auto* m : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down}) {
      file_bytes += m->StoredBytes();
    }
  }
  std::printf("\nProjection weights\n");
  PrintBytes("FP16", fp16_bytes);
  PrintBytes("ternary at 2 bits", static_cast<size_t>(weights / 4));
  PrintBytes("as stored in memory", bytes.projections,
             BitsEach(bytes.projections, weights) + ", padding and steps too");
  PrintBytes("as stored in files", file_bytes, BitsEach(file_bytes, weights));

  std::printf("\nCache, each token\n");
  PrintBytes("FP16", size_t{2} * 2 * config.layers * config.kv_width());
  PrintBytes("as stored", state.CacheBytesPerToken(), "   3-bit codes and a 32-bit step for each head");

  const WeightUse use = state.TotalWeightUse();
  std::printf("\nWeights used while generating    used         of   not needed  paper, 700M\n");
  PrintSparsity("QKV", use.qkv, 12.1);
  PrintSparsity("out", use.out, 50.0);
  PrintSparsity("up", use.up, 66.2);
  PrintSparsity("gate", use.gate, 12.1);
  PrintSparsity("down", use.down, 80.9);
  PrintSparsity("overall", use.Overall(), 42.5);

  const size_t measured = std::min<size_t>(demo.quick ? 64 : 320, corpus.validation().size());
  const std::span<const Token> text = corpus.validation().first(measured);
  std::printf("\nTokens a second, same weights             prefill       decode\n");
  PrintSpeed<A48>("a4.8", trainer.weights(), text, demo.quick);
  PrintSpeed<B158>("b1.58", trainer.weights(), text, demo.quick);

  std::printf(
      "\nShown: the packed model takes %.1f times less memory than in FP16. Its loss is %s that of floats,\n"
      "trained for as many steps (so few that they say nothing of long training), and %s that of b1.58.\n"
      "%.0f %% of its weights were not needed to write the text above.\n",
      static_cast<double>(fp16_bytes) / static_cast<double>(bytes.projections),
      Compared(after_stage2, in_floats).c_str(), Compared(after_stage2, after_stage1).c_str(),
      use.Overall().Sparsity());
  std::printf(
      "\nNext, in the folder of the repository:\n"
      "  ./dev demo --text FILE --minutes 10     your text, a better model\n"
      "  ./dev demo --prompt \"struct \" --seed 2  trains anew, and goes on from other words\n"
      "  ./dev demo --save model.bitnet          keeps the packed model, for LoadModel<A48>\n"
      "  ./dev claims --shape 2B-4T              how fast 2 billion weights are, beside 16-bit floats\n"
      "  docs/tutorial.md                        this program in small steps\n"
      "  examples/own_scheme.cc, own_format.cc   what you would change first\n");
}
