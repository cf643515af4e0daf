// Random numbers that are the same on every platform: the standard library's engines are, its distributions are not.
// (Normal uses log and cos of the C library, whose last bit may differ.)
#ifndef BITNET_BASE_RANDOM_H_
#define BITNET_BASE_RANDOM_H_

#include <cmath>
#include <cstdint>
#include <limits>

#include "bitnet/base/host_device.h"

namespace bitnet {

// SplitMix64 (Steele, Lea, Flood 2014): 8 bytes of state, passes BigCrush. A uniform random bit generator.
class Random {
 public:
  using result_type = uint64_t;
  // How far a number moves the state: the i-th number of Random(seed) is the first of Random(seed + i * kIncrement).
  static constexpr uint64_t kIncrement = 0x9e3779b97f4a7c15u;
  constexpr explicit Random(uint64_t seed = 0) : state_(seed) {}
  static constexpr uint64_t min() { return 0; }
  static constexpr uint64_t max() { return std::numeric_limits<uint64_t>::max(); }
  constexpr uint64_t operator()() {
    uint64_t z = (state_ += kIncrement);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  uint64_t state() const { return state_; }  // Random(state()) goes on from here

 private:
  uint64_t state_;
};

// The next number of any generator of 64-bit numbers.
template <class Generator>
uint64_t RandomBits(Generator& generator) {
  static_assert(Generator::min() == 0 && Generator::max() == std::numeric_limits<uint64_t>::max(),
                "bitnet: a generator of 64-bit numbers is needed, such as bitnet::Random or std::mt19937_64");
  return generator();
}

// Uniform in [0, 1), 53 bits.
template <class Generator>
double UniformReal(Generator& generator) {
  return static_cast<double>(RandomBits(generator) >> 11) * 0x1p-53;
}

// floor(bits * n / 2^64): uniform in [0, n), n > 0, if bits is in [0, 2^64).
BITNET_HOST_DEVICE constexpr uint64_t ScaleBits(uint64_t bits, uint64_t n) {
  constexpr uint64_t kLow = 0xffffffffu;
  const uint64_t low = (bits & kLow) * (n & kLow);
  const uint64_t middle = (bits >> 32) * (n & kLow) + (low >> 32);
  const uint64_t other = (bits & kLow) * (n >> 32) + (middle & kLow);
  return (bits >> 32) * (n >> 32) + (middle >> 32) + (other >> 32);
}

// Uniform in [0, n), n > 0; the bias is below n / 2^53.
template <class Generator>
uint64_t UniformBelow(Generator& generator, uint64_t n) {
  return static_cast<uint64_t>(UniformReal(generator) * static_cast<double>(n));
}

// Normal(0, 1) by Box and Muller.
template <class Generator>
float Normal(Generator& generator) {
  const double u = 1.0 - UniformReal(generator);
  const double v = UniformReal(generator);
  return static_cast<float>(std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * v));
}

}  // namespace bitnet

#endif  // BITNET_BASE_RANDOM_H_
