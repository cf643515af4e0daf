// README.md shows code of examples, which the tests run.
#include <doctest/doctest.h>

#include "guides/shown_in.h"

TEST_CASE("README: every block is code of an example") {
  CHECK(bitnet::testing::ShownInOneOf("README.md", {"examples/own_format.cc", "examples/quick_start.cc"}));
}
