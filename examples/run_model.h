// RunModel: what run does with a model, on any backend: goes on with a prompt, chats, or says how well a text is
// predicted. Free of any backend's headers, so that g++ compiles it for CPUs (run.cc) and nvcc for GPUs (run.cu).
#ifndef BITNET_EXAMPLES_RUN_MODEL_H_
#define BITNET_EXAMPLES_RUN_MODEL_H_

#include <bitnet/backend/backend.h>
#include <bitnet/base/file.h>
#include <bitnet/base/random.h>
#include <bitnet/io/any_model.h>
#include <bitnet/io/chat_template.h>
#include <bitnet/io/checkpoint.h>
#include <bitnet/io/load_tokenizer.h>
#include <bitnet/io/text_decoder.h>
#include <bitnet/model/generate.h>
#include <bitnet/model/perplexity.h>
#include <bitnet/scheme/cache.h>
#include <bitnet/scheme/scheme.h>

#include <unistd.h>
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "program.h"

struct RunOptions {
  std::string scheme = "b158";
  size_t cache_bits = 0;
  std::string perplexity = "";  // the file to score; else the prompt is gone on with; else it is a chat
  std::string prompt = "";
  bool has_prompt = false;
  size_t tokens = std::numeric_limits<size_t>::max();
  bitnet::SamplerOptions sampler = {.temperature = 0.0f};
  uint64_t seed = 1;
  std::istream* in = &std::cin;
  std::FILE* out = stdout;
};

// Ctrl-C: ends the reply, or the program where none is on its way, or where the reply does not come (while a long
// prompt is read) and it is pressed again.
inline volatile std::sig_atomic_t replying = 0, interrupted = 0;
inline void OnInterrupt(int) {
  if (replying == 0 || interrupted != 0) std::_Exit(130);
  interrupted = 1;
}

inline double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

inline void ShowProgress(size_t read, size_t all) {
  if (isatty(2) == 0) return;
  std::fprintf(stderr, "\rloading [%-40s] %zu of %zu", std::string(40 * (read + 1) / all, '#').c_str(), read + 1, all);
  if (read + 1 == all) std::fprintf(stderr, "\r%60s\r", "");
}

// A model, a conversation with it, and what both have cost so far.
template <bitnet::Scheme S, bitnet::Backend B>
class Program {
 public:
  Program(const bitnet::Checkpoint& checkpoint, const bitnet::LoadedTokenizer& tokenizer, const RunOptions& run,
          const B& backend)
      : run_(run),
        path_(checkpoint.path()),
        loaded_(tokenizer),
        model_(Need(
            bitnet::LoadAnyModel<S>(checkpoint, {.progress = ShowProgress, .cache_bits = run.cache_bits}, backend))),
        state_(model_.NewState()),
        random_(run.seed) {
    options_.max_new_tokens = run.tokens;
    options_.stop_tokens.assign(loaded_.tokenizer.ends().begin(), loaded_.tokenizer.ends().end());
    options_.sampler = run.sampler;
  }

  void GoOn() {
    Print(run_.prompt);
    Reply(Need(loaded_.tokenizer.Encode(run_.prompt)));
    Print("\n");
  }

  void Chat() {
    const bitnet::ChatFormat* format = bitnet::FindChatFormat(loaded_.chat_template);
    if (format == nullptr) {
      Stop(path_ + (loaded_.chat_template.empty() ? ": it has no chat template" : ": its chat template is not known") +
           "; give a prompt with -p");
    }
    std::vector<bitnet::Token> next;
    while (true) {
      Print("> ");
      std::string text;
      if (!std::getline(*run_.in, text)) break;
      const bitnet::ChatMessage message = {bitnet::ChatRole::kUser, text};
      const auto tokens = Need(
          bitnet::EncodeChat(loaded_.tokenizer, *format, std::span(&message, 1), {.at_start = state_.length() == 0}));
      next.insert(next.end(), tokens.begin(), tokens.end());
      const bitnet::Generated reply = Reply(next);
      Print("\n");
      if (reply.end == bitnet::GenerateEnd::kFull) Stop("the conversation is as long as the model allows");
      next = reply.pending;
      const bitnet::Token last = !reply.pending.empty()  ? reply.pending.back()
                                 : !reply.tokens.empty() ? reply.tokens.back()
                                                         : tokens.back();
      const auto after = Need(bitnet::AfterReply(loaded_.tokenizer, *format, last));
      next.insert(next.end(), after.begin(), after.end());
    }
    Print("\n");
  }

