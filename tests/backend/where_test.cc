#include "bitnet/backend/where.h"

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "testing/tiny_model.h"

namespace bitnet {
namespace {

using testing::SameBits;

TEST_CASE("HostWhere: the angles of each position, also after a longer pass and with another head_dim") {
  HostWhere where;
  const std::vector<std::vector<Place>> passes = {
      {{0, 0}, {0, 1}, {0, 2}, {1, 300}, {0, 3}}, {{2, 7}}, {{0, 9}, {0, 8}}, {}, {{5, 1000}}};
  const size_t dims[] = {8, 16, 4, 8, 2};
  for (size_t i = 0; i < passes.size(); ++i) {
    const Rope rope(dims[i], 1000.0f);
    where.Set(passes[i], {}, rope);
    CHECK(where.tokens() == passes[i].size());
    CHECK(where.pairs() == dims[i] / 2);
    for (size_t t = 0; t < passes[i].size(); ++t) {
      std::vector<float> cos(dims[i] / 2), sin(dims[i] / 2);
      rope.Angles(passes[i][t].position, cos, sin);
      CHECK(where[t] == passes[i][t]);
      CHECK(SameBits(where.Cos(t), cos));
      CHECK(SameBits(where.Sin(t), sin));
    }
  }
}

TEST_CASE("HostWhere: a run is of one sequence, at positions one after the other") {
  HostWhere where;
  where.Set(std::vector<Place>{{0, 4}, {0, 5}, {1, 6}, {1, 7}, {1, 9}, {1, 8}, {0, 9}}, {}, Rope(2, 10.0f));
  const size_t expected[][4] = {{0, 2, 0, 4}, {2, 2, 1, 6}, {4, 1, 1, 9}, {5, 1, 1, 8}, {6, 1, 0, 9}};
  REQUIRE(where.runs().size() == 5);
  for (size_t i = 0; i < 5; ++i) {
    const HostWhere::Run& run = where.runs()[i];
    CHECK(run.first_token == expected[i][0]);
    CHECK(run.tokens == expected[i][1]);
    CHECK(run.sequence == expected[i][2]);
    CHECK(run.first_position == expected[i][3]);
  }
  where.Set({}, {}, Rope(2, 10.0f));
  CHECK(where.runs().empty());
}

TEST_CASE("HostWhere: the pages of each sequence, which the caller need not keep") {
  HostWhere where;
  {
    const std::vector<uint32_t> first = {7, 3, 5}, third = {9};
    const std::vector<PageTable> tables = {first, {}, third};
    where.Set(std::vector<Place>{{2, 0}}, tables, Rope(2, 10.0f));
  }
  REQUIRE(where.sequences() == 3);
  const auto pages = [&](size_t i) { return std::vector<uint32_t>(where.Table(i).begin(), where.Table(i).end()); };
  CHECK(pages(0) == std::vector<uint32_t>{7, 3, 5});
  CHECK(pages(1).empty());
  CHECK(pages(2) == std::vector<uint32_t>{9});
  where.Set(std::vector<Place>{{0, 0}}, {}, Rope(2, 10.0f));
  CHECK(where.sequences() == 0);
}

}  // namespace
}  // namespace bitnet
