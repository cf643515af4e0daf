#include "bitnet/train/matrix.h"

#include <doctest/doctest.h>

#include <cstddef>
#include <new>
#include <vector>

#include "bitnet/train/fake_quant.h"
#include "bitnet/train/layer.h"

namespace bitnet {
namespace {

constexpr size_t kQuarter = ~size_t{0} / 4 + 1;  // times 4 wraps around to 0

TEST_CASE("FloatMatrix: a size that does not fit throws, and leaves the matrix that was") {
  FloatMatrix matrix;
  matrix.Resize(2, 3);
  CHECK_THROWS_AS(matrix.Resize(4, kQuarter), std::bad_array_new_length);
  CHECK_THROWS_AS(matrix.Resize(1, kQuarter), std::bad_array_new_length);
  CHECK(matrix.rows() == 2);
  CHECK(matrix.cols() == 3);
}

TEST_CASE("FloatLevels: a size that does not fit throws, and leaves the levels that were") {
  FloatLevels levels;
  levels.Resize(2, 3, 0);
  CHECK_THROWS_AS(levels.Resize(4, kQuarter, 0), std::bad_array_new_length);
  CHECK_THROWS_AS(levels.Resize(4, kQuarter, 1), std::bad_array_new_length);
  CHECK(levels.levels.cols() == 3);
  CHECK(levels.step_groups.cols == 3);
}

TEST_CASE("LayerActivations: batches whose tokens or probabilities do not fit throw") {
  LayerActivations activations;
  const ModelConfig config;
  CHECK_THROWS_AS(activations.Resize(config, 4, kQuarter), std::bad_array_new_length);
  std::vector<float> memory;
  CHECK_THROWS_AS(GainSums(memory, 4, kQuarter), std::bad_array_new_length);
}

}  // namespace
}  // namespace bitnet