  void ScoreFile() {
    const std::vector<uint8_t> bytes = Need(bitnet::ReadFile(run_.perplexity));
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    const std::vector<bitnet::Token> tokens = Need(loaded_.tokenizer.Encode(text, {.add_special = false}));
    const double begin = Seconds();
    bitnet::ScoreOptions options;
    options.context = std::min<size_t>(512, model_.config().max_positions);
    if (loaded_.tokenizer.named().add_bos) options.begin = loaded_.tokenizer.named().bos;
    options.after = [&](size_t scored) {
      if (isatty(2) != 0) std::fprintf(stderr, "\r%zu of %zu tokens", scored, tokens.size());
      return true;
    };
    const bitnet::TextScore score = Need(bitnet::ScoreText(model_, tokens, options));
    std::fprintf(stderr, "\n");
    std::fprintf(run_.out, "perplexity %.4f (%.4f nats a token, %zu tokens in windows of %zu)\n", score.Perplexity(),
                 score.nats / static_cast<double>(score.tokens), score.tokens, options.context);
    prompt_tokens_ += score.tokens;
    prompt_seconds_ += Seconds() - begin;
  }

  void ReportCost() const {
    const bitnet::ModelBytes bytes = model_.Bytes();
    const auto mb = [](size_t n) { return 1e-6 * static_cast<double>(n); };
    const auto rate = [](size_t n, double seconds) { return static_cast<double>(n) / (seconds + 1e-9); };
    std::fprintf(stderr, "prompt: %zu tokens, %.1f a second; reply: %zu tokens, %.1f a second\n", prompt_tokens_,
                 rate(prompt_tokens_, prompt_seconds_), reply_tokens_, rate(reply_tokens_, reply_seconds_));
    std::fprintf(stderr, "memory: %.1f MB of projections, %.1f MB of embedding and head, %.1f MB of cache\n",
                 mb(bytes.projections), mb(bytes.embedding), mb(state_.CacheBytes()));
  }

 private:
  void Print(std::string_view text) const {
    std::fwrite(text.data(), 1, text.size(), run_.out);
    std::fflush(run_.out);
  }

  bitnet::Generated Reply(const std::vector<bitnet::Token>& prompt) {
    bitnet::TextDecoder text(loaded_.tokenizer, {.at_start = false});
    const double begin = Seconds();
    double first = 0.0;
    interrupted = 0;
    replying = 1;
    bitnet::Generated reply =
        Need(bitnet::Generate(model_, state_, prompt, options_, random_, [&](bitnet::Token token) {
          if (first == 0.0) first = Seconds();
          Print(Need(text.Append(token)));
          return interrupted == 0;
        }));
    replying = 0;
    Print(text.Finish());
    const double end = Seconds();
    if (first == 0.0) first = end;
    prompt_tokens_ += prompt.size();
    prompt_seconds_ += first - begin;
    reply_tokens_ += reply.tokens.empty() ? 0 : reply.tokens.size() - 1;  // the first came with the prompt
    reply_seconds_ += end - first;
    return reply;
  }

  const RunOptions& run_;
  const std::string path_;
  const bitnet::LoadedTokenizer& loaded_;
  bitnet::AnyModel<S, B> model_;
  typename bitnet::AnyModel<S, B>::State state_;
  bitnet::GenerateOptions options_;
  bitnet::Random random_;
  size_t prompt_tokens_ = 0, reply_tokens_ = 0;
  double prompt_seconds_ = 0.0, reply_seconds_ = 0.0;
};

template <bitnet::Scheme S, bitnet::Backend B>
void RunScheme(const bitnet::Checkpoint& checkpoint, const bitnet::LoadedTokenizer& tokenizer, const RunOptions& run,
               const B& backend) {
  Program<S, B> program(checkpoint, tokenizer, run, backend);
  if (!run.perplexity.empty()) {
    program.ScoreFile();
  } else if (run.has_prompt) {
    program.GoOn();
  } else {
    program.Chat();
  }
  program.ReportCost();
}

template <bitnet::Backend B>
void RunModel(const bitnet::Checkpoint& checkpoint, const bitnet::LoadedTokenizer& tokenizer, const RunOptions& run,
              const B& backend) {
  using namespace bitnet;
  if (run.scheme == "b158") return RunScheme<WithChosenCache<B158>>(checkpoint, tokenizer, run, backend);
  if (run.scheme == "a48") return RunScheme<WithChosenCache<A48>>(checkpoint, tokenizer, run, backend);
  RunScheme<WithChosenCache<A48Fp4>>(checkpoint, tokenizer, run, backend);
}

// On the first GPU: run.cu, of programs with CUDA.
void RunOnCuda(const bitnet::Checkpoint& checkpoint, const bitnet::LoadedTokenizer& tokenizer, const RunOptions& run);

#endif  // BITNET_EXAMPLES_RUN_MODEL_H_
