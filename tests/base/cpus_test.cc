#include "bitnet/base/cpus.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <optional>
#include <string>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#endif

#include "bitnet/base/executor.h"

namespace bitnet {
namespace {

using detail::CpusOfQuota;

constexpr std::optional<size_t> kNoLimit = std::nullopt;

TEST_CASE("UsableCpus: is at least 1 and no more than the machine has") {
  CHECK(UsableCpus() >= 1);
  if (std::thread::hardware_concurrency() != 0) CHECK(UsableCpus() <= std::thread::hardware_concurrency());
}

TEST_CASE("CpusOfQuota: quota over period, rounded up") {
  CHECK(CpusOfQuota("100000 100000\n") == 1);
  CHECK(CpusOfQuota("100001 100000\n") == 2);
  CHECK(CpusOfQuota("150000 100000") == 2);
  CHECK(CpusOfQuota("200000 100000\n") == 2);
  CHECK(CpusOfQuota("1 1000000\n") == 1);
  CHECK(CpusOfQuota("50000 100000\n") == 1);
  CHECK(CpusOfQuota("6400000 100000\n") == 64);
  CHECK(CpusOfQuota("18446744073709551615 1\n") == SIZE_MAX);
}

TEST_CASE("CpusOfQuota: no limit, and text that is none, do not count") {
  for (const char* text : {"max 100000\n",
                           "max",
                           "-1 100000\n",
                           "",
                           "\n",
                           " ",
                           "100000",
                           "100000\n",
                           "100000 ",
                           "100000 \n",
                           "0 100000\n",
                           "100000 0\n",
                           "100000  100000\n",
                           " 100000 100000\n",
                           "100000\t100000\n",
                           "100000 100000 \n",
                           "100000 100000\n\n",
                           "100000 100000 1",
                           "100000 -100000",
                           "+100000 100000",
                           "1e5 100000",
                           "1.5 1",
                           "0x10 1",
                           "18446744073709551616 1",
                           "1 18446744073709551616",
                           "99999999999999999999999999999999999999 1",
                           "a b"}) {
    CAPTURE(text);
    CHECK(CpusOfQuota(text) == kNoLimit);
  }
  CHECK(CpusOfQuota(std::string("1\0 1", 4)) == kNoLimit);
}

#if defined(__linux__)
using detail::CpusOfCgroups;
using detail::StartOfFile;

// A folder that is there as long as the object.
struct Folder {
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "bitnet_cpus_XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~Folder() { std::filesystem::remove_all(path); }

  void Write(const std::string& file, const std::string& text) const {
    const std::filesystem::path at = std::filesystem::path(path) / file;
    std::filesystem::create_directories(at.parent_path());
    std::ofstream(at) << text;
  }

