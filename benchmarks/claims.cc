// What a whole model costs, in 16-bit floats, as W1.58A8 and as a4.8 with INT4 and FP4 inputs: bytes, and tokens per
// second while decoding and in prefill, for the shapes of shapes.h, with one thread and with all.
//
//   bitnet_claims [--shape NAME]... [--json FILE]
//
// Weights are made up. The operations of one layer are timed, on copies of its weights in turn (as many as the model
// has layers, or as exceed RotatedBytes(): measure.h), times the number of layers, plus the output head. Sparsity is
// drawn: open gates and non-zero inputs of `down` at the densities of the paper's table 2. Attention is timed apart,
// over caches in turn.
//
//   bf16     weights, head and cache in bfloat16, sums in float (bf16.h)
//   W1.58A8  B158: ternary weights, 8-bit inputs, all products dense; head and cache as bf16
//   a4.8     A48 and A48Fp4: skipping, 3-bit cache; embedding and head in INT4 (a step a row), their inputs in INT8
#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "benchmarks/bf16.h"
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

using HeadWeights = WithInt4Head<A48>::HeadWeight;
using HeadInputs = WithInt4Head<A48>::HeadInput;

struct Timing {
  double layer = 0.0;  // a token through a layer, without Attend
  double ffn = 0.0;    // ... its FFN alone
  double attend[std::size(kContexts)] = {};
  double head = 0.0;
  double layer_prefill = 0.0;  // kPrompt tokens, with attention
};

struct Measured {
  const char* name = "";
  double weight_bytes = 0.0;
  double embedding_bytes = 0.0;
  double cache_bytes = 0.0;
  size_t layer_copies = 0;
  std::vector<Timing> timings;  // for each of ThreadCounts()

  double TotalBytes() const { return weight_bytes + embedding_bytes + cache_bytes; }
};

// With kContexts[context] tokens in the cache.
double DecodeRate(const Timing& t, const ModelConfig& c, size_t context) {
  return 1.0 / (c.layers * (t.layer + t.attend[context]) + t.head);
}
double PrefillRate(const Timing& t, const ModelConfig& c) {
  return static_cast<double>(kPrompt) / (c.layers * t.layer_prefill + t.head);
}

// ---- Made-up operands.

Bf16Matrix MadeUpBf16(size_t rows, size_t cols) {
  const std::vector<float> few = Normals(32 * cols, 1);
  Bf16Matrix all(rows, cols);
  for (size_t r = 0; r < rows; ++r) {
    std::transform(few.data() + r % 32 * cols, few.data() + (r % 32 + 1) * cols, all.Row(r), Bf16FromFloat);
  }
  return all;
}

// As many as the model has, or as exceed RotatedBytes().
template <class T, class Copy = std::identity>
std::vector<T> Copies(T first, size_t bytes, size_t most, Copy copy = {}) {
  const size_t count = std::clamp<size_t>(RotatedBytes() / std::max<size_t>(1, bytes) + 1, 1, most);
  std::vector<T> copies;
  copies.reserve(count);
  copies.push_back(std::move(first));
  while (copies.size() < count) copies.push_back(copy(copies.front()));
  return copies;
}

// The reals of a layer for some tokens, and what stands in for the results of made-up products.
struct Reals {
  Reals(const ModelShape& shape, size_t n)
      : tokens(n),
        x_values(Normals(n * shape.config.hidden, 2)),
        heads_values(Normals(n * shape.config.query_width(), 3)),
        gate_values(Normals(n * shape.config.ffn, 4)),
        product_values(Normals(n * shape.config.ffn, 5)),
        gain(shape.config.hidden, 1.0f) {
    Random random(6);
    for (float& g : gate_values) g = UniformReal(random) < shape.closed_gates ? -std::abs(g) : std::abs(g) + 1e-3f;
    for (float& h : product_values) {
      // Away from zero, so that quantizing makes no more zeros.
      h = UniformReal(random) < shape.down_zeros ? 0.0f : h + std::copysign(0.5f, h);
    }
    const ModelConfig& c = shape.config;
    x = View(x_values, c.hidden);
    attended = View(heads_values, c.query_width());
    gate_signs = View(gate_values, c.ffn);
    product = View(product_values, c.ffn);
    normed = Room(c.hidden);
    added = Room(c.hidden);
    q = Room(c.query_width());
    k = Room(c.kv_width());
    v = Room(c.kv_width());
    out = Room(c.query_width());
    gate = Room(c.ffn);
    up = Room(c.ffn);
  }

