// What a whole model costs, in 16-bit floats, as W1.58A8 and as a4.8 with INT4 and FP4 inputs: bytes, and tokens per
// second while decoding and in prefill, for the shapes of shapes.h, with one thread and with all.
//
//   bitnet_claims [--shape NAME]... [--json FILE]
//
// Weights are made up. A DecoderLayer is timed, on copies of it and of its cache in turn (as many as the model has
// layers, or as exceed RotatedBytes(): measure.h), times the number of layers, plus the output head. All are measured
// so; what differs is the scheme, and the backend:
//
//   bf16     weights, head and cache in bfloat16, sums in float (bf16_backend.h)
//   W1.58A8  B158: ternary weights, 8-bit inputs, all products dense; head and cache as bf16
//   a4.8     A48 and A48Fp4: skipping, 3-bit cache; embedding and head in INT4 (a step a row), their inputs in INT8;
//            gates and inputs of `down` at the densities of the paper's table 2 (drawn_gates.h)
#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "benchmarks/bf16_backend.h"
#include "benchmarks/drawn_gates.h"
#include "benchmarks/made_up.h"
#include "benchmarks/measure.h"
#include "benchmarks/pages.h"
#include "benchmarks/shapes.h"
#include "bitnet/bitnet.h"

namespace bitnet {
namespace {

// Tokens in the cache while decoding; the table shows the first two, the first of them is that of memory.
constexpr size_t kContexts[] = {2048, 128, 8192, 32768};
constexpr size_t kContext = kContexts[0];
constexpr size_t kShortContext = kContexts[1];
constexpr size_t kPrompt = 256;
constexpr double kSeconds = 0.4;  // of a measurement

// relu(g)^2 by which no product is skipped: dense, as models before a4.8 are run. (LLaMA has SiLU; this is cheaper.)
struct DenseSquaredRelu : SquaredRelu {
  static constexpr bool kMakesZeros = false;
};

template <class S>
struct InBf16 : S {
  using Key = Rounded<BFloat16>;
  using Value = Key;
  using FirstKey = Key;
  using FirstValue = Key;
  using HeadWeight = Rounded<BFloat16>;
  using FfnActivation = DenseSquaredRelu;
};
struct Bf16 : InBf16<Fp32> {
  using Weight = Rounded<BFloat16>;
};
using W158A8 = InBf16<B158>;

struct Timing {
  double layer[std::size(kContexts)] = {};  // a token through a layer, with so many in the cache
  double ffn = 0.0;                         // ... through an FFN alone
  double head = 0.0;
  double layer_prefill = 0.0;  // kPrompt tokens
};

struct Measured {
  const char* name = "";
  double weight_bytes = 0.0;
  double embedding_bytes = 0.0;
  double cache_bytes = 0.0;
  size_t layer_copies = 0;
  bool skips = false;
  WeightUse use;                // of a prompt
  std::vector<Timing> timings;  // for each of ThreadCounts()

  double TotalBytes() const { return weight_bytes + embedding_bytes + cache_bytes; }
};

// With kContexts[context] tokens in the cache.
double DecodeRate(const Timing& t, const ModelConfig& c, size_t context) {
  return 1.0 / (c.layers * t.layer[context] + t.head);
}
double PrefillRate(const Timing& t, const ModelConfig& c) {
  return static_cast<double>(kPrompt) / (c.layers * t.layer_prefill + t.head);
}

// ---- Measuring a model.

// As many as the model has, or as exceed RotatedBytes().
size_t CopiesOf(size_t bytes, size_t most) {
  return std::clamp<size_t>(RotatedBytes() / std::max<size_t>(1, bytes) + 1, 1, most);
}

// Taken in turn.
template <class T>
class Copies {
 public:
  explicit Copies(std::vector<T> copies) : copies_(std::move(copies)) {}
  // make() returns one; bytes_of says how large it is.
  template <class Make, class BytesOf>
  Copies(size_t most, Make&& make, BytesOf&& bytes_of) {
    copies_.push_back(make());
    const size_t count = CopiesOf(bytes_of(copies_.front()), most);
    copies_.reserve(count);
    while (copies_.size() < count) copies_.push_back(make());
  }
  T& Next() { return copies_[next_++ % copies_.size()]; }
  const T& First() const { return copies_.front(); }
  size_t Count() const { return copies_.size(); }

