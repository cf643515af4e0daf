// TestBackend<B>(): compares every operation of a backend with ReferenceBackend, bit for bit.
//
// After writing a backend, add to a test of your own
//   TEST_CASE("MyBackend: has the bits of the reference") { TestBackend<MyBackend>(); }
// B is constructed from an Executor&, or from nothing. Tried are pairs of formats of every kind (narrow, wide, uniform
// and not, reals on either side, formats that only a user would write), steps for a matrix, a row and groups of any
// size, one and many tokens, widths around every vector length and the paper's own, lists that are empty, partial and
// full, all levels at either end, zeros, subnormals, NaN and infinity, views that are aligned to nothing, and writes
// beyond an output's end. A NaN is the same as any other NaN.
//
// The three parts may be called by themselves, from several files, where compiling them takes long.
#ifndef BITNET_TESTS_TESTING_BACKEND_CONFORMANCE_H_
#define BITNET_TESTS_TESTING_BACKEND_CONFORMANCE_H_

#include "testing/conformance_attention.h"
#include "testing/conformance_products.h"
#include "testing/conformance_tokens.h"

namespace bitnet::testing {

template <class B>
void TestBackend() {
  static_assert(Backend<B>, "a backend must have the members that backend/backend.h lists");
  TestProducts<B>();
  TestTokenOperations<B>();
  TestAttention<B>();
}

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_BACKEND_CONFORMANCE_H_
