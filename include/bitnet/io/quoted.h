// Quoted: a stranger's name in a message, without what a terminal would obey and without end.
#ifndef BITNET_IO_QUOTED_H_
#define BITNET_IO_QUOTED_H_

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

namespace bitnet {

// 'name': bytes that are not printable ASCII as \xNN, and after 80 bytes "...".
inline std::string Quoted(std::string_view name) {
  constexpr size_t kMost = 80;
  std::string quoted = "'";
  for (const char c : name.substr(0, std::min(name.size(), kMost))) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f) {
      quoted += c;
    } else {
      quoted += {'\\', 'x', "0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]};
    }
  }
  return quoted + (name.size() > kMost ? "...'" : "'");
}

}  // namespace bitnet

#endif  // BITNET_IO_QUOTED_H_
