#include "bitnet/tensor/channel_lists.h"

#include <doctest/doctest.h>

#include <cstddef>
#include <new>

namespace bitnet {
namespace {

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
