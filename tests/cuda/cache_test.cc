// The cache on a device: where pages lie, how heads are kept, and what Store leaves in them.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "bitnet/backend/cuda/cache_layout.h"
#include "bitnet/backend/cuda/head_codes.h"
#include "bitnet/backend/cuda/store.h"
#include "cuda/device_cache.h"
#include "testing/awkward_formats.h"
#include "testing/conformance_attention.h"
#include "testing/simt.h"

namespace bitnet::testing::cuda_cache_test {
namespace {

TEST_CASE("AddressOfPage: pages follow each other in chunks, at most a quarter of which is too much") {
  uint32_t chunk = 0, index = 0;
  uint64_t room = 1;
  for (uint32_t page = 0; page < 300000; ++page) {
    const cuda::PageAddress at = cuda::AddressOfPage(page);
    CHECK((at.chunk == chunk && at.index == index));
    CHECK(room - page - 1 <= (page + 1) / 4);
    if (++index == cuda::PagesOfChunk(chunk)) {
      ++chunk;
      index = 0;
      room += cuda::PagesOfChunk(chunk);
    }
  }
  const cuda::PageAddress last = cuda::AddressOfPage(cuda::kMostPages - 1);
  CHECK(last.chunk == cuda::kPageChunks - 1);
  CHECK(last.index == cuda::PagesOfChunk(last.chunk) - 1);
}

template <LevelFormat F>
void TestCodes(const char* name) {
  using Codes = cuda::HeadCodes<F>;
  Random random(1);
  for (int trial = 0; trial < 200; ++trial) {
    unsigned codes[8];
    for (unsigned& code : codes) code = static_cast<unsigned>(UniformBelow(random, FormatTraits<F>::kCount));
    uint8_t bytes[Codes::kWords];
    Codes::Pack(codes, bytes);
    int levels[8];
    Codes::LevelsOf(bytes, levels);
    for (int i = 0; i < 8; ++i) Expect(levels[i] == FormatTraits<F>::Level(codes[i]), name, std::to_string(i));
  }
}

TEST_CASE("HeadCodes: eight codes in as many bytes as they have bits") {
  TestCodes<Binary>("Binary");
  TestCodes<Ternary>("Ternary");
  TestCodes<MidRise<2>>("MidRise<2>");
  TestCodes<MidRise<3>>("MidRise<3>");
  TestCodes<FiveLevels>("FiveLevels");
  TestCodes<Threes>("Threes");
  TestCodes<MidRise<4>>("MidRise<4>");
  TestCodes<Fp4E2M1>("Fp4E2M1");
  TestCodes<PowersOfTwo>("PowersOfTwo");
  TestCodes<Int<5>>("Int<5>");
  TestCodes<Squares>("Squares");
  TestCodes<UInt<6>>("UInt<6>");
  TestCodes<UInt<7>>("UInt<7>");
  TestCodes<Int<8>>("Int<8>");
  TestCodes<UInt<8>>("UInt<8>");
  TestCodes<MidRise<8>>("MidRise<8>");
  TestCodes<BigSteps>("BigSteps");
  TestCodes<ManyBigSteps>("ManyBigSteps");
  CHECK(cuda::HeadCodes<MidRise<3>>::kWords == 3);
  CHECK(cuda::HeadCodes<Fp4E2M1>::kWords == 4);
  CHECK(cuda::HeadCodes<BigSteps>::kWords == 3);
  CHECK(cuda::HeadCodes<MidRise<8>>::kWords == 8);
  CHECK(cuda::HeadCodes<ManyBigSteps>::kWords == 16);
}

TEST_CASE("CacheLayout: bytes of a token and of a page") {
  using A48 = SomeQuantizers<MidRise<4>, MidRise<3>, MidRise<4>, MidRise<3>, MidRise<4>>;
  const cuda::CacheLayout<A48> layout(5, 128);
  CHECK(layout.BytesPerToken() == 5 * (48 + 4 + 48 + 4));
  CHECK(layout.page_bytes() == 5 * (256 * (48 + 4 + 48 + 4) + 2 * 128));
  CHECK(cuda::CacheLayout<A48>::PageBytes(5, 128) == layout.page_bytes());
  CHECK(!cuda::CacheLayout<A48>::PageBytes(~size_t{0}, 128).has_value());
  CHECK(!cuda::CacheLayout<A48>::PageBytes(1, ~size_t{0}).has_value());
  using Reals = SomeQuantizers<Float, Float, Float, BFloat16, BFloat16>;
  CHECK(cuda::CacheLayout<Reals>(3, 20).page_bytes() == 3 * 256 * 20 * 6);
  CHECK(cuda::CacheLayout<Reals>(3, 20).BytesPerToken() == 3 * 20 * 6);
}

// Whole pages, of several sequences, to the host's form and back, and by Store.
template <AnyQuantizer K, AnyQuantizer K0, AnyQuantizer V, AnyQuantizer V0>
void TestStore(const char* name) {
  using Quantizers = CacheQuantizers<K, K, K0, V, V0>;
  size_t run = 0;
  for (const size_t dim : {1u, 2u, 5u, 16u, 40u, 64u, 80u, 128u, 130u, 1100u}) {
    const size_t kv_heads = dim % 2 + 1;
    const Schedule& schedule = kSchedules[run++ % kSchedules.size()];
    const std::string place = std::string("head_dim ") + std::to_string(dim);
    Random random(dim);
    const std::vector<uint32_t> pages[2] = {{3, 1}, {0}};
    const PageTable tables[2] = {pages[0], pages[1]};
    // Runs of both in turn, over the border of a page; the first tokens of both.
    std::vector<Place> places;
    for (const uint32_t position : {0u, 1u, 2u, 5u}) places.push_back({1, position});
    for (const uint32_t position : {0u, 254u, 255u, 256u, 257u, 259u}) places.push_back({0, position});
    places.push_back({1, 3});
    places.push_back({1, 255});
    std::vector<float> k(places.size() * kv_heads * dim), v(k.size());
    for (std::vector<float>* values : {&k, &v}) {
      for (float& x : *values) x = Normal(random);
    }
    // Heads that are zero, tiny, not finite; ties.
    const auto fill = [&](size_t token, float x) {
      std::fill_n(k.begin() + std::ptrdiff_t(token * kv_heads * dim), dim, x);
    };
    fill(1, 0.0f);
    fill(2, 1e-42f);
    k[3 * kv_heads * dim] = std::numeric_limits<float>::quiet_NaN();
    v[4 * kv_heads * dim] = -std::numeric_limits<float>::infinity();
    for (size_t i = 0; i < dim; ++i) v[5 * kv_heads * dim + i] = static_cast<float>(i % 15) - 7.0f;
    const GuardedMatrix keys(places.size(), kv_heads * dim, k), values(places.size(), kv_heads * dim, v);

    const ReferenceBackend host;
    auto expected = host.NewCache<Quantizers>(kv_heads, dim);
    host.ResizeCache(expected, 4);
    GuardedMatrix k_of_host = keys, v_of_host = values;
    const HostWhere where = WhereOf(places, tables, dim);
    reference::Store(k_of_host.view(), v_of_host.view(), where, expected);

    DeviceCache<Quantizers> cache(kv_heads, dim, 4);
    const DeviceWhere on_device(places, tables);
    EmulatedStream stream(schedule);
    GuardedMatrix k_of_device = keys, v_of_device = values;
    cuda::Store<Quantizers>(stream, k_of_device.view(), v_of_device.view(), on_device.view(), cache.view());
    const auto check = [&](size_t sequence, uint32_t position) {
      const PagedSequence of_host(expected, tables[sequence]);
      const typename DeviceCache<Quantizers>::Sequence of_device(cache, tables[sequence]);
      bool same = true;
      const auto compare = [&](auto part) {
        for (size_t head = 0; head < kv_heads; ++head) {
          reference::WithHead(of_host, part, head, position, [&](const auto* levels_a, float step_a) {
            reference::WithHead(of_device, part, head, position, [&](const auto* levels_b, float step_b) {
              for (size_t i = 0; i < dim; ++i) same = same && SameBits(levels_a[i], levels_b[i]);
              same = same && SameBits(step_a, step_b);
            });
          });
        }
      };
      compare(reference::kKeys);
      compare(reference::kValues);
      Expect(same, name, place + ", sequence " + std::to_string(sequence) + ", position " + std::to_string(position));
    };
    for (const Place& at : places) check(at.sequence, at.position);
  }
}

template <Format F>
using Max = Quantizer<F, AbsMax>;
template <Format F>
using Mean = Quantizer<F, AbsMean>;
template <Format F>
using Least = Quantizer<F, MinMax>;

TEST_CASE("Store on a device: what the reference stores") {
  TestStore<Max<MidRise<3>>, Max<MidRise<4>>, Max<MidRise<3>>, Max<MidRise<4>>>("A48");
  TestStore<Max<Int<8>>, Mean<Int<8>>, Least<Fp4E2M1>, Least<Fp4E2M1>>("Int<8>, Fp4E2M1");
  TestStore<Mean<FiveLevels>, Max<UInt<4>>, Least<UInt<7>>, Mean<Squares>>("FiveLevels, UInt<7>");
  TestStore<Max<MidRise<8>>, Mean<BigSteps>, Mean<BigSteps>, Max<ManyBigSteps>>("MidRise<8>, BigSteps");
  TestStore<Least<ManyBigSteps>, Max<Int<6>>, Max<Int<5>>, Max<Binary>>("ManyBigSteps, Int<5>");
  TestStore<Unquantized, Unquantized, Rounded<BFloat16>, Unquantized>("Float, BFloat16");
  TestStore<Rounded<Float16>, Rounded<BFloat16>, Rounded<Float16>, Rounded<Float16>>("Float16");
}

template <Format K, Format K0, Format V, Format V0>
void TestRoundTrip(const char* name) {
  using Quantizers = SomeQuantizers<K, K, K0, V, V0>;
  for (const size_t dim : {1u, 7u, 40u, 128u}) {
    const auto host = DrawCache<Quantizers>(2, dim, 300, Fill::kRandom, dim);
    DeviceCache<Quantizers> cache(2, dim, 3);
    const std::vector<uint32_t> table = {2, 0};
    cache.Write(host, table);
    Expect(SameTokens(typename DeviceCache<Quantizers>::Sequence(cache, table), host, 300), name, std::to_string(dim));
  }
}

TEST_CASE("PagesOnHost: what is written is read") {
  TestRoundTrip<MidRise<3>, MidRise<4>, MidRise<3>, MidRise<4>>("A48");
  TestRoundTrip<Fp4E2M1, UInt<8>, Int<5>, Squares>("Fp4E2M1, Int<5>");
  TestRoundTrip<BigSteps, BigSteps, ManyBigSteps, MidRise<8>>("BigSteps");
  TestRoundTrip<Float16, BFloat16, Float, Float16>("reals");
}

}  // namespace
}  // namespace bitnet::testing::cuda_cache_test
