// Text from a ternary model that people have: a GGUF file, or a folder of transformers.
//
//   run MODEL                          a chat, whose cache stays over the turns; Ctrl-C ends a reply
//   run MODEL -p PROMPT                the prompt, gone on with
//   run MODEL --perplexity FILE        how well the model predicts a text
//   run --quick [--chat]               makes a small file of untrained weights and runs that
//
//   -n TOKENS                          of a reply at most (default: all there is room for)
//   --scheme b158|a48|a48-fp4          inputs of 8 bits (the models' own), or as a4.8 has them: INT4 or FP4
//   --kv 16|8|4|3                      bits of the cache; default 8, and 3 with a4.8
//   --device cpu|cuda                  where the model is; cuda: the first GPU, of a build with BITNET_ENABLE_CUDA
//   --temperature T, --top-k K, --top-p P, --seed N, --threads N
//   --i2s A|B|C                        the layout of I2_S, which files do not say (official files: A)
#include <bitnet/bitnet.h>
#include <bitnet/io/checkpoint.h>
#include <bitnet/io/load_tokenizer.h>

#include <unistd.h>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <initializer_list>
#include <string>

#include "program.h"
#include "run_model.h"
#include "small_gguf.h"

using namespace bitnet;

#ifndef BITNET_RUN_HAS_CUDA  // (else it is in run.cu)
void RunOnCuda(const Checkpoint&, const LoadedTokenizer&, const RunOptions&) {
  Stop("--device cuda: this program was built without CUDA; configure with -DBITNET_ENABLE_CUDA=ON (docs/cuda.md)");
}
#endif

int main(int argc, char** argv) {
  RunOptions run;
  CheckpointOptions open;
  std::string model, device = "cpu";
  size_t threads = 0;
  bool quick = false, chat = false;
  const auto usage = [](const std::string& why) {
    Stop(why +
         "; run MODEL [-p PROMPT | --perplexity FILE] [-n TOKENS] [--scheme b158|a48|a48-fp4] [--kv 16|8|4|3] "
         "[--device cpu|cuda] [--threads N] [--temperature T] [--top-k K] [--top-p P] [--seed N] [--i2s A|B|C], or run "
         "--quick [--chat]");
  };
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    const auto value = [&]() -> std::string {
      if (i + 1 == argc) usage(option + " needs a value");
      return argv[++i];
    };
    const auto one_of = [&](std::initializer_list<const char*> words) {
      const std::string word = value();
      for (const char* known : words) {
        if (word == known) return word;
      }
      usage(option + " does not take '" + word + "'");
      return word;
    };
    if (option == "--quick") {
      quick = true;
    } else if (option == "--chat") {
      chat = true;
    } else if (option == "-p") {
      run.prompt = value();
      run.has_prompt = true;
    } else if (option == "-n") {
      run.tokens = static_cast<size_t>(ParseWhole("-n", value(), 1, 1e6));
    } else if (option == "--perplexity") {
      run.perplexity = value();
    } else if (option == "--scheme") {
      run.scheme = one_of({"b158", "a48", "a48-fp4"});
    } else if (option == "--kv") {
      run.cache_bits = static_cast<size_t>(std::stoul(one_of({"16", "8", "4", "3"})));
    } else if (option == "--i2s") {
      open.decode.i2s = static_cast<I2sLayout>(one_of({"A", "B", "C"})[0] - 'A');
    } else if (option == "--device") {
      device = one_of({"cpu", "cuda"});
    } else if (option == "--threads") {
      threads = static_cast<size_t>(ParseWhole("--threads", value(), 1, 1024));
    } else if (option == "--temperature") {
      run.sampler.temperature = static_cast<float>(ParseNumber("--temperature", value(), 0, 100));
    } else if (option == "--top-k") {
      run.sampler.top_k = static_cast<size_t>(ParseWhole("--top-k", value(), 0, 1e6));
    } else if (option == "--top-p") {
      run.sampler.top_p = static_cast<float>(ParseNumber("--top-p", value(), 1e-6, 1));
    } else if (option == "--seed") {
      run.seed = ParseWhole("--seed", value(), 0, 9e15);
    } else if (option.starts_with("-") || !model.empty()) {
      usage("'" + option + "' is not known");
    } else {
      model = option;
    }
  }
  if (device == "cuda" && threads != 0) usage("--threads is of --device cpu");
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
  if (model.empty()) usage("which model?");
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
