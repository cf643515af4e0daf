// What takes memory, counted: every form of operator new is replaced in this program (testing/replaced_new.h).
#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <string>
#include <vector>

#include "bitnet/backend/simd/default_backend.h"
#include "bitnet/model/generate.h"
#include "bitnet/model/model_file.h"
#include "bitnet/model/sampler.h"
#include "bitnet/model/transformer.h"
#include "testing/replaced_new.h"
#include "testing/tiny_model.h"

namespace bitnet {
namespace {

using testing::allocations;
using testing::largest;

// Compilers may leave out an allocation that nobody looks at; clang does.
const void* volatile looked_at;

TEST_CASE("the counter: sees what vectors of every alignment take") {
  const size_t before = allocations;
  {
    const std::vector<int> v(3);
    looked_at = v.data();
  }
  {
    const AlignedVector<float> v(3);
    looked_at = v.data();
  }
  char* chars = new (std::nothrow) char[5];
  looked_at = chars;
  delete[] chars;
  CHECK(allocations == before + 3);
}

template <Scheme S>
void CheckDecoding(Executor& executor) {
  const ModelConfig config = testing::TinyConfig();
  const Transformer<S> model(testing::TinyWeights<S>(config), DefaultBackend<S>(executor));
  const std::vector<Token> tokens = testing::RandomTokens(120, config.vocab);
  auto state = model.NewState(config.max_positions);
  const SamplerOptions options[] = {{.temperature = 0.0f}, {.top_k = 5}, {.top_p = 0.9f}};
  Sampler samplers[] = {Sampler(options[0]), Sampler(options[1]), Sampler(options[2])};
  Random random(1);
  size_t failed = 0;
  const auto decode = [&](size_t first, size_t count) {
    for (size_t i = first; i < first + count; ++i) {
      const Result<std::span<const float>> logits = model.Forward({&tokens[i], 1}, state);
      failed += !logits.ok();
      for (Sampler& sampler : samplers) failed += !sampler(*logits, random).ok();
      for (const SamplerOptions& option : options) failed += !model.Sample(state, option, RandomBits(random)).ok();
    }
  };
  // Two tokens warm up: the first has quantizers, and so buffers, of its own.
  decode(0, 2);
  size_t before = allocations;
  decode(2, 50);
  CHECK(allocations == before);
  CHECK(failed == 0);

  // Nor do a second conversation in the same state, once it has a page, and counting weights.
  state.Truncate(0);
  state.CountWeights(true);
  decode(0, 1);
  before = allocations;
  decode(1, 20);
  CHECK(allocations == before);

  // Nor does a prefill that is no longer than one before; then decoding again.
  REQUIRE(model.Forward(std::span(tokens).first(60), state).ok());
  state.Truncate(1);
  before = allocations;
  const bool ok = model.Forward(std::span(tokens).first(60), state).ok();
  decode(61, 50);
  CHECK(allocations == before);
  CHECK(ok);

  // Nor do passes of several conversations, forks among them, once each has its page.
  std::vector<typename Transformer<S>::State> states;
  for (size_t i = 0; i < 3; ++i) states.push_back(model.NewState());
  auto workspace = model.NewWorkspace();
  const auto pass = [&](size_t at) {
    const typename Transformer<S>::Turn turns[] = {
        {&states[0], {&tokens[at], 1}}, {&states[1], {&tokens[at + 1], 1}}, {&states[2], {&tokens[at + 2], 1}}};
    failed += !model.Feed(turns, workspace).ok();
    for (size_t i = 0; i < 3; ++i) failed += !model.Sample(workspace, i, options[i], RandomBits(random)).ok();
  };
  pass(0), pass(1);
  states[1] = states[0];
  states[2] = states[0];
  pass(2), pass(3);  // copies of the page that all three had
  before = allocations;
  for (size_t at = 4; at < 50; ++at) pass(at);
  CHECK(allocations == before);
  CHECK(failed == 0);
}

template <Scheme S>
void CheckDecoding() {
  SequentialExecutor sequential;
  CheckDecoding<S>(sequential);
  ThreadPool pool(2);
  CheckDecoding<S>(pool);
}

TEST_CASE("Transformer: after the first tokens, decoding and sampling allocate nothing") {
  SUBCASE("A48") { CheckDecoding<A48>(); }
  SUBCASE("A48Fp4") { CheckDecoding<A48Fp4>(); }
  SUBCASE("B158") { CheckDecoding<B158>(); }
  SUBCASE("Fp32") { CheckDecoding<Fp32>(); }
  SUBCASE("transforms everywhere") { CheckDecoding<testing::Rotated>(); }
}

TEST_CASE("SimdBackend: skipping products of one token allocate nothing when a later token has longer lists") {
  constexpr size_t kSize = 512;
  ThreadPool pool(2);
  const SimdBackend backend(pool);
  const QuantizedMatrix<Ternary> weights(kSize, kSize, {});
  const auto by_rows = backend.PrepareMatrix<Ternary, Int<4>, Uses<ChosenRows>>(weights);
  const auto by_columns = backend.PrepareMatrix<Ternary, Int<4>, Uses<ChosenColumns>>(weights);
  SimdBackend::Stream stream = backend.NewStream();
  SimdBackend::Rows<Int<4>> x;
  x.Resize(1, kSize);
  std::fill(x.Row(0), x.Row(0) + kSize, int8_t{1});
  x.Steps(0)[0] = 1.0f;
  std::vector<float> y(kSize);
  ChannelLists rows;
  size_t before = 0;
  for (const size_t count : {8u, 64u, 256u, 511u}) {
    rows.Resize(1, kSize);
    for (size_t r = 0; r < count; ++r) rows.Row(0)[r] = static_cast<uint32_t>(r);
    rows.SetCount(0, count);
    std::fill(x.Row(0), x.Row(0) + count, int8_t{1});
    std::fill(x.Row(0) + count, x.Row(0) + kSize, int8_t{0});
    backend.FindNonzero(stream, x);
    backend.MatMulRows(stream, by_rows, x, rows, {y.data(), 1, kSize});
    backend.MatMulColumns(stream, by_columns, x, {y.data(), 1, kSize});
    if (before == 0) before = allocations;
    CHECK(allocations == before);
  }
}

// A step for each weight: 4 bytes of memory for a fifth of a byte of codes.
struct FineGroups : A48 {
  using Weight = Quantizer<Ternary, AbsMean, PerGroup<1>>;
};

TEST_CASE("model file: lengths that lie take no memory beyond what the file could fill") {
  const auto check = []<Scheme S>(S) {
    const ModelWeights<S> model = testing::TinyWeights<S>();
    std::vector<uint8_t> payload = SerializeModel(model);
    // Any four bytes may be part of a size. 2^24 is the largest that a configuration may hold.
    for (size_t at = 0; at + 4 < std::min<size_t>(payload.size(), 4000); ++at) {
      for (const uint32_t lie : {1u << 24, 1u << 20, 0xffffffffu, 1000u}) {
        uint8_t saved[4];
        std::copy_n(payload.begin() + static_cast<std::ptrdiff_t>(at), 4, saved);
        for (size_t i = 0; i < 4; ++i) payload[at + i] = static_cast<uint8_t>(lie >> (8 * i));
        largest = 0;
        const bool ok = DeserializeModel<S>(payload).ok();
        const size_t taken = largest;
        std::copy_n(saved, 4, payload.begin() + static_cast<std::ptrdiff_t>(at));
        if (taken > payload.size() + 4096)
          FAIL_CHECK("byte " << at << ", " << lie << ": " << taken << " bytes, " << ok);
      }
    }
  };
  SUBCASE("A48") { check(A48()); }
  SUBCASE("a step for each weight") { check(FineGroups()); }
  SUBCASE("codes that are there, of steps that are not") {
    // Up to the first gate matrix a good file; its rows and the configuration's say what the rest could hold as codes.
    constexpr size_t kRest = 100000;
    ModelWeights<FineGroups> model = testing::TinyWeights<FineGroups>();
    using Matrix = QuantizedMatrix<Ternary>;
    model.config.ffn = static_cast<uint32_t>(kRest / Matrix::RowBytes(model.config.hidden));
    const LayerWeights<FineGroups> layer = model.layers[0];
    ByteWriter to;
    model.config.Write(to);
    detail::WriteMatrix(to, model.embedding);
    to.Numbers(std::span<const float>(layer.attn_norm));
    for (const auto* m : {&layer.q, &layer.k, &layer.v, &layer.o}) detail::WriteMatrix(to, *m);
    to.Numbers(std::span<const float>(layer.ffn_norm));
    to.Numbers(std::span<const int16_t>(detail::FormatId<Ternary>()));
    to.Number(uint64_t{model.config.ffn});
    to.Number(uint64_t{model.config.hidden});
    to.Number(uint8_t{1});
    to.Number(uint64_t{1});
    to.Number(uint64_t{kRest});
    std::vector<uint8_t> payload = to.bytes();
    payload.resize(payload.size() + kRest);
    largest = 0;
    const Result<ModelWeights<FineGroups>> read = DeserializeModel<FineGroups>(payload);
    const size_t taken = largest;
    CHECK(taken < payload.size() + 4096);
    REQUIRE(!read.ok());
    CHECK(read.error().find("reading layer0.gate") != std::string::npos);
  }
}

}  // namespace
}  // namespace bitnet
