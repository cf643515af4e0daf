// The part of run that nvcc compiles: its models on an NVIDIA GPU.
#include <bitnet/cuda.h>

#include "program.h"
#include "run_model.h"

void RunOnCuda(const bitnet::Checkpoint& checkpoint, const bitnet::LoadedTokenizer& tokenizer, const RunOptions& run) {
  RunModel(checkpoint, tokenizer, run, Need(bitnet::CudaBackend::Create()));
}
