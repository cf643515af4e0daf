#include "bitnet/layer/weight_use.h"

#include <doctest/doctest.h>

namespace bitnet {
namespace {

TEST_CASE("WeightCount: a weight is used if its input is not zero and its output is wanted") {
  // Two tokens of three inputs, of which 2 and 1 are not zero.
  WeightCount dense;
  dense.AddDense(2 + 1, 2, 3, 10);
  CHECK(dense.used == 3 * 10);
  CHECK(dense.total == 2 * 3 * 10);
  CHECK(dense.Sparsity() == doctest::Approx(50.0));

  // Of 10 outputs the first token wants 4 and the second 7.
  WeightCount rows;
  rows.AddRows(2 * 4 + 1 * 7, 2, 3, 10);
  CHECK(rows.used == 2 * 4 + 1 * 7);
  CHECK(rows.total == 2 * 3 * 10);

  rows += dense;
  CHECK(rows.used == 45);
  CHECK(rows.total == 120);
  CHECK(rows.Sparsity() == doctest::Approx(62.5));
}

TEST_CASE("WeightCount: of nothing is not sparse") { CHECK(WeightCount().Sparsity() == 0.0); }

TEST_CASE("WeightUse: sums part by part, and overall") {
  WeightUse a;
  a.qkv = {1, 10}, a.out = {2, 20}, a.gate = {3, 30}, a.up = {4, 40}, a.down = {5, 50};
  WeightUse b;
  b.qkv = {100, 1000}, b.out = {200, 2000}, b.gate = {300, 3000}, b.up = {400, 4000}, b.down = {500, 5000};
  a += b;
  CHECK(a.qkv.used == 101);
  CHECK(a.out.used == 202);
  CHECK(a.gate.used == 303);
  CHECK(a.up.used == 404);
  CHECK(a.down.used == 505);
  CHECK(a.down.total == 5050);
  CHECK(a.Overall().used == 1515);
  CHECK(a.Overall().total == 15150);
  CHECK(a.Overall().Sparsity() == doctest::Approx(90.0));
}

}  // namespace
}  // namespace bitnet
