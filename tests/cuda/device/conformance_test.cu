// TestBackend<CudaBackend> on a GPU. Compiled once for each part of it, since that takes long: BITNET_PART is one of
// the functions of testing/backend_conformance.h, TestFewProducts and so on (./dev cuda has the list).
#include <doctest/doctest.h>

#include "cuda/device/gpu_backend.cuh"
#include "testing/backend_conformance.h"

namespace bitnet {

TEST_CASE("CudaBackend: has the bits of the reference") { testing::BITNET_PART<testing::GpuBackend>(); }

}  // namespace bitnet
