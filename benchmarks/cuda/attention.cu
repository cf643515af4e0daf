// Decoding's attention, one token over a long context: over our 3-bit cache, and over one in bfloat16. Layers' caches
// are taken in turn, as in a model, more than the caches of the GPU hold.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "benchmarks/cuda/bf16_kernels.h"
#include "benchmarks/cuda/gpu.cuh"
#include "benchmarks/cuda/measure.h"
#include "benchmarks/made_up.h"
#include "benchmarks/pages.h"
#include "bitnet/cuda.h"

namespace bitnet::cuda_bench {
namespace {

using Quantizers = CacheQuantizersOf<A48>;
constexpr double kSeconds = 0.1;

struct Timing {
  double seconds, bytes;
};

Timing MeasureOurs(const AttentionShape& shape, size_t tokens) {
  const CudaBackend backend(*CudaBackend::Create());
  auto stream = backend.NewStream();
  const size_t width = shape.kv_heads * shape.head_dim;
  const auto upload = [&](CudaBackend::Reals& memory, const std::vector<float>& values, size_t rows) {
    const MatrixView<float> to = backend.Shape(stream, memory, rows, values.size() / rows);
    backend.Write(stream, {values.data(), rows, values.size() / rows}, to);
    return to;
  };
  CudaBackend::Reals of_keys, of_values, of_queries, of_y;
  const MatrixView<float> keys = upload(of_keys, Normals(kPageTokens * width, 1), kPageTokens);
  const MatrixView<float> values = upload(of_values, Normals(kPageTokens * width, 2), kPageTokens);
  const MatrixView<float> queries = upload(of_queries, Normals(shape.heads * shape.head_dim, 3), shape.heads);
  const Rope rope(shape.head_dim, 10000.0f);
  const PagesInOrder pages(tokens);
  CudaBackend::Where where;

  std::vector<CudaBackend::Cache<Quantizers>> caches;
  size_t bytes = 0;
  do {
    auto cache = backend.NewCache<Quantizers>(shape.kv_heads, shape.head_dim);
    backend.ResizeCache(cache, PagesFor(tokens));
    for (size_t first = 0; first < tokens; first += kPageTokens) {
      std::vector<Place> places;
      for (size_t t = first; t < first + kPageTokens; ++t) places.push_back({0, static_cast<uint32_t>(t)});
      backend.SetWhere(stream, places, pages.tables(), rope, where);
      backend.Store(stream, keys, values, where, cache);
    }
    if (const Result<Done> done = backend.Finish(stream); !done.ok()) Give("a cache", done.error());
    bytes += cache.StoredBytes();
    caches.push_back(std::move(cache));
  } while (bytes < RotatedBytes() && caches.size() < 64);

  const std::vector<Place> last = {{0, static_cast<uint32_t>(tokens - 1)}};
  backend.SetWhere(stream, last, pages.tables(), rope, where);
  CudaBackend::Rows<OperandOf<Quantizers::Query>> q;
  backend.Quantize<Quantizers::Query>(stream, queries, q);
  const MatrixView<float> y = backend.Shape(stream, of_y, 1, shape.heads * shape.head_dim);
  if (const Result<Done> done = backend.Finish(stream); !done.ok()) Give("a query", done.error());

  TimedStream timed;
  const double seconds = SecondsOfCalls(timed, kSeconds, caches.size(), [&](size_t i) {
    cuda::Attend<Quantizers>(timed, q.view(), where.view(), caches[i].view(), shape, y);
  });
  return {seconds, static_cast<double>(tokens * caches[0].BytesPerToken())};
}

Timing MeasureBf16(const AttentionShape& shape, size_t tokens) {
  const Heads of = {static_cast<uint32_t>(shape.heads), static_cast<uint32_t>(shape.kv_heads),
                    static_cast<uint32_t>(shape.head_dim), static_cast<uint32_t>(tokens)};
  TimedStream timed;
  const auto noise = [&](size_t count, uint32_t seed) {
    DeviceArray<Bf16> to(count);
    timed.Launch(FillKernel{to.data(), count, 1.7f, seed}, Grid{16 * Multiprocessors(), 1});
    timed.Wait();
    return to;
  };
  const DeviceArray<Bf16> qkv = noise(of.width(), 1), keys = noise(of.At(1, 0, 0), 2);
  const RotatedCopies copies(keys.data(), sizeof(Bf16) * keys.size());
  const uint32_t parts = AttentionPartsFor(1, of.kv_heads, of.max_tokens, Multiprocessors());
  const DeviceArray<AttentionPart> of_parts(size_t{of.heads} * parts);
  const DeviceArray<Bf16> y(size_t{of.heads} * of.head_dim);
  const double seconds = SecondsOfCalls(timed, kSeconds, copies.count(), [&](size_t i) {
    // (Keys of one copy, values of the next.)
    Attend(timed, qkv.data(), reinterpret_cast<const Bf16*>(copies[2 * i]),
           reinterpret_cast<const Bf16*>(copies[2 * i + 1]), of_parts.data(), y.data(), of, 1, of.max_tokens, parts);
  });
  return {seconds, 2.0 * sizeof(Bf16) * static_cast<double>(keys.size())};
}

}  // namespace

void MeasureAttention(const Limits& limits, Report& report, Targets& targets) {
  for (const AttentionShape& shape : {AttentionShape{32, 32, 128}, AttentionShape{20, 5, 128}}) {
    const std::string name =
        std::to_string(shape.heads) + "x" + std::to_string(shape.kv_heads) + "x" + std::to_string(shape.head_dim);
    for (const size_t tokens : {size_t{2048}, size_t{8192}, size_t{32768}}) {
      const Timing ours = MeasureOurs(shape, tokens), bf16 = MeasureBf16(shape, tokens);
      for (const auto& [what, timing] : {std::pair{"3-bit cache", &ours}, std::pair{"bfloat16 cache", &bf16}}) {
        report.Add("attention", Record()
                                    .Set("shape", name)
                                    .Set("tokens", tokens)
                                    .Set("what", what)
                                    .Set("us", 1e6 * timing->seconds)
                                    .Set("bytes", timing->bytes)
                                    .Set("of_bandwidth", timing->bytes / timing->seconds / limits.bytes_per_s)
                                    .Set("over_bf16", bf16.seconds / timing->seconds));
      }
      std::printf(
          "  attention %-9s %5zu tokens: %7.1f us, %.2f of the bandwidth; bfloat16 %7.1f us, %.2f; %.2f times\n",
          name.c_str(), tokens, 1e6 * ours.seconds, ours.bytes / ours.seconds / limits.bytes_per_s, 1e6 * bf16.seconds,
          bf16.bytes / bf16.seconds / limits.bytes_per_s, bf16.seconds / ours.seconds);
      if (tokens == 32768) {
        targets.AtLeast("attention " + name + " over 32768 tokens of the 3-bit cache: times faster than bfloat16", 3.0,
                        bf16.seconds / ours.seconds);
      }
    }
  }
}

}  // namespace bitnet::cuda_bench
