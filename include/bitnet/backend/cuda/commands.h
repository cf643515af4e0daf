// Commands: what a stream has been told and has not yet put into its queue, as a block of bytes. Two passes that do the
// same with the same addresses have the same bytes: so a graph that was captured of one stands for the other.
#ifndef BITNET_BACKEND_CUDA_COMMANDS_H_
#define BITNET_BACKEND_CUDA_COMMANDS_H_

#include <array>
#include <cstddef>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "bitnet/backend/cuda/machine.h"

namespace bitnet::cuda {

template <Machine M>
class Commands {
 public:
  // A command is a trivially copyable object with Fault operator()(const M&, M::Queue&) const.
  template <class Command>
  void Add(const Command& command) {
    static_assert(std::is_trivially_copyable_v<Command> && alignof(Command) <= kAlignment);
    const Header header = {&RunBytes<Command>, RoundUp(sizeof(Header)) + RoundUp(sizeof(Command))};
    const size_t at = bytes_.size();
    bytes_.resize(at + header.size);
    std::memcpy(bytes_.data() + at, &header, sizeof(header));
    std::byte* const to = bytes_.data() + at + RoundUp(sizeof(Header));
    std::memcpy(to, &command, sizeof(command));
    const std::array<std::byte, sizeof(Command)>& values = ValuesOf<Command>();
    for (size_t i = 0; i < sizeof(Command); ++i) to[i] &= values[i];
    ++count_;
  }

  // All of them, until one fails.
  Fault Run(const M& machine, typename M::Queue& queue) const {
    for (size_t at = 0; at < bytes_.size();) {
      Header header;
      std::memcpy(&header, bytes_.data() + at, sizeof(header));
      if (const Fault fault = header.run(machine, queue, bytes_.data() + at + RoundUp(sizeof(Header)))) return fault;
      at += header.size;
    }
    return {};
  }

  void Clear() {
    bytes_.clear();
    count_ = 0;
  }
  size_t count() const { return count_; }
  size_t bytes() const { return bytes_.size(); }
  friend bool operator==(const Commands& a, const Commands& b) {
    return a.bytes_.size() == b.bytes_.size() &&
           (a.bytes_.empty() || std::memcmp(a.bytes_.data(), b.bytes_.data(), a.bytes_.size()) == 0);
  }

 private:
  struct Header {
    Fault (*run)(const M&, typename M::Queue&, const std::byte*);
    size_t size;  // of header and command
  };
  static constexpr size_t kAlignment = 16;
  static constexpr size_t RoundUp(size_t n) { return (n + kAlignment - 1) / kAlignment * kAlignment; }

  // Ones where a command has values: what lies between them is never the same twice. (Cleared in the copy itself, g++
  // 12 leaves some of it.)
  template <class Command>
  static const std::array<std::byte, sizeof(Command)>& ValuesOf() {
    static const auto values = [] {
      std::array<std::byte, sizeof(Command)> bytes;
      bytes.fill(std::byte{0xff});
#if defined(__has_builtin)
#if __has_builtin(__builtin_clear_padding)
      alignas(Command) std::byte object[sizeof(Command)];
      std::memset(object, 0xff, sizeof(object));
      __builtin_clear_padding(reinterpret_cast<Command*>(object));
      std::memcpy(bytes.data(), object, sizeof(object));
#endif
#endif
      return bytes;
    }();
    return values;
  }

  template <class Command>
  static Fault RunBytes(const M& machine, typename M::Queue& queue, const std::byte* bytes) {
    alignas(Command) std::byte memory[sizeof(Command)];
    std::memcpy(memory, bytes, sizeof(Command));
    return (*std::launder(reinterpret_cast<const Command*>(memory)))(machine, queue);
  }

  std::vector<std::byte> bytes_;
  size_t count_ = 0;
};

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_COMMANDS_H_
