// UsableCpus(): how many threads of this program can run at once.
//
// The least of: the CPUs of the machine; on Linux, those that the calling thread may run on (taskset, cpusets, batch
// systems), and the CPU time that the program's control groups give it, rounded up (docker --cpus, Kubernetes). Asks
// the system anew at every call; what cannot be read does not count.
#ifndef BITNET_BASE_CPUS_H_
#define BITNET_BASE_CPUS_H_

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace bitnet {
namespace detail {

// CPUs that "<quota> <period>" pays for, rounded up: microseconds, as in a control group's cpu.max. Nothing where there
// is no limit (a quota of "max" or -1), and of any other text.
inline std::optional<size_t> CpusOfQuota(std::string_view text) {
  // 0, which is neither a quota nor a period, where there is no number.
  const auto take_number = [&text]() -> uint64_t {
    uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    return error == std::errc() ? number : 0;
  };
  const uint64_t quota = take_number();
  if (quota == 0 || !text.starts_with(' ')) return std::nullopt;
  text.remove_prefix(1);
  const uint64_t period = take_number();
  if (period == 0 || (!text.empty() && text != "\n")) return std::nullopt;
  return static_cast<size_t>(std::min<uint64_t>((quota - 1) / period + 1, std::numeric_limits<size_t>::max()));
}

#if defined(__linux__)
// The first `most_bytes` of a file; of what is no file, and of none, nothing. Never waits (for the writer of a FIFO).
inline std::string StartOfFile(const std::string& path, size_t most_bytes) {
  std::string text(most_bytes, '\0');  // before the file is open, so that nothing is lost where memory ends
  const int file = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  size_t size = 0;
  if (file < 0) return {};
  struct stat status {};
  if (fstat(file, &status) == 0 && S_ISREG(status.st_mode)) {
    for (ssize_t n; size < most_bytes && (n = read(file, text.data() + size, most_bytes - size)) > 0;) {
      size += static_cast<size_t>(n);
    }
  }
  close(file);
  text.resize(size);
  return text;
}

// Whether "cpu" is in a list with commas.
inline bool NamesCpu(std::string_view controllers) {
  while (!controllers.empty()) {
    const std::string_view name = controllers.substr(0, controllers.find(','));
    if (name == "cpu") return true;
    controllers.remove_prefix(std::min(controllers.size(), name.size() + 1));
  }
  return false;
}

// The least that a control group of the program and those around it leave. `membership` is /proc/self/cgroup: lines
// "<id>:<controllers>:<path>", without controllers in version 2. `root` is where the groups are: /sys/fs/cgroup. In a
// container that sees only the lower end of its path, the folders of the path are missing there, and `root` itself has
// the limit.
inline std::optional<size_t> CpusOfCgroups(std::string_view membership, const std::string& root) {
  constexpr size_t kMostBytes = 64;  // two numbers of 64 bits
  std::optional<size_t> least;
  while (!membership.empty()) {
    const std::string_view line = membership.substr(0, membership.find('\n'));
    membership.remove_prefix(std::min(membership.size(), line.size() + 1));
    const size_t id_end = line.find(':');
    const size_t controllers_end = id_end == line.npos ? line.npos : line.find(':', id_end + 1);
    if (controllers_end == line.npos) continue;
    const std::string_view controllers = line.substr(id_end + 1, controllers_end - id_end - 1);
    const bool is_version_2 = controllers.empty();
    if (!is_version_2 && !NamesCpu(controllers)) continue;

    // The folder of the group, with room for a file's name; then those around it.
    std::string folder = root;
    if (!is_version_2) folder.append("/cpu");
    const size_t top = folder.size();
    folder.append(line.substr(controllers_end + 1));
    while (true) {
      const auto read = [&folder](const char* name) {
        const size_t size = folder.size();
        std::string text = StartOfFile(folder.append(name), kMostBytes);
        folder.resize(size);
        return text;
      };
      std::string quota = read(is_version_2 ? "/cpu.max" : "/cpu.cfs_quota_us");
      if (!is_version_2) {
        if (quota.ends_with('\n')) quota.back() = ' ';
        quota.append(read("/cpu.cfs_period_us"));
      }
      if (const std::optional<size_t> cpus = CpusOfQuota(quota)) least = std::min(*cpus, least.value_or(*cpus));
      const size_t slash = folder.rfind('/');
      if (slash == folder.npos || slash < top) break;
      folder.resize(slash);
    }
  }
  return least;
}

// How many CPUs the calling thread may run on.
inline std::optional<size_t> CpusOfAffinity() {
  constexpr size_t kWordBits = std::numeric_limits<unsigned long>::digits;
  // The kernel refuses a mask that is shorter than its own.
  for (size_t bits = 1024; bits <= (size_t{1} << 20); bits *= 2) {
    std::vector<unsigned long> mask(bits / kWordBits);
    if (sched_getaffinity(0, bits / 8, reinterpret_cast<cpu_set_t*>(mask.data())) != 0) continue;
    size_t cpus = 0;
    for (const unsigned long word : mask) cpus += static_cast<size_t>(std::popcount(word));
    return cpus;
  }
  return std::nullopt;
}
#endif

}  // namespace detail

// At least 1.
inline size_t UsableCpus() {
  size_t cpus = std::thread::hardware_concurrency();
  const auto limit = [&cpus](std::optional<size_t> most) {
    if (most.has_value() && (cpus == 0 || *most < cpus)) cpus = *most;
  };
#if defined(__linux__)
  limit(detail::CpusOfAffinity());
  limit(detail::CpusOfCgroups(detail::StartOfFile("/proc/self/cgroup", size_t{1} << 16), "/sys/fs/cgroup"));
#endif
  return std::max<size_t>(1, cpus);
}

}  // namespace bitnet

#endif  // BITNET_BASE_CPUS_H_
