#include <string_view>
#include <variant>

#include "bitnet/base/assert.h"
#include "bitnet/io/tokenizer.h"
#include "bitnet/io/tokenizer_json.h"
#include "fuzz/fuzz.h"
#include "testing/small_vocabularies.h"
#include "testing/tokenizer_laws.h"

namespace bitnet::testing::tokenizer_json_fuzz {

std::vector<std::vector<uint8_t>> Seeds() {
  BpeVocabulary v = SmallBpe();
  TokenizerJson bytes(v);
  v.pre_tokenizer = PreTokenizer::kQwen2;
  TokenizerJson qwen(v);
  qwen.normalizer = R"({"type":"NFC"})";
  qwen.model_options = R"("unk_token":"a","ignore_merges":true,)";
  qwen.added_tokens += R"(,{"id":277,"content":"<m>","lstrip":true,"rstrip":true,"special":true})";
  // A small one, which changes hit more often.
  const char* pieces =
      R"({"added_tokens":[{"id":0,"content":"<unk>","special":true}],"normalizer":{"type":"Sequence","normalizers":[
      {"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]},"pre_tokenizer":null,
      "model":{"type":"BPE","unk_token":"<unk>","fuse_unk":true,"byte_fallback":false,"vocab":{"<unk>":0,"▁":1,"a":2,
      "b":3,"▁a":4,"ab":5,"▁ab":6},"merges":["▁ a","a b","▁ ab"]}})";
  const char* metaspace =
      R"({"pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":false},
      "model":{"unk_token":"a","vocab":{"▁":1,"a":2,"▁a":4},"merges":[["▁","a"]]}})";
  return {SeedOf(bytes.Text()), SeedOf(qwen.Text()), SeedOf(pieces), SeedOf(metaspace)};
}

int OneInput(const uint8_t* data, size_t size) {
  using namespace bitnet;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Result<TokenizerDescription> description = ParseTokenizerJson(text, "f");
  if (!description.ok()) {
    BITNET_ASSERT(!description.error().empty() && description.error().size() < 8000, "an error is a sentence");
    return 0;
  }
  const auto* bpe = std::get_if<BpeVocabulary>(&description->vocabulary);
  const bool is_lossless = bpe != nullptr && !bpe->nfc && !bpe->named.unk && bpe->special_matches.empty();
  const Result<Tokenizer> tokenizer = Tokenizer::Make(description->vocabulary);
  if (!tokenizer.ok()) return 0;
  for (const std::string_view awkward : testing::kAwkwardTexts)
    testing::CheckTokenizer(*tokenizer, awkward, is_lossless);
  testing::CheckTokenizer(*tokenizer, text.substr(0, 2000), is_lossless);
  testing::CheckWrittenTokenizer(*description, *tokenizer, text.substr(0, 2000));
  return 0;
}

BITNET_FUZZ_TARGET(tokenizer_json);

}  // namespace bitnet::testing::tokenizer_json_fuzz
