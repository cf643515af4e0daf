#include "bitnet/base/file.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <filesystem>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#if BITNET_HAS_POSIX_FILES
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#endif

namespace bitnet {
namespace {

using Bytes = std::vector<uint8_t>;

// A folder of this test alone, removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    static int count = 0;
    const auto unique = std::to_string(std::bit_cast<uintptr_t>(this)) + "." + std::to_string(count++);
    path_ = (std::filesystem::temp_directory_path() / ("bitnet_file_test." + unique)).string();
    std::filesystem::create_directories(path_);
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
      names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

 private:
  std::string path_;
};

template <class T>
std::string ErrorOf(const Result<T>& result) {
  return result.ok() ? "" : result.error();
}

TEST_CASE("WriteFile: replaces as a whole, or leaves what was there") {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  const Bytes first(1000, 1);
  const Bytes second(10, 2);
  REQUIRE(WriteFile(path, first).ok());
  REQUIRE(WriteFile(path, second).ok());
  CHECK(*ReadFile(path) == second);
  REQUIRE(WriteFile(path, {}).ok());
  CHECK(ReadFile(path)->empty());
  CHECK(folder.Names() == std::vector<std::string>{"file"});

  const std::string nowhere = folder / "no/file";
  CHECK(ErrorOf(WriteFile(nowhere, second)) == nowhere + ": cannot be opened for writing: No such file or directory");
  CHECK(ErrorOf(ReadFile(nowhere)) == nowhere + ": cannot be opened for reading: No such file or directory");
  CHECK_FALSE(WriteFile("", second).ok());
}

TEST_CASE("ReadFile: a limit that the caller gives holds to the byte") {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  REQUIRE(WriteFile(path, Bytes(1000, 7)).ok());
  CHECK(ErrorOf(ReadFile(path, {.regular = 999})) == path + ": has 1000 bytes; at most 999 are read (see ReadLimits)");
  CHECK(*ReadFile(path, {.regular = 1000}) == Bytes(1000, 7));
  // An enormous one is refused before memory is taken.
  const uint64_t enormous = uint64_t{1} << (sizeof(off_t) > 4 ? 42 : 30);
  std::filesystem::resize_file(path, enormous);
  CHECK(ErrorOf(ReadFile(path)).find(": has " + std::to_string(enormous) + " bytes; at most ") != std::string::npos);
}

TEST_CASE("CheckWritable: changes nothing, and refuses what WriteFile refuses") {
  const TemporaryFolder folder;
  CHECK(CheckWritable(folder / "new").ok());
  CHECK(folder.Names().empty());
  REQUIRE(WriteFile(folder / "old", Bytes(3, 1)).ok());
  CHECK(CheckWritable(folder / "old").ok());
  CHECK(*ReadFile(folder / "old") == Bytes(3, 1));
  CHECK(folder.Names() == std::vector<std::string>{"old"});
  CHECK(ErrorOf(CheckWritable(folder / "no/file")) == ErrorOf(WriteFile(folder / "no/file", {})));
}

#if BITNET_HAS_POSIX_FILES

mode_t ModeOf(const std::string& path) {
  struct stat status {};
  REQUIRE(lstat(path.c_str(), &status) == 0);
  return status.st_mode;
}

// Contents of one byte value, whose count of bytes follows from it.
Bytes Pattern(uint8_t value) { return Bytes(5000 + 100 * size_t{value}, value); }
bool IsPattern(const Bytes& bytes) { return !bytes.empty() && bytes == Pattern(bytes[0]); }

// Names of temporaries in the folder.
size_t Temporaries(const TemporaryFolder& folder) {
  const std::vector<std::string> names = folder.Names();
  return static_cast<size_t>(
      std::count_if(names.begin(), names.end(), [](const std::string& name) { return name.ends_with("-tmp"); }));
}

TEST_CASE("WriteFile: two threads that save to one file and load it never see a part of one, and both succeed") {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  REQUIRE(WriteFile(path, Pattern(0)).ok());
  std::atomic<int> failed_saves{0}, refused_loads{0};
  const auto work = [&](uint8_t value) {
    for (int i = 0; i < 300; ++i) {
      failed_saves += !WriteFile(path, Pattern(value)).ok();
      const Result<Bytes> read = ReadFile(path);
      refused_loads += !read.ok() || !IsPattern(*read);
    }
  };
  std::thread other(work, uint8_t{1});
  work(2);
  other.join();
  CHECK(failed_saves == 0);
  CHECK(refused_loads == 0);
  CHECK(folder.Names() == std::vector<std::string>{"file"});
}

// Runs `work` in a child process, which never returns to the tests and does not outlive this object.
class Child {
 public:
  template <class Work>
  explicit Child(Work&& work) : child_(fork()) {
    if (child_ == 0) {
      work();
      _exit(0);
    }
  }
  ~Child() { End(SIGKILL); }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  void Kill() { REQUIRE(End(SIGKILL)); }
  void Wait() { REQUIRE(End(0)); }

