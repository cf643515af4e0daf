// FaultOfNumbers: what is wrong with numbers that are to be written to a file or were read from one.
#ifndef BITNET_BASE_CHECK_NUMBERS_H_
#define BITNET_BASE_CHECK_NUMBERS_H_

#include <cmath>
#include <cstddef>
#include <cstdio>
#include <span>
#include <string>

namespace bitnet {

enum class NumberRange { kFinite, kFiniteNotNegative };

// A sentence about the first value that is not in the range, called by `what` and its index; empty if there is none.
inline std::string FaultOfNumbers(std::span<const float> values, NumberRange range, const char* what = "value") {
  const bool any_sign = range == NumberRange::kFinite;
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i]) && (any_sign || values[i] >= 0.0f)) continue;
    char number[32];
    std::snprintf(number, sizeof(number), "%g", static_cast<double>(values[i]));
    return std::string(what) + " " + std::to_string(i) + " is " + number + "; it must be finite" +
           (any_sign ? "" : " and not negative");
  }
  return {};
}

}  // namespace bitnet

#endif  // BITNET_BASE_CHECK_NUMBERS_H_
