// The parts of tokenizers: the cutter of words, letters of bytes, tables, tries, merging, charsmaps, the wire.
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bitnet/base/random.h"
#include "bitnet/io/base64.h"
#include "bitnet/io/tokenizer/byte_level.h"
#include "bitnet/io/tokenizer/byte_trie.h"
#include "bitnet/io/tokenizer/charsmap.h"
#include "bitnet/io/tokenizer/merges.h"
#include "bitnet/io/tokenizer/pre_tokenizer.h"
#include "bitnet/io/tokenizer/token_table.h"
#include "bitnet/io/tokenizer/unigram.h"
#include "bitnet/io/tokenizer/wire_reader.h"
#include "bitnet/io/tokenizer/word_cache.h"
#include "testing/small_vocabularies.h"

namespace bitnet::tokenizer_parts_test {
namespace {

using Words = std::vector<std::string>;

Words Cut(PreTokenizer id, std::string_view text) {
  Words words;
  ForEachWord(id, text, [&](std::string_view word) { words.push_back(std::string(word)); });
  return words;
}

TEST_CASE("ForEachWord: each alternative of GPT-2's pattern") {
  const auto cut = [](std::string_view text) { return Cut(PreTokenizer::kGpt2, text); };
  CHECK(cut("") == Words{});
  CHECK(cut("Hello world") == Words{"Hello", " world"});
  CHECK(cut("it's we'll I'M") == Words{"it", "'s", " we", "'ll", " I", "'", "M"});
  CHECK(cut("a's'd've're't'm'll") == Words{"a", "'s", "'d", "'ve", "'re", "'t", "'m", "'ll"});
  CHECK(cut("'l 've'r") == Words{"'", "l", " '", "ve", "'", "r"});
  CHECK(cut("abc123 456") == Words{"abc", "123", " 456"});
  CHECK(cut("a  b   c ") == Words{"a", " ", " b", "  ", " c", " "});
  CHECK(cut("a\n\nb\t c") == Words{"a", "\n", "\n", "b", "\t", " c"});
  CHECK(cut("?! x.") == Words{"?!", " x", "."});
  CHECK(cut("\u00e9t\u00e9 \u0663") == Words{"\u00e9t\u00e9", " \u0663"});
  CHECK(cut("e\u0301") == Words{"e", "\u0301"});
  CHECK(cut("a\u00a0b") == Words{"a", "\u00a0", "b"});
}

TEST_CASE("ForEachWord: each alternative of Llama 3's pattern, and what Qwen's differ in") {
  const auto cut = [](std::string_view text) { return Cut(PreTokenizer::kLlama3, text); };
  CHECK(cut("Hello world") == Words{"Hello", " world"});
  CHECK(cut("I'M we'LL it'\u017fx") == Words{"I", "'M", " we", "'LL", " it", "'\u017f", "x"});
  CHECK(cut("'x") == Words{"'x"});
  CHECK(cut("(abc [d") == Words{"(abc", " [", "d"});
  CHECK(cut("12345 678") == Words{"123", "45", " ", "678"});
  CHECK(cut("a  b   c ") == Words{"a", " ", " b", "  ", " c", " "});
  CHECK(cut("?!\n\n x.") == Words{"?!\n\n", " x", "."});
  CHECK(cut(" ...\n") == Words{" ...\n"});
  CHECK(cut("a \n \n  b") == Words{"a", " \n \n", " ", " b"});
  CHECK(cut("a\r\nb") == Words{"a", "\r\n", "b"});
  CHECK(cut("\nab\rc") == Words{"\n", "ab", "\r", "c"});
  CHECK(cut("\tb\u00a0c") == Words{"\tb", "\u00a0c"});
  CHECK(cut("  1") == Words{" ", " ", "1"});
  CHECK(cut("e\u0301\u0302f") == Words{"e", "\u0301\u0302", "f"});
  CHECK(Cut(PreTokenizer::kQwen2, "12 3") == Words{"1", "2", " ", "3"});
  CHECK(Cut(PreTokenizer::kQwen2, "e\u0301f") == Words{"e", "\u0301f"});
  CHECK(Cut(PreTokenizer::kQwen35, "e\u0301f") == Words{"e\u0301f"});
  CHECK(Cut(PreTokenizer::kQwen35, "\u0301.") == Words{"\u0301", "."});
  CHECK(Cut(PreTokenizer::kQwen35, ".\u0301") == Words{".\u0301"});
}

TEST_CASE("ForEachWord: the words are the text, whatever the bytes; bytes that are no UTF-8 are no letters") {
  Random random(3);
  for (int i = 0; i < 4000; ++i) {
    std::string text;
    const std::string_view parts[] = {"a",
                                      "B",
                                      "1",
                                      " ",
                                      "\n",
                                      "\r",
                                      "\t",
                                      "'",
                                      "s",
                                      ".",
                                      "\xc3\xa9",
                                      "\xcc\x81",
                                      "\xe4\xb8\xad",
                                      "\xff",
                                      "\xe2\x82",
                                      "\xc2\xa0",
                                      "\xf0\x9f\x98\x80"};
    for (uint64_t n = UniformBelow(random, 14); n > 0; --n) text += parts[UniformBelow(random, std::size(parts))];
    for (const PreTokenizerFacts& facts : kPreTokenizers) {
      std::string all;
      for (const std::string& word : Cut(facts.id, text)) {
        CHECK(!word.empty());
        all += word;
      }
      CHECK(all == text);
    }
  }
  CHECK(Cut(PreTokenizer::kGpt2, "a\xff\xfe!b") == Words{"a", "\xff\xfe!", "b"});
}

TEST_CASE("PreTokenizers: found by name and by pattern, and by nothing else") {
  for (const PreTokenizerFacts& facts : kPreTokenizers) {
    CHECK(PreTokenizerNamed(facts.name) == facts.id);
    CHECK(PreTokenizerOfPattern(facts.pattern) == facts.id);
    CHECK(&FactsOf(facts.id) == &facts);
  }
  CHECK(!PreTokenizerNamed("llama"));
  CHECK(!PreTokenizerOfPattern(R"(\s+)"));
}

TEST_CASE("Letters of bytes: each byte has one, and they lead back") {
  CHECK(LettersOfBytes(" a\n") == "\u0120a\u010a");
  CHECK(LettersOfBytes("\xc2\xad") == "\u00c2\u0143");
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) bytes.push_back(static_cast<char>(byte));
  CHECK(BytesOfLetters(LettersOfBytes(bytes)) == bytes);
  CHECK(!BytesOfLetters("a b"));
  CHECK(!BytesOfLetters("\u0144"));
  CHECK(!BytesOfLetters("\xff"));
}

TEST_CASE("Base64: what RFC 4648 has, and nothing else") {
  CHECK(DecodeBase64("") == "");
  CHECK(DecodeBase64("Zg==") == "f");
  CHECK(DecodeBase64("Zm8=") == "fo");
  CHECK(DecodeBase64("Zm9vYmFy") == "foobar");
  CHECK(DecodeBase64("/+8=") == "\xff\xef");
  for (const char* bad : {"Zg", "Zg=", "Z===", "Zh==", "Zm9=", "====", "Zg==Zg==", "Z g=", "Zm9v-mFy"}) {
    CAPTURE(bad);
    CHECK(!DecodeBase64(bad));
  }
  Random random(4);
  for (int i = 0; i < 200; ++i) {
    std::string bytes;
    for (uint64_t n = UniformBelow(random, 12); n > 0; --n) bytes.push_back(static_cast<char>(random()));
    CHECK(DecodeBase64(testing::Base64(bytes)) == bytes);
  }
}

std::string RandomText(Random& random, std::string_view letters, uint64_t most) {
  std::string text;
  for (uint64_t n = UniformBelow(random, most + 1); n > 0; --n)
    text.push_back(letters[UniformBelow(random, letters.size())]);
  return text;
}

TEST_CASE("TokenTable and ByteTrie: what a map finds") {
  Random random(5);
  for (int round = 0; round < 30; ++round) {
    std::vector<std::string> texts;
    std::vector<std::pair<std::string_view, uint32_t>> keys;
    std::map<std::string, uint32_t> map;
    for (int i = 0; i < 200; ++i)
      texts.push_back(RandomText(random, round % 2 == 0 ? "abc" : "abcdefghijklmnop\xff", 12));
    for (uint32_t i = 0; i < texts.size(); ++i) {
      map.try_emplace(texts[i], i);
      if (!texts[i].empty()) keys.push_back({texts[i], i});
    }
    const detail::TokenTable table(texts, [&](auto add) {
      for (uint32_t i = 0; i < texts.size(); ++i) add(i);
    });
    const detail::ByteTrie trie(keys);
    CHECK(table.size() == texts.size());
    for (uint32_t i = 0; i < texts.size(); ++i) {
      CHECK(table.Text(i) == texts[i]);
      CHECK(table.Find(texts[i]) == map.at(texts[i]));
    }
    for (int i = 0; i < 200; ++i) {
      const std::string text = RandomText(random, "abcdef", 14);
      const auto found = map.find(text);
      CHECK(table.Find(text) == (found == map.end() ? detail::TokenTable::kNone : found->second));
      std::vector<std::pair<size_t, uint32_t>> expected, got;
      for (size_t n = 2; n <= text.size(); ++n) {
        const auto prefix = map.find(text.substr(1, n - 1));
        if (prefix != map.end()) expected.push_back({n - 1, prefix->second});
      }
      trie.ForEachPrefix(text, 1, [&](size_t bytes, uint32_t value) { got.push_back({bytes, value}); });
      CHECK(got == expected);
      CHECK(trie.Longest(text, 1) ==
            (expected.empty() ? std::pair<size_t, uint32_t>{0, detail::ByteTrie::kNone} : expected.back()));
    }
  }
  CHECK(detail::TokenTable().Find("a") == detail::TokenTable::kNone);
  CHECK(detail::ByteTrie().Longest("a", 0).first == 0);
}

TEST_CASE("HashBytes: lengths and each byte of a text matter") {
  for (size_t n = 0; n < 40; ++n) {
    const std::string text(n, 'x');
    CHECK(detail::HashBytes(text) != detail::HashBytes(text + "x"));
    for (size_t i = 0; i < n; ++i) {
      std::string other = text;
      other[i] = 'y';
      CHECK(detail::HashBytes(text) != detail::HashBytes(other));
    }
  }
}

// The definition: again and again, the lowest rank, the leftmost.
std::vector<uint32_t> MergedPlainly(const detail::MergeTable& table, std::vector<uint32_t> symbols) {
  for (;;) {
    size_t best = symbols.size();
    detail::MergeRank merge;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const detail::MergeRank m = table.Find(symbols[i], symbols[i + 1]);
      if (m.rank < merge.rank) merge = m, best = i;
    }
    if (best == symbols.size()) return symbols;
    symbols[best] = merge.merged;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

TEST_CASE("Merger: the definition's result, in short words and in long ones") {
  Random random(6);
  detail::Merger merger;
  for (int round = 0; round < 60; ++round) {
    detail::MergeTable table;
    std::map<std::pair<uint32_t, uint32_t>, uint32_t> entered;
    for (uint32_t i = 0; i < 60; ++i) {
      const auto left = static_cast<uint32_t>(UniformBelow(random, 4 + i / 2));
      const auto right = static_cast<uint32_t>(UniformBelow(random, 4 + i / 2));
      const auto rank = static_cast<uint32_t>(round % 2 == 0 ? i : UniformBelow(random, 8));  // equal ranks, too
      table.Add(left, right, {rank, 4 + i});
      entered.try_emplace({left, right}, 4 + i);
    }
    CHECK(table.size() == entered.size());
    for (const auto& [pair, merged] : entered) CHECK(table.Find(pair.first, pair.second).merged == merged);
    for (const unsigned length : {0u, 1u, 2u, 3u, 5u, 17u, 47u, 48u, 49u, 50u, 100u, 300u}) {
      std::vector<uint32_t> symbols;
      for (size_t i = 0; i < length; ++i) symbols.push_back(static_cast<uint32_t>(UniformBelow(random, 4)));
      const std::vector<uint32_t> expected = MergedPlainly(table, symbols);
      merger.Run(table, symbols);
      CHECK(symbols == expected);
    }
  }
}

TEST_CASE("WordCache: gives back what was kept, and nothing else") {
  detail::WordCache cache;
  CHECK(cache.Find("a", 1).count == 0);
  cache.Keep("a", 1, {3, 2});
  CHECK(cache.Find("a", 1).count == 0);  // nothing was reserved
  cache.Reserve(10000);
  cache.Keep("ab", detail::HashBytes("ab"), {3, 2});
  CHECK(cache.Find("ab", detail::HashBytes("ab")).begin == 3);
  CHECK(cache.Find("ab", detail::HashBytes("ab")).count == 2);
  CHECK(cache.Find("ac", detail::HashBytes("ab")).count == 0);
  CHECK(cache.Find("abc", detail::HashBytes("ab")).count == 0);
  cache.Keep("xy", detail::HashBytes("ab"), {9, 1});
  CHECK(cache.Find("ab", detail::HashBytes("ab")).count == 0);
  const std::string longest(26, 'x'), longer(27, 'x');
  cache.Keep(longest, 77, {1, 26});
  cache.Keep(longer, 99, {1, 27});
  CHECK(cache.Find(longest, 77).count == 26);
  CHECK(cache.Find(longer, 99).count == 0);
}

// The best way to cut a text, by trying all.
float BestScore(const SentencePieceVocabulary& v, std::string_view text, std::vector<Token>& best) {
  if (text.empty()) return best.clear(), 0.0f;
  float best_score = -1e30f;
  for (Token id = 0; id < v.pieces.size(); ++id) {
    if (v.types[id] != TokenType::kNormal || !text.starts_with(v.pieces[id])) continue;
    std::vector<Token> rest;
    const float score = v.scores[id] + BestScore(v, text.substr(v.pieces[id].size()), rest);
    if (score > best_score) {
      best_score = score;
      best.assign(1, id);
      best.insert(best.end(), rest.begin(), rest.end());
    }
  }
  return best_score;
}

TEST_CASE("UnigramEncoder: the best of all ways to cut a text") {
  const SentencePieceVocabulary v = testing::SmallPieces(SentencePieceKind::kUnigram);
  const detail::TokenTable table(v.pieces, [&](auto add) {
    for (uint32_t i = 0; i < v.pieces.size(); ++i) add(i);
  });
  const detail::UnigramEncoder encoder(table, v.types, v.scores);
  detail::UnigramEncoder::Scratch scratch;
  Random random(7);
  for (int i = 0; i < 400; ++i) {
    const std::string text = RandomText(random, "abchernt", 9);
    std::vector<Token> best, got;
    const float score = BestScore(v, text, best);
    float got_score = 0.0f;
    encoder.Encode(
        text, scratch,
        [&](Token id) {
          got.push_back(id);
          got_score += v.scores[id];
        },
        [](std::string_view) { FAIL("every character has a piece"); });
    CHECK(got_score == score);  // sums of halves are exact
    std::string all;
    for (const Token id : got) all += v.pieces[id];
    CHECK(all == text);
  }
}

TEST_CASE("Charsmap: rewrites what it has a rule for; a damaged one is refused") {
  const std::string blob = testing::SmallCharsmap('q', "kw");
  const auto map = detail::Charsmap::Make(blob);
  REQUIRE(map.ok());
  CHECK(map->Find("aqb", 1).text == "kw");
  CHECK(map->Find("aqb", 1).bytes == 1);
  CHECK(map->Find("aqb", 0).bytes == 0);
  CHECK(map->Find("a", 1).bytes == 0);
  CHECK(detail::Charsmap::Make("")->empty());
  CHECK(detail::Charsmap::Make("")->Find("a", 0).bytes == 0);
  const auto fault = [](const std::string& damaged) {
    const auto made = detail::Charsmap::Make(damaged);
    return made.ok() ? std::string() : made.error();
  };
  CHECK(fault("abcd").find("fewer than 5") != std::string::npos);
  CHECK(fault(blob.substr(0, 2000)).find("a multiple of 1024") != std::string::npos);
  CHECK(fault(blob + "x").find("zero byte") != std::string::npos);
  // Every change of a unit is refused, or stays inside.
  Random random(8);
  size_t refused = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string damaged = blob;
    const size_t units[] = {4, 4 + 4 * (256 ^ 'q'), 4 + 4 * 512};
    damaged[units[UniformBelow(random, 3)] + UniformBelow(random, 4)] = static_cast<char>(random());
    const auto made = detail::Charsmap::Make(damaged);
    refused += made.ok() ? 0u : 1u;
    if (made.ok()) made->Find("qqq", 0);
  }
  CHECK(refused > 100);
}

TEST_CASE("WireReader: fields and their values; a fault for what is none, with its byte") {
  using testing::WireField;
  const std::string text = WireField(1, "ab") + WireField(300, uint64_t{1} << 63) + WireField(2, 1.5f) +
                           std::string(
                               "\x19"
                               "12345678") +
                           WireField(4, WireField(7, uint64_t{9}));
  detail::WireReader reader(text, 100);
  REQUIRE(reader.Next());
  CHECK(reader.field() == 1);
  CHECK(reader.at() == 100);
  CHECK(reader.Bytes() == "ab");
  REQUIRE(reader.Next());
  CHECK(reader.field() == 300);
  CHECK(reader.Number() == uint64_t{1} << 63);
  REQUIRE(reader.Next());
  CHECK(reader.Float() == 1.5f);
  REQUIRE(reader.Next());
  CHECK(reader.field() == 3);
  REQUIRE(reader.Next());
  detail::WireReader inner = reader.Message();
  REQUIRE(inner.Next());
  CHECK(inner.at() == 100 + text.size() - 2);
  CHECK(inner.Number() == 9);
  CHECK(!inner.Next());
  CHECK(inner.fault().empty());
  CHECK(!reader.Next());
  CHECK(reader.fault().empty());

  const auto fault = [](std::string_view bytes) {
    detail::WireReader r(bytes, 10);
    while (r.Next()) {
    }
    return r.fault();
  };
  CHECK(fault("\x0a\x05"
              "abc") == "at byte 10: this is no protobuf message: 5 bytes were expected, 3 are left");
  CHECK(fault("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01").find("bytes were expected") != std::string::npos);
  CHECK(fault("\x08").find("ends within a number") != std::string::npos);
  CHECK(fault("\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01").find("more than 10 bytes") != std::string::npos);
  CHECK(fault("\x0b").find("wire type 3") != std::string::npos);
  CHECK(fault(std::string(1, '\0') + "a").find("field number 0") != std::string::npos);
  CHECK(fault("\x09"
              "1234567")
            .find("8 bytes were expected") != std::string::npos);
  detail::WireReader wrong(
      "\x0a\x01"
      "a",
      0);
  REQUIRE(wrong.Next());
  wrong.Number();
  CHECK(wrong.fault().find("field 1 has wire type 2; a number was expected") != std::string::npos);
  CHECK(!wrong.Next());
}

}  // namespace
}  // namespace bitnet::tokenizer_parts_test
