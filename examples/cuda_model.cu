// A model on an NVIDIA GPU: the backend is named once, and all else is as on a CPU. (cmake -DBITNET_ENABLE_CUDA=ON; or
// nvcc -std=c++20 -arch=native -I include examples/cuda_model.cu)
#include <bitnet/cuda.h>

#include <cstdio>
#include <vector>

int main() {
  const auto backend = bitnet::CudaBackend::Create();
  if (!backend.ok()) {
    std::printf("%s\n", backend.error().c_str());
    return 1;
  }

  bitnet::ModelConfig config;
  config.vocab = 256;
  config.hidden = 512;
  config.layers = 4;
  config.heads = config.kv_heads = 8;
  config.head_dim = 64;
  config.ffn = 1376;
  config.max_positions = 512;
  bitnet::Random random(5);
  const auto weights =  // untrained: what it says is noise
      bitnet::ModelWeights<bitnet::A48>::Quantize(bitnet::LatentWeights::Initial(config, random));
  const bitnet::Transformer<bitnet::A48, bitnet::CudaBackend> model(weights, *backend);

  auto state = model.NewState();
  const std::vector<bitnet::Token> prompt = {'b', 'i', 't'};
  bitnet::GenerateOptions options;
  options.max_new_tokens = 32;
  const auto reply = bitnet::Generate(model, state, prompt, options, random, [](bitnet::Token token) {
    std::printf("%u ", token);
    return true;
  });
  if (!reply.ok()) std::printf("%s", reply.error().c_str());
  std::printf("\n");
  return reply.ok() ? 0 : 1;
}
