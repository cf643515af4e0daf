// DecodeBase64: bytes that a text file has in base64 (RFC 4648, with its padding).
#ifndef BITNET_IO_BASE64_H_
#define BITNET_IO_BASE64_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace bitnet {

// Nothing where the text is not base64: its length no multiple of 4, a character of no value, bits after the end.
inline std::optional<std::string> DecodeBase64(std::string_view text) {
  static constexpr auto kValues = [] {
    std::array<uint8_t, 256> values{};
    values.fill(64);
    const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (uint8_t i = 0; i < 64; ++i) values[static_cast<uint8_t>(digits[i])] = i;
    return values;
  }();
  if (text.size() % 4 != 0) return std::nullopt;
  size_t padding = 0;
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') ++padding;
  text.remove_suffix(padding);
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3 + 2);
  uint32_t bits = 0, count = 0;
  for (const char c : text) {
    const uint8_t value = kValues[static_cast<uint8_t>(c)];
    if (value > 63) return std::nullopt;
    bits = (bits << 6) | value;
    count += 6;
    if (count >= 8) bytes.push_back(static_cast<char>(static_cast<uint8_t>(bits >> (count -= 8))));
  }
  if ((bits & ((1u << count) - 1)) != 0) return std::nullopt;
  return bytes;
}

}  // namespace bitnet

#endif  // BITNET_IO_BASE64_H_
