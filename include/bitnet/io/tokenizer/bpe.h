// BpeEncoder: from words to tokens by byte-pair encoding, over bytes (GPT-2 and its heirs) or over characters
// (SentencePiece).
//
// A word that is a token and would be merged into it, as most are, costs one lookup. Whether a token's own text is
// merged into it is found out when the text first occurs, and kept: one byte a token, which threads may share, since
// all of them would write the same.
#ifndef BITNET_IO_TOKENIZER_BPE_H_
#define BITNET_IO_TOKENIZER_BPE_H_

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bitnet/io/tokenizer/merges.h"
#include "bitnet/io/tokenizer/token_table.h"
#include "bitnet/io/tokenizer/vocabulary.h"

namespace bitnet::detail {

// The bytes of the character that begins with this byte, as SentencePiece counts them.
constexpr size_t BytesByLead(char lead) {
  const auto byte = static_cast<uint8_t>(lead);
  return byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
}

class BpeEncoder {
 public:
  enum class Units { kBytes, kChars };

  // Longer tokens are refused by those who make vocabularies: to look for all pairs that make a token takes the square
  // of its length.
  static constexpr size_t kLongestMerged = 1024;

  // What an Encode needs and keeps.
  struct Scratch {
    Merger merger;
    std::vector<uint32_t> symbols;
    std::unordered_map<uint32_t, std::pair<uint32_t, uint32_t>> splits;  // of unused tokens
    std::vector<std::pair<uint32_t, int>> unsplit;
  };

  BpeEncoder() = default;

  // `table` and `types` stay with the caller, who hands them over again in each call.
  BpeEncoder(const TokenTable& table, const std::vector<TokenType>& types, Units units, bool whole_words)
      : units_(units), whole_words_(whole_words), whole_(new std::atomic<uint8_t>[table.size()]()) {
    symbol_of_byte_.fill(TokenTable::kNone);
    for (uint32_t byte = 0; byte < (units == Units::kBytes ? 256u : 128u); ++byte) {
      const char text = static_cast<char>(byte);
      symbol_of_byte_[byte] = MergedToken(table, types, {&text, 1});
    }
    for (uint32_t id = 0; id < table.size(); ++id) {
      const std::string_view text = table.Text(id);
      if (!text.empty() && UnitBytes(text, 0) == text.size()) NoteUnused(types, id);
    }
  }

  // One after the other, from the lowest rank on.
  void AddMerge(const std::vector<TokenType>& types, Merge merge, uint32_t rank) {
    merges_.Add(merge.left, merge.right, {rank, merge.merged});
    NoteUnused(types, merge.merged);
  }

  // All pairs whose texts together are a token; rank_of(id) is the rank of those that become it.
  template <class RankOf>
  void AddAllMerges(const TokenTable& table, const std::vector<TokenType>& types, RankOf&& rank_of) {
    for (uint32_t id = 0; id < table.size(); ++id) {
      const std::string_view text = table.Text(id);
      if (text.empty() || MergedToken(table, types, text) != id) continue;
      for (size_t at = UnitBytes(text, 0); at < text.size(); at += UnitBytes(text, at)) {
        const uint32_t left = SymbolOfPart(table, types, text.substr(0, at));
        if (left == TokenTable::kNone) continue;
        const uint32_t right = SymbolOfPart(table, types, text.substr(at));
        if (right != TokenTable::kNone) AddMerge(types, {left, right, id}, rank_of(id));
      }
    }
  }

  // Whether merging may make tokens that are marked as unused, which are taken apart again. How depends on the whole
  // text: words must then not be encoded one by one.
  bool has_unused() const { return has_unused_; }

  // The token that the whole word is, or TokenTable::kNone. `hash` is the word's.
  uint32_t Whole(const TokenTable& table, const std::vector<TokenType>& types, std::string_view word, uint64_t hash,
                 Scratch& scratch) const {
    const uint32_t id = table.Find(word, hash);
    const bool is_whole =
        id != TokenTable::kNone && types[id] == TokenType::kNormal && IsWhole(table, types, id, word, scratch);
    return is_whole ? id : TokenTable::kNone;
  }

  // token(id) for the tokens of a word that is none itself, unknown(text) for characters that have none, in order. The
  // word is shorter than 2^31.
  template <class OnToken, class OnUnknown>
  void Encode(const TokenTable& table, const std::vector<TokenType>& types, std::string_view word, Scratch& scratch,
              OnToken&& token, OnUnknown&& unknown) const {
    // Characters that are no symbol stand between runs that merge.
    for (size_t at = 0; at < word.size();) {
      at = ReadSymbols(table, types, word, at, scratch.symbols);
      if (!scratch.symbols.empty()) {
        if (has_unused_) {
          MergeAndSplit(table, types, scratch, token, unknown);
        } else {
          scratch.merger.Run(merges_, scratch.symbols);
          for (const uint32_t symbol : scratch.symbols) Emit(table, symbol, token, unknown);
        }
      }
      if (at < word.size()) {
        const size_t bytes = UnitBytes(word, at);
        unknown(word.substr(at, bytes));
        at += bytes;
      }
    }
  }

 private:
  enum Whole : uint8_t { kNotKnown, kYes, kNo };

  void NoteUnused(const std::vector<TokenType>& types, uint32_t id) {
    has_unused_ = has_unused_ || (units_ == Units::kChars && types[id] == TokenType::kUnused);
  }

