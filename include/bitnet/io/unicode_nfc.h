// ComposeNfc: Unicode's normal form C, which the tokenizers of Qwen (and few others) apply to a text first.
//
// Form C alone: forms K of SentencePiece come with its models (io/tokenizer/charsmap.h). Bytes that are no UTF-8 stay
// as they are, and nothing composes across them.
#ifndef BITNET_IO_UNICODE_NFC_H_
#define BITNET_IO_UNICODE_NFC_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "bitnet/io/unicode.h"

namespace bitnet {

namespace detail {

// Hangul syllables are arithmetic (the Unicode Standard, section 3.12).
struct Hangul {
  static constexpr char32_t kSyllables = 0xac00, kLeads = 0x1100, kVowels = 0x1161, kTails = 0x11a7;
  static constexpr char32_t kLeadCount = 19, kVowelCount = 21, kTailCount = 28;
  static constexpr char32_t kSyllableCount = kLeadCount * kVowelCount * kTailCount;
};

inline uint8_t CombiningClass(char32_t code) {
  const auto* run = std::upper_bound(std::begin(kCombiningRuns), std::end(kCombiningRuns), code,
                                     [](char32_t c, const CombiningRun& r) { return c < r.first; });
  return run != std::begin(kCombiningRuns) && code <= run[-1].last ? run[-1].combining : 0;
}

struct CombiningChar {
  char32_t code;
  uint8_t combining;
};

inline void AppendDecomposed(std::vector<CombiningChar>& chars, char32_t code) {
  using H = Hangul;
  if (code - H::kSyllables < H::kSyllableCount) {
    const char32_t index = code - H::kSyllables, tail = index % H::kTailCount;
    chars.push_back({H::kLeads + index / (H::kVowelCount * H::kTailCount), 0});
    chars.push_back({H::kVowels + index / H::kTailCount % H::kVowelCount, 0});
    if (tail != 0) chars.push_back({H::kTails + tail, 0});
    return;
  }
  const auto* found = std::lower_bound(std::begin(kDecompositions), std::end(kDecompositions), code,
                                       [](const CanonicalDecomposition& d, char32_t c) { return d.code < c; });
  if (found == std::end(kDecompositions) || found->code != code) {
    chars.push_back({code, CombiningClass(code)});
    return;
  }
  AppendDecomposed(chars, found->first);  // no deeper than the table, four steps
  if (found->second != 0) AppendDecomposed(chars, found->second);
}

// The code that two codes compose to; 0 if none.
inline char32_t Composed(char32_t first, char32_t second) {
  using H = Hangul;
  if (first - H::kLeads < H::kLeadCount && second - H::kVowels < H::kVowelCount) {
    return H::kSyllables + ((first - H::kLeads) * H::kVowelCount + (second - H::kVowels)) * H::kTailCount;
  }
  if (first - H::kSyllables < H::kSyllableCount && (first - H::kSyllables) % H::kTailCount == 0 &&
      second - (H::kTails + 1) < H::kTailCount - 1) {
    return first + (second - H::kTails);
  }
  const auto* found = std::lower_bound(std::begin(kCompositions), std::end(kCompositions), std::tuple(first, second),
                                       [](const CanonicalComposition& c, const std::tuple<char32_t, char32_t>& key) {
                                         return std::tuple<char32_t, char32_t>(c.first, c.second) < key;
                                       });
  const bool is_there = found != std::end(kCompositions) && found->first == first && found->second == second;
  return is_there ? found->code : 0;
}

// Sorts marks by their class, composes, and appends the result.
inline void AppendComposed(std::string& text, std::vector<CombiningChar>& chars) {
  for (size_t begin = 0; begin < chars.size();) {
    if (chars[begin].combining == 0) {
      ++begin;
      continue;
    }
    size_t end = begin;
    while (end < chars.size() && chars[end].combining != 0) ++end;
    std::stable_sort(chars.begin() + static_cast<std::ptrdiff_t>(begin),
                     chars.begin() + static_cast<std::ptrdiff_t>(end),
                     [](const CombiningChar& a, const CombiningChar& b) { return a.combining < b.combining; });
    begin = end;
  }
  constexpr size_t kNone = static_cast<size_t>(-1);
  size_t kept = 0, starter = kNone;
  for (const CombiningChar c : chars) {
    // c is blocked from the starter by a character between them of the same or a higher class, or of class 0.
    const bool adjacent = starter != kNone && kept == starter + 1;
    const bool blocked =
        !adjacent && (starter == kNone || chars[kept - 1].combining == 0 || chars[kept - 1].combining >= c.combining);
    const char32_t composed = blocked ? 0 : Composed(chars[starter].code, c.code);
    if (composed != 0) {
      chars[starter].code = composed;
      continue;
    }
    if (c.combining == 0) starter = kept;
    chars[kept++] = c;
  }
  for (size_t i = 0; i < kept; ++i) AppendUtf8(text, chars[i].code);
  chars.clear();
}

}  // namespace detail

// Whether nothing in the text could change in form C: all codes lie below the first combining mark.
inline bool IsPlainlyNfc(std::string_view text) {
  // U+0300 begins with 0xcc; the leads of all lower codes lie below.
  for (const char c : text) {
    if (static_cast<uint8_t>(c) >= 0xcc) return false;
  }
  return true;
}

// Form C of the text. Allocates; linear in the text but for runs of marks, which are sorted.
inline std::string ComposeNfc(std::string_view text) {
  std::string composed;
  composed.reserve(text.size());
  std::vector<detail::CombiningChar> chars;
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = DecodeUtf8(text, at);
    if (!c.valid) {
      detail::AppendComposed(composed, chars);
      composed.push_back(text[at]);
    } else {
      // A character below U+0300 composes with nothing before it.
      if (c.code < 0x300 && chars.size() > 64) detail::AppendComposed(composed, chars);
      detail::AppendDecomposed(chars, c.code);
    }
    at += c.bytes;
  }
  detail::AppendComposed(composed, chars);
  return composed;
}

}  // namespace bitnet

#endif  // BITNET_IO_UNICODE_NFC_H_
