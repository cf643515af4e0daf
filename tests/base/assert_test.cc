#include "bitnet/base/assert.h"

#include <doctest/doctest.h>

#include <string>

#include "testing/expect_assertion.h"

#if defined(__unix__)
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#endif

namespace bitnet {
namespace {

using testing::AssertionThrown;
using testing::Breaks;

std::string last_sentence;
int last_line = 0;

void Log(const char*, int line, const char* sentence) {
  last_sentence = sentence;
  last_line = line;
  throw 0;
}

TEST_CASE("Assert: the handler gets the place and the sentence, and may throw") {
  const AssertHandler before = SetAssertHandler(&Log);
  int line = 0;
  CHECK_THROWS_AS(
      [&] {
        line = __LINE__ + 1;
        BITNET_ASSERT(1 + 1 == 3, "one and one are two");
      }(),
      int);
  CHECK((SetAssertHandler(before) == &Log));
  CHECK(last_sentence == "one and one are two");
  CHECK(last_line == line);
}

TEST_CASE("Assert: a condition that holds calls nothing, and its sentence is not computed") {
  bool computed = false;
  const auto sentence = [&] {
    computed = true;
    return "computed";
  };
  CHECK_FALSE(Breaks("", [&] { BITNET_ASSERT(true, sentence()); }));
  CHECK_FALSE(computed);
  CHECK(Breaks("computed", [&] { BITNET_ASSERT(false, sentence()); }));
}

TEST_CASE("Assert: a condition is evaluated once") {
  int evaluated = 0;
  CHECK_FALSE(Breaks("", [&] { BITNET_ASSERT(++evaluated == 1, "once"); }));
  CHECK(evaluated == 1);
}

#if defined(__unix__)
// What a child process that runs `call` writes to stderr; it must end by SIGABRT.
template <class Call>
std::string AbortMessage(Call&& call) {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    std::signal(SIGABRT, SIG_DFL);  // doctest's handler would report this as a failure
    dup2(ends[1], 2);
    call();
    _exit(0);
  }
  close(ends[1]);
  std::string message;
  char chunk[256];
  for (ssize_t n; (n = read(ends[0], chunk, sizeof(chunk))) > 0;) message.append(chunk, static_cast<size_t>(n));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGABRT);
  return message;
}

TEST_CASE("Assert: the default handler writes one line and aborts") {
  const std::string message = AbortMessage([] { BITNET_ASSERT(false, "water must be wet"); });
  CHECK(message.find("assert_test.cc:") != std::string::npos);
  CHECK(message.find("water must be wet\n") != std::string::npos);
}

TEST_CASE("Assert: the program aborts although the handler returns") {
  AbortMessage([] {
    SetAssertHandler([](const char*, int, const char*) {});
    BITNET_ASSERT(false, "not seen");
  });
}
#endif

}  // namespace
}  // namespace bitnet
