// Assembling a model from its configuration and decoding with it: untrained weights, so the text is noise, but every
// part runs: packed ternary weights, 4-bit inputs, sparse FFN, 3-bit cache, sampling.
#include <bitnet/bitnet.h>

#include <cstdio>
#include <vector>

int main() {
  bitnet::ModelConfig config;
  config.vocab = 256;
  config.hidden = 128;
  config.layers = 2;
  config.heads = 4;
  config.kv_heads = 2;  // grouped-query attention: two query heads read one key/value head
  config.head_dim = 32;
  config.ffn = 344;
  config.max_positions = 128;
  if (const auto valid = config.Validate(); !valid.ok()) {
    std::printf("%s\n", valid.error().c_str());
    return 1;
  }

  // Latent float weights, as training has them, then the packed model.
  bitnet::Random random(5);
  const auto latent = bitnet::LatentWeights::Initial(config, random);
  const auto weights = bitnet::ModelWeights<bitnet::A48>::Quantize(latent);
  const bitnet::Transformer<bitnet::A48> model(weights);

  auto state = model.NewState();
  const std::vector<bitnet::Token> prompt = {'b', 'i', 't'};
  bitnet::GenerateOptions options;
  options.max_new_tokens = 16;
  options.sampler.top_k = 40;
  const auto reply = bitnet::Generate(model, state, prompt, options, random, [](bitnet::Token) { return true; });
  if (!reply.ok()) {
    std::printf("%s\n", reply.error().c_str());
    return 1;
  }
  std::printf("%zu tokens:", reply->tokens.size());
  for (const bitnet::Token token : reply->tokens) std::printf(" %u", token);
  std::printf("\ncache: %zu bytes a token\n", state.CacheBytesPerToken());

  // Wrong use of outside data is answered with a sentence.
  const std::vector<bitnet::Token> too_many(200, 0);
  std::printf("%s\n", model.Forward(too_many, state).error().c_str());
}
