// The first tests to run on a GPU: each member of CudaDevice does what device.h says, and the matrix unit's fragments
// lie as the manual says. Were they not so, all else would fail, and say less.
#include <doctest/doctest.h>

#include <cstddef>
#include <new>
#include <string>
#include <vector>

#include "cuda/device/gpu_backend.cuh"
#include "cuda/device_laws.h"

namespace bitnet {
namespace {

using cuda::CudaMachine;
using cuda::Grid;

// Kernels in a stream of the library's, memory of their own.
class OnGpu {
 public:
  template <class T>
  T* Upload(const std::vector<T>& values) {
    memory_.emplace_back(machine_, values.size() * sizeof(T) + 1);
    REQUIRE(!machine_.Upload(memory_.back().data(), values.data(), values.size() * sizeof(T)));
    return memory_.back().template As<T>();
  }
  template <class K>
  void Launch(const K& kernel, Grid grid) {
    stream_.Launch(kernel, grid);
  }
  template <class T>
  std::vector<T> Read(const T* from, size_t count) {
    std::vector<T> values(count);
    stream_.CopyOut(values.data(), from, count * sizeof(T));
    const Result<Done> finished = stream_.Finish();
    REQUIRE_MESSAGE(finished.ok(), finished.error());
    return values;
  }

 private:
  CudaMachine machine_ = *CudaMachine::Find(0);
  cuda::Stream<CudaMachine> stream_{machine_};
  std::vector<cuda::Memory<CudaMachine>> memory_;
};

TEST_CASE("CudaDevice: Mma is the product of tiles whose fragments lie as the PTX manual says") {
  OnGpu on;
  testing::CheckMma(on);
}
TEST_CASE("CudaDevice: each thread of each block runs once, and knows where it is") {
  OnGpu on;
  testing::CheckThreads(on);
}
TEST_CASE("CudaDevice: shared memory, as much as a block has and as it may ask for") {
  OnGpu on;
  testing::CheckShared<false>(on);
  testing::CheckShared<true>(on);
}
TEST_CASE("CudaDevice: the lanes of a warp exchange values of 4 and 8 bytes") {
  OnGpu on;
  testing::CheckExchanges(on);
}
TEST_CASE("CudaDevice: arithmetic, atomic operations, vector loads") {
  OnGpu on;
  testing::CheckArithmetic(on);
}
TEST_CASE("CudaDevice: an asynchronous copy reads what it is asked for and fills up with zeros") {
  OnGpu on;
  testing::CheckCopyAsync(on);
}

TEST_CASE("CudaBackend: is made where the arithmetic is IEEE 754's; a GPU that is not there is refused") {
  const Result<CudaBackend> backend = CudaBackend::Create();
  REQUIRE_MESSAGE(backend.ok(), backend.error());
  const Result<CudaBackend> none = CudaBackend::Create(1000);
  REQUIRE(!none.ok());
  CHECK(none.error().find("CUDA: there is no GPU 1000; the machine has ") == 0);
}

TEST_CASE("CudaBackend: where the device's memory ends bad_alloc leaves, and the next call is well") {
  const testing::GpuBackend backend;
  auto stream = backend.NewStream();
  CudaBackend::Reals huge, small;
  CHECK_THROWS_AS(backend.Shape(stream, huge, size_t{1} << 22, size_t{1} << 22), std::bad_alloc);
  const MatrixView<float> y = backend.Shape(stream, small, 3, 5);
  const std::vector<float> values(15, 1.5f);
  backend.Write(stream, {values.data(), 3, 5}, y);
  backend.Add(stream, y, y);
  GrowingMatrix host;
  const MatrixView<const float> read = backend.Read(stream, y, host);
  const Result<Done> finished = backend.Finish(stream);
  REQUIRE_MESSAGE(finished.ok(), finished.error());
  for (size_t i = 0; i < 15; ++i) CHECK(read.data()[i] == 3.0f);
}

}  // namespace
}  // namespace bitnet