  // The tokens stand at `first_position` and after.
  void StandAt(size_t first_position, const ModelConfig& c) {
    std::vector<Place> places(tokens);
    for (size_t t = 0; t < tokens; ++t) places[t].position = static_cast<uint32_t>(first_position + t);
    where.Set(places, PagesInOrder(first_position + tokens).tables(), Rope(c.head_dim, c.rope_base));
  }

  size_t tokens;
  SimdBackend::Stream stream;
  HostWhere where;
  std::vector<float> x_values, heads_values, gate_values, product_values, gain;
  MatrixView<float> x, attended, gate_signs, product;
  MatrixView<float> normed, added, q, k, v, out, gate, up;

 private:
  MatrixView<float> View(std::vector<float>& values, size_t cols) const { return {values.data(), tokens, cols}; }
  MatrixView<float> Room(size_t cols) {
    rooms_.push_back(std::make_unique<std::vector<float>>(tokens * cols));
    return View(*rooms_.back(), cols);
  }
  std::vector<std::unique_ptr<std::vector<float>>> rooms_;
};

// ---- The 16-bit cache, of bf16 and W1.58A8.

void Store(MatrixView<const float> from, size_t first_position, size_t kv_heads, size_t most, Bf16Matrix& to) {
  const size_t dim = to.cols();
  for (size_t t = 0; t < from.rows(); ++t) {
    for (size_t h = 0; h < kv_heads; ++h) {
      const float* head = from.Row(t) + h * dim;
      std::transform(head, head + dim, to.Row(h * most + first_position + t), Bf16FromFloat);
    }
  }
}

class Bf16Attention {
 public:
  Bf16Attention(const ModelConfig& c, size_t tokens) : config_(c), tokens_(tokens) {
    Bf16Cache first(c.kv_heads, c.head_dim, tokens);
    first.keys = first.values = MadeUpBf16(c.kv_heads * tokens, c.head_dim);
    caches_ = Copies(std::move(first), 2 * c.kv_width() * tokens * sizeof(uint16_t), c.layers);
  }
  double Bytes() const { return static_cast<double>(caches_[0].StoredBytes()); }

  void StoreAt(const SimdBackend&, Reals& r) {
    Bf16Cache& cache = caches_[next_++ % caches_.size()];
    Store(r.k, r.where[0].position, config_.kv_heads, tokens_, cache.keys);
    Store(r.v, r.where[0].position, config_.kv_heads, tokens_, cache.values);
  }
  // Over all tokens of a cache.
  void AttendOne(const SimdBackend& backend, Reals& r) {
    const Bf16Cache& cache = caches_[next_++ % caches_.size()];
    bf16::Attend(backend.executor(), cache, r.q[0], config_.heads, tokens_, scratches_[0], r.out[0]);
  }
  // A prompt: threads take tokens.
  void AttendPrompt(const SimdBackend& backend, Reals& r) {
    const Bf16Cache& cache = caches_[next_++ % caches_.size()];
    const size_t parts = backend.executor().Threads() * 4;
    scratches_.resize(std::max(scratches_.size(), parts));
    backend.executor().Run(parts, [&](size_t part) {
      SequentialExecutor alone;
      for (size_t t = part; t < r.tokens; t += parts) {
        bf16::Attend(alone, cache, r.q[t], config_.heads, t + 1, scratches_[part], r.out[t]);
      }
    });
  }

 private:
  ModelConfig config_;
  size_t tokens_;
  std::vector<Bf16Cache> caches_;
  std::vector<Bf16Scratch> scratches_ = std::vector<Bf16Scratch>(1);
  size_t next_ = 0;
};

// ---- The quantized cache of a4.8.

template <class S>
class QuantizedAttention {
  using Cache = SimdBackend::Cache<CacheQuantizersOf<S>>;

