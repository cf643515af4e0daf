// Attention on a device, over drawn caches, against the reference.
#ifndef BITNET_TESTS_CUDA_TEST_ATTENTION_H_
#define BITNET_TESTS_CUDA_TEST_ATTENTION_H_

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "bitnet/backend/cuda/attention.h"
#include "cuda/device_cache.h"
#include "testing/conformance_attention.h"
#include "testing/simt.h"

namespace bitnet::testing {

struct SequencePart {
  size_t first;   // its tokens before this pass
  size_t tokens;  // of this pass
};

// Some sequences, of which each has so many tokens in the pass, one after the other or in turn.
template <class Quantizers>
void TestPass(const AttentionShape& shape, const std::vector<SequencePart>& sequences, bool in_turn, Fill fill,
              size_t scratch_bytes, const std::string& name) {
  using Q = typename Quantizers::Query::Format;
  static size_t run = 0;
  Schedule schedule = kSchedules[run % kSchedules.size()];
  schedule.seed += run++;

  // Pages of all, in no order.
  std::vector<std::vector<uint32_t>> pages(sequences.size());
  uint32_t count = 0;
  for (const SequencePart& s : sequences) count += static_cast<uint32_t>(PagesFor(s.first + s.tokens));
  uint32_t next = 0;
  std::vector<uint32_t> numbers(count + 1);
  for (uint32_t i = 0; i <= count; ++i) numbers[i] = count - i;
  std::swap(numbers[0], numbers[count / 2]);
  const ReferenceBackend host;
  ReferenceBackend::Stream host_stream;
  auto expected_cache = host.NewCache<Quantizers>(shape.kv_heads, shape.head_dim);
  host.ResizeCache(expected_cache, count + 1);
  DeviceCache<Quantizers> cache(shape.kv_heads, shape.head_dim, count + 1);
  std::vector<PageTable> tables;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const size_t length = sequences[i].first + sequences[i].tokens;
    for (size_t p = 0; p < PagesFor(length); ++p) pages[i].push_back(numbers[next++]);
    tables.push_back(pages[i]);
    const auto drawn = DrawCache<Quantizers>(shape.kv_heads, shape.head_dim, length, fill, shape.head_dim + i);
    cache.Write(drawn, pages[i]);
    host.WriteCache(host_stream, drawn, length, pages[i], expected_cache);
  }
  std::vector<Place> places;
  for (size_t round = 0; round < (in_turn ? 1000u : 1u); ++round) {
    for (size_t i = 0; i < sequences.size(); ++i) {
      for (size_t t = 0; t < sequences[i].tokens; ++t) {
        if (in_turn && t != round) continue;
        places.push_back({static_cast<uint32_t>(i), static_cast<uint32_t>(sequences[i].first + t)});
      }
    }
  }

  const QuantizedRows<Q> q = DrawQueries<Q>(places.size() * shape.heads, shape.head_dim, fill, shape.head_dim + 7);
  GuardedMatrix expected(places.size(), shape.heads * shape.head_dim), y = expected;
  reference::Attend(q, WhereOf(places, tables, shape.head_dim), expected_cache, shape, expected.view());
  const DeviceWhere where(places, tables);
  const DeviceQueries<Q> queries(q);
  EmulatedStream stream(schedule);
  cuda::Attend<Quantizers>(stream, queries.view(), where.view(), cache.view(), shape, y.view(), scratch_bytes);
  y.ExpectSame(expected, "Attend", name);
}

template <Format Q, Format K, Format K0, Format V, Format V0>
void TestAttend(const char* formats, bool also_long) {
  using Quantizers = SomeQuantizers<Q, K, K0, V, V0>;
  const auto test = [&](const AttentionShape& shape, const std::vector<SequencePart>& sequences,
                        Fill fill = Fill::kRandom, bool in_turn = false,
                        size_t scratch_bytes = cuda::kAttentionScratchBytes) {
    std::string name = std::string(formats) + ": heads " + std::to_string(shape.heads) + "/" +
                       std::to_string(shape.kv_heads) + " of " + std::to_string(shape.head_dim) + ",";
    for (const SequencePart& s : sequences) name += " " + std::to_string(s.first) + "+" + std::to_string(s.tokens);
    TestPass<Quantizers>(shape, sequences, in_turn, fill, scratch_bytes, name);
  };
  // The first tokens; one token; a prompt; around the borders of pages.
  test({1, 1, 1}, {{0, 1}});
  test({4, 1, 2}, {{0, 3}});
  test({4, 2, 5}, {{0, 17}});
  test({8, 8, 16}, {{30, 1}}, Fill::kTop);
  test({3, 1, 64}, {{254, 4}});
  test({4, 2, 80}, {{255, 1}}, Fill::kSparse);
  test({4, 1, 128}, {{256, 1}});
  test({2, 2, 40}, {{300, 3}}, Fill::kBottom);
  test({6, 3, 33}, {{260, 2}}, Fill::kBadSteps);
  if (!also_long) return;
  // Several sequences; more heads and tokens than a tile has rows; wide heads; little memory.
  test({4, 2, 24}, {{10, 1}, {0, 1}, {300, 1}});
  test({4, 2, 24}, {{10, 3}, {0, 2}, {254, 5}});
  test({4, 2, 24}, {{10, 3}, {0, 2}, {254, 5}}, Fill::kRandom, true);
  test({20, 1, 16}, {{5, 2}});
  test({18, 2, 16}, {{260, 1}});
  test({2, 1, 16}, {{250, 19}});
  test({2, 1, 300}, {{257, 2}});
  test({1, 1, 1100}, {{3, 1}});
  test({4, 2, 64}, {{700, 1}}, Fill::kBadSteps);
  test({4, 2, 32}, {{250, 12}}, Fill::kRandom, false, 30000);
  test({2, 1, 8}, {{0, 5}}, Fill::kZero, false, 1);
}

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_CUDA_TEST_ATTENTION_H_
