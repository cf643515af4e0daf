// expect only: bitnet: weights are quantized as they are
#include <bitnet/bitnet.h>

#include <vector>

#ifdef BITNET_MUST_NOT_COMPILE
using Weight = bitnet::Transformed<bitnet::Hadamard<64>, bitnet::A48::Weight>;
#else
using Weight = bitnet::A48::Weight;
#endif

using Linear = bitnet::BitLinear<Weight, bitnet::A48::Input>;

std::vector<float> Product(const std::vector<float>& weights, const std::vector<float>& x) {
  Linear project(weights, 4, x.size());
  std::vector<float> y(4);
  project(x, y);
  return y;
}
