#include "bitnet/base/result.h"

#include <doctest/doctest.h>

#include <memory>
#include <string>

#include "testing/expect_assertion.h"

namespace bitnet {
namespace {

using testing::Breaks;

Result<std::string> Name(bool known) {
  if (!known) return Error{"list.txt: line 3: a name was expected"};
  return std::string("Ada");
}

TEST_CASE("Result: a value is there, and reached in every way") {
  Result<std::string> name = Name(true);
  CHECK(name.ok());
  CHECK(static_cast<bool>(name));
  CHECK(name.value() == "Ada");
  CHECK(*name == "Ada");
  CHECK(name->size() == 3);
  const Result<std::string>& same = name;
  CHECK(same.value() == "Ada");
  CHECK(*same == "Ada");
  CHECK(same->size() == 3);
  name.value() += "!";
  CHECK(*same == "Ada!");
}

TEST_CASE("Result: assigned, it holds what was assigned, be it a value or an error") {
  const Result<std::string> ada = Name(true), none = Name(false);
  Result<std::string> name = Name(true);
  name = none;
  REQUIRE_FALSE(name.ok());
  CHECK(name.error() == none.error());
  name = ada;
  REQUIRE(name.ok());
  CHECK(*name == "Ada");
  static_cast<void>(name = Name(false));
  REQUIRE_FALSE(name.ok());
  CHECK(name.error() == none.error());
  static_cast<void>(name = Name(true));
  REQUIRE(name.ok());
  CHECK(*name == "Ada");
}

TEST_CASE("Result: an error gives its sentence") {
  const Result<std::string> name = Name(false);
  CHECK_FALSE(name.ok());
  CHECK_FALSE(static_cast<bool>(name));
  CHECK(name.error() == "list.txt: line 3: a name was expected");
}

TEST_CASE("Result: a value moves out") {
  Result<std::unique_ptr<int>> result = std::make_unique<int>(7);
  const std::unique_ptr<int> moved = *std::move(result);
  CHECK(*moved == 7);
  Result<std::unique_ptr<int>> again = std::make_unique<int>(8);
  CHECK(*std::move(again).value() == 8);
}

TEST_CASE("Result: the value of an error, and the error of a value, are assertions") {
  Result<std::string> none = Name(false);
  const Result<std::string>& same = none;
  CHECK(Breaks("line 3: a name was expected", [&] { (void)none.value(); }));
  CHECK(Breaks("line 3: a name was expected", [&] { (void)*same; }));
  CHECK(Breaks("line 3: a name was expected", [&] { (void)none->size(); }));
  CHECK(Breaks("line 3: a name was expected", [&] { (void)*std::move(none); }));
  CHECK(Breaks("holds a value", [] { (void)Name(true).error(); }));
}

TEST_CASE("Result: text that is a value is not taken for an error") {
  struct Text {
    std::string message;
  };
  const Result<Text> text = Text{"fine"};
  CHECK(text.ok());
  CHECK(Result<Done>(Done{}).ok());
}

}  // namespace
}  // namespace bitnet
