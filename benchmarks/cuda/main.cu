// Benchmarks on a GPU, with the targets that they are held against; what is measured is written to a JSON file.
//
//   cuda_bench [--json FILE] [--only limits|products|attention|models]...
//
// Shares are of limits that are measured in the same run. Models: decoding at 512 tokens of context, wall time of a
// pass; a prompt of 2048 tokens. Ends with 77 where there is no GPU.
#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <exception>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "benchmarks/cuda/gpu.cuh"
#include "benchmarks/cuda/measure.h"
#include "bitnet/backend/cuda/cuda_machine.cuh"

namespace bitnet::cuda_bench {
namespace {

constexpr size_t kContext = 512;
constexpr size_t kPrompt = 2048;
constexpr size_t kCacheTokens = 4096;  // of which the bytes are counted
constexpr size_t kConversations[] = {1, 2, 4, 8, 16};

struct Lines {
  MeasuredModel::Decode decode[std::size(kConversations)];
  MeasuredModel::Prefill prefill;
  double bytes = 0.0;
};

Lines Measure(MeasuredModel& model, const char* what, const ModelShape& shape, const Lines* bf16, Report& report,
              const Limits& limits) {
  const ModelConfig& c = shape.config;
  Lines lines;
  const double weights = model.WeightBytes(), embedding = model.EmbeddingBytes(),
               cache = model.CacheBytes(kCacheTokens);
  lines.bytes = weights + embedding + cache;
  const double disagreement = model.Disagreement();
  report.Add("bytes", Record()
                          .Set("shape", shape.name)
                          .Set("model", what)
                          .Set("weights", weights)
                          .Set("embedding", embedding)
                          .Set("cache_4096", cache)
                          .Set("over_bf16", bf16 == nullptr ? 1.0 : bf16->bytes / lines.bytes)
                          .Set("decode_and_prefill_disagree_by", disagreement));
  std::printf(
      "  %-5s %-8s %8.1f MiB of weights, %7.1f of embedding and head, %7.1f of cache; prefill and decoding are %g "
      "apart\n",
      shape.name, what, weights / (1 << 20), embedding / (1 << 20), cache / (1 << 20), disagreement);
  if (disagreement > 0.05) std::printf("  WRONG: %s computes something else in decoding than in prefill\n", what);
  // Multiply-adds of a token, but for attention.
  const double macs = c.layers * (double{2} * c.hidden * c.query_width() + double{2} * c.hidden * c.kv_width() +
                                  double{3} * c.hidden * c.ffn);
  for (size_t i = 0; i < std::size(kConversations); ++i) {
    const size_t n = kConversations[i];
    const auto decode = model.MeasureDecode(n, kContext);
    lines.decode[i] = decode;
    const double ratio = bf16 == nullptr ? 1.0 : bf16->decode[i].pass / decode.pass;
    // What a pass reads: weights, the head's share of the embedding, all caches.
    const double read =
        weights + (c.tied_embedding ? embedding : embedding / 2) + static_cast<double>(n) * model.CacheBytes(kContext);
    Record record;
    record.Set("shape", shape.name).Set("model", what).Set("measured", "decode").Set("conversations", n);
    record.Set("context", kContext)
        .Set("us", 1e6 * decode.pass)
        .Set("tokens_per_s", static_cast<double>(n) / decode.pass);
    record.Set("of_bandwidth_if_dense", read / decode.pass / limits.bytes_per_s).Set("over_bf16", ratio);
    if (decode.pass_and_draw != 0.0) record.Set("us_with_draw", 1e6 * decode.pass_and_draw);
    report.Add("models", record);
    std::printf(
        "  %-5s %-8s %2zu conversations: %9.1f us a pass (%.1f with the draw), %9.1f tokens/s, %5.2f times bf16\n",
        shape.name, what, n, 1e6 * decode.pass, 1e6 * decode.pass_and_draw, static_cast<double>(n) / decode.pass,
        ratio);
  }
  lines.prefill = model.MeasurePrefill(kPrompt);
  const double rate = static_cast<double>(kPrompt) / lines.prefill.all;
  const double ratio = bf16 == nullptr ? 1.0 : bf16->prefill.all / lines.prefill.all;
  Record record;
  record.Set("shape", shape.name).Set("model", what).Set("measured", "prefill").Set("tokens", kPrompt);
  record.Set("us", 1e6 * lines.prefill.all).Set("tokens_per_s", rate);
  record.Set("of_int8_rate", rate * macs / limits.int8_macs_per_s).Set("over_bf16", ratio);
  if (lines.prefill.products != 0.0) record.Set("us_of_products", 1e6 * lines.prefill.products);
  report.Add("models", record);
  std::printf("  %-5s %-8s %zu tokens of a prompt: %9.1f us, %9.1f tokens/s, %5.2f times bf16\n", shape.name, what,
              kPrompt, 1e6 * lines.prefill.all, rate, ratio);
  std::fflush(stdout);
  return lines;
}

void MeasureShape(const ModelShape& shape, MeasuredModel& a48, MeasuredModel& w158a8, const Limits& limits,
                  Report& report, Targets& targets) {
  const double bf16_bytes =
      2.0 * (static_cast<double>(shape.config.layers) * shape.config.hidden *
                 (2.0 * shape.config.query_width() + 2.0 * shape.config.kv_width() + 3.0 * shape.config.ffn) +
             2.0 * shape.config.vocab * shape.config.hidden);
  Lines bf16;
  bool has_bf16 = bf16_bytes * 1.15 + double{1u << 31} < static_cast<double>(FreeBytes());
  if (!has_bf16) std::printf("  %s in bfloat16 does not fit this GPU's memory\n", shape.name);
  std::string failed;  // without the baseline ours are measured all the same
  if (has_bf16) {
    try {
      bf16 = Measure(*MakeBf16Model(shape), "bf16", shape, nullptr, report, limits);
    } catch (const std::exception& exception) {
      failed = exception.what();
      has_bf16 = false;
    }
  }
  const Lines* of_bf16 = has_bf16 ? &bf16 : nullptr;
  const Lines eight = Measure(w158a8, "W1.58A8", shape, of_bf16, report, limits);
  const Lines four = Measure(a48, "a4.8", shape, of_bf16, report, limits);
  const bool has_targets = shape.name == std::string_view("7B");
  if (has_targets) {
    targets.AtLeast("decode of 7B, one conversation: times faster than W1.58A8", 1.25,
                    eight.decode[0].pass / four.decode[0].pass);
  }
  if (!failed.empty()) Give("the baseline", failed);
  if (!has_targets || !has_bf16) return;
  targets.AtLeast("decode of 7B, one conversation: times faster than bfloat16", 4.3,
                  bf16.decode[0].pass / four.decode[0].pass);
  targets.AtLeast("prefill of 2048 tokens at 7B: times faster than bfloat16", 1.0, bf16.prefill.all / four.prefill.all);
  targets.AtLeast("prefill of 2048 tokens at 7B: times faster than the products of bfloat16 alone", 1.0,
                  bf16.prefill.products / four.prefill.all);
  targets.AtLeast("bytes of 7B with 4096 tokens in the cache: times less than bfloat16", 8.0, bf16.bytes / four.bytes);
}

// Models are packed on the host, one thread each: all of them at once.
class Models {
 public:
  Models() {
    for (const ModelShape& shape : ModelShapes()) {
      if (shape.name == std::string_view("700M")) continue;
      shapes_.push_back(shape);
      for (auto* make : {&MakeA48Model, &MakeW158A8Model}) {
        models_.push_back(std::async(std::launch::async, make, shape));
      }
    }
  }
  void Wait() {
    for (auto& model : models_) model.wait();
  }
  const std::vector<ModelShape>& shapes() const { return shapes_; }
  // Of shape i: 2 i is a4.8, 2 i + 1 W1.58A8.
  std::unique_ptr<MeasuredModel> Take(size_t i) { return models_[i].get(); }