  std::string path;
};

TEST_CASE("CpusOfCgroups: version 2, the tightest of the group and those around it counts") {
  const Folder root;
  root.Write("a/b/c/cpu.max", "max 100000\n");
  CHECK(CpusOfCgroups("0::/a/b/c\n", root.path) == kNoLimit);
  root.Write("a/b/cpu.max", "300000 100000\n");
  root.Write("a/cpu.max", "500000 100000\n");
  root.Write("elsewhere/cpu.max", "100000 100000\n");
  CHECK(CpusOfCgroups("0::/a/b/c\n", root.path) == 3);
  CHECK(CpusOfCgroups("0::/a/b/c", root.path) == 3);
  CHECK(CpusOfCgroups("0::/a\n", root.path) == 5);
  root.Write("a/cpu.max", "150000 100000\n");
  CHECK(CpusOfCgroups("0::/a/b/c\n", root.path) == 2);
  // A container that sees its own group as the root, whatever path it is told.
  root.Write("cpu.max", "50000 100000\n");
  CHECK(CpusOfCgroups("0::/\n", root.path) == 1);
  CHECK(CpusOfCgroups("0::/docker/0123456789\n", root.path) == 1);
  CHECK(CpusOfCgroups("0::/../other\n", root.path) == 1);
}

TEST_CASE("CpusOfCgroups: version 1, the group of the cpu controller counts, and those around it") {
  const Folder root;
  root.Write("cpu/a/b/cpu.cfs_quota_us", "-1\n");
  root.Write("cpu/a/b/cpu.cfs_period_us", "100000\n");
  const std::string membership =
      "12:cpuset:/x\n11:memory:/a/b\n3:cpuacct,cpu:/a/b\n2:cpuacct:/x\n1:name=systemd:/x\n0::/x\n";
  CHECK(CpusOfCgroups(membership, root.path) == kNoLimit);
  root.Write("cpu/a/cpu.cfs_quota_us", "250000\n");
  root.Write("cpu/a/cpu.cfs_period_us", "50000\n");
  root.Write("cpu/x/cpu.cfs_quota_us", "50000\n");
  root.Write("cpu/x/cpu.cfs_period_us", "50000\n");
  CHECK(CpusOfCgroups(membership, root.path) == 5);
  CHECK(CpusOfCgroups("3:cpuset:/a/b\n", root.path) == kNoLimit);
  // Both versions at once: the tighter one.
  root.Write("x/cpu.max", "200000 100000\n");
  CHECK(CpusOfCgroups(membership, root.path) == 2);
}

TEST_CASE("CpusOfCgroups: a membership that is none does not count") {
  const Folder root;
  root.Write("a/cpu.max", "100000 100000\n");
  for (const char* membership : {"", "\n", "\n\n", "0", "0:", "0:\n", "::", "0:/a\n", "/a\n", "0:x:/a\n", "0::/b\n"}) {
    CAPTURE(membership);
    CHECK(CpusOfCgroups(membership, root.path) == kNoLimit);
  }
  CHECK(CpusOfCgroups("\n0\n0::/a", root.path) == 1);
  CHECK(CpusOfCgroups("0::/a", root.path + "/nowhere") == kNoLimit);
  CHECK(CpusOfCgroups("0::/a" + std::string(70000, 'x'), root.path) == kNoLimit);
}

TEST_CASE(
    "CpusOfCgroups: a FIFO, a folder and a file of any size in place of a quota do not count, nor hold anything up") {
  const Folder root;
  root.Write("fifo/b/cpu.max", "200000 100000\n");
  REQUIRE(mkfifo((root.path + "/fifo/cpu.max").c_str(), 0600) == 0);
  CHECK(CpusOfCgroups("0::/fifo/b", root.path) == 2);
  root.Write("folder/cpu.max/file", "");
  CHECK(CpusOfCgroups("0::/folder", root.path) == kNoLimit);
  root.Write("long/cpu.max", "100000 100000\n" + std::string(1000, '1'));
  CHECK(CpusOfCgroups("0::/long", root.path) == kNoLimit);
  // A hole of 1 TiB.
  root.Write("huge/cpu.max", "1");
  if (truncate((root.path + "/huge/cpu.max").c_str(), off_t{1} << (sizeof(off_t) == 8 ? 40 : 30)) == 0) {
    CHECK(CpusOfCgroups("0::/huge", root.path) == kNoLimit);
  }
  CHECK(StartOfFile(root.path + "/huge/cpu.max", 3) == std::string("1\0\0", 3));
  CHECK(StartOfFile("/dev/zero", 10).empty());
}

TEST_CASE("UsableCpus: counts the CPUs that the thread may run on, and a pool has as many threads") {
  size_t usable = 0;
  size_t threads = 0;
  // In a thread of its own: the mask goes with it.
  std::thread([&] {
    cpu_set_t all;
    CPU_ZERO(&all);
    if (sched_getaffinity(0, sizeof(all), &all) != 0) return;
    for (size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (!CPU_ISSET(cpu, &all)) continue;
      cpu_set_t one;
      CPU_ZERO(&one);
      CPU_SET(cpu, &one);
      if (sched_setaffinity(0, sizeof(one), &one) != 0) return;
      usable = UsableCpus();
      threads = ThreadPool().Threads();
      return;
    }
  }).join();
  CHECK(usable == 1);
  CHECK(threads == 1);
}
#endif

}  // namespace
}  // namespace bitnet