 public:
  QuantizedAttention(const ModelConfig& c, size_t tokens) : config_(c), tokens_(tokens) {
    const SimdBackend backend;
    Cache first = backend.NewCache<CacheQuantizersOf<S>>(c.kv_heads, c.head_dim);
    backend.ResizeCache(first, PagesFor(tokens));
    SimdBackend::Stream stream;
    constexpr size_t kRandomTokens = 128;
    const std::vector<float> reals = Normals(kRandomTokens * c.kv_width(), 7);
    const MatrixView<const float> heads(reals.data(), kRandomTokens, c.kv_width());
    HostWhere where;
    for (size_t t = 0; t < tokens; t += kRandomTokens) {
      std::vector<Place> places(kRandomTokens);
      for (size_t i = 0; i < kRandomTokens; ++i) places[i].position = static_cast<uint32_t>(t + i);
      where.Set(places, PagesInOrder(tokens).tables(), Rope(2, 10.0f));
      backend.Store(stream, heads, heads, where, first);
    }
    bytes_ = static_cast<double>(first.StoredBytes());
    caches_ = Copies(std::move(first), static_cast<size_t>(bytes_), c.layers,
                     [](const Cache& cache) { return CopyOfCache(cache); });
    last_.Set(std::vector<Place>{{0, static_cast<uint32_t>(tokens - 1)}}, PagesInOrder(tokens).tables(),
              Rope(2, 10.0f));
  }
  double Bytes() const { return bytes_; }

  void StoreAt(const SimdBackend& backend, Reals& r) {
    backend.Store(r.stream, r.k, r.v, r.where, caches_[next_++ % caches_.size()]);
  }
  void AttendOne(const SimdBackend& backend, Reals& r) { Attend(backend, r, last_); }
  void AttendPrompt(const SimdBackend& backend, Reals& r) { Attend(backend, r, r.where); }

 private:
  void Attend(const SimdBackend& backend, Reals& r, const HostWhere& where) {
    backend.template Quantize<typename S::Query>(
        r.stream, MatrixView<const float>(r.q.data(), r.tokens * config_.heads, config_.head_dim), queries_);
    backend.Attend(r.stream, queries_, where, caches_[next_++ % caches_.size()],
                   {config_.heads, config_.kv_heads, config_.head_dim}, r.out);
  }

  ModelConfig config_;
  size_t tokens_;
  double bytes_ = 0.0;
  std::vector<Cache> caches_;
  SimdBackend::Rows<typename S::Query::Format> queries_;
  HostWhere last_;
  size_t next_ = 0;
};

// ---- Layers and heads.

class Bf16Layers {
 public:
  using Attention = Bf16Attention;

  explicit Bf16Layers(const ModelConfig& c) {
    Layer first{MadeUpBf16(c.query_width(), c.hidden),
                MadeUpBf16(c.kv_width(), c.hidden),
                MadeUpBf16(c.kv_width(), c.hidden),
                MadeUpBf16(c.hidden, c.query_width()),
                MadeUpBf16(c.ffn, c.hidden),
                MadeUpBf16(c.ffn, c.hidden),
                MadeUpBf16(c.hidden, c.ffn)};
    for (const Bf16Matrix* m : {&first.q, &first.k, &first.v, &first.o, &first.gate, &first.up, &first.down}) {
      bytes_ += m->StoredBytes();
    }
    layers_ = Copies(std::move(first), bytes_, c.layers);
  }
  double Bytes() const { return static_cast<double>(bytes_); }
  size_t Count() const { return layers_.size(); }

  // The copy that is used from here on.
  void Take() { layer_ = &layers_[next_++ % layers_.size()]; }
  void ToHeads(const SimdBackend& backend, Reals& r) {
    Multiply(backend, layer_->q, r.normed, r.q);
    Multiply(backend, layer_->k, r.normed, r.k);
    Multiply(backend, layer_->v, r.normed, r.v);
  }
  void FromHeads(const SimdBackend& backend, Reals& r) { Multiply(backend, layer_->o, r.attended, r.added); }
  void Ffn(const SimdBackend& backend, Reals& r) {
    Multiply(backend, layer_->gate, r.normed, r.gate);
    Multiply(backend, layer_->up, r.normed, r.up);
    // LLaMA has SiLU here; this is cheaper.
    backend.OpenGates<SquaredRelu>(r.stream, r.gate_signs, open_);
    backend.Glu<SquaredRelu>(r.stream, r.gate_signs, r.up, open_, r.up);
    Multiply(backend, layer_->down, r.product, r.added);
  }

