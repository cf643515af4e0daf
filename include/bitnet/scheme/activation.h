// The activation of a gated FFN: h = up * f(gate).
//
// To add one, write a struct with Value(g), Derivative(g) and `kMakesZeros`: whether Value is exactly zero on a range
// of inputs, so that `up` need not be computed there. Value(NaN) must not be zero. For the same bits on every CPU,
// Value may not hold a multiplication whose product is added to something: compilers fuse the two where the CPU can.
// (Of two floats in double it may: docs/add-a-scheme.md.) With `static constexpr bool kRunsOnDevice = true`, and Value
// marked BITNET_HOST_DEVICE (base/host_device.h), a device computes it in its kernels, without asking the host.
#ifndef BITNET_SCHEME_ACTIVATION_H_
#define BITNET_SCHEME_ACTIVATION_H_

#include <cmath>
#include <concepts>
#include <cstdint>

#include "bitnet/base/exact_math.h"
#include "bitnet/base/host_device.h"

namespace bitnet {

// relu(g)^2, eq. 5.
struct SquaredRelu {
  static constexpr bool kMakesZeros = true;
  static constexpr bool kRunsOnDevice = true;
  BITNET_HOST_DEVICE static float Value(float g) { return g <= 0.0f ? 0.0f : g * g; }
  static float Derivative(float g) { return g <= 0.0f ? 0.0f : 2.0f * g; }
};

// g * sigmoid(g), also called Swish: LLaMA's.
struct Silu {
  static constexpr bool kMakesZeros = false;
  static constexpr bool kRunsOnDevice = true;
  BITNET_HOST_DEVICE static float Sigmoid(float g) {
    const float e = Exp(g > 0.0f ? -g : g);
    return g > 0.0f ? 1.0f / (1.0f + e) : e / (1.0f + e);
  }
  BITNET_HOST_DEVICE static float Value(float g) { return g * Sigmoid(g); }
  static float Derivative(float g) {
    const float s = Sigmoid(g);
    return s * (1.0f + g * (1.0f - s));
  }
};

// One of the two, where a file decides.
enum class ActivationKind : uint8_t { kSilu, kSquaredRelu };

template <class A>
concept Activation = requires(float g) {
  { A::kMakesZeros } -> std::convertible_to<bool>;
  { A::Value(g) } -> std::convertible_to<float>;
  { A::Derivative(g) } -> std::convertible_to<float>;
};

}  // namespace bitnet

#endif  // BITNET_SCHEME_ACTIVATION_H_