  size_t UnitBytes(std::string_view text, size_t at) const {
    return units_ == Units::kBytes ? 1 : std::min(BytesByLead(text[at]), text.size() - at);
  }

  // The token of this text that merging may make.
  static uint32_t MergedToken(const TokenTable& table, const std::vector<TokenType>& types, std::string_view text) {
    const uint32_t id = table.Find(text);
    const bool is_merged =
        id != TokenTable::kNone && (types[id] == TokenType::kNormal || types[id] == TokenType::kUnused);
    return is_merged ? id : TokenTable::kNone;
  }
  // The same, or a new number for a character that is no token but is a part of one.
  uint32_t SymbolOfPart(const TokenTable& table, const std::vector<TokenType>& types, std::string_view text) {
    const uint32_t id = MergedToken(table, types, text);
    if (id != TokenTable::kNone || units_ == Units::kBytes || UnitBytes(text, 0) != text.size()) return id;
    const auto next = static_cast<uint32_t>(table.size() + parts_.size());
    const auto [found, is_new] = symbol_of_part_.try_emplace(std::string(text), next);
    if (is_new) {
      parts_.push_back(std::string(text));
      if (text.size() == 1) symbol_of_byte_[static_cast<uint8_t>(text[0])] = next;
    }
    return found->second;
  }

  // Whether merging makes this token of its text.
  bool IsWhole(const TokenTable& table, const std::vector<TokenType>& types, uint32_t id, std::string_view word,
               Scratch& scratch) const {
    if (whole_words_) return true;
    uint8_t known = whole_[id].load(std::memory_order_relaxed);
    if (known == kNotKnown) {
      const bool is_read = ReadSymbols(table, types, word, 0, scratch.symbols) == word.size();
      if (is_read) scratch.merger.Run(merges_, scratch.symbols);
      known = is_read && scratch.symbols.size() == 1 && scratch.symbols[0] == id ? kYes : kNo;
      whole_[id].store(known, std::memory_order_relaxed);
    }
    return known == kYes;
  }

  // The symbols from `at` on, up to the end or to a character that is none: its place.
  size_t ReadSymbols(const TokenTable& table, const std::vector<TokenType>& types, std::string_view word, size_t at,
                     std::vector<uint32_t>& symbols) const {
    symbols.clear();
    while (at < word.size()) {
      const size_t bytes = UnitBytes(word, at);
      uint32_t symbol = symbol_of_byte_[static_cast<uint8_t>(word[at])];
      if (bytes > 1) symbol = SymbolOfChar(table, types, word.substr(at, bytes));
      if (symbol == TokenTable::kNone) break;
      symbols.push_back(symbol);
      at += bytes;
    }
    return at;
  }
  uint32_t SymbolOfChar(const TokenTable& table, const std::vector<TokenType>& types, std::string_view text) const {
    const uint32_t id = MergedToken(table, types, text);
    if (id != TokenTable::kNone || parts_.empty()) return id;
    const auto found = symbol_of_part_.find(std::string(text));
    return found == symbol_of_part_.end() ? TokenTable::kNone : found->second;
  }

  template <class OnToken, class OnUnknown>
  void Emit(const TokenTable& table, uint32_t symbol, OnToken&& token, OnUnknown&& unknown) const {
    if (symbol < table.size()) {
      token(symbol);
    } else {
      unknown(std::string_view(parts_[symbol - table.size()]));
    }
  }

  // SentencePiece takes unused tokens apart again, into the pair of them that became neighbours last.
  template <class OnToken, class OnUnknown>
  void MergeAndSplit(const TokenTable& table, const std::vector<TokenType>& types, Scratch& scratch, OnToken&& token,
                     OnUnknown&& unknown) const {
    scratch.splits.clear();
    scratch.merger.Run(merges_, scratch.symbols, [&](uint32_t left, uint32_t right, uint32_t merged) {
      if (types[merged] == TokenType::kUnused) scratch.splits[merged] = {left, right};
    });
    constexpr int kDeepest = 100;  // SentencePiece's
    for (const uint32_t whole : scratch.symbols) {
      scratch.unsplit.assign(1, {whole, 0});
      while (!scratch.unsplit.empty()) {
        const auto [symbol, depth] = scratch.unsplit.back();
        scratch.unsplit.pop_back();
        const bool is_unused = symbol < table.size() && types[symbol] == TokenType::kUnused;
        if (is_unused && depth <= kDeepest) {
          const auto split = scratch.splits.find(symbol);
          if (split == scratch.splits.end()) {
            unknown(table.Text(symbol));
            continue;
          }
          scratch.unsplit.push_back({split->second.second, depth + 1});
          scratch.unsplit.push_back({split->second.first, depth + 1});
        } else {
          Emit(table, symbol, token, unknown);
        }
      }
    }
  }

  Units units_ = Units::kBytes;
  bool whole_words_ = false;
  bool has_unused_ = false;
  MergeTable merges_;
  std::array<uint32_t, 256> symbol_of_byte_{};  // in characters: of ASCII
  std::vector<std::string> parts_;              // characters that are no token: their symbols follow the tokens
  std::unordered_map<std::string, uint32_t> symbol_of_part_;
  std::unique_ptr<std::atomic<uint8_t>[]> whole_;
};

}  // namespace bitnet::detail

#endif  // BITNET_IO_TOKENIZER_BPE_H_