 private:
  std::vector<T> copies_;
  size_t next_ = 0;
};

template <class S, class B>
class Model {
 public:
  using Layer = DecoderLayer<S, B>;
  using Cache = typename Layer::Cache;
  using HeadWeight = typename S::HeadWeight;
  using HeadInput = typename S::HeadInput;
  using Head = typename B::template Matrix<OperandOf<HeadWeight>, OperandOf<HeadInput>, Uses<Dense, RowLookup>>;
  using Ffn = SparseFfn<S, B>;

  Model(const ModelConfig& config, const B& backend) : c_(config), backend_(backend) {}

  Copies<Layer> Layers() const {
    const auto norm = [&] { return RmsNorm<B>(std::vector<float>(c_.hidden, 1.0f), 1e-5f, backend_); };
    const auto q = MadeUp<W>(c_.query_width(), c_.hidden), k = MadeUp<W>(c_.kv_width(), c_.hidden),
               o = MadeUp<W>(c_.hidden, c_.query_width());
    const auto attention = [&] { return Attention<S, B>(q, k, k, o, {}, c_.heads, c_.kv_heads, backend_); };
    const FfnWeights w(c_);
    const auto ffn = [&] { return Ffn(w.up, w.up, w.down, {}, backend_); };
    return {c_.layers, [&] { return Layer(norm(), attention, norm(), ffn); },
            [](const Layer& layer) { return layer.WeightBytes(); }};
  }
  Copies<Ffn> Ffns() const {
    const FfnWeights w(c_);
    return {c_.layers, [&] { return Ffn(w.up, w.up, w.down, RmsNorm<B>(), backend_); },
            [](const Ffn& ffn) { return ffn.WeightBytes(); }};
  }
  // Full of random tokens.
  Copies<Cache> Caches(size_t tokens) const {
    constexpr size_t kAtOnce = 128;
    const std::vector<float> reals = Normals(kAtOnce * c_.kv_width(), 7);
    const MatrixView<const float> heads(reals.data(), kAtOnce, c_.kv_width());
    const auto new_caches = [&](size_t count) {
      return NewCaches<CacheQuantizersOf<S>>(backend_, count, c_.kv_heads, c_.head_dim, PagesFor(tokens));
    };
    auto caches = new_caches(CopiesOf(new_caches(1)[0].StoredBytes(), c_.layers));
    auto stream = backend_.NewStream();
    for (auto& cache : caches) {
      for (size_t t = 0; t < tokens; t += kAtOnce) backend_.Store(stream, heads, heads, Where(t, kAtOnce), cache);
    }
    return Copies<Cache>(std::move(caches));
  }
  // A head is large, and the layers push it out of the caches: few copies.
  Copies<Head> Heads() const {
    const auto w = MadeUp<HeadWeight>(c_.vocab, c_.hidden);
    const auto make = [&] {
      return backend_.template PrepareMatrix<OperandOf<HeadWeight>, OperandOf<HeadInput>, Uses<Dense, RowLookup>>(w);
    };
    return {c_.layers, make, [](const Head& head) { return head.StoredBytes(); }};
  }

  // Where so many tokens of one sequence stand.
  HostWhere Where(size_t first_position, size_t tokens) const {
    std::vector<Place> places(tokens);
    for (size_t t = 0; t < tokens; ++t) places[t].position = static_cast<uint32_t>(first_position + t);
    HostWhere where;
    where.Set(places, PagesInOrder(first_position + tokens).tables(), Rope(c_.head_dim, c_.rope_base));
    return where;
  }

 private:
  using W = typename S::Weight;
  struct FfnWeights {
    explicit FfnWeights(const ModelConfig& c) : up(MadeUp<W>(c.ffn, c.hidden)), down(MadeUp<W>(c.hidden, c.ffn)) {}
    QuantizedMatrix<typename W::Format> up, down;
  };

