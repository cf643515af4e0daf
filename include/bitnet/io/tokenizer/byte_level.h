// GPT-2's letters for bytes: in files of byte-level BPE each byte is written as a visible character, a space as U+0120.
#ifndef BITNET_IO_TOKENIZER_BYTE_LEVEL_H_
#define BITNET_IO_TOKENIZER_BYTE_LEVEL_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "bitnet/io/unicode.h"

namespace bitnet {

namespace detail {

// The code of each byte: its own where that is visible in Latin-1, and the next free one from U+0100 on for the others.
inline constexpr auto kLetterOfByte = [] {
  std::array<uint16_t, 256> letters{};
  uint16_t free = 0x100;
  for (uint16_t byte = 0; byte < 256; ++byte) {
    const bool visible = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
    letters[byte] = visible ? byte : free++;
  }
  return letters;
}();

// The byte of each code below U+0144; 256 where it stands for none.
inline constexpr auto kByteOfLetter = [] {
  std::array<uint16_t, 0x144> bytes{};
  bytes.fill(256);
  for (uint16_t byte = 0; byte < 256; ++byte) bytes[kLetterOfByte[byte]] = byte;
  return bytes;
}();

}  // namespace detail

// The bytes that a token is written for; nothing if it holds a character that stands for none (special tokens may).
inline std::optional<std::string> BytesOfLetters(std::string_view letters) {
  std::string bytes;
  bytes.reserve(letters.size());
  for (size_t at = 0; at < letters.size();) {
    const Utf8Char c = DecodeUtf8(letters, at);
    if (!c.valid || c.code >= detail::kByteOfLetter.size() || detail::kByteOfLetter[c.code] > 255) return std::nullopt;
    bytes.push_back(static_cast<char>(detail::kByteOfLetter[c.code]));
    at += c.bytes;
  }
  return bytes;
}

// How bytes are written in such files.
inline std::string LettersOfBytes(std::string_view bytes) {
  std::string letters;
  for (const char byte : bytes) AppendUtf8(letters, detail::kLetterOfByte[static_cast<uint8_t>(byte)]);
  return letters;
}

}  // namespace bitnet

#endif  // BITNET_IO_TOKENIZER_BYTE_LEVEL_H_
