// WordCache: where in the tokens that were written so far those of a word stand, so that a word that comes again is
// copied. Of one call, which makes it as large as its text deserves; a word takes the place of another of the same
// hash.
#ifndef BITNET_IO_TOKENIZER_WORD_CACHE_H_
#define BITNET_IO_TOKENIZER_WORD_CACHE_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace bitnet::detail {

class WordCache {
 public:
  struct Place {
    size_t begin = 0, count = 0;  // tokens; count 0: not there
  };

  // For a text of so many bytes.
  void Reserve(size_t text_bytes) {
    const size_t places = std::min(kMost, text_bytes / 64);
    if (places >= 16) entries_.resize(std::max(entries_.size(), std::bit_floor(places)));
  }

  Place Find(std::string_view word, uint64_t hash) const {
    if (entries_.empty() || word.size() > kLongest) return {};
    const Entry& entry = entries_[Slot(hash)];
    const bool is_it = entry.bytes == word.size() && std::memcmp(entry.word, word.data(), word.size()) == 0;
    return is_it ? Place{entry.begin, entry.count} : Place{};
  }
  void Keep(std::string_view word, uint64_t hash, Place place) {
    if (entries_.empty() || word.size() > kLongest || place.begin > 0xffffffffu) return;
    Entry& entry = entries_[Slot(hash)];
    std::memcpy(entry.word, word.data(), word.size());
    entry.bytes = static_cast<uint8_t>(word.size());
    entry.begin = static_cast<uint32_t>(place.begin);
    entry.count = static_cast<uint8_t>(place.count);  // no more than bytes
  }

 private:
  static constexpr size_t kMost = 8192;
  static constexpr size_t kLongest = 26;  // bytes of a word: an entry is 32

  struct Entry {
    uint32_t begin = 0;
    uint8_t count = 0, bytes = 0;
    char word[kLongest] = {};
  };
  size_t Slot(uint64_t hash) const { return static_cast<size_t>(hash >> 13) & (entries_.size() - 1); }

  std::vector<Entry> entries_;
};

}  // namespace bitnet::detail

#endif  // BITNET_IO_TOKENIZER_WORD_CACHE_H_
