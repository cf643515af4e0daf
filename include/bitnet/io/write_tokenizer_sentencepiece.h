// SentencePieceModelText: a vocabulary of SentencePiece as its own file (tokenizer.model), the opposite of
// io/tokenizer_sentencepiece.h. Unlike tokenizer.json, which has merges, it has scores, so that nothing is said by
// approximation: SentencePiece makes the same ids of a text by it.
//
// Refused by a sentence: what such a file cannot say, and what SentencePiece does not load (pieces of one text, of no
// UTF-8, no or several unknown pieces).
#ifndef BITNET_IO_WRITE_TOKENIZER_SENTENCEPIECE_H_
#define BITNET_IO_WRITE_TOKENIZER_SENTENCEPIECE_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "bitnet/base/result.h"
#include "bitnet/io/tokenizer/check_vocabulary.h"
#include "bitnet/io/tokenizer/vocabulary.h"
#include "bitnet/io/write_tokenizer_json.h"

namespace bitnet {

namespace detail {

// Appends fields of a protobuf message.
class WireWriter {
 public:
  void Number(uint64_t field, uint64_t number) {
    Put(field << 3);
    Put(number);
  }
  void Bytes(uint64_t field, std::string_view bytes) {
    Put((field << 3) | 2);
    Put(bytes.size());
    message_ += bytes;
  }
  void Float(uint64_t field, float real) {
    Put((field << 3) | 5);
    const auto bits = std::bit_cast<uint32_t>(real);
    for (unsigned shift = 0; shift < 32; shift += 8) message_.push_back(static_cast<char>((bits >> shift) & 255));
  }
  const std::string& message() const { return message_; }

 private:
  void Put(uint64_t number) {
    for (; number > 127; number >>= 7) message_.push_back(static_cast<char>((number & 127) | 128));
    message_.push_back(static_cast<char>(number));
  }
  std::string message_;
};

}  // namespace detail

inline Result<std::string> SentencePieceModelText(const SentencePieceVocabulary& v) {
  if (const std::string fault = detail::FaultOfVocabulary(v); !fault.empty()) return Error{fault};
  if (!v.merges.empty())
    return Error{"pieces that merge by a list cannot be said in tokenizer.model, which has scores"};
  if (v.space_prefix == SpacePrefix::kFirst || v.only_one_space || !v.fuse_unknown || !v.special_matches.empty()) {
    return Error{"how the tokenizer treats white space and unknown characters cannot be said in tokenizer.model"};
  }
  if (const std::string fault = detail::FaultOfTexts(v.pieces); !fault.empty()) {
    return Error{fault + ", which SentencePiece does not load"};
  }
  if (const auto unknown = std::count(v.types.begin(), v.types.end(), TokenType::kUnknown); unknown != 1) {
    return Error{std::to_string(unknown) + " unknown tokens, where SentencePiece has one"};
  }
  detail::WireWriter file;
  for (size_t id = 0; id < v.pieces.size(); ++id) {
    detail::WireWriter piece;
    piece.Bytes(1, v.pieces[id]);
    piece.Float(2, v.scores[id]);
    piece.Number(3, static_cast<uint64_t>(v.types[id]));
    file.Bytes(1, piece.message());
  }
  detail::WireWriter trainer;
  trainer.Number(3, static_cast<uint64_t>(v.kind));
  trainer.Number(4, v.pieces.size());
  trainer.Number(24, v.whitespace_is_suffix ? 1 : 0);
  trainer.Number(35, v.byte_fallback ? 1 : 0);
  // The named tokens' ids, and their pieces; -1: none.
  const auto unknown =
      static_cast<Token>(std::find(v.types.begin(), v.types.end(), TokenType::kUnknown) - v.types.begin());
  const std::optional<Token> named[] = {unknown, v.named.bos, v.named.eos, v.named.pad};
  for (uint64_t i = 0; i < 4; ++i) trainer.Number(40 + i, named[i] ? *named[i] : ~uint64_t{0});
  if (v.unknown_text != SentencePieceVocabulary().unknown_text) trainer.Bytes(44, v.unknown_text);
  for (uint64_t i = 0; i < 4; ++i) {
    if (named[i]) trainer.Bytes(45 + i, v.pieces[*named[i]]);
  }
  file.Bytes(2, trainer.message());
  detail::WireWriter normalizer;
  normalizer.Bytes(1, v.charsmap.empty() ? "identity" : "user_defined");
  normalizer.Bytes(2, v.charsmap);
  normalizer.Number(3, v.space_prefix == SpacePrefix::kNever ? 0 : 1);
  normalizer.Number(4, v.remove_extra_whitespaces ? 1 : 0);
  normalizer.Number(5, v.escape_whitespaces ? 1 : 0);
  file.Bytes(3, normalizer.message());
  return file.message();
}

}  // namespace bitnet

#endif  // BITNET_IO_WRITE_TOKENIZER_SENTENCEPIECE_H_
