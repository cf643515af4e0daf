// TryCheckpoint: what a checkpoint's model makes of a text: which layout of I2_S its weights have (a wrong one predicts
// nothing), what inputs of 4 bits and a cache of 3 cost, and how many weights a token skips. Added to a report of
// io/examine_checkpoint.h.
//
//   CheckpointReport report = ExamineCheckpoint(path);
//   TryCheckpoint(text, {}, report);
#ifndef BITNET_IO_TRY_CHECKPOINT_H_
#define BITNET_IO_TRY_CHECKPOINT_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/default_backend.h"
#include "bitnet/base/result.h"
#include "bitnet/io/any_model.h"
#include "bitnet/io/checkpoint.h"
#include "bitnet/io/checkpoint_report.h"
#include "bitnet/io/load_tokenizer.h"
#include "bitnet/model/perplexity.h"
#include "bitnet/scheme/cache.h"
#include "bitnet/scheme/scheme.h"

namespace bitnet {

struct TrialOptions {
  CheckpointOptions checkpoint = {};
  size_t most_tokens = 1024;         // of the text; the rest is left out
  size_t most_tokens_a_layout = 64;  // by which layouts are told apart
};

namespace detail {

template <Scheme S, Backend B>
Result<double> PerplexityAs(const B& backend, const Checkpoint& checkpoint, std::span<const Token> tokens,
                            std::optional<Token> begin, size_t cache_bits, WeightUse* use = nullptr) {
  const auto model = LoadAnyModel<S>(checkpoint, {.cache_bits = cache_bits}, backend);
  if (!model.ok()) return Error{model.error()};
  ScoreOptions options;
  options.context = std::min<size_t>(options.context, model->config().max_positions);
  options.begin = begin;
  const Result<TextScore> score = ScoreText(*model, tokens, options);
  if (!score.ok()) return Error{score.error()};
  if (use != nullptr) {
    auto state = model->NewState();
    state.CountWeights(true);
    const auto counted = model->Feed(tokens.first(std::min(tokens.size(), options.context)), state);
    if (!counted.ok()) return Error{counted.error()};
    *use = state.TotalWeightUse();
  }
  return score->Perplexity();
}

inline CheckpointTrial::Score ScoreOf(std::string name, const Result<double>& perplexity) {
  if (!perplexity.ok()) return {std::move(name), 0.0, perplexity.error()};
  if (!std::isfinite(*perplexity)) return {std::move(name), 0.0, "its perplexity is not finite"};
  return {std::move(name), *perplexity, {}};
}

}  // namespace detail

// S: the models' own scheme, but for its cache. Loads the model anew for each trial, one at a time. Where it cannot be
// run a finding says why; a layout of I2_S that predicts the text far better than the one that was chosen is an error.
template <Scheme S = B158, Backend B = DefaultBackend<S>>
void TryCheckpoint(std::string_view text, const TrialOptions& options, CheckpointReport& report,
                   const B& backend = B()) {
  const auto fail = [&](const std::string& why) { report.Add(Severity::kError, "trial", report.path, why); };
  const Result<LoadedTokenizer> loaded = LoadTokenizer(report.path);
  if (!loaded.ok()) return fail(loaded.error());
  Result<std::vector<Token>> encoded = loaded->tokenizer.Encode(text, {.add_special = false});
  if (!encoded.ok()) return fail(encoded.error());
  const std::span<const Token> tokens = std::span(*encoded).first(std::min(encoded->size(), options.most_tokens));
  const NamedTokens& named = loaded->tokenizer.named();
  const std::optional<Token> begin = named.add_bos ? named.bos : std::nullopt;
  CheckpointTrial trial;
  trial.tokens = tokens.size();

  using OfTwoCaches = WithChosenCache<S, WithInt8Cache<S>, WithSmallCache<S, 3>>;
  const bool has_i2s = std::any_of(report.tensors.begin(), report.tensors.end(),
                                   [](const TensorReport& tensor) { return tensor.type == "I2_S"; });
  const auto few = tokens.first(std::min(tokens.size(), options.most_tokens_a_layout));
  for (const I2sLayout layout : {I2sLayout::kA, I2sLayout::kB, I2sLayout::kC}) {
    if (!has_i2s) break;
    CheckpointOptions as = options.checkpoint;
    as.decode.i2s = layout;
    const Result<Checkpoint> checkpoint = Checkpoint::Open(report.path, as);
    const std::string name = std::string("layout ") +
                             (layout == I2sLayout::kA   ? "A"
                              : layout == I2sLayout::kB ? "B"
                                                        : "C") +
                             " of I2_S";
    trial.layouts.push_back(
        detail::ScoreOf(name, checkpoint.ok() ? detail::PerplexityAs<OfTwoCaches>(backend, *checkpoint, few, begin, 8)
                                              : Result<double>(Error{checkpoint.error()})));
  }
  if (has_i2s) {
    const auto better = [](const auto& a, const auto& b) {
      return a.fault.empty() && (!b.fault.empty() || a.perplexity < b.perplexity);
    };
    const auto best = std::min_element(trial.layouts.begin(), trial.layouts.end(), better);
    const auto& chosen = trial.layouts[static_cast<size_t>(options.checkpoint.decode.i2s)];
    // A wrong layout is noise: its perplexity is of the vocabulary's size. Two that are near each other say nothing.
    if (best->fault.empty() && (!chosen.fault.empty() || best->perplexity < 0.5 * chosen.perplexity)) {
      report.Add(Severity::kError, "i2s-layout", report.path,
                 chosen.name + (chosen.fault.empty() ? " has the perplexity " + std::to_string(chosen.perplexity)
                                                     : " cannot be run"),
                 best->name + ", whose perplexity is " + std::to_string(best->perplexity));
    }
  }

  const Result<Checkpoint> checkpoint = Checkpoint::Open(report.path, options.checkpoint);
  if (!checkpoint.ok()) return fail(checkpoint.error());
  const auto add = [&](const char* name, const Result<double>& perplexity) {
    trial.schemes.push_back(detail::ScoreOf(name, perplexity));
  };
  add("8-bit inputs, 8-bit cache",
      detail::PerplexityAs<OfTwoCaches>(backend, *checkpoint, tokens, begin, 8, &trial.use));
  add("8-bit inputs, 3-bit cache", detail::PerplexityAs<OfTwoCaches>(backend, *checkpoint, tokens, begin, 3));
  add("4-bit inputs (a4.8), 8-bit cache",
      detail::PerplexityAs<WithInt8Cache<A48>>(backend, *checkpoint, tokens, begin, 8));
  if (!trial.schemes[0].fault.empty()) fail(trial.schemes[0].fault);
  report.trial = std::move(trial);
}

}  // namespace bitnet

#endif  // BITNET_IO_TRY_CHECKPOINT_H_
