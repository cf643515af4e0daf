// Four conversations on one model are asked two at a time, in common passes, and their pool has pages for three. The
// one that is idle longest makes room: it goes to a file, and comes back when it is asked again. Each reply is compared
// with that of the conversation alone. Untrained weights, so they are noise.
#include <bitnet/bitnet.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <vector>

using namespace bitnet;
using Model = Transformer<A48>;

namespace {

struct Conversation {
  std::string name, file;           // it is in the file while it has no page
  Model::State state, alone_state;  // the second takes no part in common passes
  Random random, alone_random;      // its own, so that it does not depend on what others draw
  Generated reply = {}, alone = {};
};

template <class T>
T Need(Result<T> result) {
  if (result.ok()) return *result;
  std::fprintf(stderr, "%s\n", result.error().c_str());
  std::exit(1);
}

}  // namespace

int main() {
  Random random(5);
  const Model model(ModelWeights<A48>::Quantize(LatentWeights::Initial(ModelConfig(), random)));
  GenerateOptions options;
  options.max_new_tokens = 32;
  options.stop_sequences = {{'.', ' '}};
  options.edits.biases = {{'.', 4.0f}, {' ', 4.0f}};
  for (Token t = 0; t < 256; ++t) {  // what cannot be printed is forbidden
    if (t < 32 || t > 126) options.edits.biases.push_back({t, -std::numeric_limits<float>::infinity()});
  }
  const auto folder =
      std::filesystem::temp_directory_path() / ("conversation_pool." + std::to_string(std::random_device()()));
  std::filesystem::create_directory(folder);
  const auto pool = model.NewPool(3);
  std::vector<Conversation> all;
  for (const char* name : {"Ann", "Bob", "Cem", "Dot"}) {  // each has room for a page
    const Random seed(all.size());
    all.push_back({name, (folder / name).string(), model.NewState(kPageTokens, pool), model.NewState(), seed, seed});
  }
  std::vector<Conversation*> in_pool;  // the one that is idle longest comes first
  auto workspace = model.NewWorkspace();
  bool same = true;
  for (const auto& asked : {std::array<size_t, 2>{0, 1}, {2, 1}, {3, 1}, {0, 3}}) {
    std::vector<Conversation*> going;  // whose replies have not ended
    for (const size_t who : asked) {
      Conversation& c = *going.emplace_back(&all[who]);
      std::vector<Token> prompt = c.reply.pending;  // what the state has not read of the turn before
      for (const char byte : std::string("And then? ")) prompt.push_back(static_cast<Token>(byte));
      c.alone = Need(Generate(model, c.alone_state, prompt, options, c.alone_random, [](Token) { return true; }));
      c.reply = {{}, GenerateEnd::kLimit, prompt};
      std::erase(in_pool, &c);
      if (in_pool.size() == pool->max_pages()) {
        std::printf("(%s goes to a file)\n", in_pool[0]->name.c_str());
        Need(SaveState(model, in_pool[0]->state, in_pool[0]->file));
        in_pool[0]->state.Truncate(0);  // gives its page back
        in_pool.erase(in_pool.begin());
      }
      in_pool.push_back(&c);
      if (c.state.length() == 0 && std::filesystem::exists(c.file)) {
        Need(LoadState(model, c.file, c.state));
        std::printf("(%s comes back)\n", c.name.c_str());
      }
    }
    while (!going.empty()) {
      std::vector<Model::Turn> turns;  // first the prompts, then the last token of each reply
      for (Conversation* c : going) turns.push_back({&c->state, c->reply.pending});
      Need(model.Feed(turns, workspace));
      std::vector<Conversation*> next;
      for (size_t i = 0; i < going.size(); ++i) {
        Conversation& c = *going[i];
        auto& [tokens, end, pending] = c.reply;
        Need(model.EditLogits(workspace, i, [&](std::span<float> logits) {
          for (const LogitBias& b : options.edits.biases) logits[b.token] += b.bias;
        }));
        tokens.push_back(Need(model.Sample(workspace, i, options.sampler, RandomBits(c.random))));
        pending = {tokens.back()};
        const std::string text(tokens.begin(), tokens.end());
        if (text.ends_with(". ")) {
          end = GenerateEnd::kStopSequence;
          tokens.resize(tokens.size() - 2);
        } else if (tokens.size() < options.max_new_tokens) {
          next.push_back(&c);
          continue;
        }
        same = same && tokens == c.alone.tokens && end == c.alone.end && pending == c.alone.pending;
        std::printf("%s: %s%s\n", c.name.c_str(), text.c_str(), end == GenerateEnd::kLimit ? " [limit]" : "");
      }
      going = next;
    }
  }
  std::filesystem::remove_all(folder);
  std::printf("each reply is that of the conversation alone: %s\n", same ? "yes" : "no");
  return same ? 0 : 1;
}
