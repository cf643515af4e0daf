// RemovedWaits: leaves out every barrier, and every wait for asynchronous copies, of every kernel that is launched as
// long as it lives, one at a time, and keeps which of them nothing told of.
//
// It needs no test of its own for a kernel: where one is launched, the memory of the device is put back to what it was,
// and the same launch runs once more without one of its waits, in a forked child, in several schedules. The removal is
// found if the emulated device objects, or what is in the device's memory afterwards is not what the right launch left
// (bytes that the right launch leaves to chance do not count), or the child crashes or hangs. A removal that is not
// found is tried again at the next launch of the kernel, whatever its arguments and template parameters.
#ifndef BITNET_TESTS_TESTING_REMOVED_WAITS_H_
#define BITNET_TESTS_TESTING_REMOVED_WAITS_H_

#include "testing/child.h"

#ifdef BITNET_HAS_FORK

#include <sys/time.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "testing/launch_witness.h"
#include "testing/simt_block.h"
#include "testing/simt_schedule.h"

namespace bitnet::testing {

class RemovedWaits : public LaunchWitness {
 public:
  // A barrier or a wait of a kernel: in a file, whose folders are left out.
  struct Wait {
    std::string kernel;  // without its template parameters
    std::string file;
    unsigned line;
    friend bool operator<(const Wait& a, const Wait& b) {
      return std::tie(a.kernel, a.file, a.line) < std::tie(b.kernel, b.file, b.line);
    }
    std::string Name() const { return kernel + ", " + file + ":" + std::to_string(line); }
  };
  // What became of its removal.
  struct Removal {
    bool is_found = false;
    size_t tried = 0;  // launches
  };

  const std::map<Wait, Removal>& removals() const { return removals_; }

  void Launched(const std::string& kernel, const Run& run, const Schedule& schedule) override {
    EmulatedBlock& block = EmulatedBlock::OfThisThread();
    const std::string name = WithoutParameters(kernel);
    Waits waits;
    block.SetWaits(&waits);
    const Bytes before = Memory();
    run(schedule);
    std::vector<std::pair<CallSite, Removal*>> wanted;
    for (const CallSite& site : waits.met) {
      Removal& removal = removals_[{name, FileName(site.file), site.line}];
      if (!removal.is_found) wanted.emplace_back(site, &removal);
    }
    if (!wanted.empty()) {
      const Bytes after = Memory();
      const Bytes chance = LeftToChance(run, before, after);
      for (const auto& [site, removal] : wanted) {
        waits.left_out = site;
        ++removal->tried;
        removal->is_found = IsFound(run, before, after, chance);
      }
      waits.left_out = {};
      SetMemory(after);
    }
    block.SetWaits(nullptr);
  }
  void Allocated(void* p, size_t bytes) override { allocations_[static_cast<unsigned char*>(p)] = bytes; }
  void Freed(void* p) override { allocations_.erase(static_cast<unsigned char*>(p)); }

  static std::string FileName(std::string_view path) { return std::string(path.substr(path.rfind('/') + 1)); }

 private:
  using Bytes = std::vector<unsigned char>;

  // (Kernels side by side are the kernel.)
  static std::string WithoutParameters(std::string_view kernel) {
    constexpr std::string_view kSideBySide = "bitnet::cuda::SideBySide<";
    if (kernel.starts_with(kSideBySide)) kernel.remove_prefix(kSideBySide.size());
    kernel = kernel.substr(0, kernel.find('<'));
    return std::string(kernel.substr(kernel.rfind(':') + 1));
  }

  // All allocations, one after the other.
  Bytes Memory() const {
    Bytes bytes;
    for (const auto& [p, size] : allocations_) bytes.insert(bytes.end(), p, p + size);
    return bytes;
  }
  void SetMemory(const Bytes& bytes) const {
    const unsigned char* from = bytes.data();
    for (const auto& [p, size] : allocations_) {
      std::memcpy(p, from, size);
      from += size;
    }
  }

  Bytes LeftToChance(const Run& run, const Bytes& before, const Bytes& after) const {
    Bytes chance(after.size());
    for (const Schedule& schedule : kTried) {
      SetMemory(before);
      run(schedule);
      const Bytes now = Memory();
      for (size_t i = 0; i < now.size(); ++i) chance[i] = chance[i] | (now[i] ^ after[i]);
    }
    return chance;
  }

  bool IsFound(const Run& run, const Bytes& before, const Bytes& after, const Bytes& chance) const {
    const int end = EndOfChild([&] {
      static_cast<void>(std::freopen("/dev/null", "w", stderr));  // of a sanitizer, an assertion
      std::signal(SIGVTALRM, SIG_DFL);
      const itimerval seconds = {{0, 0}, {5, 0}};
      setitimer(ITIMER_VIRTUAL, &seconds, nullptr);
      for (const Schedule& schedule : kTried) {
        SetMemory(before);
        try {
          run(schedule);
        } catch (const SimtError&) {
          return 1;
        }
        const Bytes now = Memory();
        for (size_t i = 0; i < now.size(); ++i) {
          if (chance[i] == 0 && now[i] != after[i]) return 2;
        }
      }
      return 0;
    });
    if (end == -1000) throw std::runtime_error("there is no child to be had");
    return end != 0;
  }

  static constexpr auto& kTried = kSchedules;

  std::map<unsigned char*, size_t> allocations_;
  std::map<Wait, Removal> removals_;
};

}  // namespace bitnet::testing

#endif

#endif  // BITNET_TESTS_TESTING_REMOVED_WAITS_H_
