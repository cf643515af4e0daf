#include "bitnet/io/quoted.h"

#include <doctest/doctest.h>

#include <string>
#include <string_view>

namespace bitnet::quoted_test {
namespace {

TEST_CASE("Quoted: printable ASCII is itself, all else is its bytes, and it ends") {
  CHECK(Quoted("blk.0.attn_q.weight") == "'blk.0.attn_q.weight'");
  CHECK(Quoted("") == "''");
  CHECK(Quoted(std::string_view("a\0\x1b[1m\x7f\xc3\xa9~", 10)) == "'a\\x00\\x1b[1m\\x7f\\xc3\\xa9~'");
  CHECK(Quoted(std::string(80, 'x')) == "'" + std::string(80, 'x') + "'");
  CHECK(Quoted(std::string(81, 'x')) == "'" + std::string(80, 'x') + "...'");
}

}  // namespace
}  // namespace bitnet::quoted_test
