// SpecialTokens: finds the tokens that stand for their own text before anything else is done to it: the leftmost first,
// the longest of those that begin there.
//
// User-defined tokens are found everywhere; control tokens only in parts of a text whose writer may use them. What a
// user typed is no such part: <|eot_id|> in it is nine ordinary characters.
#ifndef BITNET_IO_TOKENIZER_SPECIAL_TOKENS_H_
#define BITNET_IO_TOKENIZER_SPECIAL_TOKENS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "bitnet/io/tokenizer/byte_trie.h"
#include "bitnet/io/tokenizer/vocabulary.h"
#include "bitnet/io/unicode.h"

namespace bitnet {

// A part of a text that is encoded as one.
struct TextPart {
  std::string_view text;
  bool may_hold_control = false;  // whether control tokens that are written in it count as such
};

namespace detail {

class SpecialTokens {
 public:
  struct Special {
    std::string_view text;  // stays with the caller; not empty
    SpecialMatch match;
    bool is_control = false;
  };

  SpecialTokens() = default;
  explicit SpecialTokens(std::vector<Special> specials) : specials_(std::move(specials)) {
    std::vector<std::pair<std::string_view, uint32_t>> all, user_defined;
    for (uint32_t i = 0; i < specials_.size(); ++i) {
      all.push_back({specials_[i].text, i});
      if (!specials_[i].is_control) user_defined.push_back({specials_[i].text, i});
    }
    all_ = ByteTrie(std::move(all));
    user_defined_ = ByteTrie(std::move(user_defined));
  }

  // text(part, begin) and token(id), in order; `begin` is where the part lies in the whole text, no part is empty. The
  // parts' texts are `whole`, one after the other; a special token lies within one of them.
  template <class OnText, class OnToken>
  void ForEach(std::string_view whole, std::span<const TextPart> parts, OnText&& text, OnToken&& token) const {
    size_t begin = 0;  // of what is not given yet
    size_t part_begin = 0;
    for (const TextPart& part : parts) {
      const size_t part_end = part_begin + part.text.size();
      const ByteTrie& trie = part.may_hold_control ? all_ : user_defined_;
      const std::string_view seen = whole.substr(0, part_end);
      for (size_t at = part_begin; at < part_end && !trie.empty();) {
        if (at < begin || !trie.MayBegin(whole[at])) {
          ++at;
          continue;
        }
        const auto [bytes, index] = trie.Longest(seen, at);
        if (bytes == 0) {
          ++at;
          continue;
        }
        const SpecialMatch& match = specials_[index].match;
        const size_t text_end = match.strips_left ? WithoutSpaceAfter(whole, begin, at) : at;
        if (text_end > begin) text(whole.substr(begin, text_end - begin), begin);
        token(match.token);
        at += bytes;
        begin = match.strips_right ? AfterSpace(whole, at) : at;
      }
      part_begin = part_end;
    }
    if (begin < whole.size()) text(whole.substr(begin), begin);
  }

 private:
  static size_t AfterSpace(std::string_view text, size_t at) {
    while (at < text.size()) {
      const Utf8Char c = DecodeUtf8(text, at);
      if (!c.valid || !IsWhitespace(c.code)) break;
      at += c.bytes;
    }
    return at;
  }
  static size_t WithoutSpaceAfter(std::string_view text, size_t begin, size_t end) {
    while (end > begin) {
      size_t last = end - 1;
      while (last > begin && (static_cast<uint8_t>(text[last]) & 0xc0) == 0x80) --last;
      const Utf8Char c = DecodeUtf8(text, last);
      if (!c.valid || last + c.bytes != end || !IsWhitespace(c.code)) break;
      end = last;
    }
    return end;
  }

  std::vector<Special> specials_;
  ByteTrie all_, user_defined_;
};

}  // namespace detail

}  // namespace bitnet

#endif  // BITNET_IO_TOKENIZER_SPECIAL_TOKENS_H_
