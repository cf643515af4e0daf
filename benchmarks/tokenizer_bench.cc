// What it costs to make a tokenizer, to encode English and to decode it, with one thread:
//   BM_Encode/<vocabulary>/t1     bytes of text a second; counters: bytes a token
//   BM_Decode/<vocabulary>/t1
//   BM_Load/<vocabulary>/t1       milliseconds from the file to the tokenizer
// Vocabularies are the small ones of the tests and, where they are, those in ../shared/data/vocab. The text is
// ../shared/data/shakespeare.txt or, where that is not, README.md and docs/performance.md, again and again to 1 MB.
#include <benchmark/benchmark.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "bitnet/base/file.h"
#include "bitnet/io/gguf.h"
#include "bitnet/io/tokenizer.h"
#include "bitnet/io/tokenizer_gguf.h"
#include "bitnet/io/tokenizer_sentencepiece.h"
#include "bitnet/io/tokenizer_tiktoken.h"

namespace bitnet {
namespace {

const std::filesystem::path kSource = BITNET_SOURCE_DIR;

std::string Slurp(const std::filesystem::path& path) {
  const auto bytes = ReadFile(path.string());
  return bytes.ok() ? std::string(bytes->begin(), bytes->end()) : std::string();
}

const std::string& English() {
  static const std::string text = [] {
    std::string english = Slurp(kSource.parent_path() / "shared/data/shakespeare.txt");
    if (!english.empty()) return english;
    const std::string own = Slurp(kSource / "README.md") + Slurp(kSource / "docs/performance.md");
    while (!own.empty() && english.size() < 1000000) english += own;
    return english;
  }();
  return text;
}

Result<Tokenizer> Load(const std::filesystem::path& path) {
  if (path.extension() == ".gguf") {
    const auto file = GgufFile::Open(path.string());
    if (!file.ok()) return Error{file.error()};
    auto description = ReadGgufTokenizer(*file);
    if (!description.ok()) return Error{description.error()};
    return Tokenizer::Make(std::move(description->vocabulary));
  }
  const std::string file = Slurp(path);
  if (path.extension() == ".model") {
    auto vocabulary = ParseSentencePieceModel(file, path.string());
    if (!vocabulary.ok()) return Error{vocabulary.error()};
    return Tokenizer::Make(*std::move(vocabulary));
  }
  auto vocabulary = ParseTiktoken(file, path.string(), {PreTokenizer::kLlama3, Llama3SpecialTokens(128000), false});
  if (!vocabulary.ok()) return Error{vocabulary.error()};
  return Tokenizer::Make(*std::move(vocabulary));
}

void BM_Load(benchmark::State& state, const std::filesystem::path& path) {
  for (auto _ : state) {
    const auto tokenizer = Load(path);
    if (!tokenizer.ok()) return state.SkipWithError(tokenizer.error().c_str());
  }
}

void BM_Encode(benchmark::State& state, const std::filesystem::path& path) {
  const auto tokenizer = Load(path);
  if (!tokenizer.ok()) return state.SkipWithError(tokenizer.error().c_str());
  size_t tokens = 1;
  for (auto _ : state) {
    const auto encoded = tokenizer->Encode(English());
    tokens = encoded->size();
    benchmark::DoNotOptimize(tokens);
  }
  state.SetBytesProcessed(static_cast<int64_t>(English().size()) * static_cast<int64_t>(state.iterations()));
  state.counters["bytes_per_token"] = static_cast<double>(English().size()) / static_cast<double>(tokens);
}

void BM_Decode(benchmark::State& state, const std::filesystem::path& path) {
  const auto tokenizer = Load(path);
  if (!tokenizer.ok()) return state.SkipWithError(tokenizer.error().c_str());
  const auto tokens = tokenizer->Encode(English());
  for (auto _ : state) {
    auto text = tokenizer->Decode(*tokens);
    benchmark::DoNotOptimize(text->data());
  }
  state.SetBytesProcessed(static_cast<int64_t>(English().size()) * static_cast<int64_t>(state.iterations()));
}

const bool kRegistered = [] {
  const std::filesystem::path small = kSource / "tests/golden/io/tokenizers";
  const std::filesystem::path real = kSource.parent_path() / "shared/data/vocab";
  for (const auto& path : {small / "unigram_bytes.model", small / "bpe.model", real / "gpt-2.gguf",
                           real / "llama-3.tiktoken", real / "llama-spm.gguf"}) {
    if (!std::filesystem::exists(path)) continue;
    const std::string name = path.filename().string() + "/t1";
    benchmark::RegisterBenchmark(("BM_Load/" + name).c_str(), BM_Load, path)->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark(("BM_Encode/" + name).c_str(), BM_Encode, path)->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark(("BM_Decode/" + name).c_str(), BM_Decode, path)->Unit(benchmark::kMillisecond);
  }
  return true;
}();

}  // namespace
}  // namespace bitnet
