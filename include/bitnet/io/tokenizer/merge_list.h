// ReadMergeList: merges that a file names by the texts of the tokens, as tokens.
#ifndef BITNET_IO_TOKENIZER_MERGE_LIST_H_
#define BITNET_IO_TOKENIZER_MERGE_LIST_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bitnet/base/result.h"
#include "bitnet/io/quoted.h"
#include "bitnet/io/tokenizer/byte_level.h"
#include "bitnet/io/tokenizer/token_table.h"
#include "bitnet/io/tokenizer/vocabulary.h"

namespace bitnet::detail {

// The two texts of "left right"; nothing if there is no space between two texts.
inline std::optional<std::pair<std::string_view, std::string_view>> SplitMerge(std::string_view merge) {
  const size_t space = merge.find(' ', 1);
  if (space == std::string_view::npos || space + 1 == merge.size()) return std::nullopt;
  return std::pair(merge.substr(0, space), merge.substr(space + 1));
}

class MergeReader {
 public:
  // `texts` are those of the file, by token.
  explicit MergeReader(const std::vector<std::string>& texts)
      : table_(texts, [&](auto add) {
          for (uint32_t id = 0; id < texts.size(); ++id) add(id);
        }) {}

  // Appends the merge of two texts.
  Result<Done> Read(std::string_view left, std::string_view right, std::vector<Merge>& merges) {
    merged_.assign(left).append(right);
    const std::string_view texts[] = {left, right, merged_};
    Token tokens[3];
    for (size_t i = 0; i < 3; ++i) {
      tokens[i] = texts[i].empty() ? TokenTable::kNone : table_.Find(texts[i]);
      if (tokens[i] == TokenTable::kNone) {
        return Error{"merge " + std::to_string(merges.size()) + ", of " + Quoted(left) + " and " + Quoted(right) +
                     ": there is no token " + Quoted(texts[i])};
      }
    }
    merges.push_back({tokens[0], tokens[1], tokens[2]});
    return Done{};
  }

 private:
  TokenTable table_;
  std::string merged_;
};

// Texts in GPT-2's letters become bytes; one that is not written so, and no special token, is never to be made.
inline void TranslateLetters(std::vector<std::string>& tokens, std::vector<TokenType>& types) {
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (types[id] != TokenType::kNormal && types[id] != TokenType::kUnused) continue;
    if (std::optional<std::string> bytes = BytesOfLetters(tokens[id])) {
      tokens[id] = *std::move(bytes);
    } else {
      types[id] = TokenType::kUnused;
    }
  }
}

}  // namespace bitnet::detail

#endif  // BITNET_IO_TOKENIZER_MERGE_LIST_H_
