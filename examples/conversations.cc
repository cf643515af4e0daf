// Two conversations and a fork on one model: each pass reads the weights once for all of them, and gives each the bits
// that it would have alone. Untrained weights, so the text is noise.
#include <bitnet/bitnet.h>

#include <cstdio>
#include <string>
#include <vector>

using Model = bitnet::Transformer<bitnet::A48>;

int main() {
  bitnet::ModelConfig config;
  config.hidden = 128;
  config.layers = 2;
  config.head_dim = 32;
  config.ffn = 344;
  bitnet::Random random(5);
  const auto latent = bitnet::LatentWeights::Initial(config, random);
  const Model model(bitnet::ModelWeights<bitnet::A48>::Quantize(latent));

  // Two conversations begin, and the first is forked: the fork knows the first one's prompt. Full pages stay common.
  const std::string prompts[] = {"Once upon a time", "It was a dark"};
  std::vector<Model::State> states(3);
  for (size_t i = 0; i < 2; ++i) {
    states[i] = model.NewState(128);
    std::vector<bitnet::Token> tokens;
    for (const char byte : prompts[i]) tokens.push_back(static_cast<unsigned char>(byte));
    if (const auto fed = model.Feed(tokens, states[i]); !fed.ok()) {
      std::printf("%s\n", fed.error().c_str());
      return 1;
    }
  }
  states[2] = states[0];

  // All three go on together, a token a pass; each draws with numbers of its own.
  std::vector<std::string> texts(states.size());
  std::vector<bitnet::Token> last = {' ', ' ', ','};
  std::vector<bitnet::Random> numbers = {bitnet::Random(1), bitnet::Random(2), bitnet::Random(3)};
  auto workspace = model.NewWorkspace();
  for (int pass = 0; pass < 24; ++pass) {
    std::vector<Model::Turn> turns;
    for (size_t i = 0; i < states.size(); ++i) turns.push_back({&states[i], {&last[i], 1}});
    if (const auto fed = model.Feed(turns, workspace); !fed.ok()) {
      std::printf("%s\n", fed.error().c_str());
      return 1;
    }
    for (size_t i = 0; i < states.size(); ++i) {
      const auto token = model.Sample(workspace, i, {.temperature = 0.8f}, bitnet::RandomBits(numbers[i]));
      if (!token.ok()) {
        std::printf("%s\n", token.error().c_str());
        return 1;
      }
      last[i] = *token;
      texts[i] += *token >= 32 && *token < 127 ? static_cast<char>(*token) : '?';
    }
  }
  for (size_t i = 0; i < states.size(); ++i) {
    std::printf("%s %zu tokens: %s%s\n", i < 2 ? "conversation" : "        fork", states[i].length(),
                prompts[i % 2].c_str(), texts[i].c_str());
  }
  return 0;
}
