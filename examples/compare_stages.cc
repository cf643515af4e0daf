// Which second stage? Trains one first stage (W1.58A8), then goes on from its end with several schemes: the same
// weights, optimizer state and batches for each. Shows what 4-bit inputs cost, and what they break where they do not
// belong.
//
//   compare_stages [--text FILE] [--steps N] [--share P] [--csv FILE] [--quick]
#include <bitnet/bitnet.h>
#include <bitnet/train.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <optional>
#include <string>

#include "options.h"
#include "program.h"
#include "text_to_learn.h"

namespace {

using namespace bitnet;

// The ablations of the paper's figures 4 and 5: 4 bits at the down projection too, where most of the mass is in a few
// large values; the absmean quantizer has beta = 2 mean|x| there, and there only.
struct Int4Down : A48 {
  static constexpr const char* kName = "A48, INT4 at down";
  using DownInput = Quantizer<Int<4>, AbsMeanTimes<2>>;
};
struct Int4Everywhere : Int4Down {
  static constexpr const char* kName = "INT4 everywhere";
  using OutputInput = Quantizer<Int<4>, AbsMean>;
};
struct Fp4Everywhere : A48Fp4 {
  static constexpr const char* kName = "FP4 everywhere";
  using DownInput = Quantizer<Fp4E2M1, MinMax>;
};

struct Study {
  std::optional<uint64_t> steps;  // without: 2000, or 40 with `quick`
  double share = 0.05;
  std::string text, csv;
  bool quick = false;
};

constexpr const char* kHelp =
    "compare_stages: trains one first stage (W1.58A8), then goes on from its end with several schemes\n"
    "  --text FILE  train on this text, byte by byte (default: the repository's headers and documents)\n"
    "  --steps N    steps of each run, both stages (default 2000)\n"
    "  --share P    share of the steps that the second stage is (default 0.05)\n"
    "  --csv FILE   write the losses\n"
    "  --quick      a tiny model, and 40 steps unless --steps says else\n";

Study ParseArguments(int argc, char** argv) {
  Study study;
  Options options(argc, argv, kHelp);
  while (options.Next()) {
    if (options.Is("--quick")) {
      study.quick = true;
    } else if (options.Is("--text")) {
      study.text = options.Value();
    } else if (options.Is("--steps")) {
      study.steps = options.Whole(20, 1e9);
    } else if (options.Is("--share")) {
      study.share = options.Number(0.0, 1.0);
    } else if (options.Is("--csv")) {
      study.csv = options.Value();
    } else {
      options.RefuseUnknown();
    }
  }
  return study;
}

using FirstStage = Trainer<B158, B158>;

class Table {
 public:
  explicit Table(const std::string& csv) {
    if (csv.empty()) return;
    file_ = std::fopen(csv.c_str(), "wb");
    if (file_ == nullptr) Stop(csv + ": cannot be opened for writing: " + SystemReason(errno));
    std::fputs("scheme,step,training_loss,validation_loss\n", file_);
  }
  ~Table() {
    if (file_ != nullptr) std::fclose(file_);
  }
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;

  void Add(const char* scheme, uint64_t step, double training, double validation) {
    if (file_ == nullptr) return;
    std::fprintf(file_, "\"%s\",%llu,%.5f,%.5f\n", scheme, static_cast<unsigned long long>(step), training, validation);
    std::fflush(file_);
  }

 private:
  std::FILE* file_ = nullptr;
};

// Runs to the end, with the validation loss every so often; returns the last one.
template <class AnyTrainer>
double Finish(AnyTrainer& trainer, const char* name, uint64_t until, uint64_t every, Table& table) {
  double validation = 0.0, sum = 0.0;
  uint64_t count = 0;
  const Result<Done> run = trainer.Run([&](const StepReport& report) {
    sum += report.loss;
    ++count;
    const bool last = report.step + 1 == until;
    if (last || (report.step + 1) % every == 0) {
      validation = trainer.ValidationLoss();
      table.Add(name, report.step + 1, sum / static_cast<double>(count), validation);
      sum = 0.0;
      count = 0;
    }
    return !last;
  });
  if (!run.ok()) std::printf("  %s\n", run.error().c_str());
  return validation;
}

template <Scheme S>
void Report(const FirstStage& first, uint64_t every, double reference, Table& table) {
  auto trainer = first.template Fork<S>();
  const double loss = Finish(trainer, S::kName, trainer.options().steps, every, table);
  std::printf("  %-22s %.4f   %+.1f %%\n", S::kName, loss, 100.0 * (loss / reference - 1.0));
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const Study study = ParseArguments(argc, argv);
  ModelConfig config;
  config.hidden = study.quick ? 64 : 256;
  config.layers = study.quick ? 2 : 3;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = study.quick ? 16 : 64;
  config.ffn = study.quick ? 160 : 512;
  config.max_positions = 256;

  TrainOptions options;
  options.steps = study.steps.value_or(study.quick ? 40 : 2000);
  options.batch = study.quick ? 4 : 16;
  options.sequence = study.quick ? 48 : 128;
  options.stage2_share = study.share;
  options.learning_rate = 3e-3f;
  options.second_learning_rate = 2e-3f;
  options.warmup = std::min<uint64_t>(375, options.steps / 10);
  if (study.quick) options.validation_windows = 8;
  // All is compared with the end of stage 1, and after stage 2.
  const uint64_t begin = options.Stage2Begin();
  if (begin == 0 || begin == options.steps) {
    char why[120];
    std::snprintf(why, sizeof(why), "--share %g of %llu training steps leaves stage %d none", study.share,
                  static_cast<unsigned long long>(options.steps), begin == 0 ? 1 : 2);
    Stop(why);
  }

  auto [corpus, text_name] = LoadText(study.text);
  FirstStage first = Need(FirstStage::Create(config, options, corpus));
  Table table(study.csv);
  std::printf("text: %s; %llu weights; %llu steps of %llu tokens, the last %llu of them as below\n", text_name.c_str(),
              static_cast<unsigned long long>(ProjectionWeights(config)),
              static_cast<unsigned long long>(options.steps), static_cast<unsigned long long>(options.TokensPerStep()),
              static_cast<unsigned long long>(options.steps - options.Stage2Begin()));
  std::fflush(stdout);
  Finish(first, "stage 1", options.Stage2Begin(), std::max<uint64_t>(1, options.steps / 40), table);

  const uint64_t every = std::max<uint64_t>(1, (options.steps - options.Stage2Begin()) / 10);
  auto same = first.Fork<B158>();
  const double reference = Finish(same, B158::kName, options.steps, every, table);
  std::printf("\nValidation loss after all steps, nats a byte, and against b1.58 trained as long\n");
  std::printf("  %-22s %.4f\n", B158::kName, reference);
  std::fflush(stdout);
  Report<A48>(first, every, reference, table);
  Report<A48Fp4>(first, every, reference, table);
  Report<Fp4Everywhere>(first, every, reference, table);
  Report<Int4Down>(first, every, reference, table);
  Report<Int4Everywhere>(first, every, reference, table);
}
