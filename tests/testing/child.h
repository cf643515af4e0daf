// EndOfChild(call): how a forked child of the test that runs `call`, and then exits with what it returns, ends: the
// exit code, or minus the number of the signal. A child that hangs is ended by SIGALRM.
//
// The child must not report to doctest, whose results would be lost.
#ifndef BITNET_TESTS_TESTING_CHILD_H_
#define BITNET_TESTS_TESTING_CHILD_H_

#if defined(__unix__) || defined(__APPLE__)
#define BITNET_HAS_FORK 1

#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

namespace bitnet::testing {

template <class Call>
int EndOfChild(Call&& call) {
  std::fflush(nullptr);  // else a child that calls exit() writes it, too
  const pid_t child = fork();
  if (child == 0) {
    for (const int signal : {SIGABRT, SIGSEGV, SIGTERM}) std::signal(signal, SIG_DFL);  // doctest would report them
    alarm(60);
    _exit(call());
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) return -1000;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

}  // namespace bitnet::testing

#endif

#endif  // BITNET_TESTS_TESTING_CHILD_H_
