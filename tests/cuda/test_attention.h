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
#include "testing/device_product.h"
#include "testing/simt.h"

namespace bitnet::testing {

// One sequence, in pages of no order: q over the host's cache, at these places.
template <class Quantizers>
void TestSequence(const HostCache<Quantizers>& host, const QuantizedRows<typename Quantizers::Query::Format>& q,
                  const std::vector<Place>& places, const AttentionShape& shape, const std::string& name) {
  static size_t run = 0;
  Schedule schedule = kSchedules[run % kSchedules.size()];
  schedule.seed += run++;
  GuardedMatrix expected(places.size(), shape.heads * shape.head_dim), y = expected;
  ExpectAttend<Quantizers>(q, places, host, shape, expected.view());

  const auto pages = static_cast<uint32_t>(PagesFor(host.max_tokens()));
  DeviceCache<Quantizers> cache(shape.kv_heads, shape.head_dim, pages);
  std::vector<uint32_t> table(pages);
  for (uint32_t i = 0; i < pages; ++i) table[i] = pages - 1 - i;
  cache.Write(host, table);
  const PageTable tables[] = {table};
  const DeviceWhere where(places, tables);
  const DeviceQueries<typename Quantizers::Query::Format> queries(q);
  EmulatedStream stream(schedule);
  cuda::Attend<Quantizers>(stream, queries.view(), where.view(), cache.view(), shape, y.view());
  y.ExpectSame(expected, "Attend", name);
}

struct SequencePart {
  size_t first;   // its tokens before this pass
  size_t tokens;  // of this pass
};

struct PassOptions {
  Fill fill = Fill::kRandom;
  bool in_turn = false;  // tokens of the sequences, or one sequence after the other
  size_t scratch_bytes = cuda::kAttentionScratchBytes;
  size_t table_pages = 0;  // of each sequence at least, wanted or not
};

// Some sequences, of which each has so many tokens in the pass.
template <class Quantizers>
void TestPass(const AttentionShape& shape, const std::vector<SequencePart>& sequences, const PassOptions& options,
              const std::string& name) {
  const auto [fill, in_turn, scratch_bytes, table_pages] = options;
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
    const size_t wanted = pages[i].size();
    pages[i].resize(std::max(pages[i].size(), table_pages), 0xffffffffu);
    tables.push_back(pages[i]);
    const auto drawn = DrawCache<Quantizers>(shape.kv_heads, shape.head_dim, length, fill, shape.head_dim + i);
    const PageTable table = tables.back().first(wanted);
    cache.Write(drawn, table);
    host.WriteCache(host_stream, drawn, length, table, expected_cache);
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
  GuardedMatrix expected(places.size(), shape.heads * shape.head_dim);
  reference::Attend(q, WhereOf(places, tables, shape.head_dim), expected_cache, shape, expected.view());
  const DeviceWhere where(places, tables);
  const DeviceQueries<Q> queries(q);
  EmulatedStream stream(schedule);
  DeviceMemory memory;
  DeviceOutput y(memory, expected.rows(), expected.cols());
  cuda::Attend<Quantizers>(stream, queries.view(), where.view(), cache.view(), shape, y.view(), scratch_bytes);
  y.Host().ExpectSame(expected, "Attend", name);
}

template <Format Q, Format K, Format K0, Format V, Format V0>
void TestAttend(const char* formats, bool also_long) {
  using Quantizers = SomeQuantizers<Q, K, K0, V, V0>;
  const auto test = [&](const AttentionShape& shape, const std::vector<SequencePart>& sequences,
                        const PassOptions& options = {}) {
    std::string name = std::string(formats) + ": heads " + std::to_string(shape.heads) + "/" +
                       std::to_string(shape.kv_heads) + " of " + std::to_string(shape.head_dim) + ",";
    for (const SequencePart& s : sequences) name += " " + std::to_string(s.first) + "+" + std::to_string(s.tokens);
    TestPass<Quantizers>(shape, sequences, options, name);
  };
  // The first tokens; one token; a prompt; around the borders of pages.
  test({1, 1, 1}, {{0, 1}});
  test({4, 1, 2}, {{0, 3}});
  test({4, 2, 5}, {{0, 17}});
  test({8, 8, 16}, {{30, 1}}, {.fill = Fill::kTop});
  test({3, 1, 64}, {{254, 4}});
  test({4, 2, 80}, {{255, 1}}, {.fill = Fill::kSparse});
  test({4, 1, 128}, {{256, 1}});
  test({2, 2, 40}, {{300, 3}}, {.fill = Fill::kBottom});
  test({6, 3, 33}, {{260, 2}}, {.fill = Fill::kBadSteps});
  if (!also_long) return;
  // Tables of so many pages that a block has several.
  test({4, 2, 16}, {{800, 1}}, {.table_pages = 140});
  test({2, 1, 140}, {{600, 3}, {3, 2}, {255, 1}}, {.table_pages = 200});
  // Several sequences; more heads and tokens than a tile has rows; wide heads; little memory.
  test({4, 2, 24}, {{10, 1}, {0, 1}, {300, 1}});
  test({4, 2, 24}, {{10, 3}, {0, 2}, {254, 5}});
  test({4, 2, 24}, {{10, 3}, {0, 2}, {254, 5}}, {.in_turn = true});
  test({20, 1, 16}, {{5, 2}});
  test({18, 2, 16}, {{260, 1}});
  test({2, 1, 16}, {{250, 19}});
  test({2, 1, 300}, {{257, 2}});
  test({1, 1, 1100}, {{3, 1}});
  test({4, 2, 64}, {{700, 1}}, {.fill = Fill::kBadSteps});
  test({4, 2, 32}, {{250, 12}}, {.scratch_bytes = 30000});
  test({2, 1, 8}, {{0, 5}}, {.fill = Fill::kZero, .scratch_bytes = 1});
}

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_CUDA_TEST_ATTENTION_H_
