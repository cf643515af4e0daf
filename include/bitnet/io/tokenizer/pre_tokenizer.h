// Pre-tokenizers: how byte-level BPE cuts a text into words before it merges within them.
//
// The published regular expressions, by hand: each alternative is one branch of NextWord, in the pattern's order, and
// linear in the text. A pattern that is not in kPreTokenizers is refused by those who read one, never replaced by a
// similar one.
//
// To add one that differs from Llama 3's in how many digits make a word or in whether marks are letters, add a line to
// the table; another shape is another NextWord.
#ifndef BITNET_IO_TOKENIZER_PRE_TOKENIZER_H_
#define BITNET_IO_TOKENIZER_PRE_TOKENIZER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include "bitnet/io/unicode.h"

namespace bitnet {

enum class PreTokenizer : uint8_t { kGpt2, kLlama3, kQwen2, kQwen35 };

struct PreTokenizerFacts {
  PreTokenizer id;
  std::string_view name;
  std::string_view pattern;  // as tokenizer.json and tiktoken write it
  bool is_gpt2;              // its shape
  uint8_t digits;            // the most digits of a word; 0: any
  bool marks_are_letters;
};

inline constexpr std::array<PreTokenizerFacts, 4> kPreTokenizers = {{
    {PreTokenizer::kGpt2, "gpt-2", R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
     true, 0, false},
    {PreTokenizer::kLlama3, "llama-bpe",
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     false, 3, false},
    {PreTokenizer::kQwen2, "qwen2",
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     false, 1, false},
    {PreTokenizer::kQwen35, "qwen35",
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     false, 1, true},
}};

constexpr const PreTokenizerFacts& FactsOf(PreTokenizer id) { return kPreTokenizers[static_cast<size_t>(id)]; }

// The one of this name, or of this pattern.
constexpr std::optional<PreTokenizer> PreTokenizerNamed(std::string_view name) {
  for (const PreTokenizerFacts& facts : kPreTokenizers) {
    if (facts.name == name) return facts.id;
  }
  return std::nullopt;
}
constexpr std::optional<PreTokenizer> PreTokenizerOfPattern(std::string_view pattern) {
  for (const PreTokenizerFacts& facts : kPreTokenizers) {
    if (facts.pattern == pattern) return facts.id;
  }
  return std::nullopt;
}

namespace detail {

// What the patterns tell apart.
enum class WordClass : uint8_t {
  kLetter,
  kNumber,
  kSpace,        // ' ' alone
  kNewline,      // \r, \n
  kOtherSpace,   // the rest of \s
  kOther,        // no letter, number or white space; bytes that are no UTF-8, too
  kBeyondAscii,  // of a byte: the character has to be read
};

constexpr WordClass WordClassOf(char32_t code, bool marks_are_letters) {
  if (code == ' ') return WordClass::kSpace;
  if (code == '\r' || code == '\n') return WordClass::kNewline;
  if (IsWhitespace(code)) return WordClass::kOtherSpace;
  const CharClass c = ClassOf(code);
  if (c == CharClass::kLetter || (marks_are_letters && c == CharClass::kMark)) return WordClass::kLetter;
  return c == CharClass::kNumber ? WordClass::kNumber : WordClass::kOther;
}

inline constexpr auto kWordClassOfByte = [] {
  std::array<WordClass, 256> classes{};
  for (size_t byte = 0; byte < 256; ++byte) {
    classes[byte] = byte < 0x80 ? WordClassOf(static_cast<char32_t>(byte), false) : WordClass::kBeyondAscii;
  }
  return classes;
}();

template <PreTokenizer kId>
class WordCutter {
 public:
  explicit WordCutter(std::string_view text) : text_(text) {}

  // The bytes of the word that begins at text[at]; at < text.size().
  size_t NextWord(size_t at) const { return (kFacts.is_gpt2 ? EndOfGpt2(at) : EndOfLlama3(at)) - at; }

 private:
  static constexpr PreTokenizerFacts kFacts = FactsOf(kId);

  struct Element {
    WordClass word_class;
    uint32_t bytes;
  };
  Element At(size_t at) const {
    const WordClass ascii = kWordClassOfByte[static_cast<uint8_t>(text_[at])];
    if (ascii != WordClass::kBeyondAscii) return {ascii, 1};
    const Utf8Char c = DecodeUtf8(text_, at);
    return {c.valid ? WordClassOf(c.code, kFacts.marks_are_letters) : WordClass::kOther, c.bytes};
  }
  static bool IsSpace(WordClass c) {
    return c == WordClass::kSpace || c == WordClass::kNewline || c == WordClass::kOtherSpace;
  }

