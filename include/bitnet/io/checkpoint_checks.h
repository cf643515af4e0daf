// What is wrong with the tensors of a checkpoint, whichever kind of file it is: rules that add findings to a
// CheckpointReport.
//
//   CheckValues(report, tensor)    constant tensors, codes without a level, scales that are zero or not finite
//   CompareScales(report)          scales far from those of the same tensor in other layers; inverted ones
//   CheckTensors(report, ...)      tensors that are missing, of another shape, too many
//
// A limit is a constant below, with its reason.
#ifndef BITNET_IO_CHECKPOINT_CHECKS_H_
#define BITNET_IO_CHECKPOINT_CHECKS_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bitnet/io/checkpoint_config.h"
#include "bitnet/io/checkpoint_report.h"
#include "bitnet/model/tensors.h"

namespace bitnet {

namespace detail {

// Steps of groups in one tensor: those of trained models lie within a factor of 10 of each other.
inline constexpr float kFarWithinTensor = 64.0f;
// Steps of one projection in different layers: within 5 in the released 2B model; of all projections together, more.
inline constexpr float kFarFromKind = 16.0f;
inline constexpr float kFarFromAll = 64.0f;
// Scales that are inverted are near the others when they are inverted again.
inline constexpr float kNear = 4.0f;
// A step is a mean magnitude of weights: 0.01 to 3 in models that are known.
inline constexpr float kImplausibleStep = 8.0f;
// Trained ternary matrices have 25 to 60 % zeros, and as many -1 as +1 within a few percent.
inline constexpr double kFewestZeros = 0.02;
inline constexpr double kMostZeros = 0.95;
inline constexpr double kSkew = 0.15;
inline constexpr uint64_t kEnoughForShares = 4096;  // values

inline std::string ShortReal(double x) {
  char digits[32];
  std::snprintf(digits, sizeof(digits), "%.4g", x);
  return digits;
}
inline std::string Times(std::span<const uint64_t> shape) {
  std::string words;
  for (const uint64_t dimension : shape) words += (words.empty() ? "" : " x ") + std::to_string(dimension);
  return words.empty() ? "one value" : words;
}

// "blk.12.attn_q.weight" becomes "blk.N.attn_q.weight".
inline std::string KindOfTensor(std::string_view name) {
  std::string kind;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t dot = std::min(name.find('.', begin), name.size());
    const std::string_view part = name.substr(begin, dot - begin);
    const bool is_number = !part.empty() && part.find_first_not_of("0123456789") == part.npos;
    kind += (begin == 0 ? "" : ".") + std::string(is_number ? "N" : part);
    begin = dot + 1;
  }
  return kind;
}

// Whether it is a tensor of one scale: "blk.0.attn_q.scale", "...q_proj.weight_scale".
inline bool IsOneScale(const TensorReport& tensor) {
  return tensor.Values() == 1 && tensor.facts.levels.empty() && tensor.facts.values == 1 &&
         (tensor.name.ends_with(".scale") || tensor.name.ends_with("_scale"));
}

// Those of two bits or less.
inline bool HasTrits(const TensorFacts& facts) {
  return !facts.levels.empty() && facts.levels.front() == -1 && facts.levels.back() <= 2;
}

}  // namespace detail

