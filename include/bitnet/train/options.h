// TrainOptions: everything that shapes a run, and the schedule that follows from it.
#ifndef BITNET_TRAIN_OPTIONS_H_
#define BITNET_TRAIN_OPTIONS_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "bitnet/base/machine_memory.h"
#include "bitnet/base/result.h"
#include "bitnet/model/config.h"
#include "bitnet/train/adamw.h"
#include "bitnet/train/batch.h"

namespace bitnet {

// The defaults are the paper's, sizes and steps apart. "Second" is the second half of the steps. With linear decay,
// which is b1.58's schedule, the rate falls from 1.5e-3 to 7.5e-4 in the first half and from 5e-4 to 0 in the second.
struct TrainOptions {
  uint64_t steps = 1000;
  uint32_t batch = 16;         // sequences of a step
  uint32_t sequence = 128;     // tokens of a sequence
  double stage2_share = 0.05;  // the last steps, with the second scheme
  float learning_rate = 1.5e-3f;
  float second_learning_rate = 1e-3f;
  float weight_decay = 0.1f;
  float second_weight_decay = 0.0f;
  uint64_t warmup = 375;     // steps in which the rate grows from 0
  bool linear_decay = true;  // multiplies the rate by 1 - step / steps
  float clip_norm = 1.0f;    // of all gradients together
  AdamWOptions adam;
  float initial_deviation = 0.02f;
  uint64_t seed = 1;
  uint32_t validation_windows = 64;  // at most so many sequences of the held-out part
  // Of a run on several machines, the part of each step's batch that this one has. (Not in List(): the run is the same
  // but for the order of its sums.)
  BatchShare share;
  // A run that takes more (Trainer::Bytes) is refused, so that a wrong number ends in a sentence. (Not in List(): it
  // shapes no result.) By default the machine's memory; what a container leaves of it is not asked.
  uint64_t max_bytes = MachineMemory();

  uint64_t TokensPerStep() const { return uint64_t{batch} * sequence; }

  // The first step of stage 2; `steps` if there is none.
  uint64_t Stage2Begin() const {
    return steps - static_cast<uint64_t>(std::llround(stage2_share * static_cast<double>(steps)));
  }
  bool InSecondHalf(uint64_t step) const { return step >= steps - steps / 2; }
  float LearningRate(uint64_t step) const {
    double rate = double(InSecondHalf(step) ? second_learning_rate : learning_rate);
    if (step < warmup) rate *= static_cast<double>(step + 1) / static_cast<double>(warmup);
    if (linear_decay) rate *= 1.0 - static_cast<double>(step) / static_cast<double>(steps);
    return static_cast<float>(rate);
  }
  float WeightDecay(uint64_t step) const { return InSecondHalf(step) ? second_weight_decay : weight_decay; }

  // Names and values, for checkpoints and logs.
  std::vector<std::pair<std::string, std::string>> List() const {
    const auto real = [](double value) {
      char text[32];
      std::snprintf(text, sizeof(text), "%.9g", value);
      return std::string(text);
    };
    return {{"steps", std::to_string(steps)},
            {"batch", std::to_string(batch)},
            {"sequence", std::to_string(sequence)},
            {"stage2_share", real(stage2_share)},
            {"learning_rate", real(learning_rate)},
            {"second_learning_rate", real(second_learning_rate)},
            {"weight_decay", real(weight_decay)},
            {"second_weight_decay", real(second_weight_decay)},
            {"warmup", std::to_string(warmup)},
            {"linear_decay", std::to_string(linear_decay)},
            {"clip_norm", real(clip_norm)},
            {"beta1", real(adam.beta1)},
            {"beta2", real(adam.beta2)},
            {"adam eps", real(adam.eps)},
            {"initial_deviation", real(initial_deviation)},
            {"seed", std::to_string(seed)}};
  }

  // Whether a model of this configuration can be trained so; the sentence names the option and what it must be.
  Result<Done> Validate(const ModelConfig& config) const {
    const auto refuse = [](const std::string& name, const std::string& value, const std::string& must) {
      return Error{"training: " + name + " is " + value + "; it must be " + must};
    };
    if (steps == 0 || steps > (uint64_t{1} << 40)) return refuse("steps", std::to_string(steps), "1 to 2^40");
    if (batch == 0 || batch > (1u << 20)) return refuse("batch", std::to_string(batch), "1 to 2^20");
    if (share.ranks == 0 || share.ranks > batch || share.rank >= share.ranks) {
      return refuse(
          "share", "rank " + std::to_string(share.rank) + " of " + std::to_string(share.ranks),
          "one of as many ranks as there are sequences in a batch, or fewer: at most " + std::to_string(batch));
    }
    if (sequence == 0 || sequence > config.max_positions) {
      return refuse("sequence", std::to_string(sequence),
                    "1 to the model's max_positions, " + std::to_string(config.max_positions));
    }
    if (!(stage2_share >= 0.0 && stage2_share <= 1.0)) {
      return refuse("stage2_share", std::to_string(stage2_share), "between 0 and 1");
    }
    const struct {
      const char* name;
      float value;
    } not_negative[] = {{"learning_rate", learning_rate},
                        {"second_learning_rate", second_learning_rate},
                        {"weight_decay", weight_decay},
                        {"second_weight_decay", second_weight_decay},
                        {"initial_deviation", initial_deviation}};
    for (const auto& option : not_negative) {
      if (!(option.value >= 0.0f) || !std::isfinite(option.value)) {
        return refuse(option.name, std::to_string(option.value), "finite and not negative");
      }
    }
    if (!(clip_norm > 0.0f)) return refuse("clip_norm", std::to_string(clip_norm), "above 0 (infinity: no clipping)");
    for (const float beta : {adam.beta1, adam.beta2}) {
      if (!(beta >= 0.0f && beta < 1.0f)) return refuse("a beta of AdamW", std::to_string(beta), "in [0, 1)");
    }
    if (!(adam.eps > 0.0f) || !std::isfinite(adam.eps)) {
      return refuse("eps of AdamW", std::to_string(adam.eps), "finite and above 0");
    }
    if (validation_windows == 0) return refuse("validation_windows", "0", "at least 1");
    return Done{};
  }
};

}  // namespace bitnet

#endif  // BITNET_TRAIN_OPTIONS_H_
