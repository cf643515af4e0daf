// A chat: a reply ends at a stop sequence or a limit, the cache is kept over the turns, and a pool of pages bounds the
// memory of the conversation: where it is used up, the beginning is forgotten. Untrained weights, so the replies are
// noise.
//
//   chat       a conversation that is written below
//   chat -     yours, a line a turn
#include <bitnet/bitnet.h>

#include <cstdio>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

using Model = bitnet::Transformer<bitnet::A48>;
using Tokens = std::vector<bitnet::Token>;

namespace {

constexpr size_t kPages = 2;  // of 256 tokens: all that the conversation may take

Tokens TokensOf(std::string_view text) {
  Tokens tokens;
  for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
  return tokens;
}

std::string TextOf(const Tokens& tokens) {
  std::string text;
  for (const bitnet::Token t : tokens) text += t >= 32 && t < 127 ? static_cast<char>(t) : '.';
  return text;
}

int Fail(const std::string& sentence) {
  std::fprintf(stderr, "%s\n", sentence.c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  const bool asks = argc > 1 && std::string_view(argv[1]) == "-";
  bitnet::ModelConfig config;
  config.hidden = 128;
  config.layers = 2;
  config.head_dim = 32;
  config.ffn = 344;
  bitnet::Random random(5);
  const auto latent = bitnet::LatentWeights::Initial(config, random);
  const Model model(bitnet::ModelWeights<bitnet::A48>::Quantize(latent));

  auto state = model.NewState(config.max_positions, model.NewPool(kPages));
  bitnet::GenerateOptions options;
  options.max_new_tokens = 90;
  options.stop_sequences = {TokensOf("\n"), TokensOf("User:")};
  options.edits.repetition_penalty = 1.1f;

  const std::vector<std::string> lines = {"Who are you?", "Then tell me a story.", "A longer one, please.",
                                          "And how does it end?", "Good night."};
  Tokens said;  // what the state has read, and its next prompt
  for (size_t turn = 0; asks || turn < lines.size(); ++turn) {
    std::string line;
    if (asks ? !std::getline(std::cin, line) : (line = lines[turn], false)) break;
    std::printf("User: %s\n", line.c_str());
    const size_t read = state.length();
    for (const bitnet::Token t : TokensOf("User: " + line + "\nModel:")) said.push_back(t);

    if (!state.HasRoom(said.size() - read + options.max_new_tokens)) {
      // The oldest goes, half by half, and the rest is read again: its positions have changed.
      state.Truncate(0);
      while (!state.HasRoom(said.size() + options.max_new_tokens)) {
        said.erase(said.begin(), said.begin() + static_cast<std::ptrdiff_t>(said.size() / 2));
      }
      std::printf("(the beginning is forgotten)\n");
    }
    const Tokens prompt(said.begin() + static_cast<std::ptrdiff_t>(state.length()), said.end());
    const auto reply = bitnet::Generate(model, state, prompt, options, random, [](bitnet::Token) { return true; });
    if (!reply.ok()) return Fail(reply.error());
    // The stop sequence that ended it is no part of the conversation. (Where none did, the state has not read the last
    // token: it is the next prompt's first.)
    said.insert(said.end(), reply->tokens.begin(), reply->tokens.end());
    state.Truncate(said.size());
    std::printf("Model:%s\n", TextOf(reply->tokens).c_str());
  }
  std::printf("%zu tokens in %zu bytes, of at most %zu\n", state.length(), state.CacheBytes(),
              kPages * model.PageBytes().value_or(0));
  return 0;
}