 private:
  struct Layer {
    Bf16Matrix q, k, v, o, gate, up, down;
  };
  void Multiply(const SimdBackend& backend, const Bf16Matrix& w, MatrixView<const float> x, MatrixView<float> y) {
    bf16::MatMul(backend.executor(), w, x, scratch_, y);
  }

  size_t bytes_ = 0;
  std::vector<Layer> layers_;
  const Layer* layer_ = nullptr;
  ChannelLists open_;
  Bf16Scratch scratch_;
  size_t next_ = 0;
};

// The projections of a scheme; kSkips: as its layers do them, otherwise all dense.
template <class S, bool kSkips>
class QuantizedLayers {
 public:
  using Attention = std::conditional_t<kSkips, QuantizedAttention<S>, Bf16Attention>;

  explicit QuantizedLayers(const ModelConfig& c) {
    const SimdBackend backend;
    const auto prepare = [&]<class X, class U>(Matrix<X, U>& matrix, size_t rows, size_t cols) {
      matrix = backend.PrepareMatrix<W, X, U>(MadeUp<typename S::Weight>(rows, cols));
    };
    Layer first;
    prepare.template operator()<Input, Uses<Dense>>(first.q, c.query_width(), c.hidden);
    prepare.template operator()<Input, Uses<Dense>>(first.k, c.kv_width(), c.hidden);
    prepare.template operator()<Input, Uses<Dense>>(first.v, c.kv_width(), c.hidden);
    prepare.template operator()<OutputInput, Columns>(first.o, c.hidden, c.query_width());
    prepare.template operator()<Input, Uses<Dense>>(first.gate, c.ffn, c.hidden);
    prepare.template operator()<Input, Rows>(first.up, c.ffn, c.hidden);
    prepare.template operator()<DownInput, Columns>(first.down, c.hidden, c.ffn);
    bytes_ = first.q.StoredBytes() + first.k.StoredBytes() + first.v.StoredBytes() + first.o.StoredBytes() +
             first.gate.StoredBytes() + first.up.StoredBytes() + first.down.StoredBytes();
    layers_ = Copies(std::move(first), bytes_, c.layers);
  }
  double Bytes() const { return static_cast<double>(bytes_); }
  size_t Count() const { return layers_.size(); }

  // The copy that is used from here on.
  void Take() { layer_ = &layers_[next_++ % layers_.size()]; }
  void ToHeads(const SimdBackend& backend, Reals& r) {
    backend.template Quantize<typename S::Input>(r.stream, r.normed, input_);
    backend.MatMul(r.stream, layer_->q, input_, r.q);
    backend.MatMul(r.stream, layer_->k, input_, r.k);
    backend.MatMul(r.stream, layer_->v, input_, r.v);
  }
  void FromHeads(const SimdBackend& backend, Reals& r) {
    if constexpr (kSkips) {
      backend.template QuantizeTopK<typename S::OutputInput>(r.stream, r.attended,
                                                             S::OutputKeep::Count(r.attended.cols()), output_input_);
      backend.FindNonzero(r.stream, output_input_);
      backend.MatMulColumns(r.stream, layer_->o, output_input_, r.added);
    } else {
      backend.template Quantize<typename S::OutputInput>(r.stream, r.attended, output_input_);
      backend.MatMul(r.stream, layer_->o, output_input_, r.added);
    }
  }
  void Ffn(const SimdBackend& backend, Reals& r) {
    using Act = typename S::FfnActivation;
    backend.template Quantize<typename S::Input>(r.stream, r.normed, input_);
    backend.MatMul(r.stream, layer_->gate, input_, r.gate);
    backend.template OpenGates<Act>(r.stream, r.gate_signs, open_);
    if constexpr (kSkips) {
      backend.MatMulRows(r.stream, layer_->up, input_, open_, r.up);
    } else {
      backend.MatMul(r.stream, layer_->up, input_, r.up);
    }
    backend.template Glu<Act>(r.stream, r.gate_signs, r.up, open_, r.up);
    backend.template Quantize<typename S::DownInput>(r.stream, r.product, down_input_);
    if constexpr (kSkips) {
      backend.FindNonzero(r.stream, down_input_);
      backend.MatMulColumns(r.stream, layer_->down, down_input_, r.added);
    } else {
      backend.MatMul(r.stream, layer_->down, down_input_, r.added);
    }
  }

