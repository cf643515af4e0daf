// expect only: bitnet: the first argument of Transformed must be a transform
#include <bitnet/bitnet.h>

#include <vector>

#ifdef BITNET_MUST_NOT_COMPILE
using Input = bitnet::Transformed<bitnet::Int<4>, bitnet::A48::Input>;
#else
using Input = bitnet::Transformed<bitnet::Hadamard<64>, bitnet::A48::Input>;
#endif

using Linear = bitnet::BitLinear<bitnet::A48::Weight, Input>;

std::vector<float> Product(const std::vector<float>& weights, const std::vector<float>& x) {
  Linear project(weights, 4, x.size());
  std::vector<float> y(4);
  project(x, y);
  return y;
}
