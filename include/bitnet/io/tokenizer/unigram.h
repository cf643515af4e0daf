// UnigramEncoder: SentencePiece's unigram model: of all ways to cut a text into pieces, the one whose scores have the
// largest sum (Viterbi). A character that no piece covers costs the lowest score less 10.
//
// Sums are taken in floats over the whole text, and brought back to zero beyond 100000, as SentencePiece (0.2.3) takes
// them: in long texts their rounding decides between ways that are nearly equal.
#ifndef BITNET_IO_TOKENIZER_UNIGRAM_H_
#define BITNET_IO_TOKENIZER_UNIGRAM_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include "bitnet/io/tokenizer/bpe.h"
#include "bitnet/io/tokenizer/byte_trie.h"
#include "bitnet/io/tokenizer/token_table.h"
#include "bitnet/io/tokenizer/vocabulary.h"

namespace bitnet::detail {

class UnigramEncoder {
 public:
  struct Scratch {
    struct Best {  // the last piece of the best way to an end
      float score = 0.0f;
      uint32_t begin = kNowhere;
      uint32_t token = 0;
    };
    std::vector<Best> best;
    std::vector<uint32_t> ends;
  };

  UnigramEncoder() = default;

  // The scores are finite.
  UnigramEncoder(const TokenTable& table, const std::vector<TokenType>& types, std::vector<float> scores)
      : scores_(std::move(scores)) {
    std::vector<std::pair<std::string_view, uint32_t>> keys;
    float lowest = std::numeric_limits<float>::max();
    is_user_defined_.resize(table.size());
    for (uint32_t id = 0; id < table.size(); ++id) {
      const bool is_normal = types[id] == TokenType::kNormal;
      if (is_normal) lowest = std::min(lowest, scores_[id]);
      is_user_defined_[id] = types[id] == TokenType::kUserDefined;
      const std::string_view text = table.Text(id);
      if ((is_normal || is_user_defined_[id]) && !text.empty() && table.Find(text) == id) keys.push_back({text, id});
    }
    unknown_score_ = lowest - 10.0f;
    trie_ = ByteTrie(std::move(keys));
  }

  // token(id) for the pieces of the text, unknown(text) for a character without one, in order. The text is shorter than
  // 2^31.
  template <class OnToken, class OnUnknown>
  void Encode(std::string_view text, Scratch& scratch, OnToken&& token, OnUnknown&& unknown) const {
    auto& best = scratch.best;
    best.assign(text.size() + 1, {});
    size_t farthest = 0;
    for (size_t begin = 0; begin < text.size();) {
      constexpr float kMost = 100000.0f;
      if (const float offset = best[begin].score; offset < -kMost || offset > kMost) {
        for (size_t i = begin; i <= farthest; ++i) {
          if (i == begin || best[i].begin != kNowhere) best[i].score -= offset;
        }
        best[begin].score = 0.0f;
      }
      const float score_here = best[begin].score;
      const size_t char_bytes = std::min(BytesByLead(text[begin]), text.size() - begin);
      const auto offer = [&](size_t end, float score, uint32_t id) {
        farthest = std::max(farthest, end);
        if (best[end].begin == kNowhere || score > best[end].score) {
          best[end] = {score, static_cast<uint32_t>(begin), id};
        }
      };
      bool has_char = false;
      trie_.ForEachPrefix(text, begin, [&](size_t bytes, uint32_t id) {
        // User-defined symbols win over all pieces, and longer ones over shorter ones.
        const float score =
            is_user_defined_[id] ? static_cast<float>(0.1 * (static_cast<double>(bytes) - 1.0)) : scores_[id];
        offer(begin + bytes, score + score_here, id);
        has_char = has_char || bytes == char_bytes;
      });
      if (!has_char) offer(begin + char_bytes, unknown_score_ + score_here, kUnknown);
      begin += char_bytes;
    }
    scratch.ends.clear();
    for (size_t end = text.size(); end > 0; end = best[end].begin) scratch.ends.push_back(static_cast<uint32_t>(end));
    for (auto end = scratch.ends.rbegin(); end != scratch.ends.rend(); ++end) {
      const auto& last = best[*end];
      if (last.token == kUnknown) {
        unknown(text.substr(last.begin, *end - last.begin));
      } else {
        token(last.token);
      }
    }
  }

 private:
  static constexpr uint32_t kNowhere = 0xffffffffu, kUnknown = 0xffffffffu;

  ByteTrie trie_;
  std::vector<float> scores_;
  std::vector<bool> is_user_defined_;
  float unknown_score_ = 0.0f;
};

}  // namespace bitnet::detail

#endif  // BITNET_IO_TOKENIZER_UNIGRAM_H_
