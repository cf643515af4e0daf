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
//   --temperature T, --top-k K, --top-p P, --seed N, --threads N
//   --i2s A|B|C                        the layout of I2_S, which files do not say (official files: A)
#include <bitnet/io.h>

#include <unistd.h>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <iostream>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "program.h"
#include "small_gguf.h"

using namespace bitnet;

namespace {

struct Arguments {
  std::string model, prompt, scheme = "b158", perplexity;
  bool has_prompt = false;
  size_t tokens = std::numeric_limits<size_t>::max(), cache_bits = 0, threads = 0;
  SamplerOptions sampler = {.temperature = 0.0f};
  uint64_t seed = 1;
  CheckpointOptions checkpoint;
};

double Seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Ctrl-C: ends the reply, or the program where none is on its way.
volatile std::sig_atomic_t replying = 0, interrupted = 0;
void OnInterrupt(int) {
  if (replying == 0) std::_Exit(130);
  interrupted = 1;
}

void ShowProgress(size_t read, size_t all) {
  if (isatty(2) == 0) return;
  std::fprintf(stderr, "\rloading [%-40s] %zu of %zu", std::string(40 * (read + 1) / all, '#').c_str(), read + 1, all);
  if (read + 1 == all) std::fprintf(stderr, "\r%60s\r", "");
}

// A model, a conversation with it, and what both have cost so far.
template <Scheme S>
class Program {
 public:
  using Model = AnyModel<WithChosenCache<S>>;

  Program(const Checkpoint& checkpoint, const LoadedTokenizer& tokenizer, const Arguments& arguments,
          const SimdBackend& backend)
      : arguments_(arguments),
        loaded_(tokenizer),
        model_(Need(LoadAnyModel<WithChosenCache<S>>(
            checkpoint, {.progress = ShowProgress, .cache_bits = arguments.cache_bits}, backend))),
        state_(model_.NewState()),
        random_(arguments.seed) {
    options_.max_new_tokens = arguments.tokens;
    options_.stop_tokens.assign(loaded_.tokenizer.ends().begin(), loaded_.tokenizer.ends().end());
    options_.sampler = arguments.sampler;
  }

  void GoOn() {
    std::printf("%s", arguments_.prompt.c_str());
    Reply(Need(loaded_.tokenizer.Encode(arguments_.prompt)));
    std::printf("\n");
  }

  void Chat() {
    const ChatFormat* format = FindChatFormat(loaded_.chat_template);
    if (format == nullptr) {
      Stop(arguments_.model +
           (loaded_.chat_template.empty() ? ": it has no chat template" : ": its chat template is not known") +
           "; give a prompt with -p");
    }
    std::vector<Token> next;
    while (true) {
      std::printf("> ");
      std::fflush(stdout);
      std::string text;
      if (!std::getline(std::cin, text)) break;
      const ChatMessage message = {ChatRole::kUser, text};
      const auto tokens =
          Need(EncodeChat(loaded_.tokenizer, *format, std::span(&message, 1), {.at_start = state_.length() == 0}));
      next.insert(next.end(), tokens.begin(), tokens.end());
      const Generated reply = Reply(next);
      std::printf("\n");
      if (reply.end == GenerateEnd::kFull) Stop("the conversation is as long as the model allows");
      next = reply.pending;
      const Token last = !reply.pending.empty()  ? reply.pending.back()
                         : !reply.tokens.empty() ? reply.tokens.back()
                                                 : tokens.back();
      const auto after = Need(AfterReply(loaded_.tokenizer, *format, last));
      next.insert(next.end(), after.begin(), after.end());
    }
    std::printf("\n");
  }

  void ScoreFile() {
    const std::vector<uint8_t> bytes = Need(ReadFile(arguments_.perplexity));
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    const std::vector<Token> tokens = Need(loaded_.tokenizer.Encode(text, {.add_special = false}));
    const double begin = Seconds();
    ScoreOptions options;
    options.context = std::min<size_t>(512, model_.config().max_positions);
    if (loaded_.tokenizer.named().add_bos) options.begin = loaded_.tokenizer.named().bos;
    options.after = [&](size_t scored) {
      if (isatty(2) != 0) std::fprintf(stderr, "\r%zu of %zu tokens", scored, tokens.size());
      return true;
    };
    const TextScore score = Need(ScoreText(model_, tokens, options));
    std::fprintf(stderr, "\n");
    std::printf("perplexity %.4f (%.4f nats a token, %zu tokens in windows of %zu)\n", score.Perplexity(),
                score.nats / static_cast<double>(score.tokens), score.tokens, options.context);
    prompt_tokens_ += score.tokens;
    prompt_seconds_ += Seconds() - begin;
  }

  void ReportCost() const {
    const ModelBytes bytes = model_.Bytes();
    const auto mb = [](size_t n) { return 1e-6 * static_cast<double>(n); };
    const auto rate = [](size_t n, double seconds) { return static_cast<double>(n) / (seconds + 1e-9); };
    std::fprintf(stderr, "prompt: %zu tokens, %.1f a second; reply: %zu tokens, %.1f a second\n", prompt_tokens_,
                 rate(prompt_tokens_, prompt_seconds_), reply_tokens_, rate(reply_tokens_, reply_seconds_));
    std::fprintf(stderr, "memory: %.1f MB of projections, %.1f MB of embedding and head, %.1f MB of cache\n",
                 mb(bytes.projections), mb(bytes.embedding), mb(state_.CacheBytes()));
  }

