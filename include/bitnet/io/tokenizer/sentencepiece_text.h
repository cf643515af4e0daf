// SentencePieceText: what SentencePiece does to a text before it looks for pieces: characters are rewritten by the
// model's rules, bytes that are no UTF-8 become U+FFFD, spaces become U+2581, one is put before the text. User-defined
// symbols stay as they are.
#ifndef BITNET_IO_TOKENIZER_SENTENCEPIECE_TEXT_H_
#define BITNET_IO_TOKENIZER_SENTENCEPIECE_TEXT_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "bitnet/io/tokenizer/byte_trie.h"
#include "bitnet/io/tokenizer/charsmap.h"
#include "bitnet/io/unicode.h"

namespace bitnet::detail {

inline constexpr std::string_view kSpaceSymbol = "\xe2\x96\x81";  // U+2581

class SentencePieceText {
 public:
  struct Options {
    bool remove_extra_whitespaces = false, escape_whitespaces = true, whitespace_is_suffix = false;
  };

  SentencePieceText() = default;
  SentencePieceText(Charsmap charsmap, Options options) : charsmap_(std::move(charsmap)), options_(options) {}

  // Appends the text that pieces are looked for in. `add_space`: puts a space before (or, where white space is a
  // suffix, after) it. A text that is empty, or empty but for spaces that are removed, gives nothing.
  void Append(std::string_view text, bool add_space, const ByteTrie& user_defined, std::string& out) const {
    const bool removes = options_.remove_extra_whitespaces;
    size_t at = 0;
    while (removes && at < text.size()) {
      const Part part = Next(text, at, user_defined);
      if (part.text != " ") break;
      at += part.bytes;
    }
    if (at == text.size()) return;

    const std::string_view space = options_.escape_whitespaces ? kSpaceSymbol : std::string_view(" ");
    const size_t begin = out.size();
    if (add_space && !options_.whitespace_is_suffix) out += space;
    bool after_space = removes;
    while (at < text.size()) {
      const auto byte = static_cast<uint8_t>(text[at]);
      if (charsmap_.empty() && user_defined.empty() && byte < 0x80 && byte != ' ') {
        out.push_back(text[at++]);
        after_space = false;
        continue;
      }
      Part part = Next(text, at, user_defined);
      at += part.bytes;
      while (after_space && part.text.starts_with(' ')) part.text.remove_prefix(1);
      if (part.text.empty()) continue;
      for (const char c : part.text) {
        if (c == ' ') {
          out += space;
        } else {
          out.push_back(c);
        }
      }
      after_space = removes && part.text.ends_with(' ');
    }
    while (removes && out.size() >= begin + space.size() && out.ends_with(space)) out.resize(out.size() - space.size());
    if (add_space && options_.whitespace_is_suffix) out += space;
  }

 private:
  struct Part {
    std::string_view text;
    size_t bytes;
  };

  // What the text's next bytes become.
  Part Next(std::string_view text, size_t at, const ByteTrie& user_defined) const {
    if (!user_defined.empty()) {
      if (const size_t bytes = user_defined.Longest(text, at).first; bytes != 0) return {text.substr(at, bytes), bytes};
    }
    if (const Charsmap::Replacement rule = charsmap_.Find(text, at); rule.bytes != 0) return {rule.text, rule.bytes};
    const Utf8Char c = DecodeUtf8(text, at);
    return {c.valid ? text.substr(at, c.bytes) : std::string_view("\xef\xbf\xbd"), c.bytes};
  }

  Charsmap charsmap_;
  Options options_;
};

}  // namespace bitnet::detail

#endif  // BITNET_IO_TOKENIZER_SENTENCEPIECE_TEXT_H_
