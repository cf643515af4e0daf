#include "bitnet/tensor/slab.h"

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <utility>

namespace bitnet {
namespace {

using Bytes = SlabVector<uint8_t>;

bool IsAligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % kAlignment == 0; }

TEST_CASE("Slab: vectors lie in it one after the other, what has no room elsewhere, and it lives as long as they do") {
  auto slab = std::make_shared<Slab>(2 * kAlignment + 100);
  const std::weak_ptr<Slab> watched = slab;
  Bytes a(kAlignment - 1, 1, SlabAllocator<uint8_t>(slab));
  SlabVector<float> b(kAlignment / sizeof(float), 2.0f, SlabAllocator<float>(slab));
  Bytes whole_rest(100, 3, SlabAllocator<uint8_t>(slab));
  Bytes beyond(1, 4, SlabAllocator<uint8_t>(slab));
  CHECK(reinterpret_cast<uint8_t*>(b.data()) == a.data() + kAlignment);
  CHECK(whole_rest.data() == a.data() + 2 * kAlignment);
  CHECK(!slab->Has(beyond.data()));
  for (const void* p : {static_cast<const void*>(a.data()), static_cast<const void*>(b.data()),
                        static_cast<const void*>(whole_rest.data()), static_cast<const void*>(beyond.data())}) {
    CHECK(IsAligned(p));
  }

  // A copy has memory of its own; what is moved keeps its place, also over another's.
  const Bytes copy = a;
  CHECK(!slab->Has(copy.data()));
  const uint8_t* at = a.data();
  Bytes moved(5);
  moved = std::move(a);
  CHECK(moved.data() == at);
  beyond = copy;
  CHECK(beyond == copy);

  slab.reset();
  b = SlabVector<float>();
  whole_rest = Bytes();
  beyond = Bytes();
  CHECK(!watched.expired());
  CHECK(std::accumulate(moved.begin(), moved.end(), size_t{0}) == kAlignment - 1);
  moved = Bytes();
  a = Bytes();
  CHECK(watched.expired());
}

TEST_CASE("Slab: without one, a vector is an AlignedVector") {
  Bytes a(100, 1);
  CHECK(IsAligned(a.data()));
  a.resize(1000);
  CHECK(a[99] == 1);
}

}  // namespace
}  // namespace bitnet