// What a tensor's values say by themselves.
inline void CheckValues(CheckpointReport& report, const TensorReport& tensor) {
  const TensorFacts& facts = tensor.facts;
  const auto add = [&](Severity severity, const char* rule, const std::string& found, const std::string& expected) {
    report.Add(severity, rule, tensor.name, found, expected);
  };
  if (facts.values == 0) return;
  const ScaleFacts& scales = facts.scales;
  const auto of_scales = [&](uint64_t n) {
    return scales.count == 1 ? std::string("its scale")
                             : std::to_string(n) + " of its " + std::to_string(scales.count) + " scales";
  };
  const bool is_ternary = detail::HasTrits(facts);
  if (facts.illegal > 0) {
    const bool is_one = facts.illegal == 1;
    add(Severity::kError, "illegal-codes",
        std::to_string(facts.illegal) +
            (facts.illegal_blocks ? (is_one ? " block has" : " blocks have") + std::string(" bytes that are no trits")
             : is_one             ? std::string(" code has no level")
                                  : std::string(" codes have no level")) +
            (is_one ? ", at " : ", the first at ") + facts.first_illegal,
        facts.illegal_blocks ? "bytes that an encoder writes"
        : facts.is_ternary   ? "codes 0, 1 and 2, which are -1, 0 and +1"
                             : "codes that the type has");
  }
  if (scales.not_finite > 0) {
    add(Severity::kError, "not-finite",
        of_scales(scales.not_finite) + (scales.not_finite == 1 ? " is" : " are") + " not finite, the first at " +
            facts.first_not_finite,
        "finite scales");
  }
  if (facts.not_finite > 0) {
    add(Severity::kError, "not-finite",
        std::to_string(facts.not_finite) +
            (facts.not_finite == 1 ? " value is NaN or infinite, at " : " values are NaN or infinite, the first at ") +
            facts.first_not_finite,
        "finite values");
  }
  if (is_ternary && facts.zeroed > 0) {
    const bool all = scales.zeros == scales.count;
    add(all ? Severity::kError : Severity::kWarning, "zero-scale",
        of_scales(facts.zeroed) + (facts.zeroed == 1 ? " is" : " are") + " 0, though the codes there are not",
        "scales above 0");
  }
  if (is_ternary && scales.negative > 0) {
    add(Severity::kNote, "negative-scale",
        of_scales(scales.negative) + (scales.negative == 1 ? " is" : " are") + " negative", "scales above 0");
  }
  const bool is_vector = tensor.shape.size() < 2 || tensor.Values() == tensor.shape.back();
  if (detail::IsOneScale(tensor)) {
    if (!(facts.lowest > 0.0f) && facts.not_finite == 0) {
      add(Severity::kError, "zero-scale", "the scale is " + detail::ShortReal(static_cast<double>(facts.lowest)),
          "a scale above 0");
    }
  } else if (facts.all_zero) {
    add(Severity::kError, "all-zero", "all its values are 0", "values that differ");
  } else if (facts.constant) {
    std::string value = detail::ShortReal(static_cast<double>(facts.lowest));
    for (size_t i = 0; i < facts.levels.size(); ++i) {
      if (facts.counts[i] == facts.values) value = std::to_string(facts.levels[i]) + " times the scale";
    }
    add(is_vector ? Severity::kWarning : Severity::kError, "constant", "all its values are " + value,
        is_vector ? "values that differ, unless the model was never trained" : "values that differ");
  }
  if (!is_ternary) return;
  if (scales.typical > 0.0f && scales.largest > detail::kFarWithinTensor * scales.typical) {
    add(Severity::kWarning, "far-scale",
        "a scale is " + detail::ShortReal(static_cast<double>(scales.largest)) + "; their median is " +
            detail::ShortReal(static_cast<double>(scales.typical)),
        "scales of a tensor that are near each other");
  }
  const bool has_zero = std::find(facts.levels.begin(), facts.levels.end(), 0) != facts.levels.end();
  if (has_zero && facts.values >= detail::kEnoughForShares && !facts.constant && !facts.all_zero) {
    const double zeros = facts.Share(0), minus = facts.Share(-1), plus = facts.Share(1);
    const auto percent = [](double share) { return detail::ShortReal(100.0 * share) + " %"; };
    if (zeros < detail::kFewestZeros || zeros > detail::kMostZeros) {
      add(Severity::kNote, "shares", percent(zeros) + " of its weights are 0", "25 to 60 %, in trained ternary models");
    }
    if (std::fabs(minus - plus) > detail::kSkew) {
      add(Severity::kNote, "shares", percent(minus) + " of its weights are -1, and " + percent(plus) + " +1",
          "about as many of both");
    }
  }
}

