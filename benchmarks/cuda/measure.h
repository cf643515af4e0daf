// What the parts of the benchmarks on a GPU offer each other: a source for each, since nvcc takes long.
#ifndef BITNET_BENCHMARKS_CUDA_MEASURE_H_
#define BITNET_BENCHMARKS_CUDA_MEASURE_H_

#include <cstddef>
#include <memory>

#include "benchmarks/cuda/report.h"
#include "benchmarks/shapes.h"

namespace bitnet::cuda_bench {

// Of the GPU, as measured.
struct Limits {
  double bytes_per_s = 0.0;             // read from memory
  double int8_macs_per_s = 0.0;         // by mma.sync, of tiles in registers
  double bf16_macs_per_s = 0.0;         // by cuBLAS, of matrices of 8192 x 8192
  double cublas_int8_macs_per_s = 0.0;  // the same by cuBLASLt in int8
};
Limits MeasureLimits();

// Sections "products" and "attention", and their targets.
void MeasureProducts(const Limits& limits, Report& report, Targets& targets);
void MeasureAttention(const Limits& limits, Report& report, Targets& targets);

// A whole model on the GPU, ready to run.
class MeasuredModel {
 public:
  virtual ~MeasuredModel() = default;
  // Seconds of a token of so many conversations, in one pass, each with so many tokens in its cache. (Wall time, until
  // the host can go on: a median.)
  struct Decode {
    double pass = 0.0;
    double pass_and_draw = 0.0;  // with the choice of the next token of each; 0: not measured
  };
  virtual Decode MeasureDecode(size_t conversations, size_t context) = 0;
  // Seconds of a prompt; and without attention and what else is no product (0: not measured).
  struct Prefill {
    double all = 0.0;
    double products = 0.0;
  };
  virtual Prefill MeasurePrefill(size_t tokens) = 0;
  // Bytes of weights, of embedding and head, and of the cache of so many tokens.
  virtual double WeightBytes() const = 0;
  virtual double EmbeddingBytes() const = 0;
  virtual double CacheBytes(size_t tokens) const = 0;
  // How far the same token's logits are apart by prefill and by decoding, of the largest: 0 where they have the same
  // bits.
  virtual double Disagreement() = 0;
};

// In bfloat16 by cuBLAS; W1.58A8 with an 8-bit cache; a4.8. The last two with an INT4 embedding and head.
std::unique_ptr<MeasuredModel> MakeBf16Model(const ModelShape& shape);
std::unique_ptr<MeasuredModel> MakeW158A8Model(const ModelShape& shape);
std::unique_ptr<MeasuredModel> MakeA48Model(const ModelShape& shape);

}  // namespace bitnet::cuda_bench

#endif  // BITNET_BENCHMARKS_CUDA_MEASURE_H_
