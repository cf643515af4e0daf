// expect only: bitnet: a Quantizer's first argument must be a number format, with levels, and its second a scale rule:
// Quantizer<Ternary, AbsMean>
#include <bitnet/bitnet.h>

#include <vector>

#ifdef BITNET_MUST_NOT_COMPILE
using Weight = bitnet::Quantizer<bitnet::AbsMean, bitnet::Ternary>;
#else
using Weight = bitnet::Quantizer<bitnet::Ternary, bitnet::AbsMean>;
#endif

using Linear = bitnet::BitLinear<Weight, bitnet::A48::Input>;

std::vector<float> Product(const std::vector<float>& weights, const std::vector<float>& x) {
  Linear project(weights, 4, x.size());
  std::vector<float> y(4);
  project(x, y);
  return y;
}
