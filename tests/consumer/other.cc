// The second translation unit of the program; see main.cc.
#include <bitnet/bitnet.h>

#include <cstddef>
#include <vector>

std::vector<float> ProjectElsewhere(const std::vector<float>& weights, std::size_t rows, std::size_t cols,
                                    const std::vector<float>& x) {
  bitnet::BitLinear<bitnet::A48::Weight, bitnet::A48::Input> project(weights, rows, cols);
  std::vector<float> y(rows);
  project(x, y);
  return y;
}
