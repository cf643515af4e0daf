// Checkpoints: the whole state of a run, from which it goes on bit for bit.
//
// After the seal (base/bytes.h): the run's description, a list of named values (configuration, options, schemes, text);
// steps done; the state of the random numbers; weights, then both moments, tensor by tensor. A file whose description
// differs from that of the run that loads it is refused with the name of the difference. Nothing is allocated by sizes
// from the file. Weights and first moments are finite, second moments also not negative: others are neither written,
// so that a run that went wrong does not replace its last good file, nor read.
#ifndef BITNET_TRAIN_CHECKPOINT_H_
#define BITNET_TRAIN_CHECKPOINT_H_

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "bitnet/base/bytes.h"
#include "bitnet/base/check_numbers.h"
#include "bitnet/model/weights.h"
#include "bitnet/quant/transform.h"
#include "bitnet/train/adamw.h"

namespace bitnet {

inline constexpr FileKind kCheckpointFile = {"BITNETCK", 1, "bitnet checkpoint"};

// Named values that must agree between a checkpoint and the run that goes on from it.
using RunDescription = std::vector<std::pair<std::string, std::string>>;

// What changes from step to step.
struct TrainingState {
  uint64_t step = 0;  // steps done
  uint64_t random = 0;
  LatentWeights weights;
  AdamW optimizer;
};

namespace detail {

// What a transform does to a fixed row, longer than any block of a Hadamard.
template <AnyTransform T>
void DescribeTransform(ByteWriter& to) {
  std::vector<float> row((size_t{1} << 16) - 1);
  for (size_t i = 0; i < row.size(); ++i) row[i] = static_cast<float>(i * 37 % 61) - 30.3f;
  T::Apply(row);
  ByteWriter values;
  values.Numbers(std::span<const float>(row));
  to.Number(Checksum(values.bytes()));
}

// A quantizer's levels, and what it does to a fixed list of values, so that schemes of one name that quantize
// differently are told apart.
template <AnyQuantizer Q>
void DescribeQuantizer(ByteWriter& to) {
  if constexpr (!kIsFloat<typename Q::Format>) {
    for (const int level : Q::Format::kLevels) to.Number(level);
  }
  constexpr size_t kValues = 61;
  float values[kValues];
  for (size_t i = 0; i < kValues; ++i) {
    values[i] = (static_cast<float>(i * 37 % kValues) - 30.3f) * (i % 7 == 0 ? 0.11f : 0.02f);
  }
  LevelOf<typename Q::Format> levels[kValues];
  to.Number(Q::Quantize(values, levels));
  for (const auto level : levels) to.Number(level);
  to.Number(static_cast<uint64_t>(kGroupSize<typename Q::Granularity>));
  to.Number(static_cast<uint8_t>(std::is_same_v<typename Q::Granularity, PerRow>));
  if constexpr (!kTransformsNothing<Q>) DescribeTransform<TransformOf<Q>>(to);
}

// f(what, tensors, range of their values) for weights and moments in the order of the file. A second moment is a mean
// of squares.
template <class State, class F>
void ForEachPart(State& state, F&& f) {
  f("weights", state.weights, NumberRange::kFinite);
  f("first moment", state.optimizer.first_moment(), NumberRange::kFinite);
  f("second moment", state.optimizer.second_moment(), NumberRange::kFiniteNotNegative);
}

}  // namespace detail

// A scheme's name and a number that depends on everything it does, and on whether the model has sub-layer norms: once
// schemes decided that, and checkpoints of then are read.
template <Scheme S>
std::string DescribeScheme(const ModelConfig& config) {
  ByteWriter to;
  const auto describe = [&]<class... Q>() { (detail::DescribeQuantizer<Q>(to), ...); };
  const auto describe_layers = [&]<class L>() {
    describe.template operator()<typename L::Weight, typename L::Input, typename L::OutputInput, typename L::DownInput,
                                 typename L::Query, typename L::Key, typename L::Value, typename L::FirstKey,
                                 typename L::FirstValue, typename L::HeadWeight, typename L::HeadInput>();
    to.Number(static_cast<uint64_t>(L::OutputKeep::Count(1000)));
    for (const float g : {-1.5f, -0.25f, 0.0f, 0.5f, 2.0f}) to.Number(L::FfnActivation::Value(g));
  };
  describe_layers.template operator()<S>();
  to.Number(static_cast<uint8_t>(config.sub_layer_norms));
  if constexpr (kHasEdges<S>) describe_layers.template operator()<EdgeOf<S>>();
  if constexpr (!kMayTieEmbedding<S>) describe.template operator()<EmbeddingWeightOf<S>>();
  return std::string(S::kName) + " #" + std::to_string(Checksum(to.bytes()));
}

// All fields but sub_layer_norms, which DescribeScheme tells.
inline RunDescription DescribeConfig(const ModelConfig& config) {
  RunDescription list;
  config.ForEachField([&]<class T>(const std::string& name, const T& field) {
    if (name == "sub_layer_norms") return;
    if constexpr (std::is_same_v<T, float>) {
      list.emplace_back(name + "'s bits", std::to_string(std::bit_cast<uint32_t>(field)));
    } else {
      list.emplace_back(name, std::to_string(field));
    }
  });
  return list;
}

// Refuses numbers that LoadCheckpoint would refuse, and leaves the old file.
inline Result<Done> SaveCheckpoint(const std::string& path, const RunDescription& run, const TrainingState& state) {
  ByteWriter to;
  to.Number(static_cast<uint32_t>(run.size()));
  for (const auto& [name, value] : run) {
    to.Text(name);
    to.Text(value);
  }
  to.Number(state.step);
  to.Number(state.random);
  std::string fault;
  detail::ForEachPart(state, [&](const char* what, const LatentWeights& tensors, NumberRange range) {
    tensors.ForEach([&](const TensorInfo& tensor, std::span<const float> values) {
      if (!fault.empty()) return;
      fault = FaultOfNumbers(values, range);
      if (!fault.empty()) fault = std::string(what) + " " + tensor.FullName() + ": " + fault;
      to.Numbers(values);
    });
  });
  if (!fault.empty()) return Error{path + ": not written: " + fault};
  return SaveSealed(path, kCheckpointFile, to.bytes());
}

// Replaces `state`, whose tensors must have their sizes, or leaves it as it is.
inline Result<Done> LoadCheckpoint(const std::string& path, const RunDescription& run, uint64_t steps,
                                   TrainingState& state) {
  // The tensors are the run's own, so that their size is no stranger's number.
  constexpr uint64_t kOfDescription = 1 << 20;
  const auto all_values = LatentWeights::Count(state.weights.config());
  ReadLimits limits;
  if (all_values) {
    limits.regular = std::max(limits.regular, 3 * sizeof(float) * uint64_t{*all_values} + kOfDescription);
  }
  const Result<std::vector<uint8_t>> payload = LoadSealed(path, kCheckpointFile, limits);
  if (!payload.ok()) return Error{payload.error()};
  ByteReader from(*payload, kSealHeaderBytes);
  const auto refuse = [&] { return Error{path + ": " + from.error()}; };
  const auto entries = from.Number<uint32_t>("the run's description");
  if (from.ok() && entries != run.size()) {
    from.Fail("the run's description",
              std::to_string(run.size()) + " entries were expected, the file has " + std::to_string(entries));
  }
  for (size_t i = 0; i < run.size() && from.ok(); ++i) {
    const std::string name = from.Text("the run's description");
    const std::string value = from.Text("the run's description");
    if (!from.ok()) break;
    if (name != run[i].first) {
      from.Fail("the run's description", run[i].first + " was expected, the file has " + name);
    } else if (value != run[i].second) {
      return Error{path + ": the checkpoint is of another run: its " + name + " is " + value + ", this run's is " +
                   run[i].second};
    }
  }
  TrainingState loaded = state;
  loaded.step = from.Number<uint64_t>("the number of steps");
  if (from.ok() && loaded.step > steps) {
    from.Fail("the number of steps", std::to_string(loaded.step) + " steps are done of " + std::to_string(steps));
  }
  loaded.random = from.Number<uint64_t>("the state of the random numbers");
  detail::ForEachPart(loaded, [&](const char* what, LatentWeights& tensors, NumberRange range) {
    tensors.ForEach([&](const TensorInfo& tensor, std::span<float> values) {
      const std::string name = std::string(what) + " " + tensor.FullName();
      from.Numbers(name, values);
      if (!from.ok()) return;
      const std::string fault = FaultOfNumbers(values, range);
      if (!fault.empty()) from.Fail(name, fault);
    });
  });
  if (from.ok() && from.remaining() != 0) {
    from.Fail("the end", std::to_string(from.remaining()) + " bytes follow the last tensor; none were expected");
  }
  if (!from.ok()) return refuse();
  state = std::move(loaded);
  return Done{};
}

}  // namespace bitnet

#endif  // BITNET_TRAIN_CHECKPOINT_H_