 private:
  bool End(int signal) {
    const pid_t child = std::exchange(child_, -1);
    return child > 0 && kill(child, signal) == 0 && waitpid(child, nullptr, 0) == child;
  }
  pid_t child_;
};

TEST_CASE("WriteFile: a process killed while it saves leaves a whole file, and nothing after the next save") {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  REQUIRE(WriteFile(path, Pattern(0)).ok());
  for (int round = 0; round < 20; ++round) {
    Child child([&] {
      for (;;) static_cast<void>(WriteFile(path, Pattern(200)));
    });
    for (int i = 0; i < 3 + round % 4; ++i) {
      REQUIRE(WriteFile(path, Pattern(static_cast<uint8_t>(i))).ok());
      const Result<Bytes> read = ReadFile(path);
      REQUIRE(read.ok());
      REQUIRE(IsPattern(*read));
    }
    child.Kill();
    REQUIRE(IsPattern(*ReadFile(path)));
    REQUIRE(WriteFile(path, Pattern(100)).ok());
    REQUIRE(*ReadFile(path) == Pattern(100));
    REQUIRE(folder.Names() == std::vector<std::string>{"file"});
  }
}

TEST_CASE("WriteFile: the temporary of a writer that lives is left alone, one whose writer died is removed") {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  REQUIRE(WriteFile(path, Pattern(0)).ok());
  int ready[2] = {};
  REQUIRE(pipe(ready) == 0);
  Child child([&] {
    const Result<detail::Replacement> pending = detail::Replacement::Begin(path);
    const char answer = pending.ok() ? 'y' : 'n';
    static_cast<void>(!write(ready[1], &answer, 1));
    for (;;) pause();
  });
  char answer = 0;
  REQUIRE(read(ready[0], &answer, 1) == 1);
  close(ready[0]);
  close(ready[1]);
  CHECK(answer == 'y');
  {
    // One in this process too: locks of one process are told apart.
    Result<detail::Replacement> pending = detail::Replacement::Begin(path);
    REQUIRE(pending.ok());
    CHECK(Temporaries(folder) == 2);
    REQUIRE(WriteFile(path, Pattern(1)).ok());
    CHECK(Temporaries(folder) == 2);
    REQUIRE(pending->Write(Pattern(2)).ok());
    REQUIRE(pending->Commit().ok());
    CHECK(*ReadFile(path) == Pattern(2));
    CHECK(Temporaries(folder) == 1);
  }
  child.Kill();
  CHECK(Temporaries(folder) == 1);
  // Files of other names, and what only looks alike, are nobody's leftovers.
  for (const char* name : {"file.0123456789abcdef.bitnet-tmp.old", "file.0123456789abcdeg.bitnet-tmp", "file.tmp",
                           "other.0123456789abcdef.bitnet-tmp"}) {
    REQUIRE(WriteFile(folder / name, {}).ok());
  }
  const size_t names = folder.Names().size();
  REQUIRE(WriteFile(folder / "another", {}).ok());
  CHECK(folder.Names().size() == names + 1);
  REQUIRE(WriteFile(path, Pattern(3)).ok());
  CHECK(folder.Names().size() == names);
  CHECK(*ReadFile(path) == Pattern(3));
}

TEST_CASE("WriteFile: names as long as the system allows, and their leftovers") {
  const TemporaryFolder folder;
  for (const std::string& name :
       {std::string(255, 'n'), std::string(99, 'n') + std::string(52, '\xc3').append("\xa9")}) {
    const std::string path = folder / name;
    Child child([&] {
      const Result<detail::Replacement> pending = detail::Replacement::Begin(path);
      kill(getpid(), SIGKILL);
    });
    child.Wait();
    CHECK(Temporaries(folder) == 1);
    REQUIRE(WriteFile(path, Pattern(1)).ok());
    CHECK(*ReadFile(path) == Pattern(1));
    CHECK(folder.Names() == std::vector<std::string>{name});
    std::filesystem::remove(path);
  }
}

TEST_CASE("WriteFile: keeps the old file's permissions; a new file has what the umask leaves") {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  const mode_t before = umask(027);
  const bool made = WriteFile(path, Pattern(1)).ok();
  umask(before);
  REQUIRE(made);
  CHECK((ModeOf(path) & 07777) == 0640);
  for (const mode_t mode : {0600u, 0644u, 0666u, 0755u, 0400u}) {
    REQUIRE(chmod(path.c_str(), mode) == 0);
    REQUIRE(WriteFile(path, Pattern(2)).ok());
    CHECK((ModeOf(path) & 07777) == mode);
  }
  REQUIRE(chmod(path.c_str(), 06755) == 0);
  REQUIRE(WriteFile(path, Pattern(3)).ok());
  CHECK((ModeOf(path) & 07777) == 0755);
}

TEST_CASE("WriteFile: through a symbolic link the file behind it is replaced, and the link stays") {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "inside");
  REQUIRE(WriteFile(folder / "inside/file", Pattern(1)).ok());
  std::filesystem::create_symlink("inside/file", folder / "link");
  std::filesystem::create_symlink("link", folder / "link2");
  REQUIRE(WriteFile(folder / "link2", Pattern(2)).ok());
  CHECK(std::filesystem::is_symlink(folder / "link"));
  CHECK(std::filesystem::is_symlink(folder / "link2"));
  CHECK(*ReadFile(folder / "inside/file") == Pattern(2));
  CHECK(folder.Names() == std::vector<std::string>{"inside", "link", "link2"});

