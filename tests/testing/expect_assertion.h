// Breaks(sentence, call): whether `call` is stopped by an assertion whose sentence holds `sentence`.
//
// For preconditions: CHECK(Breaks("1 <= k <= n", [&] { FindTopK(x, 0); })). The handler throws out of the library for
// the length of the call, so the call must assert in the calling thread or in a task of an Executor.
#ifndef BITNET_TESTS_TESTING_EXPECT_ASSERTION_H_
#define BITNET_TESTS_TESTING_EXPECT_ASSERTION_H_

#include <string>
#include <string_view>

#include "bitnet/base/assert.h"

namespace bitnet::testing {

struct AssertionThrown {
  std::string sentence;
};

template <class Call>
bool Breaks(std::string_view sentence, Call&& call) {
  struct Restore {
    AssertHandler before;
    ~Restore() { SetAssertHandler(before); }
  };
  const Restore restore{SetAssertHandler([](const char*, int, const char* what) { throw AssertionThrown{what}; })};
  try {
    call();
  } catch (const AssertionThrown& thrown) {
    return thrown.sentence.find(sentence) != std::string::npos;
  }
  return false;
}

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_EXPECT_ASSERTION_H_
