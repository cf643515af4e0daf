// Every barrier and every wait of every kernel is needed, and the emulated device finds out where one is missing.
#include "testing/removed_waits.h"

#include <doctest/doctest.h>

// (The thread sanitizer has no children. Removals that it sees are in simt_test.cc.)
#include "testing/sanitizers.h"

#if defined(BITNET_HAS_FORK) && !BITNET_THREAD_SANITIZER

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "bitnet/backend/cuda/products.h"
#include "bitnet/model/transformer.h"
#include "cuda/test_attention.h"
#include "testing/awkward_values.h"
#include "testing/backend_conformance.h"
#include "testing/device_matrix.h"
#include "testing/emulated_backend.h"
#include "testing/product_test.h"
#include "testing/tiny_model.h"

namespace bitnet {
namespace {

using testing::EmulatedBackend;
using testing::Fill;
using testing::RemovedWaits;

// Where the kernels wait, by file and line.
std::set<std::string> WaitsInSources() {
  std::set<std::string> waits;
  for (const auto& entry : std::filesystem::directory_iterator("include/bitnet/backend/cuda")) {
    std::ifstream file(entry.path());
    std::string text;
    if (entry.path().extension() != ".h") continue;
    for (unsigned line = 1; std::getline(file, text); ++line) {
      if (text.find(".Barrier()") == std::string::npos && text.find("CopyWait<") == std::string::npos) continue;
      if (text.starts_with("//")) continue;
      waits.insert(entry.path().filename().string() + ":" + std::to_string(line));
    }
  }
  return waits;
}

// Launches every kernel, with what it takes to come to all of its waits.
void LaunchProducts() {
  const EmulatedBackend backend;
  for (const size_t cols : {65u, 300u}) {
    testing::TestProductCase<Ternary, Int<4>>(backend, "", {70, 1, {false, 0}, 0, Fill::kRandom}, cols);
    testing::TestProductCase<Ternary, Int<4>>(backend, "", {33, 9, {true, 0}, 0, Fill::kRandom}, cols);
  }
  testing::TestProductCase<Ternary, Int<4>>(backend, "", {2100, 2, {true, 0}, 0, Fill::kRandom}, 1100);
  testing::TestProductCase<Float, Float>(backend, "", {33, 2, {true, 0}, 0, Fill::kRandom}, 300);
  testing::TestProductCase<Grouped<Ternary>, Grouped<Int<8>>>(backend, "", {17, 7, {true, 16}, 112, Fill::kRandom},
                                                              2100);
  for (const size_t tokens : {5u, 70u}) {
    testing::DeviceProduct<Ternary, Int<4>> product("", {130, tokens, {true, 0}, 0, Fill::kRandom}, 300);
    const auto w = product.Matrix<cuda::PackedRows<Ternary>>();
    product.ExpectAll("tiles", testing::kSchedules[0], [&](auto& stream, cuda::Reals y) {
      cuda::MatMulTiles<Ternary, Int<4>, cuda::StoreTo>::LaunchIn(stream, w, product.x(), cuda::StoreTo{y});
    });
  }
}

void LaunchOperationsOnRows() {
  const EmulatedBackend backend;
  EmulatedBackend::Stream stream = backend.NewStream();
  // (A block of threads takes a row in three parts.)
  const size_t cols = 40000;
  testing::DeviceMatrix x(backend, stream, 1, cols, testing::AwkwardValues(testing::Kind::kTies, cols, 1));
  testing::DeviceMatrix y(backend, stream, 1, cols);
  EmulatedBackend::Rows<Int<4>> rows;
  EmulatedBackend::Lists lists;
  backend.Quantize<Quantizer<Int<4>, AbsMean>>(stream, x.view(), rows);
  backend.FindNonzero(stream, rows);
  CHECK(backend.CountNonzero(stream, rows) > 0);
  backend.QuantizeTopK<Quantizer<Int<4>, AbsMax>>(stream, x.view(), cols / 2, rows);
  backend.OpenGates<SquaredRelu>(stream, x.view(), lists);
  backend.Transform<Hadamard<4096>>(stream, x.view(), y.view());
  CHECK(backend.Finish(stream).ok());

  const size_t vocab = 3000;
  testing::DeviceMatrix logits(backend, stream, 1, vocab, testing::AwkwardValues(testing::Kind::kNormal, vocab, 1));
  Random random(1);
  for (size_t i = 0; i < 8; ++i) {
    const SamplerOptions options = {.temperature = 5.0f, .top_k = i % 2 == 0 ? 40u : 0u, .top_p = 0.9f};
    CHECK(backend.Sample(stream, logits.view(), options, RandomBits(random)).ok());
  }
}

template <class Quantizers>
void LaunchAttentionOf() {
  const auto launch = [](const AttentionShape& shape, const std::vector<testing::SequencePart>& sequences,
                         const testing::PassOptions& options = {}) {
    testing::TestPass<Quantizers>(shape, sequences, options, "");
  };
  // One page; several; tiles of several sequences; sums in parts, and some that are beyond two digits.
  launch({4, 2, 80}, {{200, 1}});
  launch({4, 2, 80}, {{700, 1}});
  launch({4, 2, 24}, {{10, 3}, {0, 2}, {254, 5}}, {.in_turn = true});
  launch({4, 2, 140}, {{300, 3}}, {.fill = Fill::kBadSteps});
  // Several pages of a block.
  launch({4, 2, 16}, {{800, 1}}, {.table_pages = 140});
}
void LaunchAttention() {
  using testing::SomeQuantizers;
  LaunchAttentionOf<SomeQuantizers<MidRise<4>, MidRise<3>, MidRise<4>, MidRise<3>, MidRise<4>>>();
  LaunchAttentionOf<SomeQuantizers<Float, Float, Float, Float, Float>>();
}

void LaunchModel() {
  const Transformer<A48, EmulatedBackend> model(testing::TinyWeights<A48>(), EmulatedBackend());
  auto state = model.NewState();
  CHECK(model.Forward(testing::RandomTokens(20, 19), state).ok());
}

// y[i] = i + 1, by way of shared memory. The second barrier is for nothing.
struct TurnWithTwoBarriers {
  static constexpr unsigned kThreads = 64;
  struct Shared {
    uint32_t values[kThreads];
  };
  static constexpr unsigned kLine = __LINE__ + 5;
  uint32_t* y;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    shared.values[d.thread()] = kThreads - d.thread();
    d.Barrier();  // on kLine
    y[d.thread()] = shared.values[kThreads - 1 - d.thread()];
    d.Barrier();
  }
};

TEST_CASE("RemovedWaits: a barrier that is needed, and one that is not") {
  RemovedWaits removed;
  testing::DeviceMemory memory;
  uint32_t* y = memory.Allocate<uint32_t>(64);
  for (int i = 0; i < 3; ++i) testing::Launch(TurnWithTwoBarriers{y}, {2}, testing::kSchedules[0]);
  CHECK(y[5] == 6);
  const auto& removals = removed.removals();
  REQUIRE(removals.size() == 2);
  const auto& [needed, found] = *removals.begin();
  const auto& [needless, not_found] = *removals.rbegin();
  CHECK(needed.Name() == "TurnWithTwoBarriers, removed_waits_test.cc:" + std::to_string(TurnWithTwoBarriers::kLine));
  CHECK(found.is_found);
  CHECK(found.tried == 1);
  CHECK(needless.line == needed.line + 2);
  CHECK(!not_found.is_found);
  CHECK(not_found.tried == 3);
}

TEST_CASE("Kernels: a barrier or a wait that is left out is found, whichever it is") {
  RemovedWaits removed;
  LaunchModel();
  LaunchProducts();
  LaunchOperationsOnRows();
  LaunchAttention();
  std::set<std::string> missed = WaitsInSources();
  for (const auto& [wait, removal] : removed.removals()) {
    CAPTURE(wait.Name());
    CAPTURE(removal.tried);
    CHECK(removal.is_found);
    missed.erase(wait.file + ":" + std::to_string(wait.line));
  }
  for (const std::string& wait : missed) {
    CAPTURE(wait);
    FAIL_CHECK("no kernel came to it");
  }
  MESSAGE(removed.removals().size() << " waits of kernels");
}

}  // namespace
}  // namespace bitnet

#endif
