// MergeTable and Merger: the loop of byte-pair encoding on numbers. Of all neighbours that may merge, those of the
// lowest rank do, the leftmost first; again and again until none may.
//
// Short words, nearly all, are searched from left to right for each merge; long ones (a line of dashes, a text without
// spaces) take a heap of pairs over a linked list: O(n log n), so that no text is slow.
#ifndef BITNET_IO_TOKENIZER_MERGES_H_
#define BITNET_IO_TOKENIZER_MERGES_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace bitnet::detail {

struct MergeRank {
  static constexpr uint32_t kNever = 0xffffffffu;
  uint32_t rank = kNever;
  uint32_t merged = 0;
};

// From two symbols to the rank of their merge and what they become. Open addressing, at most half full.
class MergeTable {
 public:
  // Of equal pairs the first one counts. No symbol is 2^32 - 1, no rank is kNever.
  void Add(uint32_t left, uint32_t right, MergeRank merge) {
    if (2 * (count_ + 1) > entries_.size()) Grow();
    Entry& entry = entries_[Slot(Key(left, right))];
    if (entry.key != kFree) return;
    entry = {Key(left, right), merge};
    ++count_;
  }
  MergeRank Find(uint32_t left, uint32_t right) const {
    return entries_.empty() ? MergeRank{} : entries_[Slot(Key(left, right))].merge;
  }
  size_t size() const { return count_; }

 private:
  static constexpr uint64_t kFree = ~uint64_t{0};
  struct Entry {
    uint64_t key = kFree;
    MergeRank merge;
  };
  static uint64_t Key(uint32_t left, uint32_t right) { return (uint64_t{left} << 32) | right; }

  size_t Slot(uint64_t key) const {
    const size_t mask = entries_.size() - 1;
    uint64_t hash = key * 0x9e3779b97f4a7c15u;
    hash = (hash ^ (hash >> 32)) * 0xbf58476d1ce4e5b9u;
    for (size_t slot = static_cast<size_t>(hash >> 20) & mask;; slot = (slot + 1) & mask) {
      if (entries_[slot].key == key || entries_[slot].key == kFree) return slot;
    }
  }
  void Grow() {
    std::vector<Entry> old(std::max<size_t>(64, 2 * entries_.size()));
    old.swap(entries_);
    for (const Entry& entry : old) {
      if (entry.key != kFree) entries_[Slot(entry.key)] = entry;
    }
  }

  std::vector<Entry> entries_;
  size_t count_ = 0;
};

// The memory of one caller; it keeps its buffers from word to word.
class Merger {
 public:
  // Merges the symbols in place: fewer than 2^31 of them. considered(left, right, merged) is called for each pair of
  // neighbours that may merge, when they become neighbours.
  template <class F>
  void Run(const MergeTable& table, std::vector<uint32_t>& symbols, F&& considered) {
    if (symbols.size() <= kShort) {
      RunShort(table, symbols, considered);
    } else {
      RunLong(table, symbols, considered);
    }
  }
  void Run(const MergeTable& table, std::vector<uint32_t>& symbols) {
    Run(table, symbols, [](uint32_t, uint32_t, uint32_t) {});
  }

 private:
  // Also tried: 16 and 96, without a difference in English.
  static constexpr size_t kShort = 48;

  template <class F>
  static MergeRank Consider(const MergeTable& table, uint32_t left, uint32_t right, F&& considered) {
    const MergeRank merge = table.Find(left, right);
    if (merge.rank != MergeRank::kNever) considered(left, right, merge.merged);
    return merge;
  }

  template <class F>
  static void RunShort(const MergeTable& table, std::vector<uint32_t>& symbols, F&& considered) {
    size_t count = symbols.size();
    if (count < 2) return;
    std::array<MergeRank, kShort> merges;  // of the symbols i and i + 1
    for (size_t i = 0; i + 1 < count; ++i) merges[i] = Consider(table, symbols[i], symbols[i + 1], considered);
    for (;;) {
      size_t best = 0;
      for (size_t i = 1; i + 1 < count; ++i) {
        if (merges[i].rank < merges[best].rank) best = i;
      }
      if (count < 2 || merges[best].rank == MergeRank::kNever) break;
      symbols[best] = merges[best].merged;
      --count;
      for (size_t i = best + 1; i < count; ++i) symbols[i] = symbols[i + 1];
      for (size_t i = best + 1; i + 1 < count; ++i) merges[i] = merges[i + 1];
      if (best > 0) merges[best - 1] = Consider(table, symbols[best - 1], symbols[best], considered);
      if (best + 1 < count) merges[best] = Consider(table, symbols[best], symbols[best + 1], considered);
    }
    symbols.resize(count);
  }

  static constexpr uint32_t kEnd = 0xffffffffu;
  struct Link {
    uint32_t previous, next;
  };
  struct Candidate {
    uint32_t rank, left_at;                         // a heap's order
    uint32_t left, right, merged;                   // what stood there when it was considered
    bool operator<(const Candidate& other) const {  // std::push_heap has the largest first
      return rank != other.rank ? rank > other.rank : left_at > other.left_at;
    }
  };

  template <class F>
  void RunLong(const MergeTable& table, std::vector<uint32_t>& symbols, F&& considered) {
    const auto count = static_cast<uint32_t>(symbols.size());
    links_.resize(count);
    for (uint32_t i = 0; i < count; ++i) links_[i] = {i == 0 ? kEnd : i - 1, i + 1 == count ? kEnd : i + 1};
    heap_.clear();
    const auto candidate = [&](uint32_t at) {
      const uint32_t left = symbols[at], right = symbols[links_[at].next];
      const MergeRank merge = Consider(table, left, right, considered);
      return Candidate{merge.rank, at, left, right, merge.merged};
    };
    for (uint32_t i = 0; i + 1 < count; ++i) {
      if (const Candidate c = candidate(i); c.rank != MergeRank::kNever) heap_.push_back(c);
    }
    std::make_heap(heap_.begin(), heap_.end());
    const auto push = [&](uint32_t at) {
      const Candidate c = candidate(at);
      if (c.rank == MergeRank::kNever) return;
      heap_.push_back(c);
      std::push_heap(heap_.begin(), heap_.end());
    };
    while (!heap_.empty()) {
      std::pop_heap(heap_.begin(), heap_.end());
      const Candidate c = heap_.back();
      heap_.pop_back();
      const uint32_t next = links_[c.left_at].next;
      // One of the two has been merged since. (kEnd in `symbols`: merged into the one before it.)
      if (symbols[c.left_at] != c.left || next == kEnd || symbols[next] != c.right) continue;
      symbols[c.left_at] = c.merged;
      symbols[next] = kEnd;
      links_[c.left_at].next = links_[next].next;
      if (links_[next].next != kEnd) links_[links_[next].next].previous = c.left_at;
      if (links_[c.left_at].previous != kEnd) push(links_[c.left_at].previous);
      if (links_[c.left_at].next != kEnd) push(c.left_at);
    }
    size_t kept = 0;
    for (uint32_t i = 0; i != kEnd; i = links_[i].next) symbols[kept++] = symbols[i];
    symbols.resize(kept);
  }

  std::vector<Link> links_;
  std::vector<Candidate> heap_;
};

}  // namespace bitnet::detail

#endif  // BITNET_IO_TOKENIZER_MERGES_H_
