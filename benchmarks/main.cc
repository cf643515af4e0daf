// bitnet_bench [--shape ROWSxCOLS]... [an option of Google Benchmark]...
//
// With --shape, products of matrices of that shape alone are measured. What is written says how our own code was
// compiled: the loops that are timed are in it, and not in Google Benchmark's library, of whose build that says more.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "benchmarks/measure.h"
#include "benchmarks/shapes.h"

namespace bitnet {

void RegisterShapes(const std::vector<MatrixShape>& shapes);  // kernel_matmul_bench.cc

namespace {

void SayHowThisWasCompiled() {
  benchmark::AddCustomContext("compiler", CompilerName());
  benchmark::AddCustomContext("compiler_flags", BITNET_BENCH_FLAGS);
#if defined(__OPTIMIZE__)
  benchmark::AddCustomContext("is_optimized", "yes");
#else
  benchmark::AddCustomContext("is_optimized", "NO: these times say nothing");
#endif
#if defined(NDEBUG)
  benchmark::AddCustomContext("has_NDEBUG", "yes");
#else
  benchmark::AddCustomContext("has_NDEBUG", "no");
#endif
  benchmark::AddCustomContext("library_build_type_is",
                              "that of Google Benchmark's library (Debian's is DEBUG), which runs no timed loop");
}

// Takes each --shape and its value out of the arguments; false, having said why, if one is malformed.
bool TakeShapes(std::vector<char*>& arguments, std::vector<MatrixShape>& shapes) {
  constexpr std::string_view kOption = "--shape";
  std::vector<char*> others;
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string_view value = arguments[i];
    if (!value.starts_with(kOption)) {
      others.push_back(arguments[i]);
      continue;
    }
    value.remove_prefix(kOption.size());
    if (value.starts_with('=')) {
      value.remove_prefix(1);
    } else if (value.empty() && i + 1 < arguments.size()) {
      value = arguments[++i];
    }
    const Result<MatrixShape> shape = ParseMatrixShape(value);
    if (!shape.ok()) {
      std::fprintf(stderr, "--shape: %s\n", shape.error().c_str());
      return false;
    }
    shapes.push_back(shape.value());
  }
  arguments = others;
  return true;
}

int Main(std::vector<char*> arguments) {
  std::vector<MatrixShape> shapes;
  if (!TakeShapes(arguments, shapes)) return 1;
  if (!shapes.empty()) {
    benchmark::ClearRegisteredBenchmarks();
    RegisterShapes(shapes);
  }
  SayHowThisWasCompiled();
  int count = static_cast<int>(arguments.size());
  arguments.push_back(nullptr);
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace
}  // namespace bitnet

int main(int argc, char** argv) { return bitnet::Main({argv, argv + argc}); }
