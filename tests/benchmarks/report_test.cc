#include "benchmarks/cuda/report.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstddef>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>

#include "testing/temporary_file.h"

namespace bitnet::report_test {
namespace {

using cuda_bench::Record;
using cuda_bench::Report;
using cuda_bench::Targets;

TEST_CASE("Report: records of sections, in JSON; what is no number is null") {
  Report report;
  report.Add("limits", Record().Set("bytes", 4.8e12).Set("none", std::numeric_limits<double>::quiet_NaN()));
  Targets targets{report};
  targets.AtLeast("a \"ratio\"", 2.0, 2.5);
  targets.AtLeast("another", 2.0, 1.5);
  targets.AtLeast("one that could not be measured", 2.0, std::nan(""));
  report.Add("limits", Record().Set("count", size_t{3}).Set("is", true).Set("name", "two\nlines"));
  CHECK(targets.missed == 2);
  const testing::TemporaryFile file;
  REQUIRE(report.Write(file.path()));
  std::ostringstream text;
  text << std::ifstream(file.path()).rdbuf();
  CHECK(text.str() == R"({
  "limits": [
    {"bytes": 4.8e+12, "none": null},
    {"count": 3, "is": true, "name": "two lines"}
  ],
  "targets": [
    {"what": "a \"ratio\"", "at_least": 2, "measured": 2.5, "met": true},
    {"what": "another", "at_least": 2, "measured": 1.5, "met": false},
    {"what": "one that could not be measured", "at_least": 2, "measured": null, "met": false}
  ]
}
)");
  CHECK(!report.Write("/no/such/folder/report.json"));
}

}  // namespace
}  // namespace bitnet::report_test
