#include "bitnet/tensor/quantized_tokens.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <new>
#include <vector>

namespace bitnet {
namespace {

template <Format F>
bool PaddingIsZero(const QuantizedTokens<F>& tokens) {
  for (size_t t = 0; t < tokens.tokens(); ++t) {
    for (size_t c = tokens.cols(); c < tokens.stride(); ++c) {
      if (tokens.Row(t)[c] != LevelOf<F>{}) return false;
    }
  }
  return true;
}

template <Format F>
void FillAll(QuantizedTokens<F>& tokens) {
  for (size_t t = 0; t < tokens.tokens(); ++t) {
    for (size_t c = 0; c < tokens.cols(); ++c) tokens.Row(t)[c] = LevelOf<F>{7};
  }
}

template <Format F>
void CheckReuse() {
  QuantizedTokens<F> tokens;
  // Larger and smaller in both directions, so that old values lie where padding comes to be.
  const size_t sizes[][2] = {{1, 5},  {3, 128}, {2, 100}, {7, 129}, {1, 1}, {4, 300},
                             {9, 37}, {2, 256}, {5, 3},   {0, 9},   {3, 64}};
  for (const auto& size : sizes) {
    const size_t rows = size[0];
    const size_t cols = size[1];
    CAPTURE(rows);
    CAPTURE(cols);
    tokens.Resize(rows, cols);
    CHECK(tokens.tokens() == rows);
    CHECK(tokens.cols() == cols);
    CHECK(tokens.stride() >= cols);
    CHECK(tokens.stride() % QuantizedTokens<F>::kPadding == 0);
    CHECK(PaddingIsZero(tokens));
    FillAll(tokens);
    CHECK(PaddingIsZero(tokens));
    CHECK(tokens.CountNonzero() == rows * cols);
    CHECK(reinterpret_cast<uintptr_t>(tokens.Row(0)) % kAlignment == 0);
  }
}

TEST_CASE("QuantizedTokens: padding stays zero, however the buffer is used again") {
  CheckReuse<Int<4>>();
  CheckReuse<UInt<8>>();
  CheckReuse<MidRise<8>>();
  CheckReuse<Float>();
}

TEST_CASE("QuantizedTokens: a smaller size allocates nothing") {
  QuantizedTokens<Int<8>> tokens;
  tokens.Resize(8, 200, 16);
  const int8_t* levels = tokens.Row(0);
  const float* steps = &tokens.Step(0, 0);
  tokens.Resize(3, 150, 16);
  CHECK(tokens.Row(0) == levels);
  CHECK(&tokens.Step(0, 0) == steps);
  tokens.Resize(8, 200, 16);
  CHECK(tokens.Row(0) == levels);
}

TEST_CASE("QuantizedTokens: a step for each group of each token") {
  QuantizedTokens<Int<4>> tokens;
  tokens.Resize(3, 10, 4);
  CHECK(tokens.segments().Count() == 3);
  float value = 0.0f;
  for (size_t t = 0; t < 3; ++t) {
    for (size_t s = 0; s < 3; ++s) tokens.Step(t, s) = ++value;
  }
  const QuantizedTokens<Int<4>>& same = tokens;
  CHECK(same.Step(0, 0) == 1.0f);
  CHECK(same.Step(1, 0) == 4.0f);
  CHECK(same.Step(2, 2) == 9.0f);
  tokens.Resize(3, 10);
  CHECK(tokens.segments().Count() == 1);
}

TEST_CASE("QuantizedTokens: counts what is not zero afresh") {
  QuantizedTokens<Int<4>> tokens;
  tokens.Resize(2, 3);
  FillAll(tokens);
  tokens.Row(0)[1] = 0;
  CHECK(tokens.CountNonzero() == 5);
  tokens.Row(1)[0] = 0;
  tokens.Row(1)[2] = 0;
  CHECK(tokens.CountNonzero() == 3);
}

TEST_CASE("QuantizedTokens: Resize forgets the list of non-zero columns") {
  QuantizedTokens<Int<4>> tokens;
  tokens.Resize(2, 300);
  tokens.nonzero().Resize(2, 300);
  tokens.nonzero().Row(1)[0] = 299;
  tokens.nonzero().SetCount(1, 1);
  tokens.Resize(2, 3);
  CHECK(tokens.nonzero().tokens() == 0);
}

TEST_CASE("QuantizedTokens: a prepared form has its key and size until Resize") {
  static constexpr char kKey = 0;
  QuantizedTokens<Int<4>> tokens;
  tokens.Resize(1, 3);
  CHECK(tokens.prepared().key == nullptr);
  const uint8_t* bytes = tokens.Prepare(&kKey, 300);
  CHECK(tokens.prepared().bytes.data() == bytes);
  tokens.Prepare(&kKey, 200);
  CHECK(tokens.prepared().key == &kKey);
  CHECK(tokens.prepared().bytes.size() == 200);
  tokens.Resize(1, 3);
  CHECK(tokens.prepared().key == nullptr);
}

TEST_CASE("ChannelLists: a list for each token, empty after Resize") {
  ChannelLists lists;
  CHECK(lists.tokens() == 0);
  lists.Resize(2, 5);
  CHECK(lists.tokens() == 2);
  CHECK(lists.width() == 5);
  CHECK(lists[0].empty());
  lists.Row(1)[0] = 3;
  lists.Row(1)[1] = 4;
  lists.SetCount(1, 2);
  CHECK(lists[0].empty());
  CHECK(lists.Count(1) == 2);
  CHECK(lists[1][1] == 4);
  lists.Resize(1, 9);
  CHECK(lists.tokens() == 1);
  CHECK(lists.Count(0) == 0);
  lists.Resize(3, 9);
  for (size_t t = 0; t < 3; ++t) CHECK(lists[t].empty());
}

TEST_CASE("QuantizedTokens: a size that does not fit throws, and leaves the shape that was") {
  QuantizedTokens<Int<4>> tokens;
  tokens.Resize(2, 3);
  constexpr size_t kQuarter = ~size_t{0} / 4 + 1;  // times 4 would wrap around to 0
  CHECK_THROWS_AS(tokens.Resize(4, kQuarter), std::bad_array_new_length);
  CHECK_THROWS_AS(tokens.Resize(kQuarter, 0), std::bad_array_new_length);
  CHECK_THROWS_AS(tokens.Resize(1, ~size_t{0}), std::bad_array_new_length);
  CHECK(tokens.tokens() == 2);
  CHECK(tokens.cols() == 3);
  CHECK(tokens.stride() == QuantizedTokens<Int<4>>::kPadding);
  static constexpr char kKey = 0;
  CHECK_THROWS_AS(tokens.Prepare(&kKey, ~size_t{0}), std::bad_array_new_length);
  CHECK(tokens.prepared().key == nullptr);
}

TEST_CASE("ChannelLists: a size that does not fit throws, and leaves the shape that was") {
  ChannelLists lists;
  lists.Resize(2, 5);
  CHECK_THROWS_AS(lists.Resize(4, ~size_t{0} / 4 + 1), std::bad_array_new_length);
  CHECK_THROWS_AS(lists.Resize(~size_t{0}, 0), std::bad_array_new_length);
  CHECK(lists.tokens() == 2);
  CHECK(lists.width() == 5);
}

}  // namespace
}  // namespace bitnet
