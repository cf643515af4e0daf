// CheckTokenizer: what holds of a tokenizer whatever file it was made of; for fuzz targets.
#ifndef BITNET_TESTS_TESTING_TOKENIZER_LAWS_H_
#define BITNET_TESTS_TESTING_TOKENIZER_LAWS_H_

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bitnet/base/assert.h"
#include "bitnet/base/result.h"
#include "bitnet/io/text_decoder.h"
#include "bitnet/io/tokenizer.h"
#include "bitnet/io/tokenizer/vocabulary.h"
#include "bitnet/io/tokenizer_json.h"
#include "bitnet/io/tokenizer_sentencepiece.h"
#include "bitnet/io/unicode.h"
#include "bitnet/io/write_tokenizer_hf.h"

namespace bitnet::testing {

// `is_lossless`: the text comes back.
inline void CheckTokenizer(const Tokenizer& tokenizer, std::string_view text, bool is_lossless) {
  for (const bool parse_control : {false, true}) {
    const auto tokens = tokenizer.Encode(text, {.add_special = parse_control, .parse_control = parse_control});
    if (!tokens.ok()) {
      BITNET_ASSERT(!tokens.error().empty() && tokens.error().size() < 1000, "an error is a sentence");
      continue;
    }
    const auto again = tokenizer.Encode(text, {.add_special = parse_control, .parse_control = parse_control});
    BITNET_ASSERT(*again == *tokens, "what was found out about words changes nothing");
    const DecodeOptions options = {.show_control = parse_control};
    const auto decoded = tokenizer.Decode(*tokens, options);
    BITNET_ASSERT(decoded.ok(), "what was encoded is decoded");
    BITNET_ASSERT(!is_lossless || parse_control || *decoded == text, "what was encoded comes back");
    TextDecoder decoder(tokenizer, options);
    std::string streamed;
    for (const Token token : *tokens) streamed += *decoder.Append(token);
    streamed += decoder.Finish();
    BITNET_ASSERT(streamed == ReplaceInvalidUtf8(*decoded), "tokens one by one are the text");
  }
}

inline constexpr std::string_view kAwkwardTexts[] = {
    "Hello world, it's 12345\n\n  the hen an abc",
    "\xe2\x96\x81<s>e\xcc\x81\xff\xe2\x82 <|eot_id|><think> \xe4\xb8\xad",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "  \t "};

// What is written of it is refused, or makes the same tokens.
inline void CheckWrittenTokenizer(const TokenizerDescription& description, const Tokenizer& tokenizer,
                                  std::string_view text) {
  const auto files = HfTokenizerFiles(description);
  if (!files.ok()) {
    BITNET_ASSERT(!files.error().empty() && files.error().size() < 8000, "an error is a sentence");
    return;
  }
  const std::string& file = files->front().text;
  Vocabulary read;
  if (files->front().name == "tokenizer.json") {
    auto parsed = ParseTokenizerJson(file, "f");
    BITNET_ASSERT(parsed.ok(), "what is written is read");
    read = std::move(parsed->vocabulary);
  } else {
    auto parsed = ParseSentencePieceModel(file, "f");
    BITNET_ASSERT(parsed.ok(), "what is written is read");
    read = *std::move(parsed);
  }
  TokenizerDescription again = {std::move(read), "", {}};
  BITNET_ASSERT(ApplyTokenizerConfig(files->back().text, "f", again).ok(), "what is written is read");
  const Result<Tokenizer> other = Tokenizer::Make(std::move(again.vocabulary));
  BITNET_ASSERT(other.ok(), "what is written makes a tokenizer");
  const auto check = [&](std::string_view words) {
    for (const bool parse_control : {false, true}) {
      const auto expected = tokenizer.Encode(words, {.add_special = true, .parse_control = parse_control});
      const auto got = other->Encode(words, {.add_special = true, .parse_control = parse_control});
      BITNET_ASSERT(got.ok() == expected.ok() && (!got.ok() || *got == *expected), "the tokens are the same");
    }
  };
  for (const std::string_view awkward : kAwkwardTexts) check(awkward);
  check(text);
}

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_TOKENIZER_LAWS_H_