  ModelConfig c_;
  B backend_;
};

// make_backend(an executor) returns one.
template <class S, class MakeBackend>
Measured Measure(const char* name, const ModelShape& shape, const MakeBackend& make_backend) {
  using B = decltype(make_backend(DefaultExecutor()));
  const ModelConfig& c = shape.config;
  const Model<S, B> model(c, make_backend(PoolOf(ThreadCounts().back())));
  Measured m;
  m.name = name;
  m.skips = !S::OutputKeep::kAll;
  m.timings.resize(ThreadCounts().size());
  // f(backend, stream, what is to be filled in).
  const auto each_thread_count = [&](auto&& f) {
    for (size_t i = 0; i < ThreadCounts().size(); ++i) {
      const B backend = make_backend(PoolOf(ThreadCounts()[i]));
      auto stream = backend.NewStream();
      f(backend, stream, m.timings[i]);
    }
  };
  const std::vector<float> inputs = Normals(kPrompt * c.hidden, 2);
  std::vector<float> hidden(inputs.size()), results(inputs.size());
  const MatrixView<const float> one(inputs.data(), 1, c.hidden);
  {
    auto heads = model.Heads();
    m.embedding_bytes = static_cast<double>(heads.First().StoredBytes()) * (c.tied_embedding ? 1 : 2);
    std::vector<float> logits(c.vocab);
    typename B::template Rows<OperandOf<typename S::HeadInput>> quantized;
    each_thread_count([&](const B& backend, auto& stream, Timing& t) {
      t.head = Median(TimeCalls(kSeconds, 5, [&] {
        backend.template Quantize<typename S::HeadInput>(stream, one, quantized);
        backend.MatMul(stream, heads.Next(), quantized, {logits.data(), 1, logits.size()});
      }));
    });
  }
  {
    auto ffns = model.Ffns();
    typename SparseFfn<S, B>::Buffers buffers;
    each_thread_count([&](const B& backend, auto& stream, Timing& t) {
      t.ffn = Median(TimeCalls(kSeconds, 2 * ffns.Count(), [&] {
        ffns.Next()(backend, stream, one, buffers, {results.data(), 1, c.hidden}, nullptr);
      }));
    });
  }
  auto layers = model.Layers();
  m.weight_bytes = static_cast<double>(layers.First().WeightBytes()) * c.layers;
  m.layer_copies = layers.Count();
  typename DecoderLayer<S, B>::Buffers buffers;
  const auto run_layer = [&](const B& backend, auto& stream, const HostWhere& where, auto& cache, WeightUse* use) {
    std::copy_n(inputs.begin(), where.tokens() * c.hidden, hidden.begin());
    layers.Next()(backend, stream, {hidden.data(), where.tokens(), c.hidden}, where, cache, buffers, use);
  };
  for (size_t i = 0; i < std::size(kContexts); ++i) {
    auto caches = model.Caches(kContexts[i]);
    const HostWhere last = model.Where(kContexts[i] - 1, 1);
    each_thread_count([&](const B& backend, auto& stream, Timing& t) {
      t.layer[i] = Median(
          TimeCalls(kSeconds, 2 * layers.Count(), [&] { run_layer(backend, stream, last, caches.Next(), nullptr); }));
    });
    if (kContexts[i] == kContext) m.cache_bytes = static_cast<double>(caches.First().StoredBytes()) * c.layers;
  }
  auto caches = model.Caches(kPrompt);
  const HostWhere prompt = model.Where(0, kPrompt);
  each_thread_count([&](const B& backend, auto& stream, Timing& t) {
    t.layer_prefill =
        Median(TimeCalls(kSeconds, 2, [&] { run_layer(backend, stream, prompt, caches.Next(), nullptr); }));
    m.use = {};
    run_layer(backend, stream, prompt, caches.Next(), &m.use);
  });
  return m;
}

// ---- Printing.

void PrintShape(const ModelShape& shape, const std::vector<Measured>& models) {
  const ModelConfig& c = shape.config;
  std::printf("\n%s: %u layers, hidden %u, ffn %u, %u heads (%u for keys and values) of %u, vocabulary %u%s\n",
              shape.name, c.layers, c.hidden, c.ffn, c.heads, c.kv_heads, c.head_dim, c.vocab,
              c.tied_embedding ? ", tied" : "");
  std::printf("  %-10s %9s %9s %9s %9s %7s |", "MiB", "weights", "embedding", "cache", "total", "ratio");
  for (const size_t threads : ThreadCounts()) {
    std::printf(" %3zu threads: decode  ratio at %-4zu  ratio prefill  ratio |", threads, kShortContext);
  }
  std::printf("\n");
  const auto mib = [](double bytes) { return bytes / (1 << 20); };
  for (const Measured& m : models) {
    std::printf("  %-10s %9.1f %9.1f %9.1f %9.1f %7.2f |", m.name, mib(m.weight_bytes), mib(m.embedding_bytes),
                mib(m.cache_bytes), mib(m.TotalBytes()), models[0].TotalBytes() / m.TotalBytes());
    for (size_t i = 0; i < m.timings.size(); ++i) {
      const Timing& t = m.timings[i];
      const Timing& base = models[0].timings[i];
      std::printf("              %7.2f %6.2f %7.2f %6.2f %7.1f %6.2f |", DecodeRate(t, c, 0),
                  DecodeRate(t, c, 0) / DecodeRate(base, c, 0), DecodeRate(t, c, 1),
                  DecodeRate(t, c, 1) / DecodeRate(base, c, 1), PrefillRate(t, c),
                  PrefillRate(t, c) / PrefillRate(base, c));
    }
    std::printf("\n");
  }
  for (const Measured& m : models) {
    if (!m.skips) continue;
    std::printf("    %-10s not needed: %.1f %% of QKV, %.1f of out, %.1f of up, %.1f of gate, %.1f of down\n", m.name,
                m.use.qkv.Sparsity(), m.use.out.Sparsity(), m.use.up.Sparsity(), m.use.gate.Sparsity(),
                m.use.down.Sparsity());
  }
  for (const Measured& m : models) {
    for (size_t i = 0; i < m.timings.size(); ++i) {
      const Timing& t = m.timings[i];
      std::printf(
          "    %-10s t%zu, us: layer %.0f (at %zu: %.0f, %zu: %.0f, %zu: %.0f; an FFN alone %.0f), head %.0f, layer of "
          "%zu tokens %.0f; %zu copies of a layer\n",
          m.name, ThreadCounts()[i], 1e6 * t.layer[0], kContexts[1], 1e6 * t.layer[1], kContexts[2], 1e6 * t.layer[2],
          kContexts[3], 1e6 * t.layer[3], 1e6 * t.ffn, 1e6 * t.head, kPrompt, 1e6 * t.layer_prefill, m.layer_copies);
    }
  }
  std::fflush(stdout);
}

void WriteJson(std::FILE* to, const std::vector<std::pair<ModelShape, std::vector<Measured>>>& all) {
  std::fprintf(to, "{\n  \"machine\": \"%s\",\n  \"limits\": [", MachineDescription().c_str());
  const char* separator = "";
  for (const size_t threads : ThreadCounts()) {
    std::fprintf(to, "%s\n    {\"threads\": %zu, \"read_bytes_per_s\": %.4g, \"int8_macs_per_s\": %.4g}", separator,
                 threads, ReadBandwidth(threads).bytes_per_second, DotPeak(threads));
    separator = ",";
  }
  std::fprintf(to, "\n  ],\n  \"prompt\": %zu,\n  \"results\": [", kPrompt);
  separator = "";
  for (const auto& [shape, models] : all) {
    for (const Measured& m : models) {
      for (size_t i = 0; i < m.timings.size(); ++i) {
        const Timing& t = m.timings[i];
        std::fprintf(
            to,
            "%s\n    {\"shape\": \"%s\", \"model\": \"%s\", \"threads\": %zu, \"layers\": %u, \"weight_bytes\": %.0f, "
            "\"embedding_bytes\": %.0f, \"cache_bytes\": %.0f, \"prefill_per_s\": %.4g, \"layer_s\": %.4g, "
            "\"ffn_s\": %.4g, \"head_s\": %.4g, \"layer_prefill_s\": %.4g, \"layer_copies\": %zu, \"decode\": [",
            separator, shape.name, m.name, ThreadCounts()[i], shape.config.layers, m.weight_bytes, m.embedding_bytes,
            m.cache_bytes, PrefillRate(t, shape.config), t.layer[0], t.ffn, t.head, t.layer_prefill, m.layer_copies);
        for (size_t k = 0; k < std::size(kContexts); ++k) {
          std::fprintf(to, "%s{\"context\": %zu, \"per_s\": %.4g, \"layer_s\": %.4g}", k == 0 ? "" : ", ", kContexts[k],
                       DecodeRate(t, shape.config, k), t.layer[k]);
        }
        std::fprintf(to, "]}");
        separator = ",";
      }
    }
  }
  std::fprintf(to, "\n  ]\n}\n");
}

int Main(int argc, char** argv) {
  std::vector<std::string> names;
  const char* json = nullptr;
  for (int i = 1; i < argc; ++i) {
    const bool has_value = i + 1 < argc;
    if (std::strcmp(argv[i], "--shape") == 0 && has_value) {
      names.push_back(argv[++i]);
    } else if (std::strcmp(argv[i], "--json") == 0 && has_value) {
      json = argv[++i];
    } else {
      std::printf("bitnet_claims [--shape NAME]... [--json FILE]\nshapes:");
      for (const ModelShape& shape : ModelShapes()) std::printf(" %s", shape.name);
      std::printf("\n");
      return std::strcmp(argv[i], "--help") == 0 ? 0 : 2;
    }
  }
  std::printf("%s\n", MachineDescription().c_str());
  for (const size_t threads : ThreadCounts()) {
    std::printf("%zu threads: reads %.1f GB/s, int8 dot products %.0f GMAC/s\n", threads,
                ReadBandwidth(threads).bytes_per_second / 1e9, DotPeak(threads) / 1e9);
  }
  std::printf(
      "One layer timed on copies of made-up weights, times the layers, plus the head. Decode: tokens per second "
      "with %zu tokens in the cache, and with %zu; prefill of %zu tokens. Ratios: to bf16.\n",
      kContext, kShortContext, kPrompt);
  std::vector<std::pair<ModelShape, std::vector<Measured>>> all;
  for (const ModelShape& shape : ModelShapes()) {
    if (!names.empty() && std::find(names.begin(), names.end(), shape.name) == names.end()) continue;
    std::vector<Measured> models;
    const auto in_bf16 = [](Executor& executor) { return Bf16Backend(executor); };
    const auto skipping = [&](Executor& executor) {
      return DrawnGates(executor, kPrompt, shape.config.ffn, shape.closed_gates, shape.down_zeros);
    };
    models.push_back(Measure<Bf16>("bf16", shape, in_bf16));
    models.push_back(Measure<W158A8>("W1.58A8", shape, in_bf16));
    models.push_back(Measure<WithInt4Head<A48>>("a4.8 INT4", shape, skipping));
    models.push_back(Measure<WithInt4Head<A48Fp4>>("a4.8 FP4", shape, skipping));
    PrintShape(shape, models);
    all.emplace_back(shape, std::move(models));
  }
  if (json != nullptr) {
    std::FILE* file = std::fopen(json, "w");
    if (file == nullptr) {
      std::fprintf(stderr, "%s: cannot be written: %s\n", json, SystemReason(errno).c_str());
      return 1;
    }
    WriteJson(file, all);
    std::fclose(file);
  }
  return 0;
}

}  // namespace
}  // namespace bitnet

int main(int argc, char** argv) { return bitnet::Main(argc, argv); }
