// StopStrings: a text that comes in pieces, up to the one of some strings that is whole first; none of it is shown.
//
//   StopStrings stop({"\n\n", "User:"});
//   for each piece of text (TextDecoder): Show(stop.Append(piece)); end if stop.found();
//   Show(stop.Finish());
//
// The end of a piece that may begin one of the strings waits for the next pieces. (Generate's stop_sequences are of
// tokens: a string may be written by others, and begin or end within one.)
#ifndef BITNET_IO_STOP_STRINGS_H_
#define BITNET_IO_STOP_STRINGS_H_

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bitnet {

class StopStrings {
 public:
  // Empty ones are never found.
  explicit StopStrings(std::vector<std::string> strings) : strings_(std::move(strings)) {
    std::erase(strings_, std::string());
  }

  // The text that can be shown now. After one of the strings was found there is none.
  std::string Append(std::string_view piece) {
    if (found_) return {};
    waiting_ += piece;
    size_t end = waiting_.size(), read = std::string::npos;  // where the text ends, and the string that is there
    for (const std::string& stop : strings_) {
      const size_t at = waiting_.find(stop);
      if (at == std::string::npos || at + stop.size() > read) continue;
      end = at + stop.size() == read ? std::min(end, at) : at;
      read = at + stop.size();
    }
    found_ = read != std::string::npos;
    if (!found_) {
      size_t held = 0;
      for (const std::string& stop : strings_) held = std::max(held, BegunLength(stop));
      end -= held;
    }
    std::string text = waiting_.substr(0, end);
    waiting_.erase(0, end);
    if (found_) waiting_.clear();
    return text;
  }
  // Whether the text has ended by one of the strings.
  bool found() const { return found_; }
  // The text has ended by itself: what still waited.
  std::string Finish() { return std::exchange(waiting_, {}); }

 private:
  // How many of the last bytes begin the string, without being all of it.
  size_t BegunLength(std::string_view stop) const {
    const std::string_view text = waiting_;
    for (size_t n = std::min(text.size(), stop.size() - 1); n > 0; --n) {
      if (text.substr(text.size() - n) == stop.substr(0, n)) return n;
    }
    return 0;
  }

  std::vector<std::string> strings_;
  std::string waiting_;
  bool found_ = false;
};

}  // namespace bitnet

#endif  // BITNET_IO_STOP_STRINGS_H_
