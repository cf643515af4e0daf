// TextDecoder: tokens that come one by one, as text that can be shown at once: valid UTF-8, and never half a character.
//
//   TextDecoder decoder(tokenizer, {.at_start = false});           // a reply goes on after a prompt
//   for each token: std::fputs(decoder.Append(token)->c_str(), stdout);
//   std::fputs(decoder.Finish().c_str(), stdout);
//
// A character that a token leaves unfinished waits for the next ones; what can no longer become a character is U+FFFD.
// All parts together are ReplaceInvalidUtf8 (io/unicode.h) of what Tokenizer::Decode gives for the tokens.
#ifndef BITNET_IO_TEXT_DECODER_H_
#define BITNET_IO_TEXT_DECODER_H_

#include <cstddef>
#include <string>
#include <utility>

#include "bitnet/base/result.h"
#include "bitnet/io/tokenizer.h"
#include "bitnet/io/unicode.h"

namespace bitnet {

class TextDecoder {
 public:
  explicit TextDecoder(Tokenizer tokenizer, const DecodeOptions& options = {})
      : tokenizer_(std::move(tokenizer)), options_(options), at_start_(options.at_start) {}

  // The text that this token finishes; often its own, sometimes empty. An error for a token that the vocabulary does
  // not have; the decoder is then as it was.
  Result<std::string> Append(Token token) {
    if (token >= tokenizer_.size()) return tokenizer_.NoSuchToken(token);
    // Of copies, so that the decoder stays as it was where memory ends.
    std::string waiting = waiting_;
    bool at_start = at_start_;
    tokenizer_.AppendBytes(token, options_.show_control, at_start, waiting);
    std::string text;
    size_t at = 0;
    while (at < waiting.size()) {
      const Utf8Char c = DecodeUtf8(waiting, at);
      if (c.valid) {
        text.append(waiting, at, c.bytes);
        at += c.bytes;
      } else if (UnfinishedUtf8(waiting, at) != 0) {
        break;
      } else {
        AppendUtf8(text, 0xfffd);
        at += detail::IllFormedBytes(waiting, at);
      }
    }
    waiting.erase(0, at);
    waiting_.swap(waiting);
    at_start_ = at_start;
    return text;
  }

  // The end: U+FFFD for a character that was never finished, or nothing. The decoder then begins anew.
  std::string Finish() {
    std::string text = ReplaceInvalidUtf8(waiting_);
    waiting_.clear();
    at_start_ = options_.at_start;
    return text;
  }

 private:
  Tokenizer tokenizer_;
  DecodeOptions options_;
  bool at_start_;
  std::string waiting_;  // the first bytes of a character
};

}  // namespace bitnet

#endif  // BITNET_IO_TEXT_DECODER_H_
