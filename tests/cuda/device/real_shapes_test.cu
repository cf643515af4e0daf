// Products and attention at the sizes of real models on a GPU, where many blocks run side by side: the conformance test
// has all formats and small shapes.
#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "cuda/device/gpu_backend.cuh"
#include "testing/backend_conformance.h"

namespace bitnet {
namespace {

using testing::Fill;
using testing::GpuBackend;

template <Format X>
void CheckProducts(const char* pair) {
  const GpuBackend backend;
  for (const size_t tokens : {1u, 2u, 3u, 16u}) {
    testing::TestProductCase<Ternary, X>(backend, pair, {6912, tokens, {false, 0}, 0, Fill::kRandom}, 2560);
    testing::TestProductCase<Ternary, X>(backend, pair, {2560, tokens, {false, 0}, 0, Fill::kSparse}, 6912);
  }
  // Enough tiles for all multiprocessors; of widths and heights that no tile divides.
  testing::TestProductCase<Ternary, X>(backend, pair, {4100, 300, {false, 0}, 0, Fill::kRandom}, 520);
  testing::TestProductCase<Ternary, X>(backend, pair, {13824, 1, {true, 0}, 0, Fill::kTop}, 2560);
}

TEST_CASE("CudaBackend: ternary by INT4 at the sizes of models") { CheckProducts<Int<4>>("Ternary and Int<4>"); }
TEST_CASE("CudaBackend: ternary by FP4 at the sizes of models") { CheckProducts<Fp4E2M1>("Ternary and FP4"); }
TEST_CASE("CudaBackend: ternary by INT8 at the sizes of models") { CheckProducts<Int<8>>("Ternary and Int<8>"); }
TEST_CASE("CudaBackend: an INT4 head by INT8 at the size of models") {
  testing::TestProductCase<Int<4>, Int<8>>(GpuBackend(), "Int<4> and Int<8>", {32000, 2, {true, 0}, 0, Fill::kRandom},
                                           2048);
}

TEST_CASE("CudaBackend: attention over a long context") {
  using Q = MidRise<4>;
  using Quantizers = testing::SomeQuantizers<Q, MidRise<3>, MidRise<4>, MidRise<3>, MidRise<4>>;
  const GpuBackend backend;
  for (const testing::AttentionCase& c : {testing::AttentionCase{128, 2, 5000, Fill::kRandom, 32, 32},
                                          testing::AttentionCase{128, 300, 1, Fill::kRandom, 8, 2},
                                          testing::AttentionCase{128, 1, 8191, Fill::kTop, 20, 5}}) {
    const auto expected = testing::ExpectAttention<Quantizers>(c);
    auto stream = backend.NewStream();
    const testing::SequenceIn<Quantizers, GpuBackend> sequence(backend, stream, expected.cache);
    GpuBackend::Rows<Q> q;
    backend.Write(stream, expected.q, q);
    GpuBackend::Where where;
    backend.SetWhere(stream, testing::PlacesFrom(c.first_position, c.tokens), sequence.tables(), Rope(c.dim, 100.0f),
                     where);
    testing::DeviceMatrix y(backend, stream, c.tokens, c.heads * c.dim);
    backend.Attend(stream, q, where, sequence.cache, expected.shape, y.view());
    y.ExpectSame(expected.y, "Attend", std::to_string(c.tokens) + " tokens from " + std::to_string(c.first_position));
  }
}

}  // namespace
}  // namespace bitnet
