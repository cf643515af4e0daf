// The baseline: a model in bfloat16. Products are cuBLAS's, those of one input as one; what stands between them is in
// bf16_kernels.h; a token of all conversations is one graph. SiLU and dense, as LLaMA. Weights are noise.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "benchmarks/cuda/bf16_kernels.h"
#include "benchmarks/cuda/gpu.cuh"
#include "benchmarks/cuda/measure.h"
#include "bitnet/base/random.h"

namespace bitnet::cuda_bench {
namespace {

class Bf16Model : public MeasuredModel {
 public:
  explicit Bf16Model(const ModelShape& shape) : c_(shape.config), blas_(stream_) {
    if (c_.heads != c_.kv_heads && c_.heads != kMostQueries * c_.kv_heads)
      Give("Bf16Model", "of a group of other size");
    embedding_ = Weights(size_t{c_.vocab} * c_.hidden, 1.0f);
    if (!c_.tied_embedding) head_ = Weights(size_t{c_.vocab} * c_.hidden, Scale(c_.hidden));
    for (uint32_t i = 0; i < c_.layers; ++i) {
      layers_.push_back({Weights(WidthOf(1) * c_.hidden, Scale(c_.hidden)),
                         Weights(size_t{c_.hidden} * c_.query_width(), Scale(c_.query_width())),
                         Weights(size_t{2} * c_.ffn * c_.hidden, Scale(c_.hidden)),
                         Weights(size_t{c_.hidden} * c_.ffn, Scale(c_.ffn))});
    }
    stream_.Wait();
  }

  Decode MeasureDecode(size_t conversations, size_t context) override {
    Prepare(conversations, conversations, context);
    Decode decode;
    Step(context - 1);
    stream_.Wait();
    Graph token(stream_, [&] { Step(context - 1); });
    // (By events: the host does nothing but to launch the graph.)
    decode.pass = SecondsOf(stream_, kSeconds, [&] { token.Run(); });
    return decode;
  }
  Prefill MeasurePrefill(size_t tokens) override {
    Prepare(tokens, 1, tokens);
    Prefill prefill;
    prefill.all = SecondsOf(stream_, kSeconds, [&] { Prompt(tokens, true); });
    prefill.products = SecondsOf(stream_, kSeconds, [&] { Prompt(tokens, false); });
    return prefill;
  }
  double WeightBytes() const override {
    double bytes = 0.0;
    for (const Layer& layer : layers_) {
      bytes += 2.0 * static_cast<double>(layer.qkv.size() + layer.o.size() + layer.gate_up.size() + layer.down.size());
    }
    return bytes;
  }
  double EmbeddingBytes() const override { return 2.0 * static_cast<double>(embedding_.size() + head_.size()); }
  double CacheBytes(size_t tokens) const override {
    return 2.0 * 2.0 * c_.layers * static_cast<double>(tokens) * c_.kv_width();
  }
  double Disagreement() override {
    constexpr uint32_t kTokens = 65;
    Prepare(kTokens, 1, kTokens);
    const std::vector<uint32_t> all = Draw(kTokens);
    SetTokens(all);
    Prompt(kTokens, true);
    stream_.Wait();
    const std::vector<float> expected = logits_.Host();
    SetTokens({all.begin(), all.end() - 1});
    Prompt(kTokens - 1, true);
    SetTokens({all.back()});
    rows_ = 1;
    Step(kTokens - 1);
    stream_.Wait();
    const std::vector<float> actual = logits_.Host();
    double largest = 0.0, difference = 0.0;
    for (size_t i = 0; i < c_.vocab; ++i) {
      largest = std::max(largest, std::fabs(static_cast<double>(expected[i])));
      difference = std::max(difference, std::fabs(static_cast<double>(actual[i]) - static_cast<double>(expected[i])));
    }
    return difference / largest;
  }

 private:
  static constexpr double kSeconds = 0.15;
  struct Layer {
    DeviceArray<Bf16> qkv, o, gate_up, down;
  };

