// docs/serve-conversations.md, followed to the letter: the blocks of that page are pieces of this file.
#include "guides/shown_in.h"

#include <bitnet/bitnet.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

using namespace bitnet;
using Model = Transformer<A48>;
using Tokens = std::vector<Token>;

namespace {

Model SmallModel() {
  ModelConfig config;
  config.hidden = 64;
  config.layers = 2;
  config.head_dim = 16;
  config.ffn = 172;
  Random random(1);
  return Model(ModelWeights<A48>::Quantize(LatentWeights::Initial(config, random)));
}

Tokens TokensOf(const std::string& text) { return {text.begin(), text.end()}; }  // a token is a byte
bool Goes(Token) { return true; }                                                // what Generate shows tokens to

TEST_CASE("Turns: each has the logits that it has alone") {
  const Model model = SmallModel();
  const Tokens hello = TokensOf("Hello"), story = TokensOf("Tell me a story.");
  auto a = model.NewState(), b = model.NewState();
  auto workspace = model.NewWorkspace();  // the buffers of passes: one a thread, kept
  const auto logits = model.Forward({{&a, hello}, {&b, story}}, workspace);
  REQUIRE(logits.ok());
  CHECK(logits->rows() == 2);
  const std::span<const float> after_story = (*logits)[1];

  auto alone = model.NewState();
  const auto expected = model.Forward(story, alone);
  REQUIRE(expected.ok());
  CHECK(std::equal(after_story.begin(), after_story.end(), expected->begin(), expected->end()));
}

TEST_CASE("Turns: where one is refused, no state has changed") {
  const Model model = SmallModel();
  const Tokens hello = TokensOf("Hello"), wrong = {1, 2, 256};
  auto a = model.NewState(), b = model.NewState();
  auto workspace = model.NewWorkspace();
  const auto logits = model.Forward({{&a, hello}, {&b, wrong}}, workspace);
  REQUIRE(!logits.ok());
  CHECK(logits.error() == "turn 1: token 2 of the input is 256; the vocabulary has 256");
  CHECK(a.length() == 0);
}

TEST_CASE("Turns: replies that are drawn in common passes are those of Generate") {
  const Model model = SmallModel();
  const std::vector<Tokens> prompts = {TokensOf("Hello"), TokensOf("Tell me a story."), TokensOf("Why?")};
  const SamplerOptions sampler = {.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f};

  std::vector<Model::State> states;
  std::vector<Random> randoms;
  for (size_t i = 0; i < prompts.size(); ++i) states.push_back(model.NewState()), randoms.emplace_back(i);
  std::vector<Tokens> pending = prompts, replies(prompts.size());
  auto workspace = model.NewWorkspace();
  for (size_t pass = 0; pass < 20; ++pass) {
    std::vector<Model::Turn> turns;
    for (size_t i = 0; i < states.size(); ++i) turns.push_back({&states[i], pending[i]});
    REQUIRE(model.Feed(turns, workspace).ok());
    for (size_t i = 0; i < states.size(); ++i) {
      const auto token = model.Sample(workspace, i, sampler, RandomBits(randoms[i]));
      REQUIRE(token.ok());
      replies[i].push_back(*token);
      pending[i] = {*token};
    }
  }

  for (size_t i = 0; i < prompts.size(); ++i) {
    auto state = model.NewState();
    Random random(i);
    const auto alone = Generate(model, state, prompts[i], {.max_new_tokens = 20, .sampler = sampler}, random, Goes);
    REQUIRE(alone.ok());
    CHECK(alone->tokens == replies[i]);
  }
}

TEST_CASE("Pool: what it has no pages for is refused, and goes through when some are free") {
  const Model model = SmallModel();
  const auto pool = model.NewPool(2);  // at most 2 * *model.PageBytes() bytes
  auto a = model.NewState(1000, pool), b = model.NewState(1000, pool);
  const Tokens prompt(300, 'x');  // takes two pages
  REQUIRE(model.Feed(TokensOf("Hello"), a).ok());
  CHECK(pool->used_pages() == 1);
  CHECK(pool->free_pages() == 1);

  CHECK(!b.HasRoom(prompt.size()));
  CHECK(model.Feed(prompt, b).error() ==
        "the pool of pages is exhausted: 2 pages of 256 tokens are needed, 1 of its 2 are in use");
  CHECK(b.length() == 0);
  a.Truncate(0);  // forgets its tokens and gives its pages back; so does its end
  CHECK(model.Feed(prompt, b).ok());
}

TEST_CASE("Pool: turns that have room each may have none together") {
  const Model model = SmallModel();
  const auto pool = model.NewPool(1);
  auto a = model.NewState(1000, pool), b = model.NewState(1000, pool);
  const Tokens hello = TokensOf("Hello");
  const std::vector<Model::Turn> turns = {{&a, hello}, {&b, hello}};
  CHECK(a.HasRoom(hello.size()));
  CHECK(b.HasRoom(hello.size()));
  auto workspace = model.NewWorkspace();
  CHECK(!model.Feed(turns, workspace).ok());

  size_t pages = 0;
  for (const Model::Turn& turn : turns) {
    const size_t length = turn.state->length();
    pages += PagesFor(length + turn.tokens.size()) - PagesFor(length);
  }
  CHECK(pages > pool->free_pages());
}

// Gives the pages of a conversation back, and keeps its tokens in a file.
Result<Done> Evict(const Model& model, Model::State& state, const std::string& path) {
  if (const auto saved = SaveState(model, state, path); !saved.ok()) return saved;
  state.Truncate(0);
  return Done{};
}

TEST_CASE("Eviction: a conversation that was in a file goes on with the same bits") {
  const Model model = SmallModel();
  const auto pool = model.NewPool(1);
  auto a = model.NewState(256, pool), b = model.NewState(256, pool), stayed = model.NewState(256);
  const std::string path = (std::filesystem::temp_directory_path() / "bitnet_guide_evicted.state").string();
  const Tokens hello = TokensOf("Hello"), more = TokensOf("!");
  REQUIRE(model.Feed(hello, a).ok());
  REQUIRE(Evict(model, a, path).ok());
  REQUIRE(model.Feed(TokensOf("Tell me a story."), b).ok());  // with the page that a had
  b.Truncate(0);
  REQUIRE(LoadState(model, path, a).ok());
  std::filesystem::remove(path);

  CHECK(a.length() == hello.size());
  REQUIRE(model.Feed(hello, stayed).ok());
  const auto logits = model.Forward(more, a), expected = model.Forward(more, stayed);
  REQUIRE((logits.ok() && expected.ok()));
  CHECK(std::equal(logits->begin(), logits->end(), expected->begin(), expected->end()));
}

TEST_CASE("Forks: four conversations have the pages of their common beginning once") {
  const Model model = SmallModel();
  const auto pool = model.NewPool(8);
  auto system = model.NewState(1000, pool);
  REQUIRE(model.Feed(Tokens(600, 's'), system).ok());
  CHECK(pool->used_pages() == 3);  // two full ones, and one of 88 tokens
  std::vector<Model::State> forks(4, system);
  CHECK(pool->used_pages() == 3);
  for (Model::State& fork : forks) REQUIRE(model.Feed(TokensOf("Hello"), fork).ok());
  CHECK(pool->used_pages() == 3 + 4);
}

TEST_CASE("Generate: what changes logits, and what ends a reply") {
  const Model model = SmallModel();
  auto state = model.NewState();
  GenerateOptions options;
  options.max_new_tokens = 50;
  options.stop_tokens = {0};
  options.stop_sequences = {TokensOf("\n\n"), TokensOf("User:")};
  options.edits.repetition_penalty = 1.1f;
  options.edits.biases = {{'!', 2.0f}, {'#', -std::numeric_limits<float>::infinity()}};  // likelier; forbidden
  options.edits.edit = [](std::span<const Token> reply, std::span<float> logits) {
    if (reply.size() < 10) logits[0] = -std::numeric_limits<float>::infinity();  // no stop token yet
  };
  options.sampler = {.temperature = 0.8f, .min_p = 0.05f};
  Random random(1);
  const auto reply = Generate(model, state, TokensOf("User: Hello\nModel:"), options, random, Goes);
  REQUIRE(reply.ok());
  CHECK(reply->tokens.size() <= 50);
  CHECK(std::count(reply->tokens.begin(), reply->tokens.end(), Token{'#'}) == 0);
}

// A hook that lets a model write nothing but this.
void Dictate(const std::string& text, GenerateOptions& options) {
  options.edits.edit = [text](std::span<const Token> reply, std::span<float> logits) {
    logits[static_cast<unsigned char>(text[reply.size() % text.size()])] = 1000.0f;
  };
}

TEST_CASE("Generate: the state and what is pending hold the whole conversation") {
  const Model model = SmallModel();
  auto state = model.NewState();
  GenerateOptions options;
  options.stop_sequences = {TokensOf("User:")};
  Dictate("Good day.\nUser:", options);
  Random random(1);
  Tokens prompt = TokensOf("User: Hello\nModel:");
  const auto reply = Generate(model, state, prompt, options, random, Goes);
  REQUIRE(reply.ok());
  CHECK(reply->end == GenerateEnd::kStopSequence);
  CHECK(reply->tokens == TokensOf("Good day.\n"));
  CHECK(reply->pending == TokensOf(":"));
  CHECK(state.length() == std::string("User: Hello\nModel:Good day.\nUser").size());

  prompt = reply->pending;
  for (const Token token : TokensOf(" Tell me a story.\nModel:")) prompt.push_back(token);
  CHECK(Generate(model, state, prompt, options, random, Goes).ok());
}

TEST_CASE("Generate: a reply that the pool cut short goes on when there is room") {
  const Model model = SmallModel();
  const Tokens prompt(250, 'x');
  const GenerateOptions options = {.max_new_tokens = 30};
  auto whole_state = model.NewState();
  Random whole_random(1);
  const auto whole = Generate(model, whole_state, prompt, options, whole_random, Goes);
  REQUIRE(whole.ok());

  const auto pool = model.NewPool(2);
  auto other = model.NewState(1000, pool), state = model.NewState(1000, pool);
  REQUIRE(model.Feed(TokensOf("Hello"), other).ok());
  Random random(1);
  const auto first = Generate(model, state, prompt, options, random, Goes);
  REQUIRE(first.ok());
  CHECK(first->end == GenerateEnd::kFull);
  CHECK(state.length() < state.max_tokens());  // so it is the pool that is full
  CHECK(first->tokens.size() == 7);            // six that filled the page, and one that waits

  other.Truncate(0);
  const auto rest = Generate(model, state, first->pending, {.max_new_tokens = 30 - 7}, random, Goes);
  REQUIRE(rest.ok());
  Tokens both = first->tokens;
  both.insert(both.end(), rest->tokens.begin(), rest->tokens.end());
  CHECK(both == whole->tokens);
}

TEST_CASE("ContinuousBatch: replies of Generate, in common passes") {
  const Model model = SmallModel();
  ContinuousBatch batch(model, {.max_running = 2, .max_pages = 3});
  const std::vector<Tokens> prompts = {TokensOf("Hello"), TokensOf("Tell me a story."), Tokens(300, 'x')};
  std::vector<Tokens> shown(prompts.size());
  for (size_t i = 0; i < prompts.size(); ++i) {
    BatchRequest request;
    request.prompt = prompts[i];
    request.options = {.max_new_tokens = 20, .stop_tokens = {0}};
    request.random = Random(i);
    request.on_token = [&shown, i](Token token) {
      shown[i].push_back(token);
      return true;  // false ends it: whoever asked has gone
    };
    request.on_end = [](const Result<Generated>& reply) { CHECK(reply.ok()); };
    REQUIRE(batch.Add(std::move(request)).ok());  // at any time; so may on_token and on_end
  }
  while (!batch.IsEmpty()) REQUIRE(batch.Step().ok());

  for (size_t i = 0; i < prompts.size(); ++i) {
    auto state = model.NewState();
    Random random(i);
    const auto alone = Generate(model, state, prompts[i], {.max_new_tokens = 20, .stop_tokens = {0}}, random, Goes);
    REQUIRE(alone.ok());
    CHECK(alone->tokens == shown[i]);
  }
}

TEST_CASE("Guide to serving: every block is code of this test") {
  CHECK(testing::ShownWhole("docs/serve-conversations.md", "tests/guides/serve_conversations_test.cc"));
}

}  // namespace