 private:
  using W = OperandOf<typename S::Weight>;
  using Input = OperandOf<typename S::Input>;
  using OutputInput = OperandOf<typename S::OutputInput>;
  using DownInput = OperandOf<typename S::DownInput>;
  using Rows = std::conditional_t<kSkips, Uses<ChosenRows>, Uses<Dense>>;
  using Columns = std::conditional_t<kSkips, Uses<ChosenColumns>, Uses<Dense>>;
  template <class X, class U>
  using Matrix = SimdBackend::Matrix<W, X, U>;
  struct Layer {
    Matrix<Input, Uses<Dense>> q, k, v;
    Matrix<OutputInput, Columns> o;
    Matrix<Input, Uses<Dense>> gate;
    Matrix<Input, Rows> up;
    Matrix<DownInput, Columns> down;
  };

  size_t bytes_ = 0;
  std::vector<Layer> layers_;
  const Layer* layer_ = nullptr;
  SimdBackend::Rows<Input> input_;
  SimdBackend::Rows<OutputInput> output_input_;
  SimdBackend::Rows<DownInput> down_input_;
  ChannelLists open_;
  size_t next_ = 0;
};

// A call for the logits of one token. Few copies: a head is large, and the layers push it out of the caches.
class Bf16Head {
 public:
  explicit Bf16Head(const ModelConfig& c) : copies_(MadeUpBf16(c.vocab, c.hidden)), logits_(c.vocab) {}
  double Bytes() const { return static_cast<double>(copies_.First().StoredBytes()); }
  void operator()(const SimdBackend& backend, Reals& r) {
    bf16::MatVec(backend.executor(), copies_.Next(), r.normed[0], scratch_, logits_);
  }

 private:
  RotatedCopies<Bf16Matrix> copies_;
  std::vector<float> logits_;
  Bf16Scratch scratch_;
};

class Int4Head {
 public:
  explicit Int4Head(const ModelConfig& c)
      : copies_(SimdBackend().PrepareMatrix<HeadWeights::Format, HeadInputs::Format, Uses<Dense, RowLookup>>(
            MadeUp<HeadWeights>(c.vocab, c.hidden))),
        logits_(c.vocab) {}
  double Bytes() const { return static_cast<double>(copies_.First().StoredBytes()); }
  void operator()(const SimdBackend& backend, Reals& r) {
    backend.Quantize<HeadInputs>(r.stream, r.normed.Rows(0, 1), input_);
    backend.MatMul(r.stream, copies_.Next(), input_, {logits_.data(), 1, logits_.size()});
  }

 private:
  RotatedCopies<SimdBackend::Matrix<HeadWeights::Format, HeadInputs::Format, Uses<Dense, RowLookup>>> copies_;
  std::vector<float> logits_;
  SimdBackend::Rows<HeadInputs::Format> input_;
};

// ---- Measuring a model.