  static float Scale(size_t cols) { return std::sqrt(3.0f / static_cast<float>(cols)); }
  size_t WidthOf(size_t tokens) const { return tokens * (c_.query_width() + 2 * c_.kv_width()); }
  DeviceArray<Bf16> Weights(size_t count, float scale) {
    DeviceArray<Bf16> weights(count);
    stream_.Launch(FillKernel{weights.data(), count, scale, seed_++}, Grid{16 * Multiprocessors(), 1});
    return weights;
  }
  std::vector<uint32_t> Draw(size_t count) {
    std::vector<uint32_t> tokens(count);
    for (uint32_t& token : tokens) token = static_cast<uint32_t>(UniformBelow(random_, c_.vocab));
    return tokens;
  }
  void SetTokens(const std::vector<uint32_t>& tokens) {
    stream_.Wait();
    BITNET_CHECK(cudaMemcpy(tokens_.data(), tokens.data(), tokens.size() * sizeof(uint32_t), cudaMemcpyHostToDevice));
  }

  // Memory for passes of so many rows, and the caches, which then hold noise.
  void Prepare(size_t rows, size_t conversations, size_t context) {
    stream_.Wait();
    rows_ = static_cast<uint32_t>(rows);
    tokens_ = DeviceArray<uint32_t>(Draw(rows));
    x_ = DeviceArray<Bf16>(rows * c_.hidden);
    normed_ = DeviceArray<Bf16>(rows * c_.hidden);
    qkv_ = DeviceArray<Bf16>(WidthOf(rows));
    attended_ = DeviceArray<Bf16>(rows * c_.query_width());
    gate_up_ = DeviceArray<Bf16>(2 * rows * c_.ffn);
    h_ = DeviceArray<Bf16>(rows * c_.ffn);
    logits_ = DeviceArray<float>(conversations * c_.vocab);
    heads_ = {c_.heads, c_.kv_heads, c_.head_dim, static_cast<uint32_t>(context)};
    parts_ = AttentionPartsFor(conversations, c_.kv_heads, heads_.max_tokens, Multiprocessors());
    of_parts_ = DeviceArray<AttentionPart>(conversations * c_.heads * parts_);
    keys_.clear();
    values_.clear();
    for (uint32_t i = 0; i < c_.layers; ++i) {
      for (auto* caches : {&keys_, &values_}) caches->push_back(Weights(heads_.At(conversations, 0, 0), 1.0f));
    }
    const size_t scores = conversations == 1 ? size_t{HeadsAtOnce()} * rows * rows : 0;
    scores_ = DeviceArray<float>(scores);
    weights_ = DeviceArray<Bf16>(scores);
    stream_.Wait();
  }
  // Heads of queries whose scores are kept at once; those of one head of keys, where they share it.
  uint32_t HeadsAtOnce() const {
    return c_.heads == c_.kv_heads ? std::min(c_.heads, uint32_t{8}) : c_.heads / c_.kv_heads;
  }

  // A token of each conversation, which stands at `position` in all.
  void Step(size_t position) {
    Pass(false, position, true, [&](uint32_t layer) {
      Attend(stream_, qkv_.data(), keys_[layer].data(), values_[layer].data(), of_parts_.data(), attended_.data(),
             heads_, rows_, static_cast<uint32_t>(position + 1), parts_);
    });
  }
  // The first `tokens` of tokens_, of one conversation.
  void Prompt(size_t tokens, bool all) {
    rows_ = static_cast<uint32_t>(tokens);
    Pass(true, 0, all, [&](uint32_t layer) { AttendPrompt(layer); });
  }

