#include <string_view>
#include <utility>

#include "bitnet/base/assert.h"
#include "bitnet/io/tokenizer.h"
#include "bitnet/io/tokenizer_tiktoken.h"
#include "fuzz/fuzz.h"
#include "testing/small_vocabularies.h"
#include "testing/tokenizer_laws.h"

namespace bitnet::testing::tokenizer_ranks_fuzz {

std::vector<std::vector<uint8_t>> Seeds() {
  const BpeVocabulary v = SmallBpe();
  std::string file;
  for (size_t id = 0; id < 274; ++id) file += Base64(v.tokens[id]) + " " + std::to_string(id) + "\n";
  return {SeedOf(file), SeedOf("YQ== 0\nYg== 1\r\nYWI= 2\nYWJhYg== 7\n")};
}

int OneInput(const uint8_t* data, size_t size) {
  using namespace bitnet;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Result<BpeVocabulary> vocabulary = ParseTiktoken(text, "f", {PreTokenizer::kQwen35, {{"<think>", 300}}, false});
  if (!vocabulary.ok()) {
    BITNET_ASSERT(!vocabulary.error().empty() && vocabulary.error().size() < 8000, "an error is a sentence");
    return 0;
  }
  const Result<Tokenizer> tokenizer = Tokenizer::Make(*std::move(vocabulary));
  if (!tokenizer.ok()) return 0;
  for (const std::string_view awkward : testing::kAwkwardTexts) testing::CheckTokenizer(*tokenizer, awkward, true);
  testing::CheckTokenizer(*tokenizer, text.substr(0, 2000), true);
  return 0;
}

BITNET_FUZZ_TARGET(tokenizer_ranks);

}  // namespace bitnet::testing::tokenizer_ranks_fuzz