template <class Layers, class Head>
Measured Measure(const char* name, const ModelShape& shape) {
  const ModelConfig& c = shape.config;
  Measured m;
  m.name = name;
  m.timings.resize(ThreadCounts().size());
  Reals one(shape, 1);
  Reals prompt(shape, kPrompt);
  one.StandAt(kContext - 1, c);
  prompt.StandAt(0, c);
  const auto each_thread_count = [&](auto&& f) {
    for (size_t i = 0; i < ThreadCounts().size(); ++i) f(SimdBackend(PoolOf(ThreadCounts()[i])), m.timings[i]);
  };
  {
    Head head(c);
    m.embedding_bytes = head.Bytes() * (c.tied_embedding ? 1 : 2);
    each_thread_count([&](const SimdBackend& backend, Timing& t) {
      t.head = Median(TimeCalls(kSeconds, 5, [&] { head(backend, one); }));
    });
  }
  for (size_t i = 0; i < std::size(kContexts); ++i) {
    typename Layers::Attention attention(c, kContexts[i]);
    each_thread_count([&](const SimdBackend& backend, Timing& t) {
      t.attend[i] = Median(TimeCalls(kSeconds / 2, 5, [&] { attention.AttendOne(backend, one); }));
    });
  }

  typename Layers::Attention attention(c, kContext);
  m.cache_bytes = attention.Bytes() * c.layers;
  Layers layers(c);
  m.weight_bytes = layers.Bytes() * c.layers;
  m.layer_copies = layers.Count();
  const auto run_layer = [&](const SimdBackend& backend, Reals& r) {
    backend.RmsNorm(r.stream, r.x, r.gain, 1e-5f, r.normed);
    layers.Take();
    layers.ToHeads(backend, r);
    backend.Rotate(r.stream, r.where, r.q);
    backend.Rotate(r.stream, r.where, r.k);
    attention.StoreAt(backend, r);
    if (r.tokens > 1) attention.AttendPrompt(backend, r);
    layers.FromHeads(backend, r);
    backend.Add(r.stream, r.added, r.normed);  // in place of x, which is to stay as it is
    backend.RmsNorm(r.stream, r.x, r.gain, 1e-5f, r.normed);
    layers.Ffn(backend, r);
    backend.Add(r.stream, r.added, r.normed);
  };
  each_thread_count([&](const SimdBackend& backend, Timing& t) {
    t.layer = Median(TimeCalls(kSeconds, 2 * layers.Count(), [&] { run_layer(backend, one); }));
    t.ffn = Median(TimeCalls(kSeconds, 2 * layers.Count(), [&] {
      layers.Take();
      layers.Ffn(backend, one);
    }));
    t.layer_prefill = Median(TimeCalls(kSeconds, 2, [&] { run_layer(backend, prompt); }));
  });
  return m;
}

// ---- Printing.

void PrintShape(const ModelShape& shape, const std::vector<Measured>& models) {
  const ModelConfig& c = shape.config;
  std::printf("\n%s: %u layers, hidden %u, ffn %u, %u heads (%u for keys and values) of %u, vocabulary %u%s\n",
              shape.name, c.layers, c.hidden, c.ffn, c.heads, c.kv_heads, c.head_dim, c.vocab,
              c.tied_embedding ? ", tied" : "");
  std::printf("  zero inputs of output %.0f %%, closed gates %.1f %%, zero inputs of down %.1f %%\n",
              100 * shape.output_zeros, 100 * shape.closed_gates, 100 * shape.down_zeros);
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
    for (size_t i = 0; i < m.timings.size(); ++i) {
      const Timing& t = m.timings[i];
      std::printf(
          "    %-8s t%zu, us: layer %.0f (its FFN %.0f), attention %.0f (at %zu: %.0f, %zu: %.0f, %zu: %.0f), head "
          "%.0f, layer of %zu "
          "tokens %.0f; %zu copies of a layer\n",
          m.name, ThreadCounts()[i], 1e6 * t.layer, 1e6 * t.ffn, 1e6 * t.attend[0], kContexts[1], 1e6 * t.attend[1],
          kContexts[2], 1e6 * t.attend[2], kContexts[3], 1e6 * t.attend[3], 1e6 * t.head, kPrompt,
          1e6 * t.layer_prefill, m.layer_copies);
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
            m.cache_bytes, PrefillRate(t, shape.config), t.layer, t.ffn, t.head, t.layer_prefill, m.layer_copies);
        for (size_t k = 0; k < std::size(kContexts); ++k) {
          std::fprintf(to, "%s{\"context\": %zu, \"per_s\": %.4g, \"attend_s\": %.4g}", k == 0 ? "" : ", ",
                       kContexts[k], DecodeRate(t, shape.config, k), t.attend[k]);
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
    models.push_back(Measure<Bf16Layers, Bf16Head>("bf16", shape));
    models.push_back(Measure<QuantizedLayers<B158, false>, Bf16Head>("W1.58A8", shape));
    models.push_back(Measure<QuantizedLayers<A48, true>, Int4Head>("a4.8 INT4", shape));
    models.push_back(Measure<QuantizedLayers<A48Fp4, true>, Int4Head>("a4.8 FP4", shape));
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
