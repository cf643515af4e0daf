// Where the tokens of a forward pass stand: of each its sequence and its position, and the rotary angles that belong to
// the position; of each sequence the pages of the cache that hold it. Several sequences may stand in one pass. The
// plain form, on the host.
#ifndef BITNET_BACKEND_WHERE_H_
#define BITNET_BACKEND_WHERE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "bitnet/backend/rope.h"
#include "bitnet/base/size.h"
#include "bitnet/tensor/key_values.h"

namespace bitnet {

struct Place {
  uint32_t sequence = 0;  // which of the page tables that the pass is given
  uint32_t position = 0;
  friend bool operator==(const Place&, const Place&) = default;
};

// Kept between calls: Set allocates only where it grows.
class HostWhere {
 public:
  // Neighbouring tokens of one sequence at neighbouring positions.
  struct Run {
    size_t first_token = 0;
    size_t tokens = 0;
    size_t sequence = 0;
    size_t first_position = 0;
  };

  // The tables are those of sequences 0, 1, ...; products and rotations need none.
  void Set(std::span<const Place> places, std::span<const PageTable> tables, const Rope& rope) {
    const size_t pairs = rope.pairs();
    const size_t angles = ElementCount<float>(places.size(), pairs);
    size_t pages = 0;
    for (const PageTable table : tables) pages = SizeSum(pages, table.size());
    places_.reserve(places.size());
    runs_.reserve(places.size());
    pages_.reserve(pages);
    table_ends_.reserve(tables.size());
    for (std::vector<float>* values : {&cos_, &sin_}) {
      if (values->size() < angles) values->resize(angles);
    }
    pairs_ = pairs;
    places_.assign(places.begin(), places.end());
    pages_.clear();
    table_ends_.clear();
    for (const PageTable table : tables) {
      pages_.insert(pages_.end(), table.begin(), table.end());
      table_ends_.push_back(pages_.size());
    }
    runs_.clear();
    for (size_t t = 0; t < places.size(); ++t) {
      rope.Angles(places[t].position, {cos_.data() + t * pairs, pairs}, {sin_.data() + t * pairs, pairs});
      if (t == 0 || places[t].sequence != places[t - 1].sequence || places[t].position != places[t - 1].position + 1) {
        runs_.push_back({t, 0, places[t].sequence, places[t].position});
      }
      ++runs_.back().tokens;
    }
  }

  size_t tokens() const { return places_.size(); }
  Place operator[](size_t token) const { return places_[token]; }
  std::span<const Run> runs() const { return runs_; }
  size_t sequences() const { return table_ends_.size(); }
  PageTable Table(size_t sequence) const {
    const size_t begin = sequence == 0 ? 0 : table_ends_[sequence - 1];
    return PageTable(pages_).subspan(begin, table_ends_[sequence] - begin);
  }
  // cos and sin of the angles of a token, one a pair of dimensions.
  std::span<const float> Cos(size_t token) const { return {cos_.data() + token * pairs_, pairs_}; }
  std::span<const float> Sin(size_t token) const { return {sin_.data() + token * pairs_, pairs_}; }
  size_t pairs() const { return pairs_; }

 private:
  size_t pairs_ = 0;
  std::vector<Place> places_;
  std::vector<Run> runs_;
  std::vector<uint32_t> pages_;  // of all tables
  std::vector<size_t> table_ends_;
  std::vector<float> cos_, sin_;
};

}  // namespace bitnet

#endif  // BITNET_BACKEND_WHERE_H_