  // The end of the run of this class from `at` on, of at most `most` elements.
  size_t EndOfRun(size_t at, WordClass word_class, size_t most = static_cast<size_t>(-1)) const {
    for (; at < text_.size() && most > 0; --most) {
      const Element e = At(at);
      if (e.word_class != word_class) break;
      at += e.bytes;
    }
    return at;
  }

  // 's|'t|'re|'ve|'m|'ll|'d: the end, or `at`.
  size_t EndOfContraction(size_t at, bool any_case) const {
    if (text_[at] != '\'' || text_.size() - at < 2) return at;
    const auto letter = [&](size_t i) {
      const char c = text_[at + i];
      return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    };
    const char first = letter(1);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return at + 2;
    if (text_.size() - at < 3) return at;
    const char second = letter(2);
    if (((first == 'r' || first == 'v') && second == 'e') || (first == 'l' && second == 'l')) return at + 3;
    // U+017F is a small s whatever the case.
    if (any_case && first == '\xc5' && second == '\xbf') return at + 3;
    return at;
  }

  // \s+(?!\S)|\s+, and before them, if `newlines`, \s*[\r\n]+; text[at] is white space.
  size_t EndOfSpaces(size_t at, bool newlines) const {
    size_t end = at, last = at, after_newline = at;
    for (; end < text_.size();) {
      const Element e = At(end);
      if (!IsSpace(e.word_class)) break;
      last = end;
      end += e.bytes;
      if (e.word_class == WordClass::kNewline) after_newline = end;
    }
    if (newlines && after_newline != at) return after_newline;
    // The last one goes with what follows, unless nothing does or it is the only one.
    return end == text_.size() || last == at ? end : last;
  }

  size_t EndOfGpt2(size_t at) const {
    if (const size_t end = EndOfContraction(at, false); end != at) return end;
    const Element e = At(at);
    if (e.word_class == WordClass::kSpace && at + 1 < text_.size()) {
      const Element next = At(at + 1);
      if (!IsSpace(next.word_class)) return EndOfRun(at + 1 + next.bytes, next.word_class);
    }
    if (!IsSpace(e.word_class)) return EndOfRun(at + e.bytes, e.word_class);
    return EndOfSpaces(at, false);
  }

  size_t EndOfLlama3(size_t at) const {
    if (const size_t end = EndOfContraction(at, true); end != at) return end;
    const Element e = At(at);
    const size_t next = at + e.bytes;
    if (e.word_class == WordClass::kLetter) return EndOfRun(next, WordClass::kLetter);
    if (e.word_class == WordClass::kNumber) {
      return EndOfRun(next, WordClass::kNumber, kFacts.digits == 0 ? static_cast<size_t>(-1) : kFacts.digits - 1u);
    }
    const bool may_lead = e.word_class != WordClass::kNewline;
    if (next < text_.size() && may_lead) {
      const Element after = At(next);
      if (after.word_class == WordClass::kLetter) return EndOfRun(next + after.bytes, WordClass::kLetter);
      if (e.word_class == WordClass::kSpace && after.word_class == WordClass::kOther) {
        return EndOfRun(EndOfRun(next + after.bytes, WordClass::kOther), WordClass::kNewline);
      }
    }
    if (e.word_class == WordClass::kOther) return EndOfRun(EndOfRun(next, WordClass::kOther), WordClass::kNewline);
    return EndOfSpaces(at, true);
  }

  std::string_view text_;
};

template <PreTokenizer kId, class F>
void ForEachWordOf(std::string_view text, F& word) {
  const WordCutter<kId> cutter(text);
  for (size_t at = 0; at < text.size();) {
    const size_t bytes = cutter.NextWord(at);
    word(text.substr(at, bytes));
    at += bytes;
  }
}

template <class F, size_t... kIds>
void ForEachWord(PreTokenizer id, std::string_view text, F& word, std::index_sequence<kIds...>) {
  ((static_cast<size_t>(id) == kIds ? ForEachWordOf<static_cast<PreTokenizer>(kIds)>(text, word) : void()), ...);
}

}  // namespace detail

// Calls word(part) for the words of the text, in order; together they are the text. No word is empty.
template <class F>
void ForEachWord(PreTokenizer id, std::string_view text, F&& word) {
  detail::ForEachWord(id, text, word, std::make_index_sequence<kPreTokenizers.size()>());
}

}  // namespace bitnet

#endif  // BITNET_IO_TOKENIZER_PRE_TOKENIZER_H_
