#include "bitnet/io/tokenizer.h"

#include <doctest/doctest.h>

#include <chrono>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "bitnet/base/random.h"
#include "bitnet/io/text_decoder.h"
#include "testing/small_vocabularies.h"

namespace bitnet::tokenizer_test {
namespace {

using testing::SmallBpe;
using testing::SmallPieces;

template <class T>
T Must(Result<T> result) {
  REQUIRE_MESSAGE(result.ok(), (result.ok() ? std::string() : result.error()));
  return *std::move(result);
}
template <class Vocabulary>
Tokenizer Make(Vocabulary vocabulary) {
  return Must(Tokenizer::Make(std::move(vocabulary)));
}
template <class Vocabulary>
std::string FaultOf(Vocabulary vocabulary) {
  const Result<Tokenizer> made = Tokenizer::Make(std::move(vocabulary));
  return made.ok() ? std::string() : made.error();
}

// The texts of the tokens.
std::vector<std::string> Texts(const Tokenizer& tokenizer, std::string_view text,
                               EncodeOptions options = {false, false}) {
  std::vector<std::string> texts;
  for (const Token token : Must(tokenizer.Encode(text, options))) texts.push_back(std::string(tokenizer.Text(token)));
  return texts;
}
using Strings = std::vector<std::string>;

std::string RandomBytes(Random& random, uint64_t most) {
  const std::string_view parts[] = {"a",          "b",      "c",        "h",  "e",       "l",     "o",
                                    " ",          " w",     "or",       "1",  "2",       "\n",    "\xc3\xa9",
                                    "\xf0\x9f",   "\xff",   "t",        "n",  "\t",      "<sep>", "<s>",
                                    "<|eot_id|>", "\u2581", "\xe2\x96", "in", "<think>", "the"};
  std::string text;
  for (uint64_t n = UniformBelow(random, most); n > 0; --n) text += parts[UniformBelow(random, std::size(parts))];
  return text;
}

TEST_CASE("Byte-level BPE: merges by rank within words") {
  const Tokenizer t = Make(SmallBpe());
  CHECK(Texts(t, "hello world") == Strings{"hello", " worl", "d"});
  CHECK(Texts(t, "hell") == Strings{"hell"});
  CHECK(Texts(t, "abc") == Strings{"abc"});  // "b c" ranks below "a b"
  CHECK(Texts(t, "bc") == Strings{"bc"});
  CHECK(Texts(t, "xabc") == Strings{"x", "abc"});
  CHECK(Texts(t, "\u00e9") == Strings{"\u00e9"});
  CHECK(Texts(t, "") == Strings{});
  CHECK(!t.is_sentencepiece());
  CHECK(t.pre_tokenizer() == PreTokenizer::kLlama3);
}

TEST_CASE("Byte-level BPE: a word that is a token but is not merged into it is so only where whole words count") {
  BpeVocabulary v = SmallBpe();
  v.tokens.push_back("cab");  // no merge makes it
  v.types.push_back(TokenType::kNormal);
  const Tokenizer by_merges = Make(v);
  for (int twice = 0; twice < 2; ++twice) CHECK(Texts(by_merges, "cab") == Strings{"c", "ab"});
  v.whole_words = true;
  CHECK(Texts(Make(v), "cab") == Strings{"cab"});
  CHECK(Texts(Make(v), "cabb") == Strings{"c", "ab", "b"});
}

TEST_CASE("Byte-level BPE: without merges, pairs whose bytes are a token merge, the lowest id first") {
  BpeVocabulary v = SmallBpe();
  const Tokenizer by_list = Make(v);
  v.merges.clear();
  const Tokenizer by_ranks = Make(v);
  CHECK(Texts(by_ranks, "hello world") == Strings{"hello", " worl", "d"});
  // "ell" could only come of "e" + "ll" or "el" + "l"; none of them is a token.
  CHECK(Texts(by_ranks, "ell") == Texts(by_list, "ell"));
  v.tokens.insert(v.tokens.end() - 3, "ello");
  v.types.insert(v.types.end() - 3, TokenType::kNormal);
  v.named = {};
  CHECK(Texts(Make(v), "xello") == Strings{"x", "e", "ll", "o"});  // "llo" is none
}

TEST_CASE("Byte-level BPE: Decode(Encode(text)) is the text, whatever its bytes") {
  const Tokenizer t = Make(SmallBpe());
  Random random(1);
  for (int i = 0; i < 3000; ++i) {
    const std::string text = RandomBytes(random, 30);
    CHECK(Must(t.Decode(Must(t.Encode(text, {false, false})))) == text);
    const auto tokens = Must(t.Encode(text, {false, true}));
    CHECK(Must(t.Decode(tokens, {.show_control = true})) == text);
  }
}

TEST_CASE("Byte-level BPE: a byte without a token is the unknown token, or an error") {
  BpeVocabulary v = SmallBpe();
  v.tokens['z'] = "[z]";
  v.types['z'] = TokenType::kUnused;
  const auto result = Make(v).Encode("az");
  REQUIRE(!result.ok());
  CHECK(result.error() == "the vocabulary has no token for the byte 'z' of the text");
  std::vector<Token> tokens = {7};
  const TextPart part = {"az", false};
  CHECK(!Make(v).Encode(std::span(&part, 1), true, tokens).ok());
  CHECK(tokens == std::vector<Token>{7});
  v.named.unk = 'z';
  CHECK(Must(Make(v).Encode("az", {false, false})) == std::vector<Token>{'a', 'z'});
}

TEST_CASE("Byte-level BPE: form C, where the vocabulary asks for it") {
  BpeVocabulary v = SmallBpe();
  CHECK(Texts(Make(v), "e\u0301") == Strings{"e", "\xcc", "\x81"});
  v.nfc = true;
  CHECK(Texts(Make(v), "e\u0301") == Strings{"\u00e9"});
  CHECK(Texts(Make(v), "e") == Strings{"e"});
}

TEST_CASE("Special tokens: control tokens only where they may be, user-defined ones everywhere") {
  const Tokenizer t = Make(SmallBpe());
  CHECK(Texts(t, "ab<|eot_id|>c").size() > 5);
  CHECK(Texts(t, "ab<|eot_id|>c", {false, true}) == Strings{"ab", "<|eot_id|>", "c"});
  CHECK(Texts(t, "ab<think>c") == Strings{"ab", "<think>", "c"});
  CHECK(Texts(t, "a", {true, false}) == Strings{"<|bos|>", "a"});
  CHECK(Texts(t, "", {true, false}) == Strings{"<|bos|>"});
  // A text in parts is one text, but for where control tokens count.
  const TextPart parts[] = {
      {"hel", true}, {"lo<|eot_id|>", false}, {"<|eot_id|>hello", true}, {"<|eot", true}, {"_id|>", true}};
  std::vector<Token> tokens;
  REQUIRE(t.Encode(parts, false, tokens).ok());
  size_t control = 0;
  for (const Token token : tokens) control += t.Type(token) == TokenType::kControl ? 1u : 0u;
  CHECK(control == 1);
  CHECK(t.Text(tokens[0]) == "hello");
  CHECK(Must(t.Decode(tokens, {.show_control = true})) == "hello<|eot_id|><|eot_id|>hello<|eot_id|>");
}

TEST_CASE("Special tokens: the longest of those that begin at a place; white space beside them") {
  BpeVocabulary v = SmallBpe();
  const auto base = static_cast<Token>(v.tokens.size());
  for (const char* text : {"<x>", "<x>y", "<l>", "<r>"}) {
    v.tokens.push_back(text);
    v.types.push_back(TokenType::kControl);
  }
  v.special_matches = {{base + 2, true, false}, {base + 3, false, true}};
  const Tokenizer t = Make(v);
  CHECK(Texts(t, "<x>y<x>z<<x>", {false, true}) == Strings{"<x>y", "<x>", "z", "<", "<x>"});
  CHECK(Texts(t, "ab \n\u3000<l> ab", {false, true}) == Strings{"ab", "<l>", " ", "ab"});
  CHECK(Texts(t, "ab <r> \n\u3000ab", {false, true}) == Strings{"ab", " ", "<r>", "ab"});
  CHECK(Texts(t, "<r>  <l>", {false, true}) == Strings{"<r>", "<l>"});
  CHECK(Texts(t, "<r> <r>", {false, true}) == Strings{"<r>", "<r>"});
}

TEST_CASE("SentencePiece BPE: the best piece first, bytes for what has none") {
  const Tokenizer t = Make(SmallPieces(SentencePieceKind::kBpe));
  CHECK(Texts(t, "the hen") == Strings{"\u2581the", "\u2581", "he", "n"});
  CHECK(Texts(t, "an abc") == Strings{"\u2581an", "\u2581a", "bc"});
  CHECK(Texts(t, "  a") == Strings{"\u2581\u2581", "\u2581a"});
  CHECK(Texts(t, "a\u4e2d") == Strings{"\u2581a", "<0xE4>", "<0xB8>", "<0xAD>"});
  CHECK(Texts(t, "a\xff") == Strings{"\u2581a", "<0xEF>", "<0xBF>", "<0xBD>"});
  CHECK(Texts(t, "a<sep>in") == Strings{"\u2581a", "<sep>", "in"});
  CHECK(Texts(t, "") == Strings{});
  CHECK(Texts(t, "a", {true, false}) == Strings{"<s>", "\u2581a"});
  CHECK(Must(t.Decode(Must(t.Encode("the <sep> \u4e2d an")))) == "the <sep> \u4e2d an");
  CHECK(Must(t.Decode(Must(t.Encode("the hen")), {.at_start = false})) == " the hen");
  CHECK(t.is_sentencepiece());
}

TEST_CASE("SentencePiece BPE: encoding word by word is encoding the whole text") {
  SentencePieceVocabulary v = SmallPieces(SentencePieceKind::kBpe);
  const Tokenizer by_words = Make(v);
  // A piece that is marked as unused forbids it; this one occurs nowhere.
  v.pieces.push_back("\u0416");
  v.scores.push_back(-50.0f);
  v.types.push_back(TokenType::kUnused);
  const Tokenizer whole = Make(v);
  // One that has a space within lets words merge over it.
  v = SmallPieces(SentencePieceKind::kBpe);
  for (const char* piece : {"n\u2581", "in\u2581a"}) {
    v.pieces.push_back(piece);
    v.scores.push_back(-0.25f);
    v.types.push_back(TokenType::kNormal);
  }
  const Tokenizer joined = Make(v);
  v.pieces.push_back("\u0416");
  v.scores.push_back(-50.0f);
  v.types.push_back(TokenType::kUnused);
  const Tokenizer joined_whole = Make(v);
  CHECK(Texts(joined, "in a") == Strings{"\u2581", "i", "n\u2581", "a"});
  Random random(2);
  for (int i = 0; i < 2000; ++i) {
    const std::string text = RandomBytes(random, 40);
    CHECK(Must(by_words.Encode(text)) == Must(whole.Encode(text)));
    CHECK(Must(joined.Encode(text)) == Must(joined_whole.Encode(text)));
  }
}

TEST_CASE("SentencePiece BPE: unused pieces are taken apart again") {
  SentencePieceVocabulary v = SmallPieces(SentencePieceKind::kBpe);
  for (size_t i = 0; i < v.pieces.size(); ++i) {
    if (v.pieces[i] == "\u2581the" || v.pieces[i] == "he" || v.pieces[i] == "c") v.types[i] = TokenType::kUnused;
  }
  const Tokenizer t = Make(v);
  CHECK(Texts(t, "the") == Strings{"\u2581t", "h", "e"});
  CHECK(Texts(t, "c") == Strings{"\u2581", "<0x63>"});
}

TEST_CASE("SentencePiece BPE: a list of merges instead of scores") {
  SentencePieceVocabulary v = SmallPieces(SentencePieceKind::kBpe);
  const auto find = [&](std::string_view piece) {
    return static_cast<Token>(std::find(v.pieces.begin(), v.pieces.end(), piece) - v.pieces.begin());
  };
  v.merges = {{find("a"), find("b"), find("ab")}, {find("b"), find("c"), find("bc")}};
  v.scores.clear();
  CHECK(Texts(Make(v), "abc bc") == Strings{"\u2581", "ab", "c", "\u2581", "bc"});
}

TEST_CASE("SentencePiece unigram: the best sum; user-defined pieces win") {
  SentencePieceVocabulary v = SmallPieces(SentencePieceKind::kUnigram);
  const Tokenizer t = Make(v);
  CHECK(Texts(t, "the<sep>an") == Strings{"\u2581the", "<sep>", "an"});
  CHECK(Texts(t, "\u4e2d") == Strings{"\u2581", "<0xE4>", "<0xB8>", "<0xAD>"});
  v.byte_fallback = false;
  const Tokenizer unknown = Make(v);
  CHECK(Texts(unknown, "a\u4e2d\u4e2da\u4e2d") == Strings{"\u2581a", "<unk>", "a", "<unk>"});
  CHECK(Must(unknown.Decode(Must(unknown.Encode("a\u4e2d")))) == "a \u2047 ");
  v.fuse_unknown = false;
  CHECK(Texts(Make(v), "\u4e2d\u4e2d") == Strings{"\u2581", "<unk>", "<unk>"});
}

TEST_CASE("SentencePiece: unknown characters in a row are one token, in words that come again, too") {
  SentencePieceVocabulary v = SmallPieces(SentencePieceKind::kBpe);
  v.byte_fallback = false;
  for (std::string& piece : v.pieces) {
    if (piece == "\u2581") piece = "\u0416";  // so that words may begin with what is unknown
  }
  const Tokenizer t = Make(v);
  std::string text = "\u4e2d";
  for (int i = 0; i < 300; ++i) text += " \u4e2d \u4e2d a";
  const std::vector<Token> tokens = Must(t.Encode(text, {false, false}));
  REQUIRE(tokens.size() == 600);
  for (size_t i = 0; i < tokens.size(); ++i) CHECK(t.Text(tokens[i]) == (i % 2 == 0 ? "<unk>" : "\u2581a"));
}

TEST_CASE("SentencePiece: spaces before texts, doubled, at the ends, escaped or not") {
  SentencePieceVocabulary v = SmallPieces(SentencePieceKind::kBpe);
  v.space_prefix = SpacePrefix::kNever;
  CHECK(Texts(Make(v), "an") == Strings{"an"});
  CHECK(Must(Make(v).Decode(Must(Make(v).Encode(" an")))) == " an");
  v.space_prefix = SpacePrefix::kAlways;
  CHECK(Texts(Make(v), "an</s>an", {false, true}) == Strings{"\u2581an", "</s>", "\u2581an"});
  v.space_prefix = SpacePrefix::kFirst;
  CHECK(Texts(Make(v), "an</s>an", {false, true}) == Strings{"\u2581an", "</s>", "an"});
  CHECK(Texts(Make(v), "</s>an", {false, true}) == Strings{"</s>", "an"});
  v.only_one_space = true;
  CHECK(Texts(Make(v), " an") == Strings{"\u2581an"});
  v.only_one_space = false;
  v.remove_extra_whitespaces = true;
  CHECK(Texts(Make(v), "  an   an  ") == Strings{"\u2581an", "\u2581an"});
  CHECK(Texts(Make(v), "   ") == Strings{});
  v.whitespace_is_suffix = true;
  CHECK(Texts(Make(v), "an ") == Strings{"an", "\u2581"});
  v.charsmap = testing::SmallCharsmap('q', " a");
  v.whitespace_is_suffix = false;
  CHECK(Texts(Make(v), "anq") == Strings{"\u2581an", "\u2581a"});
}

TEST_CASE("TextDecoder: never half a character, and together what Decode gives") {
  const Tokenizer bpe = Make(SmallBpe()), pieces = Make(SmallPieces(SentencePieceKind::kBpe));
  Random random(3);
  for (int i = 0; i < 3000; ++i) {
    const Tokenizer& t = i % 2 == 0 ? bpe : pieces;
    std::vector<Token> tokens;
    if (i % 3 == 0) {
      for (uint64_t n = UniformBelow(random, 12); n > 0; --n)
        tokens.push_back(static_cast<Token>(UniformBelow(random, t.size())));
    } else {
      tokens = Must(t.Encode(RandomBytes(random, 20)));
    }
    const DecodeOptions options = {.show_control = i % 5 == 0, .at_start = i % 7 != 0};
    TextDecoder decoder(t, options);
    std::string all;
    for (const Token token : tokens) {
      const std::string part = Must(decoder.Append(token));
      CHECK(ReplaceInvalidUtf8(part) == part);
      all += part;
    }
    all += decoder.Finish();
    CHECK(all == ReplaceInvalidUtf8(Must(t.Decode(tokens, options))));
    CHECK(decoder.Finish().empty());
  }
  TextDecoder decoder(bpe);
  CHECK(Must(decoder.Append(0xe2)).empty());
  CHECK(Must(decoder.Append(0x82)).empty());
  CHECK(Must(decoder.Append(0xac)) == "\u20ac");
  CHECK(Must(decoder.Append(0xe2)).empty());
  CHECK(Must(decoder.Append('a')) ==
        "\ufffd"
        "a");
  CHECK(Must(decoder.Append(0xf0)).empty());
  CHECK(decoder.Finish() == "\ufffd");
  const auto error = decoder.Append(static_cast<Token>(bpe.size()));
  REQUIRE(!error.ok());
  CHECK(error.error() == "token 277 is not in the vocabulary, which has 277");
}

TEST_CASE("The vocabulary: texts, types, names, ends") {
  const Tokenizer t = Make(SmallBpe());
  CHECK(t.size() == 277);
  CHECK(t.Find("hello") == Token{259});
  CHECK(!t.Find("helloo"));
  CHECK(!t.Find(""));
  CHECK(t.Type(*t.Find("<think>")) == TokenType::kUserDefined);
  CHECK(t.named().bos == t.Find("<|bos|>"));
  CHECK(t.IsEnd(*t.Find("<|eot_id|>")));
  CHECK(!t.IsEnd('a'));
  CHECK(t.ends().size() == 1);
  const std::vector<Token> bad = {'a', 1000};
  CHECK(!t.Decode(bad).ok());
}

TEST_CASE("Make: what is wrong with a vocabulary is said") {
  const auto bpe = [](auto change) {
    BpeVocabulary v = SmallBpe();
    change(v);
    return FaultOf(std::move(v));
  };
  const auto pieces = [](SentencePieceKind kind, auto change) {
    SentencePieceVocabulary v = SmallPieces(kind);
    change(v);
    return FaultOf(std::move(v));
  };
  using B = BpeVocabulary&;
  using P = SentencePieceVocabulary&;
  CHECK(FaultOf(BpeVocabulary{}).find("there are no tokens") != std::string::npos);
  CHECK(bpe([](B v) { v.types.pop_back(); }).find("276 types of tokens, and 277 tokens") != std::string::npos);
  CHECK(bpe([](B v) { v.types[3] = TokenType{9}; }).find("token 3 has the type 9") != std::string::npos);
  CHECK(bpe([](B v) { v.merges[1].right = 999; }).find("merge 1 names a token beyond") != std::string::npos);
  CHECK(bpe([](B v) { v.merges[1].merged = 'q'; }).find("merge 1 makes 'q' of 'l' and 'l'") != std::string::npos);
  CHECK(bpe([](B v) { v.named.eos = 277; }).find("eos is token 277; there are 277") != std::string::npos);
  CHECK(bpe([](B v) { v.named.bos.reset(); }).find("no token is named as bos") != std::string::npos);
  CHECK(bpe([](B v) { v.named.add_eos = true; }).find("no token is named as eos") != std::string::npos);
  CHECK(bpe([](B v) {
          v.special_matches = {{5, true, true}};
        }).find("token 5 strips white space") != std::string::npos);
  CHECK(bpe([](B v) { v.pre_tokenizer = PreTokenizer{77}; }).find("no such pre-tokenizer") != std::string::npos);
  CHECK(bpe([](B v) {
          v.merges.clear();
          v.tokens[260] = std::string(1025, 'a');
        }).find("token 260 has 1025 bytes; at most 1024") != std::string::npos);
  for (const SentencePieceKind kind : {SentencePieceKind::kBpe, SentencePieceKind::kUnigram}) {
    CHECK(pieces(kind, [](P) {}).empty());
    CHECK(pieces(kind, [](P v) { v.scores.pop_back(); }).find("scores, and") != std::string::npos);
    CHECK(pieces(kind, [](P v) {
            v.scores[300 - 30] = std::numeric_limits<float>::quiet_NaN();
          }).find("score of piece 270") != std::string::npos);
    CHECK(pieces(kind, [](P v) { v.pieces[270].clear(); }).find("piece 270 is empty") != std::string::npos);
    CHECK(pieces(kind, [](P v) { v.pieces[10] = "<0x7>"; }).find("piece 10, '<0x7>', is of a byte") !=
          std::string::npos);
    CHECK(pieces(kind, [](P v) { v.types[10] = TokenType::kNormal; }).find("byte 7 has no piece") != std::string::npos);
    CHECK(pieces(kind, [](P v) { v.charsmap = "abc"; }).find("precompiled_charsmap") != std::string::npos);
    CHECK(pieces(kind, [](P v) {
            v.byte_fallback = false;
            v.types[0] = TokenType::kNormal;
            v.named.unk.reset();
          }).find("neither an unknown token") != std::string::npos);
  }
  CHECK(pieces(SentencePieceKind{4}, [](P) {}).find("the kind of model is 4") != std::string::npos);
}

TEST_CASE("Long words and long texts are no long work") {
  const Tokenizer tokenizers[] = {Make(SmallBpe()), Make(SmallPieces(SentencePieceKind::kBpe)),
                                  Make(SmallPieces(SentencePieceKind::kUnigram))};
  const auto start = std::chrono::steady_clock::now();
  for (const Tokenizer& t : tokenizers) {
    for (const std::string_view part :
         {"a", "ab", " ", "\n", "-", "1", "\u4e2d", "<", "\xff", "\u0301", "<|eot_id|", "'"}) {
      std::string text;
      while (text.size() < 400000) text += part;
      CHECK(Must(t.Encode(text, {false, true})).size() > 100);
    }
  }
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
}

TEST_CASE("Threads share a tokenizer, and get what one gets") {
  Random random(4);
  std::string text;
  for (int i = 0; i < 3000; ++i) text += RandomBytes(random, 3);
  for (const bool of_bytes : {true, false}) {
    const auto make = [&] { return of_bytes ? Make(SmallBpe()) : Make(SmallPieces(SentencePieceKind::kBpe)); };
    const std::vector<Token> expected = Must(make().Encode(text));
    const Tokenizer t = make();  // anew: it has found out nothing yet
    std::vector<std::vector<Token>> got(4);
    std::vector<std::thread> threads;
    for (auto& tokens : got) {
      threads.emplace_back([&t, &tokens, &text] {
        const auto result = t.Encode(text);
        if (result.ok()) tokens = *result;
      });
    }
    for (auto& thread : threads) thread.join();
    for (const auto& tokens : got) CHECK(tokens == expected);
  }
}

}  // namespace
}  // namespace bitnet::tokenizer_test