// Scales of the same tensor in other layers, as far as they are known: of tensors with trits, and tensors of one scale.
inline void CompareScales(CheckpointReport& report) {
  struct Scale {
    const TensorReport* tensor;
    float typical;
  };
  std::map<std::string, std::vector<Scale>> kinds;
  std::vector<float> all;
  for (const TensorReport& tensor : report.tensors) {
    const bool is_one = detail::IsOneScale(tensor);
    const float typical = is_one                           ? tensor.facts.lowest
                          : detail::HasTrits(tensor.facts) ? tensor.facts.scales.typical
                                                           : 0.0f;
    if (!(typical > 0.0f) || !std::isfinite(typical)) continue;
    kinds[detail::KindOfTensor(tensor.name)].push_back({&tensor, typical});
    if (!is_one) all.push_back(typical);
  }
  const auto median = [](std::vector<float> values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
  };
  const float of_all = all.size() < 3 ? 0.0f : median(all);
  for (const auto& [kind, scales] : kinds) {
    std::vector<float> values;
    for (const Scale& scale : scales) values.push_back(scale.typical);
    const bool enough = values.size() >= 3;
    const float usual = enough ? median(values) : of_all;
    const float limit = enough ? detail::kFarFromKind : detail::kFarFromAll;
    if (usual == 0.0f || (!enough && detail::IsOneScale(*scales[0].tensor))) continue;
    const std::string others = enough ? "the scales of " + kind : std::string("the scales of all projections");
    for (const Scale& scale : scales) {
      const float ratio = scale.typical / usual;
      if (ratio < limit && ratio > 1.0f / limit) continue;
      const float inverse = 1.0f / scale.typical / usual;
      const bool is_inverted = inverse < detail::kNear && inverse > 1.0f / detail::kNear;
      report.Add(Severity::kWarning, is_inverted ? "inverted-scale" : "far-scale", scale.tensor->name,
                 "its scale is " + detail::ShortReal(static_cast<double>(scale.typical)) +
                     (is_inverted ? ", which looks like 1 / " + detail::ShortReal(1.0 / double{scale.typical}) : ""),
                 others + " are about " + detail::ShortReal(static_cast<double>(usual)));
    }
  }
  if (of_all > detail::kImplausibleStep) {
    report.Add(Severity::kWarning, "inverted-scale", report.path,
               "the scales of projections are about " + detail::ShortReal(static_cast<double>(of_all)) +
                   ", which look like 1 / " + detail::ShortReal(1.0 / static_cast<double>(of_all)),
               "mean magnitudes of weights: 0.01 to 3 in models that are known");
  }
}

// What is missing, of another shape, or too many. `find(info)` gives the tensor that stands for one of the
// model's (model/tensors.h), or null; `name_of(info)` what it should be called; `is_known(tensor)` says of one that
// stands for none whether it may be there all the same. How many layers there are is believed as far as there are
// tensors.
template <class Find, class NameOf, class IsKnown>
void CheckTensors(CheckpointReport& report, const CheckpointConfig& config, Find&& find, NameOf&& name_of,
                  IsKnown&& is_known) {
  const Result<ModelConfig> model = ModelConfigOf(config);
  if (!model.ok()) {
    report.Add(Severity::kError, "configuration", report.path, model.error());
    return;
  }
  std::set<const TensorReport*> used;
  const auto check = [&](const TensorInfo& expected) {
    std::vector<uint64_t> shape = {expected.rows, expected.cols};
    if (expected.role == TensorRole::kGain) shape.erase(shape.begin());
    const TensorReport* const tensor = find(expected);
    if (tensor == nullptr) {
      report.Add(Severity::kError, "missing", name_of(expected), "there is no such tensor",
                 "a tensor of " + detail::Times(shape));
      return;
    }
    used.insert(tensor);
    // Vectors may be stated as matrices of one row.
    std::vector<uint64_t> stated = tensor->shape;
    if (stated.size() > shape.size()) {
      const auto rest = stated.end() - static_cast<std::ptrdiff_t>(shape.size());
      if (std::all_of(stated.begin(), rest, [](uint64_t n) { return n == 1; })) stated.erase(stated.begin(), rest);
    }
    if (stated == shape) return;
    report.Add(Severity::kError, "shape", tensor->name, "it is " + detail::Times(tensor->shape), detail::Times(shape));
  };
  ForEachTensorBeforeLayers(*model, check);
  const size_t layers = std::min<size_t>(config.layers, report.tensors.size() + 1);
  for (size_t i = 0; i < layers; ++i) ForEachTensorOfLayer(*model, i, check);
  if (layers < config.layers) {
    report.Add(Severity::kError, "missing", report.path,
               "the tensors of layers " + std::to_string(layers) + " to " + std::to_string(config.layers - 1) +
                   " are not there",
               std::to_string(config.layers) + " layers, as the configuration says");
  }
  ForEachTensorAfterLayers(*model, check);
  for (const TensorReport& tensor : report.tensors) {
    if (used.contains(&tensor) || is_known(tensor)) continue;
    report.Add(Severity::kError, "unexpected", tensor.name, "a model of this configuration has no such tensor");
  }
}

}  // namespace bitnet

#endif  // BITNET_IO_CHECKPOINT_CHECKS_H_