 private:
  std::vector<ModelShape> shapes_;
  std::vector<std::future<std::unique_ptr<MeasuredModel>>> models_;
};

int Main(int argc, char** argv) {
  std::string json;
  std::vector<std::string_view> only;
  for (int i = 1; i < argc; ++i) {
    const bool has_value = i + 1 < argc;
    if (std::strcmp(argv[i], "--json") == 0 && has_value) {
      json = argv[++i];
    } else if (std::strcmp(argv[i], "--only") == 0 && has_value) {
      only.push_back(argv[++i]);
    } else {
      std::printf("cuda_bench [--json FILE] [--only limits|products|attention|models]...\n");
      return std::strcmp(argv[i], "--help") == 0 ? 0 : 2;
    }
  }
  const auto machine = cuda::CudaMachine::Find(0);
  if (!machine.ok()) {
    std::fprintf(stderr, "%s\n", machine.error().c_str());
    return 77;
  }
  const auto is_wanted = [&](std::string_view part) {
    return only.empty() || std::find(only.begin(), only.end(), part) != only.end();
  };

  Report report;
  Targets targets{report};
  size_t failures = 0;
  // Whatever fails, the rest is measured, and what was measured is written.
  const auto attempt = [&](const std::string& what, auto&& f) {
    try {
      f();
    } catch (const std::exception& exception) {
      ++failures;
      std::printf("  FAILED: %s: %s\n", what.c_str(), exception.what());
      report.Add("failures", Record().Set("what", what).Set("reason", exception.what()));
    }
    std::fflush(stdout);
    if (!json.empty() && !report.Write(json)) std::fprintf(stderr, "%s cannot be written\n", json.c_str());
  };
  std::unique_ptr<Models> models;
  if (is_wanted("models")) {
    models = std::make_unique<Models>();
    models->Wait();  // what packs weights would disturb what is measured
  }

  Limits limits;
  attempt("limits", [&] { limits = MeasureLimits(); });
  int runtime = 0, driver = 0;
  BITNET_CHECK(cudaRuntimeGetVersion(&runtime));
  BITNET_CHECK(cudaDriverGetVersion(&driver));
  report.Add("machine", Record()
                            .Set("gpu", Gpu().name)
                            .Set("compute_capability", std::to_string(Gpu().major) + "." + std::to_string(Gpu().minor))
                            .Set("multiprocessors", size_t{Multiprocessors()})
                            .Set("memory_bytes", Gpu().totalGlobalMem)
                            .Set("l2_bytes", static_cast<size_t>(Gpu().l2CacheSize))
                            .Set("runtime", static_cast<size_t>(runtime))
                            .Set("driver", static_cast<size_t>(driver)));
  report.Add("limits", Record()
                           .Set("read_bytes_per_s", limits.bytes_per_s)
                           .Set("int8_macs_per_s", limits.int8_macs_per_s)
                           .Set("cublas_bf16_macs_per_s", limits.bf16_macs_per_s)
                           .Set("cublas_int8_macs_per_s", limits.cublas_int8_macs_per_s));
  std::printf("%s: reads %.0f GB/s; int8 %.0f TMAC/s by mma.sync, %.0f by cuBLASLt; bfloat16 %.0f TMAC/s by cuBLAS\n",
              Gpu().name, limits.bytes_per_s / 1e9, limits.int8_macs_per_s / 1e12, limits.cublas_int8_macs_per_s / 1e12,
              limits.bf16_macs_per_s / 1e12);
  if (is_wanted("products")) attempt("products", [&] { MeasureProducts(limits, report, targets); });
  if (is_wanted("attention")) attempt("attention", [&] { MeasureAttention(limits, report, targets); });
  if (models != nullptr) {
    for (size_t i = 0; i < models->shapes().size(); ++i) {
      const ModelShape& shape = models->shapes()[i];
      attempt(std::string("models of ") + shape.name, [&] {
        const std::unique_ptr<MeasuredModel> a48 = models->Take(2 * i), w158a8 = models->Take(2 * i + 1);
        MeasureShape(shape, *a48, *w158a8, limits, report, targets);
      });
    }
  }
  std::printf("%zu targets missed\n", targets.missed);
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace bitnet::cuda_bench

int main(int argc, char** argv) { return bitnet::cuda_bench::Main(argc, argv); }
