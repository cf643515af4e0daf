// Models on a GPU. Compiled once for each scheme, since that takes long: BITNET_SCHEME is A48, testing::Mixed and so on
// (./dev cuda has the list).
#include <doctest/doctest.h>

#include "cuda/device/test_machine.cuh"
#include "cuda/model_laws.h"

namespace bitnet {
namespace {

using S = BITNET_SCHEME;
using testing::TestGpuBackend;

TEST_CASE("Transformer on a GPU: the bits of the reference") { testing::CheckModel<S>(TestGpuBackend()); }

// Rows that several blocks share, a prompt of several passes, a context of several pages.
TEST_CASE("Transformer on a GPU: the bits of the reference, wider and longer") {
  ModelConfig config = testing::TinyConfigOf<S>();
  config.vocab = 1031;
  config.hidden = 320;
  config.heads = 5;
  config.kv_heads = 1;
  config.head_dim = 64;
  config.ffn = 864;
  config.max_positions = 800;
  testing::CheckModel<S>(TestGpuBackend(), config, 530);
}

}  // namespace
}  // namespace bitnet
