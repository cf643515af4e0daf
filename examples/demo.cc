// The main job, end to end: trains a small BitNet a4.8 model on a text by the two-stage recipe, exports it to packed
// ternary weights, generates text with 4-bit inputs, sparse states and a 3-bit cache, and prints what that costs and
// saves beside the same weights as b1.58 and in float.
//
//   demo [--text FILE] [--minutes M | --steps N] [--prompt TEXT] [--seed N] [--csv FILE] [--save FILE] [--quick]
#include <bitnet/bitnet.h>
#include <bitnet/train.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "program.h"

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
    "demo: trains a small BitNet a4.8 model in two stages, exports it, generates text, measures\n"
    "  --text FILE    train on this text, byte by byte (default: the repository's headers and documents)\n"
    "  --minutes M    train for about so long, if steps stay as fast as a few in the beginning (default 2)\n"
    "  --steps N      train for so many steps instead\n"
    "  --prompt TEXT  generate from this prompt\n"
    "  --seed N       seed of weights, batches and sampling; with --steps, a run repeats exactly (default 1)\n"
    "  --csv FILE     write the losses of all steps\n"
    "  --save FILE    write the packed model\n"
    "  --quick        a tiny model, and 40 steps unless --steps or --minutes says else\n"
    "The loss in the progress lines is a running mean of the steps' losses.\n";

DemoOptions ParseArguments(int argc, char** argv) {
  DemoOptions options;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--help" || name == "-h") {
      std::fputs(kHelp, stdout);
      std::exit(0);
    }
    if (name == "--quick") {
      options.quick = true;
      continue;
    }
    if (i + 1 == argc) Stop("'" + name + "' is no option, or lacks its value (--help lists the options)");
    const std::string value = argv[++i];
    if (name == "--text") {
      options.text = value;
    } else if (name == "--minutes") {
      options.minutes = ParseNumber("--minutes", value, 0.05, 1e5);
    } else if (name == "--steps") {
      options.steps = ParseWhole("--steps", value, 20, 1e9);
    } else if (name == "--prompt") {
      options.prompt = value;
    } else if (name == "--seed") {
      options.seed = ParseWhole("--seed", value, 0, 1e15);
    } else if (name == "--csv") {
      options.csv = value;
    } else if (name == "--save") {
      options.save = value;
    } else {
      Stop("there is no option '" + name + "' (--help lists them)");
    }
  }
  if (options.prompt.empty()) Stop("--prompt must not be empty: a model continues something");
  if (options.minutes && options.steps) Stop("--minutes and --steps exclude each other");
  return options;
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
using Clock = std::chrono::steady_clock;

double Seconds(Clock::time_point since) { return std::chrono::duration<double>(Clock::now() - since).count(); }

double Median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Seconds of a step, the stages in the proportion of `options`: from a rehearsal of a few steps of both. The first two
// of a stage do not count: they make its model and warm the caches.
double MeasureStep(const ModelConfig& config, TrainOptions options, const Corpus& corpus) {
  const double share = options.stage2_share;
  options.steps = 16;
  options.warmup = 0;
  options.stage2_share = 0.5;
  DemoTrainer rehearsal = Need(DemoTrainer::Create(config, options, corpus));
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
    const double steps = 60.0 * demo.minutes.value_or(2.0) / MeasureStep(config, options, corpus);
    options.steps = std::max<uint64_t>(40, static_cast<uint64_t>(steps));
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
void PrintSpeed(const LatentWeights& latent, std::span<const Token> tokens, bool quick) {
  const Transformer<S> model(ModelWeights<S>::From(latent));
  const Speed speed = MeasureSpeed(model, tokens, quick);
  std::printf("  %-8s %12.0f %12.0f\n", S::kName, speed.prefill, speed.decode);
}

void PrintText(std::string_view text) {
  for (const char c : text) std::putchar(c == '\n' || (c >= 32 && c < 127) ? c : '?');
}

void PrintSparsity(const char* name, const WeightCount& count, double paper) {
  std::printf("  %-8s %11llu %11llu %9.1f %% %9.1f %%\n", name, static_cast<unsigned long long>(count.used),
              static_cast<unsigned long long>(count.total), count.Sparsity(), paper);
}

}  // namespace

