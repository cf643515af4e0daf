// TokenTable: the texts of tokens, one after the other in one block, and a hash of them: from a text to its token.
//
// Open addressing with linear probing, at most half full. An entry is 8 bytes: most lookups read one line of the table
// and one of the texts.
#ifndef BITNET_IO_TOKENIZER_TOKEN_TABLE_H_
#define BITNET_IO_TOKENIZER_TOKEN_TABLE_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace bitnet::detail {

// A hash of bytes; its low bits may index tables.
inline uint64_t HashBytes(std::string_view bytes) {
  constexpr uint64_t kMultiplier = 0x9e3779b97f4a7c15u;
  const char* p = bytes.data();
  size_t n = bytes.size();
  uint64_t hash = n * kMultiplier;
  const auto mix = [&](uint64_t word) {
    hash = (hash ^ word) * kMultiplier;
    hash ^= hash >> 32;
  };
  for (; n > 8; p += 8, n -= 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    mix(word);
  }
  // 4 to 8 bytes by two words that overlap, 1 to 3 by three bytes that may be the same.
  uint64_t tail = 0;
  if (n >= 4) {
    uint32_t low, high;
    std::memcpy(&low, p, 4);
    std::memcpy(&high, p + n - 4, 4);
    tail = low | (uint64_t{high} << 32);
  } else if (n > 0) {
    tail = static_cast<uint8_t>(p[0]) | (uint64_t{static_cast<uint8_t>(p[n / 2])} << 8) |
           (uint64_t{static_cast<uint8_t>(p[n - 1])} << 16);
  }
  mix(tail);
  hash *= kMultiplier;
  return hash ^ (hash >> 29);
}

class TokenTable {
 public:
  static constexpr uint32_t kNone = 0xffffffffu;

  TokenTable() = default;

  // Copies the texts; they are fewer than 2^31, and together shorter than 4 GiB (the caller has checked).
  // `order(add)` calls add(id) for the ids in the order in which they are entered: of equal texts, the first is found.
  template <class Order>
  TokenTable(const std::vector<std::string>& texts, Order&& order) {
    offsets_.reserve(texts.size() + 1);
    size_t bytes = 0;
    for (const std::string& text : texts) bytes += text.size();
    bytes_.reserve(bytes);
    offsets_.push_back(0);
    for (const std::string& text : texts) {
      bytes_ += text;
      offsets_.push_back(static_cast<uint32_t>(bytes_.size()));
    }
    entries_.resize(std::bit_ceil(2 * texts.size() + 2));
    order([this](uint32_t id) {
      const std::string_view text = Text(id);
      const uint64_t hash = HashBytes(text);
      Entry& entry = entries_[Slot(text, hash)];
      if (entry.id == kNone) entry = {Tag(hash), id};
    });
  }

  size_t size() const { return offsets_.empty() ? 0 : offsets_.size() - 1; }
  std::string_view Text(uint32_t id) const {
    return std::string_view(bytes_).substr(offsets_[id], offsets_[id + 1] - offsets_[id]);
  }
  // The token of this text, or kNone.
  uint32_t Find(std::string_view text) const { return Find(text, HashBytes(text)); }
  uint32_t Find(std::string_view text, uint64_t hash) const {
    return entries_.empty() ? kNone : entries_[Slot(text, hash)].id;
  }

 private:
  struct Entry {
    uint32_t tag = 0;  // bits of the hash that the place does not say
    uint32_t id = kNone;
  };
  static uint32_t Tag(uint64_t hash) { return static_cast<uint32_t>(hash >> 32); }

  // Where the text is, or the free place where it would be.
  size_t Slot(std::string_view text, uint64_t hash) const {
    const size_t mask = entries_.size() - 1;
    for (size_t slot = static_cast<size_t>(hash) & mask;; slot = (slot + 1) & mask) {
      const Entry& entry = entries_[slot];
      if (entry.id == kNone || (entry.tag == Tag(hash) && Text(entry.id) == text)) return slot;
    }
  }

  std::string bytes_;
  std::vector<uint32_t> offsets_;
  std::vector<Entry> entries_;
};

}  // namespace bitnet::detail

#endif  // BITNET_IO_TOKENIZER_TOKEN_TABLE_H_
