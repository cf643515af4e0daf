#include "bitnet/io/stop_strings.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "bitnet/base/random.h"

namespace bitnet {
namespace {

TEST_CASE("StopStrings: the text ends before the string that is whole first, however it is cut") {
  const std::vector<std::string> strings = {"aab", "ba", "", "abab", "cc"};
  Random random(1);
  const auto below = [&](size_t n) { return static_cast<size_t>(UniformBelow(random, n)); };
  size_t found = 0;
  for (int trial = 0; trial < 3000; ++trial) {
    std::string text(below(12), ' ');
    for (char& c : text) c = static_cast<char>('a' + static_cast<char>(below(4)));
    CAPTURE(text);
    size_t end = text.size();
    for (size_t read = 1; read <= text.size() && end == text.size(); ++read) {
      for (const std::string& stop : strings) {
        if (!stop.empty() && text.substr(0, read).ends_with(stop)) end = std::min(end, read - stop.size());
      }
    }
    StopStrings stop(strings);
    std::string shown;
    for (size_t at = 0; at < text.size() && !stop.found();) {
      const size_t count = std::min(1 + below(4), text.size() - at);
      shown += stop.Append(std::string_view(text).substr(at, count));
      at += count;
      CHECK(std::string_view(text).substr(0, end).starts_with(shown));
      if (!stop.found()) CHECK(at - shown.size() < 4);  // what waits is less than the longest
    }
    CHECK(stop.found() == (end < text.size()));
    if (stop.found()) ++found;
    CHECK(stop.found() == (stop.Append("x").empty() && stop.Finish().empty()));
    if (stop.found()) CHECK(shown == text.substr(0, end));
  }
  CHECK(found > 1000);
  CHECK(found < 2900);
}

TEST_CASE("StopStrings: what waited is shown when the text ends by itself") {
  StopStrings stop({"User:"});
  CHECK(stop.Append("Good day.\nUs") == "Good day.\n");
  CHECK(stop.Append("er") == "");
  CHECK(stop.Append("s") == "Users");
  CHECK(stop.Append(" U") == " ");
  CHECK(stop.Finish() == "U");
  CHECK(stop.Finish() == "");
}

}  // namespace
}  // namespace bitnet
