// Text from a ternary model that people have: a GGUF file, or a folder of transformers.
//
//   run MODEL [-p PROMPT | --perplexity FILE]    (--help says more)
#include <bitnet/bitnet.h>
#include <bitnet/io/checkpoint.h>
#include <bitnet/io/load_tokenizer.h>

#include <unistd.h>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <string>

#include "i2s_option.h"
#include "options.h"
#include "program.h"
#include "run_model.h"
#include "small_gguf.h"

using namespace bitnet;

#ifndef BITNET_RUN_HAS_CUDA  // (else it is in run.cu)
void RunOnCuda(const Checkpoint&, const LoadedTokenizer&, const RunOptions&) {
  Stop("--device cuda: this program was built without CUDA; configure with -DBITNET_ENABLE_CUDA=ON (docs/cuda.md)");
}
#endif

constexpr const char* kHelp =
    "run MODEL: text from a ternary model that people have: a GGUF file, or a folder of transformers\n"
    "  run MODEL                          a chat, whose cache stays over the turns; Ctrl-C ends a reply\n"
    "  run MODEL -p PROMPT                the prompt, gone on with\n"
    "  run MODEL --perplexity FILE        how well the model predicts a text\n"
    "  run --quick [--chat]               makes a small file of untrained weights and runs that\n"
    "  -n TOKENS                          of a reply at most (default: all there is room for)\n"
    "  --scheme b158|a48|a48-fp4          inputs of 8 bits (the models' own), or as a4.8 has them: INT4 or FP4\n"
    "  --kv 16|8|4|3                      bits of the cache (default 8; 3 with a4.8)\n"
    "  --device cpu|cuda                  where the model is; cuda: the first GPU, of a build with BITNET_ENABLE_CUDA\n"
    "  --threads N                        (default: one a CPU)\n"
    "  --temperature T, --top-k K, --top-p P, --seed N\n"
    "  --i2s A|B|C                        the layout of I2_S, which files do not say (official files: A)\n";

int main(int argc, char** argv) {
  RunOptions run;
  CheckpointOptions open;
  std::string model, device = "cpu";
  size_t threads = 0;
  bool quick = false, chat = false;
  Options options(argc, argv, kHelp);
  while (options.Next()) {
    if (options.Is("--quick")) {
      quick = true;
    } else if (options.Is("--chat")) {
      chat = true;
    } else if (options.Is("-p")) {
      run.prompt = options.Value();
      run.has_prompt = true;
    } else if (options.Is("-n")) {
      run.tokens = static_cast<size_t>(options.Whole(1, 1e6));
    } else if (options.Is("--perplexity")) {
      run.perplexity = options.Value();
    } else if (options.Is("--scheme")) {
      run.scheme = options.OneOf({"b158", "a48", "a48-fp4"});
    } else if (options.Is("--kv")) {
      run.cache_bits = std::stoul(options.OneOf({"16", "8", "4", "3"}));
    } else if (options.Is("--i2s")) {
      open.decode.i2s = I2sLayoutOf(options);
    } else if (options.Is("--device")) {
      device = options.OneOf({"cpu", "cuda"});
    } else if (options.Is("--threads")) {
      threads = static_cast<size_t>(options.Whole(1, 1024));
    } else if (options.Is("--temperature")) {
      run.sampler.temperature = static_cast<float>(options.Number(0, 100));
    } else if (options.Is("--top-k")) {
      run.sampler.top_k = static_cast<size_t>(options.Whole(0, 1e6));
    } else if (options.Is("--top-p")) {
      run.sampler.top_p = static_cast<float>(options.Number(1e-6, 1));
    } else if (options.Is("--seed")) {
      run.seed = options.Whole(0, 9e15);
    } else if (options.IsPath() && model.empty()) {
      model = options.Path();
    } else {
      options.RefuseUnknown();
    }
  }
  if (device == "cuda" && threads != 0) options.Misused("--threads is of --device cpu");
  if (quick) {
    const std::string name = "bitnet_run_quick_" + std::to_string(getpid()) + ".gguf";
    model = (std::filesystem::temp_directory_path() / name).string();
    if (!run.has_prompt && !chat) {
      run.prompt = "Two bits ";
      run.has_prompt = true;
    }
    run.tokens = 24;
    MakeSmallGguf(model, "I2_S");
  }
  if (model.empty()) options.Misused("which model?");
  if (run.cache_bits == 0) run.cache_bits = run.scheme == "b158" ? 8 : 3;
  std::signal(SIGINT, OnInterrupt);

  const Checkpoint checkpoint = Need(Checkpoint::Open(model, open));
  const LoadedTokenizer tokenizer = Need(LoadTokenizer(model));
  for (const std::string& note : tokenizer.notes) std::fprintf(stderr, "%s\n", note.c_str());
  if (quick) std::filesystem::remove(model);  // (mapped, it can be read yet)
  if (device == "cuda") {
    RunOnCuda(checkpoint, tokenizer, run);
  } else {
    ThreadPool pool(threads == 0 ? DefaultExecutor().Threads() : threads);
    RunModel(checkpoint, tokenizer, run, SimdBackend(pool));
  }
}
