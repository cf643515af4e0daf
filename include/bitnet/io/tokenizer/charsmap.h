// Charsmap: the rules by which a SentencePiece model rewrites characters (NFKC and the like), as its file has them:
//
//   bytes (u32) | a double array, of 32-bit units | texts that end in a zero byte
//
// A unit of the array: bits 0 to 7 its label, bit 8 whether a value follows, bits 10 to 30 the offset to its children
// (times 256 where bit 9 is set); a value has bit 31 set, and says in the other bits where its text begins. Everything
// is checked by Make: lookups then stay inside.
#ifndef BITNET_IO_TOKENIZER_CHARSMAP_H_
#define BITNET_IO_TOKENIZER_CHARSMAP_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "bitnet/base/result.h"

namespace bitnet::detail {

class Charsmap {
 public:
  // What text[at...] begins with is replaced by `text`; bytes 0: there is no rule for it.
  struct Replacement {
    std::string_view text;
    size_t bytes = 0;
  };

  Charsmap() = default;

  static Result<Charsmap> Make(std::string_view blob) {
    Charsmap map;
    if (blob.empty()) return map;
    const auto fault = [](const std::string& why) { return Error{"precompiled_charsmap: " + why}; };
    uint32_t array_bytes = 0;
    if (blob.size() <= sizeof(array_bytes)) return fault("has " + std::to_string(blob.size()) + " bytes, fewer than 5");
    std::memcpy(&array_bytes, blob.data(), sizeof(array_bytes));
    blob.remove_prefix(sizeof(array_bytes));
    if (array_bytes >= blob.size() || array_bytes < 1024 || array_bytes % 1024 != 0) {
      return fault("its array has " + std::to_string(array_bytes) + " bytes; a multiple of 1024, fewer than the " +
                   std::to_string(blob.size()) + " that follow, was expected");
    }
    if (blob.back() != '\0') return fault("its texts do not end in a zero byte");
    map.units_.resize(array_bytes / sizeof(uint32_t));
    std::memcpy(map.units_.data(), blob.data(), array_bytes);
    map.texts_ = blob.substr(array_bytes);
    for (size_t i = 0; i < map.units_.size(); ++i) {
      const uint32_t unit = map.units_[i];
      const bool is_value = Label(unit) > 0xff;
      const size_t children = i ^ Offset(unit);
      const bool is_in = is_value ? i != 0 && Value(unit) < map.texts_.size() : (children | 0xff) < map.units_.size();
      if (!is_in || (!is_value && HasValue(unit) && Label(map.units_[children]) <= 0xff)) {
        return fault("unit " + std::to_string(i) + " of its array leads outside, or to no value where it says so");
      }
    }
    return map;
  }

  bool empty() const { return units_.empty(); }

  // The longest rule for what text[at...] begins with.
  Replacement Find(std::string_view text, size_t at) const {
    Replacement found;
    if (units_.empty()) return found;
    size_t node = Offset(units_[0]);
    for (size_t end = at; end < text.size();) {
      const auto byte = static_cast<uint8_t>(text[end++]);
      node ^= byte;
      const uint32_t unit = units_[node];
      if (Label(unit) != byte) break;
      node ^= Offset(unit);
      if (HasValue(unit)) found = {std::string_view(texts_.c_str() + Value(units_[node])), end - at};
    }
    return found;
  }

 private:
  static uint32_t Label(uint32_t unit) { return unit & 0x800000ffu; }
  static bool HasValue(uint32_t unit) { return (unit & 0x100u) != 0; }
  static uint32_t Offset(uint32_t unit) { return (unit >> 10) << ((unit & 0x200u) >> 6); }
  static uint32_t Value(uint32_t unit) { return unit & 0x7fffffffu; }

  std::vector<uint32_t> units_;
  std::string texts_;
};

}  // namespace bitnet::detail

#endif  // BITNET_IO_TOKENIZER_CHARSMAP_H_
