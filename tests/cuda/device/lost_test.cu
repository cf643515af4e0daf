// What a GPU says that cannot go on. In a program of its own: after this its process has no device any more.
#include <doctest/doctest.h>

#include <cstdint>
#include <string>

#include "cuda/device/gpu_backend.cuh"

namespace bitnet {
namespace {

struct WriteNowhere {
  static constexpr unsigned kThreads = 32;
  using Shared = cuda::NoShared;
  uint32_t* nowhere;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    nowhere[d.thread()] = 1;
  }
};

TEST_CASE("CudaBackend: a device that is lost says so, call after call") {
  const testing::GpuBackend backend;
  auto stream = backend.NewStream();
  stream.Launch(WriteNowhere{reinterpret_cast<uint32_t*>(uintptr_t{16})}, cuda::Grid{});
  for (int i = 0; i < 3; ++i) {
    const Result<Done> finished = backend.Finish(stream);
    REQUIRE(!finished.ok());
    MESSAGE(finished.error());
    CHECK(finished.error().find("CUDA: ") == 0);
    CHECK(finished.error().find("the device is lost to this process: start another") != std::string::npos);
  }
  auto other = backend.NewStream();
  CHECK(!backend.Finish(other).ok());
  CHECK(!CudaBackend::Create().ok());
}

}  // namespace
}  // namespace bitnet
