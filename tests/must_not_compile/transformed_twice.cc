// expect only: bitnet: the second argument of Transformed must be a quantizer without a transform of its own
#include <bitnet/bitnet.h>

#include <vector>

using Once = bitnet::Transformed<bitnet::Hadamard<64>, bitnet::A48::Input>;
#ifdef BITNET_MUST_NOT_COMPILE
using Input = bitnet::Transformed<bitnet::Hadamard<64>, Once>;
#else
using Input = Once;
#endif

using Linear = bitnet::BitLinear<bitnet::A48::Weight, Input>;

std::vector<float> Product(const std::vector<float>& weights, const std::vector<float>& x) {
  Linear project(weights, 4, x.size());
  std::vector<float> y(4);
  project(x, y);
  return y;
}