int main(int argc, char** argv) {
  const DemoOptions demo = ParseArguments(argc, argv);
  const ModelConfig config = DemoConfig(demo.quick);
  CheckBeforeTraining(demo, config);
  const auto [corpus, text_name] = LoadText(demo.text);
  std::printf("text: %s, %zu bytes, the last tenth held out\n", text_name.c_str(),
              corpus.train().size() + corpus.validation().size());
  std::printf("model: %llu projection weights, %u layers, hidden %u, %zu threads, SIMD target %s\n",
              static_cast<unsigned long long>(config.ProjectionWeights()), config.layers, config.hidden,
              DefaultExecutor().Threads(), hwy::TargetName(HWY_STATIC_TARGET));

  // Train: stage 1 is W1.58A8, stage 2 (the last 5 % of the steps) is a4.8.
  const TrainOptions options = ChooseOptions(demo, config, corpus);
  DemoTrainer trainer = Need(DemoTrainer::Create(config, options, corpus));
  std::printf("training: %llu steps of %llu tokens, stage 2 from step %llu on\n",
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
  const ModelWeights<A48> packed = ModelWeights<A48>::From(trainer.weights());
  if (!demo.save.empty()) {
    Need(SaveModel(packed, demo.save));
    std::printf("packed model written to %s\n", demo.save.c_str());
  }
  const Transformer<A48> model(packed);

  // Generate.
  auto state = model.NewState();
  state.CountWeights(true);
  GenerateOptions generate;
  generate.max_new_tokens = demo.NewTokens();
  generate.sampler.temperature = 0.7f;
  generate.sampler.top_k = 40;
  std::vector<Token> prompt;
  for (const char c : demo.prompt) prompt.push_back(static_cast<unsigned char>(c));
  Random random(demo.seed);
  const std::vector<Token> tokens = Need(Generate(model, state, prompt, generate, random, [](Token) { return true; }));
  std::printf("\nText generated from packed weights (A48):\n----\n%s", demo.prompt.c_str());
  PrintText(std::string(tokens.begin(), tokens.end()));
  std::printf("\n----\n");

  std::printf("\nValidation loss, nats a byte\n");
  std::printf("  after stage 1 (b1.58)                  %8.4f\n", after_stage1);
  std::printf("  the same weights, 4-bit, untrained     %8.4f\n", switched);
  std::printf("  after stage 2 (a4.8)                   %8.4f\n", after_stage2);

  const ModelBytes bytes = model.Bytes();
  const uint64_t weights = config.ProjectionWeights();
  size_t file_bytes = 0;
  for (const auto& layer : packed.layers) {
    for (const auto* m : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down}) {
      file_bytes += m->StoredBytes();
    }
  }
  std::printf("\nBytes of the projection weights\n");
  std::printf("  FP16                                   %8llu\n", static_cast<unsigned long long>(2 * weights));
  std::printf("  W1.58 at 2 bits                        %8llu\n", static_cast<unsigned long long>(weights / 4));
  std::printf("  as stored in memory                    %8zu   %.2f bits a weight, padding and steps included\n",
              bytes.projections, 8.0 * static_cast<double>(bytes.projections) / static_cast<double>(weights));
  std::printf("  as stored in files                     %8zu   %.2f bits a weight\n", file_bytes,
              8.0 * static_cast<double>(file_bytes) / static_cast<double>(weights));

  const size_t cache16 = size_t{2} * 2 * config.layers * config.kv_width();
  std::printf("\nBytes of cache a token\n");
  std::printf("  FP16                                   %8zu\n", cache16);
  std::printf("  as stored                              %8zu   3-bit codes and a 32-bit step for each head\n",
              state.CacheBytesPerToken());

  const WeightUse use = state.TotalWeightUse();
  std::printf("\nWeights used while generating    used       total    not needed  paper, 700M\n");
  PrintSparsity("QKV", use.qkv, 12.1);
  PrintSparsity("out", use.out, 50.0);
  PrintSparsity("up", use.up, 66.2);
  PrintSparsity("gate", use.gate, 12.1);
  PrintSparsity("down", use.down, 80.9);
  PrintSparsity("overall", use.Overall(), 42.5);

  const size_t measured = std::min<size_t>(demo.quick ? 64 : 320, corpus.validation().size());
  const std::span<const Token> text = corpus.validation().first(measured);
  std::printf("\nTokens a second, same weights     prefill       decode\n");
  PrintSpeed<A48>(trainer.weights(), text, demo.quick);
  PrintSpeed<B158>(trainer.weights(), text, demo.quick);
  PrintSpeed<Fp32>(trainer.weights(), text, demo.quick);
}
