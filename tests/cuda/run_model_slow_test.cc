// The program that examples/run.cu is, on the emulated device.
#include "examples/run_model.h"

#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>

#include "bitnet/backend/reference.h"
#include "bitnet/base/file.h"
#include "examples/program.h"
#include "examples/small_gguf.h"
#include "testing/emulated_backend.h"
#include "testing/temporary_file.h"

namespace bitnet {
namespace {

TEST_CASE("RunModel on the emulated device: a prompt, a chat and a perplexity are those of the reference") {
  const testing::TemporaryFile path;
  MakeSmallGguf(path.path(), "I2_S");
  const Checkpoint checkpoint = Need(Checkpoint::Open(path.path()));
  const LoadedTokenizer tokenizer = Need(LoadTokenizer(path.path()));
  const auto text_of = [&](const auto& backend, RunOptions run, const std::string& typed) {
    std::istringstream in(typed);
    char* text = nullptr;
    size_t size = 0;
    run.in = &in;
    run.out = open_memstream(&text, &size);
    REQUIRE(run.out != nullptr);
    RunScheme<WithInt8Cache<B158>>(checkpoint, tokenizer, run, backend);
    std::fclose(run.out);
    const std::string copy(text, size);
    std::free(text);
    return copy;
  };
  const auto check = [&](const RunOptions& run, const std::string& typed, const std::string& begin, size_t at_least) {
    const std::string expected = text_of(ReferenceBackend(), run, typed);
    CHECK(expected.starts_with(begin));
    CHECK(expected.size() >= begin.size() + at_least);
    CHECK(text_of(testing::EmulatedBackend(), run, typed) == expected);
  };
  RunOptions run;
  run.tokens = 4;
  check(run, "ab\nc\n", "> ", 8);
  run.sampler.temperature = 1.0f;
  run.has_prompt = true;
  run.prompt = "Two bits ";
  check(run, "", run.prompt, 4);

  const testing::TemporaryFile scored;
  REQUIRE(WriteFile(scored.path(), {reinterpret_cast<const uint8_t*>("bits"), 4}).ok());
  run.perplexity = scored.path();
  check(run, "", "perplexity ", 8);
}

}  // namespace
}  // namespace bitnet
