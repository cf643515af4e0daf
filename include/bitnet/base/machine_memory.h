// MachineMemory(): how many bytes of memory this machine has, those of other programs and of the system included.
#ifndef BITNET_BASE_MACHINE_MEMORY_H_
#define BITNET_BASE_MACHINE_MEMORY_H_

#include <cstdint>
#include <limits>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

namespace bitnet {

// The largest number where the system does not say.
inline uint64_t MachineMemory() {
#if defined(_SC_PHYS_PAGES) && defined(_SC_PAGESIZE)
  const long pages = sysconf(_SC_PHYS_PAGES);
  const long page_bytes = sysconf(_SC_PAGESIZE);
  if (pages > 0 && page_bytes > 0) return static_cast<uint64_t>(pages) * static_cast<uint64_t>(page_bytes);
#endif
  return std::numeric_limits<uint64_t>::max();
}

}  // namespace bitnet

#endif  // BITNET_BASE_MACHINE_MEMORY_H_
