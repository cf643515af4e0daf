#include "bitnet/io/write_tokenizer_hf.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bitnet/base/file.h"
#include "bitnet/io/load_tokenizer.h"
#include "bitnet/io/tokenizer.h"
#include "testing/small_vocabularies.h"
#include "testing/temporary_file.h"

namespace bitnet::write_tokenizer_hf_test {
namespace {

template <class T>
T Must(Result<T> result) {
  REQUIRE_MESSAGE(result.ok(), (result.ok() ? std::string() : result.error()));
  return *std::move(result);
}
template <class V>
std::string ErrorOf(const V& vocabulary, const std::string& chat_template = "") {
  const auto files = HfTokenizerFiles({vocabulary, chat_template, {}});
  return files.ok() ? "(they were written)" : files.error();
}
bool Has(const std::string& sentence, std::string_view part) {
  if (sentence.find(part) != std::string::npos) return true;
  MESSAGE(sentence, " does not have ", std::string(part));
  return false;
}

// Written into a folder, and read.
LoadedTokenizer ThroughFolder(const TokenizerDescription& tokenizer) {
  const testing::TemporaryFile folder;
  std::filesystem::create_directory(folder.path());
  for (const auto& [name, text] : Must(HfTokenizerFiles(tokenizer))) {
    const std::span bytes(reinterpret_cast<const uint8_t*>(text.data()), text.size());
    REQUIRE(WriteFile(folder.path() + "/" + name, bytes).ok());
  }
  LoadedTokenizer loaded = Must(LoadTokenizer(folder.path()));
  std::filesystem::remove_all(folder.path());
  return loaded;
}

const char* const kTexts[] = {"hello world",
                              "ab'S \n\n12345 the hen an abc",
                              "\u00e9e\u0301\u4e2d\U0001f600",
                              "<think>abc<|eot_id|>  <|bos|>  x",
                              "<s>a</s> <sep>  in",
                              "\xff\xe2\x82 a\u2581b",
                              "say \"a\\b\"\n\x01 ab a bc",
                              "  ",
                              ""};

template <class V>
void CheckSame(const V& vocabulary, const std::string& chat_template = "") {
  const Tokenizer expected = Must(Tokenizer::Make(vocabulary));
  const LoadedTokenizer loaded = ThroughFolder({vocabulary, chat_template, {}});
  const Tokenizer& got = loaded.tokenizer;
  CHECK(loaded.chat_template == chat_template);
  REQUIRE(got.size() == expected.size());
  for (Token token = 0; token < got.size(); ++token) CHECK(got.Text(token) == expected.Text(token));
  CHECK(got.named().bos == expected.named().bos);
  CHECK(got.named().eos == expected.named().eos);
  CHECK(got.named().eot == expected.named().eot);
  CHECK(got.named().add_bos == expected.named().add_bos);
  CHECK(got.named().add_eos == expected.named().add_eos);
  CHECK(std::vector(got.ends().begin(), got.ends().end()) ==
        std::vector(expected.ends().begin(), expected.ends().end()));
  for (const char* text : kTexts) {
    CAPTURE(text);
    for (const bool parse : {false, true}) {
      const auto tokens = expected.Encode(text, {true, parse});
      REQUIRE(got.Encode(text, {true, parse}).ok() == tokens.ok());
      if (!tokens.ok()) continue;
      CHECK(Must(got.Encode(text, {true, parse})) == *tokens);
      CHECK(Must(got.Decode(*tokens)) == Must(expected.Decode(*tokens)));
    }
  }
}

Token Add(BpeVocabulary& v, std::string text, TokenType type) {
  v.tokens.push_back(std::move(text));
  v.types.push_back(type);
  return static_cast<Token>(v.tokens.size() - 1);
}

TEST_CASE("HfTokenizerFiles: byte-level BPE is read as the same tokenizer") {
  for (const PreTokenizer pre :
       {PreTokenizer::kGpt2, PreTokenizer::kLlama3, PreTokenizer::kQwen2, PreTokenizer::kQwen35}) {
    for (const bool flag : {false, true}) {
      BpeVocabulary v = testing::SmallBpe();
      v.pre_tokenizer = pre;
      v.whole_words = flag;
      v.nfc = !flag;
      Add(v, "<\u00e9 a>", TokenType::kUserDefined);
      Add(v, "\"a\\b\"\n\x01", TokenType::kControl);  // what JSON has escapes for
      Add(v, std::string("<\0>", 3), TokenType::kUserDefined);
      v.special_matches.push_back({Add(v, "  strips ", TokenType::kControl), true, flag});
      v.named.eos = Add(v, "a bc", TokenType::kControl);
      v.named.eot = Add(v, "[/turn]", TokenType::kControl);  // a name that nobody else gives it
      v.named.unk = Add(v, "?", TokenType::kUnknown);
      v.tokens[static_cast<size_t>('?')] = "";  // (a byte that has no token)
      v.named.add_bos = flag;
      v.named.add_eos = !flag;
      CheckSame(v, "{{ \"\\n\u00e9\x01\\\" }}\n");
      v.named.add_eos = flag;
      v.named.eos = v.named.bos;  // one token on both sides
      CheckSame(v);
    }
  }
}

TEST_CASE("TokenizerJsonText: the file alone says what is put around a text") {
  for (const bool bos : {false, true}) {
    for (const bool eos : {false, true}) {
      BpeVocabulary v = testing::SmallBpe();
      v.named.eos = v.named.eot;
      v.named.add_bos = bos;
      v.named.add_eos = eos;
      const TokenizerDescription read = Must(ParseTokenizerJson(Must(TokenizerJsonText(v)), "tokenizer.json"));
      const auto tokens = Must(Must(Tokenizer::Make(read.vocabulary)).Encode("x"));
      std::vector<Token> expected = {'x'};
      if (bos) expected.insert(expected.begin(), *v.named.bos);
      if (eos) expected.push_back(*v.named.eos);
      CHECK(tokens == expected);
    }
  }
}

TEST_CASE("HfTokenizerFiles: pieces of SentencePiece are read as the same tokenizer") {
  for (const SentencePieceKind kind : {SentencePieceKind::kBpe, SentencePieceKind::kUnigram}) {
    for (const bool flag : {false, true}) {
      SentencePieceVocabulary v = testing::SmallPieces(kind);
      v.space_prefix = flag ? SpacePrefix::kAlways : SpacePrefix::kNever;
      v.remove_extra_whitespaces = flag;
      v.escape_whitespaces = !flag;
      v.charsmap = flag ? testing::SmallCharsmap('h', "t") : "";
      v.unknown_text = flag ? "??" : v.unknown_text;
      v.named.add_bos = !flag;
      v.named.add_eos = flag;
      v.pieces[1] = "<begin>";
      v.named.eot = static_cast<Token>(v.pieces.size());
      v.pieces.push_back("<turn>");
      v.scores.push_back(0.0f);
      v.types.push_back(TokenType::kControl);
      CheckSame(v, "{{ a }}");
      // Without pieces of bytes.
      for (size_t i = 0; i < v.types.size(); ++i) {
        if (v.types[i] == TokenType::kByte) v.types[i] = TokenType::kUnused;
      }
      v.byte_fallback = false;
      CheckSame(v);
    }
  }
}

TEST_CASE("HfTokenizerFiles: unused tokens that a text could make are left out") {
  BpeVocabulary v = testing::SmallBpe();
  v.whole_words = true;
  const Token unused = Add(v, "abab", TokenType::kUnused), last = Add(v, "<last>", TokenType::kControl);
  const Tokenizer got = ThroughFolder({v, "", {}}).tokenizer;
  CHECK(got.Text(unused).empty());
  CHECK(got.Find("<last>") == last);
  CHECK(Must(got.Encode("abab")) == Must(Must(Tokenizer::Make(v)).Encode("abab")));
  v.whole_words = false;
  CHECK(ThroughFolder({v, "", {}}).tokenizer.Text(unused) == "abab");
  v.whole_words = true;
  v.types[v.merges[0].merged] = TokenType::kUnused;
  CHECK(Has(ErrorOf(v), "is of unused or special tokens"));
}

TEST_CASE("HfTokenizerFiles: what would be read as something else is refused") {
  const BpeVocabulary bpe = testing::SmallBpe();
  BpeVocabulary v = bpe;
  v.merges.clear();
  CHECK(Has(ErrorOf(v), "ranks and no merges"));
  v = bpe;
  Add(v, "abc", TokenType::kControl);
  CHECK(Has(ErrorOf(v), "have one text, 'abc', which tokenizer.json cannot say"));
  v = bpe;
  Add(v, "<\xff>", TokenType::kControl);
  CHECK(Has(ErrorOf(v), "is no UTF-8"));
  v = bpe;
  v.types['b'] = TokenType::kByte;
  CHECK(Has(ErrorOf(v), "tokenizer.json cannot say all of the tokenizer: token 98"));
  v = bpe;
  v.named.eos = 'b';
  CHECK(Has(ErrorOf(v), "token 98 is named eos_token, and is ordinary text"));
  CHECK(Has(ErrorOf(bpe, "{{ \xff }}"), "the chat template is no UTF-8"));
  v = bpe;
  v.named.bos = Token{5000};
  CHECK(Has(ErrorOf(v), "bos is token 5000"));

  const SentencePieceVocabulary pieces = testing::SmallPieces(SentencePieceKind::kBpe);
  SentencePieceVocabulary p = pieces;
  p.pieces.back() = "the";
  p.pieces[p.pieces.size() - 2] = "the";
  CHECK(Has(ErrorOf(p), "have one text, 'the', which SentencePiece does not load"));
  p = pieces;
  p.pieces.back() = "\xc3(";
  CHECK(Has(ErrorOf(p), "is no UTF-8"));
  p = pieces;
  p.types.back() = TokenType::kUnknown;
  CHECK(Has(ErrorOf(p), "2 unknown tokens, where SentencePiece has one"));
  p = pieces;
  p.space_prefix = SpacePrefix::kFirst;
  CHECK(Has(ErrorOf(p), "white space and unknown characters cannot be said in tokenizer.model"));
  p = pieces;
  p.whitespace_is_suffix = true;
  CHECK(Has(ErrorOf(p), "transformers puts the space before a text"));
  p = pieces;
  p.scores[20] = std::numeric_limits<float>::infinity();
  CHECK(Has(ErrorOf(p), "score"));
}

}  // namespace
}  // namespace bitnet::write_tokenizer_hf_test
