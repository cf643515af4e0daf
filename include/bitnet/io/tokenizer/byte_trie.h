// ByteTrie: a set of byte strings with a number each; finds those that a text begins with.
//
// The children of a node lie side by side, sorted by their byte. The root has a table of all bytes.
#ifndef BITNET_IO_TOKENIZER_BYTE_TRIE_H_
#define BITNET_IO_TOKENIZER_BYTE_TRIE_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

namespace bitnet::detail {

class ByteTrie {
 public:
  static constexpr uint32_t kNone = 0xffffffffu;

  ByteTrie() { root_.fill(kNone); }

  // Of keys that are not empty, with their values; of equal keys the first one's counts. Together the keys have fewer
  // than 2^32 - 1 bytes.
  explicit ByteTrie(std::vector<std::pair<std::string_view, uint32_t>> keys) : ByteTrie() {
    std::stable_sort(keys.begin(), keys.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    // Breadth first: a node's keys are a range of the sorted ones that share its path.
    struct Range {
      size_t begin, end, depth;
    };
    std::vector<Range> ranges = {{0, keys.size(), 0}};
    for (size_t next = 0; next < ranges.size(); ++next) {
      Range range = ranges[next];
      // The root is no node.
      const size_t node = next - 1;
      if (next > 0) {
        if (keys[range.begin].first.size() == range.depth) nodes_[node].value = keys[range.begin].second;
        while (range.begin < range.end && keys[range.begin].first.size() == range.depth) ++range.begin;
        nodes_[node].first_child = static_cast<uint32_t>(nodes_.size());
      }
      while (range.begin < range.end) {
        const char byte = keys[range.begin].first[range.depth];
        size_t end = range.begin + 1;
        while (end < range.end && keys[end].first[range.depth] == byte) ++end;
        if (next == 0) {
          root_[static_cast<uint8_t>(byte)] = static_cast<uint32_t>(nodes_.size());
        } else {
          ++nodes_[node].children;
        }
        ranges.push_back({range.begin, end, range.depth + 1});
        nodes_.push_back({});
        labels_.push_back(byte);
        range.begin = end;
      }
    }
  }

  bool empty() const { return nodes_.empty(); }
  bool MayBegin(char byte) const { return root_[static_cast<uint8_t>(byte)] != kNone; }

  // found(bytes, value) for each key that text[at...] begins with, from the shortest on.
  template <class F>
  void ForEachPrefix(std::string_view text, size_t at, F&& found) const {
    if (at >= text.size()) return;
    uint32_t node = root_[static_cast<uint8_t>(text[at])];
    for (size_t end = at + 1; node != kNone; ++end) {
      if (nodes_[node].value != kNone) found(end - at, nodes_[node].value);
      if (end == text.size()) return;
      node = Child(nodes_[node], text[end]);
    }
  }

  // The longest of them: its bytes and value; {0, kNone} if there is none.
  std::pair<size_t, uint32_t> Longest(std::string_view text, size_t at) const {
    std::pair<size_t, uint32_t> longest = {0, kNone};
    ForEachPrefix(text, at, [&](size_t bytes, uint32_t value) { longest = {bytes, value}; });
    return longest;
  }

 private:
  struct Node {
    uint32_t first_child = 0;
    uint32_t value = kNone;
    uint16_t children = 0;
  };

  uint32_t Child(const Node& node, char byte) const {
    const char* labels = labels_.data() + node.first_child;
    if (node.children < 8) {
      for (uint32_t i = 0; i < node.children; ++i) {
        if (labels[i] == byte) return node.first_child + i;
      }
      return kNone;
    }
    const void* found = std::memchr(labels, static_cast<uint8_t>(byte), node.children);
    if (found == nullptr) return kNone;
    return node.first_child + static_cast<uint32_t>(static_cast<const char*>(found) - labels);
  }

  std::array<uint32_t, 256> root_;
  std::vector<Node> nodes_;
  std::vector<char> labels_;
};

}  // namespace bitnet::detail

#endif  // BITNET_IO_TOKENIZER_BYTE_TRIE_H_