  std::filesystem::create_symlink("nothing", folder / "dangling");
  CHECK(ErrorOf(WriteFile(folder / "dangling", Pattern(2))) ==
        folder / "dangling" + ": cannot be written: it is a symbolic link to nothing");
  CHECK(std::filesystem::is_symlink(folder / "dangling"));
  std::filesystem::create_symlink("loop", folder / "loop");
  CHECK(ErrorOf(WriteFile(folder / "loop", Pattern(2))).find("cannot be opened for writing: Too many levels") !=
        std::string::npos);
}

TEST_CASE("WriteFile: what stands at path.tmp is neither followed, nor waited for, nor changed") {
  const TemporaryFolder folder;
  REQUIRE(WriteFile(folder / "victim", Pattern(1)).ok());
  std::filesystem::create_symlink("victim", folder / "file.tmp");
  REQUIRE(WriteFile(folder / "file", Pattern(2)).ok());
  CHECK(*ReadFile(folder / "victim") == Pattern(1));
  REQUIRE(mkfifo((folder / "other.tmp").c_str(), 0600) == 0);
  REQUIRE(WriteFile(folder / "other", Pattern(2)).ok());
  // A pipe and a link that are called like leftovers.
  REQUIRE(mkfifo((folder / "file.0123456789abcdef.bitnet-tmp").c_str(), 0600) == 0);
  std::filesystem::create_symlink("victim", folder / "file.0000000000000000.bitnet-tmp");
  const size_t names = folder.Names().size();
  REQUIRE(WriteFile(folder / "file", Pattern(3)).ok());
  CHECK(folder.Names().size() == names);
  CHECK(*ReadFile(folder / "victim") == Pattern(1));
}