 private:
  Generated Reply(const std::vector<Token>& prompt) {
    TextDecoder text(loaded_.tokenizer, {.at_start = false});
    const double begin = Seconds();
    double first = 0.0;
    interrupted = 0;
    replying = 1;
    Generated reply = Need(Generate(model_, state_, prompt, options_, random_, [&](Token token) {
      if (first == 0.0) first = Seconds();
      std::printf("%s", Need(text.Append(token)).c_str());
      std::fflush(stdout);
      return interrupted == 0;
    }));
    replying = 0;
    std::printf("%s", text.Finish().c_str());
    const double end = Seconds();
    if (first == 0.0) first = end;
    prompt_tokens_ += prompt.size();
    prompt_seconds_ += first - begin;
    reply_tokens_ += reply.tokens.empty() ? 0 : reply.tokens.size() - 1;  // the first came with the prompt
    reply_seconds_ += end - first;
    return reply;
  }

  const Arguments& arguments_;
  const LoadedTokenizer& loaded_;
  Model model_;
  typename Model::State state_;
  GenerateOptions options_;
  Random random_;
  size_t prompt_tokens_ = 0, reply_tokens_ = 0;
  double prompt_seconds_ = 0.0, reply_seconds_ = 0.0;
};

template <Scheme S>
void RunWith(const Checkpoint& checkpoint, const LoadedTokenizer& tokenizer, const Arguments& arguments,
             const SimdBackend& backend) {
  Program<S> program(checkpoint, tokenizer, arguments, backend);
  if (!arguments.perplexity.empty()) {
    program.ScoreFile();
  } else if (arguments.has_prompt) {
    program.GoOn();
  } else {
    program.Chat();
  }
  program.ReportCost();
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  bool quick = false, chat = false;
  const auto usage = [](const std::string& why) {
    Stop(why +
         "; run MODEL [-p PROMPT | --perplexity FILE] [-n TOKENS] [--scheme b158|a48|a48-fp4] [--kv 16|8|4|3] "
         "[--threads N] [--temperature T] [--top-k K] [--top-p P] [--seed N] [--i2s A|B|C], or run --quick [--chat]");
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
      arguments.prompt = value();
      arguments.has_prompt = true;
    } else if (option == "-n") {
      arguments.tokens = static_cast<size_t>(ParseWhole("-n", value(), 1, 1e6));
    } else if (option == "--perplexity") {
      arguments.perplexity = value();
    } else if (option == "--scheme") {
      arguments.scheme = one_of({"b158", "a48", "a48-fp4"});
    } else if (option == "--kv") {
      arguments.cache_bits = static_cast<size_t>(std::stoul(one_of({"16", "8", "4", "3"})));
    } else if (option == "--i2s") {
      arguments.checkpoint.decode.i2s = static_cast<I2sLayout>(one_of({"A", "B", "C"})[0] - 'A');
    } else if (option == "--threads") {
      arguments.threads = static_cast<size_t>(ParseWhole("--threads", value(), 1, 1024));
    } else if (option == "--temperature") {
      arguments.sampler.temperature = static_cast<float>(ParseNumber("--temperature", value(), 0, 100));
    } else if (option == "--top-k") {
      arguments.sampler.top_k = static_cast<size_t>(ParseWhole("--top-k", value(), 0, 1e6));
    } else if (option == "--top-p") {
      arguments.sampler.top_p = static_cast<float>(ParseNumber("--top-p", value(), 1e-6, 1));
    } else if (option == "--seed") {
      arguments.seed = ParseWhole("--seed", value(), 0, 9e15);
    } else if (option.starts_with("-") || !arguments.model.empty()) {
      usage("'" + option + "' is not known");
    } else {
      arguments.model = option;
    }
  }
  if (quick) {
    arguments.model = (std::filesystem::temp_directory_path() / "bitnet_run_quick.gguf").string();
    if (!arguments.has_prompt && !chat) {
      arguments.prompt = "Two bits ";
      arguments.has_prompt = true;
    }
    arguments.tokens = 24;
    MakeSmallGguf(arguments.model, "I2_S");
  }
  if (arguments.model.empty()) usage("which model?");
  if (arguments.cache_bits == 0) arguments.cache_bits = arguments.scheme == "b158" ? 8 : 3;
  std::signal(SIGINT, OnInterrupt);

  ThreadPool pool(arguments.threads == 0 ? DefaultExecutor().Threads() : arguments.threads);
  const SimdBackend backend(pool);
  const Checkpoint checkpoint = Need(Checkpoint::Open(arguments.model, arguments.checkpoint));
  const LoadedTokenizer tokenizer = Need(LoadTokenizer(arguments.model));
  for (const std::string& note : tokenizer.notes) std::fprintf(stderr, "%s\n", note.c_str());
  if (arguments.scheme == "b158") {
    RunWith<B158>(checkpoint, tokenizer, arguments, backend);
  } else if (arguments.scheme == "a48") {
    RunWith<A48>(checkpoint, tokenizer, arguments, backend);
  } else {
    RunWith<A48Fp4>(checkpoint, tokenizer, arguments, backend);
  }
  if (quick) std::filesystem::remove(arguments.model);
}
