// Test cases that fail, each in its way, for check_doctest_stub.sh: what the stand-in says of them is compared there.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <cstdio>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>

namespace {

struct Unprintable {};
int calls = 0;

TEST_CASE("a check") {
  const int seed = 7;
  CAPTURE(seed);
  INFO("of " << 3 << " rows");
  CHECK(seed == 7);
  CHECK(seed == 8);
  std::puts("goes on after a check");
}
TEST_CASE("a requirement") {
  REQUIRE(1 + 1 == 2);
  REQUIRE(1 + 1 == 3);
  std::puts("WRONG: went on");
}
TEST_CASE("messages") {
  const auto text = [] {
    ++calls;
    return std::string("told");
  };
  CHECK_MESSAGE(true, text());
  CHECK(calls == 0);
  CHECK_MESSAGE(false, text() << " once, " << true << ", " << Unprintable());
  CHECK(calls == 1);
  FAIL_CHECK(std::string("by ") << "itself");
  MESSAGE("no failure");
  REQUIRE_MESSAGE(calls == 5, "the last");
  std::puts("WRONG: went on");
}
TEST_CASE("exceptions") {
  CHECK_THROWS_AS(throw std::bad_alloc(), std::bad_alloc);
  CHECK_THROWS_AS(throw std::runtime_error("other"), std::bad_alloc);
  CHECK_THROWS_AS(calls, std::bad_alloc);
  throw std::runtime_error("nobody catches it");
}
TEST_CASE("the opposite") {
  CHECK_FALSE(calls == 0);
  CHECK(calls == 0);
  REQUIRE_FALSE(calls == 1);
  std::puts("WRONG: went on");
}
TEST_CASE("an end") { FAIL("here"); }
TEST_CASE("a thread") {
  INFO("of this thread alone");
  std::thread([] { CHECK(calls == 9); }).join();
}
TEST_CASE("all is well") { CHECK(calls == 1); }

}  // namespace
