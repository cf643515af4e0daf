#include <string_view>
#include <utility>

#include "bitnet/base/assert.h"
#include "bitnet/io/tokenizer.h"
#include "bitnet/io/tokenizer_sentencepiece.h"
#include "fuzz/fuzz.h"
#include "testing/small_vocabularies.h"
#include "testing/tokenizer_laws.h"

namespace bitnet::testing::tokenizer_model_fuzz {

std::vector<std::vector<uint8_t>> Seeds() {
  std::vector<std::vector<uint8_t>> seeds;
  for (const SentencePieceKind kind : {SentencePieceKind::kBpe, SentencePieceKind::kUnigram}) {
    SentencePieceVocabulary v = SmallPieces(kind);
    seeds.push_back(SeedOf(SentencePieceFile(v)));
    // A small one, without pieces of bytes, which changes hit more often.
    v.byte_fallback = false;
    v.remove_extra_whitespaces = true;
    v.types.erase(v.types.begin() + 3, v.types.begin() + 259);
    v.pieces.erase(v.pieces.begin() + 3, v.pieces.begin() + 259);
    v.scores.erase(v.scores.begin() + 3, v.scores.begin() + 259);
    v.types[10] = TokenType::kUnused;
    seeds.push_back(SeedOf(SentencePieceFile(v)));
    v.charsmap = SmallCharsmap('h', "the ");
    seeds.push_back(SeedOf(SentencePieceFile(v)));
  }
  return seeds;
}

int OneInput(const uint8_t* data, size_t size) {
  using namespace bitnet;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Result<SentencePieceVocabulary> vocabulary = ParseSentencePieceModel(text, "f");
  if (!vocabulary.ok()) {
    BITNET_ASSERT(!vocabulary.error().empty() && vocabulary.error().size() < 8000, "an error is a sentence");
    return 0;
  }
  const Result<Tokenizer> tokenizer = Tokenizer::Make(*vocabulary);
  if (!tokenizer.ok()) return 0;
  for (const std::string_view awkward : testing::kAwkwardTexts) testing::CheckTokenizer(*tokenizer, awkward, false);
  testing::CheckTokenizer(*tokenizer, text.substr(0, 2000), false);
  testing::CheckWrittenTokenizer({*std::move(vocabulary), "", {}}, *tokenizer, text.substr(0, 2000));
  return 0;
}

BITNET_FUZZ_TARGET(tokenizer_model);

}  // namespace bitnet::testing::tokenizer_model_fuzz