  // `all`: not only products.
  template <class AttendTo>
  void Pass(bool is_prompt, size_t position, bool all, AttendTo&& attend) {
    const auto norm = [&] {
      if (all) stream_.Launch(NormKernel{x_.data(), normed_.data(), c_.hidden}, Grid{rows_, 1});
    };
    stream_.Launch(EmbedKernel{embedding_.data(), tokens_.data(), x_.data(), c_.hidden}, Grid{rows_, 1});
    for (uint32_t i = 0; i < c_.layers; ++i) {
      const Layer& layer = layers_[i];
      norm();
      blas_.MatMul(layer.qkv.data(), normed_.data(), qkv_.data(), heads_.width(), c_.hidden, rows_);
      if (all) {
        stream_.Launch(RotateAndStoreKernel{qkv_.data(), keys_[i].data(), values_[i].data(), heads_,
                                            static_cast<uint32_t>(position), is_prompt, std::log2(c_.rope_base)},
                       Grid{c_.heads + 2 * c_.kv_heads, rows_});
        attend(i);
      }
      blas_.MatMul(layer.o.data(), attended_.data(), x_.data(), c_.hidden, c_.query_width(), rows_, 1.0f);
      norm();
      blas_.MatMul(layer.gate_up.data(), normed_.data(), gate_up_.data(), 2 * c_.ffn, c_.hidden, rows_);
      if (all) {
        stream_.Launch(GluKernel{gate_up_.data(), h_.data(), c_.ffn},
                       Grid{cuda::BlocksFor(c_.ffn, GluKernel::kThreads), rows_});
      }
      blas_.MatMul(layer.down.data(), h_.data(), x_.data(), c_.hidden, c_.ffn, rows_, 1.0f);
    }
    // Logits are those of the last token of each conversation.
    norm();
    const uint32_t last = is_prompt ? 1 : rows_;
    blas_.MatMul(c_.tied_embedding ? embedding_.data() : head_.data(),
                 normed_.data() + size_t{rows_ - last} * c_.hidden, logits_.data(), c_.vocab, c_.hidden, last);
  }

  // Scores by a product, softmax, values by a product: some heads at a time. (In cuBLAS's eyes a matrix by rows is its
  // transpose by columns.)
  void AttendPrompt(uint32_t layer) {
    const float one = 1.0f, none = 0.0f;
    const auto n = static_cast<int>(rows_);
    const auto dim = static_cast<int>(c_.head_dim);
    const auto width = static_cast<int>(heads_.width());
    const bool shares = c_.heads != c_.kv_heads;
    const auto of_kv_head = shares ? 0 : static_cast<long long>(heads_.At(0, 1, 0));
    const float scale = 1.44269504f / std::sqrt(static_cast<float>(c_.head_dim));
    const uint32_t group = c_.heads / c_.kv_heads;
    for (uint32_t first = 0; first < c_.heads; first += HeadsAtOnce()) {
      const uint32_t count = std::min(HeadsAtOnce(), c_.heads - first);
      const Bf16* keys = keys_[layer].data() + heads_.At(0, first / group, 0);
      const Bf16* values = values_[layer].data() + heads_.At(0, first / group, 0);
      BITNET_CHECK(cublasGemmStridedBatchedEx(
          blas_.get(), CUBLAS_OP_T, CUBLAS_OP_N, n, n, dim, &one, keys, CUDA_R_16BF, dim, of_kv_head,
          qkv_.data() + size_t{first} * c_.head_dim, CUDA_R_16BF, width, dim, &none, scores_.data(), CUDA_R_32F, n,
          static_cast<long long>(n) * n, static_cast<int>(count), CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
      stream_.Launch(SoftmaxKernel{scores_.data(), weights_.data(), rows_, scale}, Grid{rows_, count});
      BITNET_CHECK(cublasGemmStridedBatchedEx(
          blas_.get(), CUBLAS_OP_N, CUBLAS_OP_N, dim, n, n, &one, values, CUDA_R_16BF, dim, of_kv_head, weights_.data(),
          CUDA_R_16BF, n, static_cast<long long>(n) * n, &none, attended_.data() + size_t{first} * c_.head_dim,
          CUDA_R_16BF, static_cast<int>(c_.query_width()), dim, static_cast<int>(count), CUBLAS_COMPUTE_32F,
          CUBLAS_GEMM_DEFAULT));
    }
  }

  ModelConfig c_;
  TimedStream stream_;
  Blas blas_;
  DeviceArray<Bf16> embedding_, head_;
  std::vector<Layer> layers_;
  uint32_t seed_ = 1;
  Random random_{1};

  // Of a pass.
  uint32_t rows_ = 0, parts_ = 1;
  Heads heads_ = {};
  DeviceArray<uint32_t> tokens_;
  DeviceArray<Bf16> x_, normed_, qkv_, attended_, gate_up_, h_, weights_;
  DeviceArray<float> logits_, scores_;
  DeviceArray<AttentionPart> of_parts_;
  std::vector<DeviceArray<Bf16>> keys_, values_;
};

}  // namespace

std::unique_ptr<MeasuredModel> MakeBf16Model(const ModelShape& shape) { return std::make_unique<Bf16Model>(shape); }

}  // namespace bitnet::cuda_bench
