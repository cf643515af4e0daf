// UTF-8 and the classes of its characters: what tokenizers ask of Unicode.
//
// Text is bytes that need not be UTF-8. A byte that begins no character is one element of its own: DecodeUtf8 says so,
// and of no class but kOther; nothing is lost unless a function says that it replaces. The tables are those of one
// version of Unicode (io/unicode_tables.h, written by cmake/make_unicode_tables.py); later characters are kOther.
#ifndef BITNET_IO_UNICODE_H_
#define BITNET_IO_UNICODE_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>

#include "bitnet/io/unicode_tables.h"

namespace bitnet {

// The first letter of a general category. kOther: controls, formats, private and unassigned codes, surrogates.
enum class CharClass : uint8_t { kOther, kLetter, kMark, kNumber, kPunctuation, kSymbol, kSeparator };

// One element of a text: a character, or one byte that is none.
struct Utf8Char {
  char32_t code = 0xfffd;
  uint32_t bytes = 1;
  bool valid = false;  // false: one byte that begins no character; code is U+FFFD
};

// The element at text[at]; at < text.size(). Overlong forms, surrogates and codes above U+10FFFF are no characters.
constexpr Utf8Char DecodeUtf8(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[at + i]); };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1, true};
  const uint32_t bytes = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() - at < bytes) return {};
  char32_t code = lead & (0x7fu >> bytes);
  for (uint32_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0u) != 0x80) return {};
    code = (code << 6) | (byte(i) & 0x3fu);
  }
  constexpr char32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  if (code < kLeast[bytes] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return {};
  return {code, bytes, true};
}

// Appends a code point; what is none (a surrogate, above U+10FFFF) becomes U+FFFD.
inline void AppendUtf8(std::string& text, char32_t code) {
  if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) code = 0xfffd;
  const auto tail = [&](int shift) { text.push_back(static_cast<char>(0x80 | ((code >> shift) & 0x3f))); };
  if (code < 0x80) {
    text.push_back(static_cast<char>(code));
  } else if (code < 0x800) {
    text.push_back(static_cast<char>(0xc0 | (code >> 6)));
    tail(0);
  } else if (code < 0x10000) {
    text.push_back(static_cast<char>(0xe0 | (code >> 12)));
    tail(6), tail(0);
  } else {
    text.push_back(static_cast<char>(0xf0 | (code >> 18)));
    tail(12), tail(6), tail(0);
  }
}

// How many bytes from text[at] on are the beginning of a character that further bytes could complete: 0 where the
// element there is whole, or can never become a character.
constexpr size_t UnfinishedUtf8(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[at + i]); };
  const uint32_t lead = byte(0);
  if (lead < 0xc2 || lead > 0xf4) return 0;
  const size_t bytes = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  const size_t left = text.size() - at;
  if (left >= bytes) return 0;
  for (size_t i = 1; i < left; ++i) {
    // The second byte also excludes overlong forms, surrogates and too large codes.
    const uint32_t least = i > 1 ? 0x80 : lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    const uint32_t most = i > 1 ? 0xbf : lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (byte(i) < least || byte(i) > most) return 0;
  }
  return left;
}

namespace detail {

// How many bytes are replaced by one U+FFFD where text[at] begins no character: the longest part that begins one, as
// Unicode recommends, or one byte.
constexpr size_t IllFormedBytes(std::string_view text, size_t at) {
  for (size_t bytes = 3; bytes > 1; --bytes) {
    if (text.size() - at >= bytes && UnfinishedUtf8(text.substr(0, at + bytes), at) == bytes) return bytes;
  }
  return 1;
}

}  // namespace detail

// The text with U+FFFD for each part that is no UTF-8, as Python's errors="replace" and most decoders write it.
inline std::string ReplaceInvalidUtf8(std::string_view text) {
  std::string valid;
  valid.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = DecodeUtf8(text, at);
    if (c.valid) {
      valid.append(text, at, c.bytes);
      at += c.bytes;
    } else {
      AppendUtf8(valid, 0xfffd);
      at += detail::IllFormedBytes(text, at);
    }
  }
  return valid;
}

namespace detail {

inline constexpr size_t kClassRunCount = std::size(kClassRuns);

// The run in which each block of 256 codes begins; one more at the end.
inline constexpr auto kFirstRunOfBlock = [] {
  std::array<uint16_t, (0x110000 >> 8) + 1> first{};
  size_t run = 0;
  for (size_t block = 0; block < first.size(); ++block) {
    while (run + 1 < kClassRunCount && (kClassRuns[run + 1] >> 3) <= (block << 8)) ++run;
    first[block] = static_cast<uint16_t>(run);
  }
  return first;
}();

}  // namespace detail

// The class of a code point; kOther above U+10FFFF.
constexpr CharClass ClassOf(char32_t code) {
  if (code > 0x10ffff) return CharClass::kOther;
  // The last run that begins at or before the code.
  const uint32_t* begin = detail::kClassRuns + detail::kFirstRunOfBlock[code >> 8];
  const uint32_t* end = detail::kClassRuns + detail::kFirstRunOfBlock[(code >> 8) + 1] + 1;
  const uint32_t* after = std::upper_bound(begin, end, (static_cast<uint32_t>(code) << 3) | 7);
  return static_cast<CharClass>(after[-1] & 7);
}

// White_Space: what \s matches in the patterns of tokenizers.
constexpr bool IsWhitespace(char32_t code) {
  for (size_t i = 0; i < std::size(detail::kWhitespaceRuns); i += 2) {
    if (code < detail::kWhitespaceRuns[i]) return false;
    if (code <= detail::kWhitespaceRuns[i + 1]) return true;
  }
  return false;
}

}  // namespace bitnet

#endif  // BITNET_IO_UNICODE_H_
