// docs/use-from-c.md shows the test's program in C, and the shared library's unit.
#include <doctest/doctest.h>

#include "guides/shown_in.h"

TEST_CASE("Guide use-from-c: every block is code that the tests compile") {
  CHECK(bitnet::testing::ShownInOneOf("docs/use-from-c.md", {"tests/c/calls.c", "examples/c/bitnet_shared.cc"}));
}