TEST_CASE("WriteFile: folders, pipes and devices are refused by their kind, and stay") {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "folder/inside");
  REQUIRE(mkfifo((folder / "pipe").c_str(), 0600) == 0);
  std::vector<std::pair<std::string, const char*>> targets = {{folder / "folder", "a folder"},
                                                              {folder / "pipe", "a pipe"}};
  struct stat null {};
  REQUIRE(stat("/dev/null", &null) == 0);
  // A device of its own, where the system lets us make one: were the law broken, /dev/null would be lost to everybody.
  if (mknod((folder / "device").c_str(), S_IFCHR | 0600, null.st_rdev) == 0) {
    targets.emplace_back(folder / "device", "a device");
  }
  const std::vector<std::string> names = folder.Names();
  for (const auto& [path, kind] : targets) {
    const mode_t before = ModeOf(path);
    const std::string sentence = path + ": cannot be written: it is " + kind + "; only regular files are replaced";
    CHECK(ErrorOf(WriteFile(path, Pattern(1))) == sentence);
    CHECK(ErrorOf(CheckWritable(path)) == sentence);
    CHECK(ModeOf(path) == before);
  }
  CHECK(std::filesystem::exists(folder / "folder/inside"));
  CHECK(folder.Names() == names);
}

TEST_CASE("WriteFile: where the disk takes no more, it says the system's reason, and the old file stays") {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  REQUIRE(WriteFile(path, Pattern(1)).ok());
  rlimit limit{};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &limit) == 0);
  rlimit small = limit;
  small.rlim_cur = 4096;
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
  const std::string error = ErrorOf(WriteFile(path, Pattern(2)));
  REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
  signal(SIGXFSZ, handler);
  CHECK(error == path + ": writing failed after 4096 bytes: File too large");
  CHECK(*ReadFile(path) == Pattern(1));
  CHECK(folder.Names() == std::vector<std::string>{"file"});
}

TEST_CASE("ReadFile: a folder is refused") {
  const TemporaryFolder folder;
  CHECK(ErrorOf(ReadFile(folder.path())) == folder.path() + ": cannot be read: it is a folder");
}

TEST_CASE("ReadFile: a pipe is read until its writer closes it; one without a writer is refused at once") {
  const TemporaryFolder folder;
  const std::string path = folder / "pipe";
  REQUIRE(mkfifo(path.c_str(), 0600) == 0);
  CHECK(ErrorOf(ReadFile(path)) == path + ": nothing can be read from this pipe: nobody writes to it");
  int ends[2] = {};
  REQUIRE(pipe(ends) == 0);
  std::thread writer([&] {
    for (uint8_t i = 0; i < 5; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      static_cast<void>(!write(ends[1], &i, 1));
    }
    close(ends[1]);
  });
  const Result<Bytes> read = ReadFile("/dev/fd/" + std::to_string(ends[0]));  // as a shell hands over <(command)
  writer.join();
  close(ends[0]);
  REQUIRE(read.ok());
  CHECK(*read == Bytes{0, 1, 2, 3, 4});
}

TEST_CASE("ReadFile: a device without an end is refused beyond a limit") {
  CHECK(ErrorOf(ReadFile("/dev/zero", {.stream = 1000000})) ==
        "/dev/zero: has more than 1000000 bytes, the most that are read of such a file (see ReadLimits)");
  CHECK_FALSE(ReadFile("/dev/zero").ok());
  CHECK(ReadFile("/dev/null")->empty());
}

TEST_CASE("ReadFile: files whose size the system does not know are read") {
  if (!std::filesystem::exists("/proc/self/status")) return;
  CHECK(ReadFile("/proc/self/status")->size() > 100);
}

#endif  // BITNET_HAS_POSIX_FILES

TEST_CASE("ReadFile: a file of known size is read into memory of that size") {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  constexpr size_t kSize = (size_t{1} << 20) + 12345;
  REQUIRE(WriteFile(path, Bytes(kSize, 7)).ok());
  const auto read = ReadFile(path);
  REQUIRE(read.ok());
  CHECK(read->size() == kSize);
  CHECK(read->capacity() <= kSize + 1);
}

}  // namespace
}  // namespace bitnet
