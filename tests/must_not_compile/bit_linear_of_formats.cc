// expect only: bitnet: BitLinear needs quantizers, of its weights and of its inputs: BitLinear<Quantizer<Ternary,
#include <bitnet/bitnet.h>

#include <vector>

#ifdef BITNET_MUST_NOT_COMPILE
using Linear = bitnet::BitLinear<bitnet::Ternary, bitnet::Int<4>>;
#else
using Linear = bitnet::BitLinear<bitnet::A48::Weight, bitnet::A48::Input>;
#endif

std::vector<float> Product(const std::vector<float>& weights, const std::vector<float>& x) {
  Linear project(weights, 4, x.size());
  std::vector<float> y(4);
  project(x, y);
  return y;
}
