#include "bitnet/model/continuous_batch.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "bitnet/backend/default_backend.h"
#include "bitnet/base/random.h"
#include "bitnet/scheme/scheme.h"
#include "testing/tiny_model.h"

namespace bitnet::continuous_batch_test {
namespace {

using Model = Transformer<B158>;
using Tokens = std::vector<Token>;

const Model& TinyModel() {
  static const Model* const model = [] {
    ModelConfig config = testing::TinyConfigOf<B158>();
    config.max_positions = 1000;
    return new Model(testing::TinyWeights<B158>(config));
  }();
  return *model;
}

struct Reply {
  Tokens reported;
  std::optional<Result<Generated>> end;
};

// What is asked, and how many tokens the caller wants.
struct Wish {
  BatchRequest request;
  size_t enough = std::numeric_limits<size_t>::max();
  size_t at_step = 0;  // when it is added

  BatchRequest For(Reply& reply) const {
    BatchRequest its = request;
    its.on_token = [&reply, this](Token token) {
      reply.reported.push_back(token);
      return reply.reported.size() < enough;
    };
    its.on_end = [&reply](Result<Generated> end) {
      CHECK(!reply.end.has_value());
      reply.end = std::move(end);
    };
    return its;
  }
};

Reply Alone(const Wish& wish, const BatchOptions& options) {
  const Model& model = TinyModel();
  auto state = model.NewState(options.max_tokens, model.NewPool(options.max_pages));
  Reply reply;
  BatchRequest its = wish.For(reply);
  reply.end = Generate(model, state, its.prompt, its.options, its.random, its.on_token);
  return reply;
}

void CheckSame(const Reply& reply, const Reply& alone) {
  CHECK(reply.reported == alone.reported);
  REQUIRE(reply.end.has_value());
  REQUIRE(reply.end->ok() == alone.end->ok());
  if (!alone.end->ok()) {
    CHECK(reply.end->error() == alone.end->error());
    return;
  }
  CHECK((*reply.end)->tokens == (*alone.end)->tokens);
  CHECK((*reply.end)->end == (*alone.end)->end);
  CHECK((*reply.end)->pending == (*alone.end)->pending);
}

// All kinds of ends, of draws and of edits; prompts of up to `longest` tokens.
std::vector<Wish> SomeWishes(size_t count, size_t longest, uint64_t seed) {
  const uint32_t vocab = TinyModel().config().vocab;
  Random random(seed);
  const auto below = [&](size_t n) { return static_cast<size_t>(UniformBelow(random, n)); };
  std::vector<Wish> wishes(count);
  for (size_t i = 0; i < count; ++i) {
    auto& [request, enough, at_step] = wishes[i];
    request.prompt = testing::RandomTokens(1 + below(longest), vocab, random());
    request.random = Random(random());
    GenerateOptions& options = request.options;
    options.sampler.temperature = i % 4 == 0 ? 0.0f : 1.5f;
    if (i % 3 == 0) options.sampler.top_k = 5;
    if (i % 5 != 4) options.max_new_tokens = below(400);
    if (i % 4 == 1) options.stop_tokens = {3};
    if (i % 4 == 2) options.stop_sequences = {{1, 2}, {2, 2, 4}, {5}};
    if (i % 3 == 1) options.edits.biases = {{7, -std::numeric_limits<float>::infinity()}, {8, 1.0f}};
    if (i % 5 == 2) options.edits.repetition_penalty = 1.3f;
    if (i % 7 == 6) enough = 1 + below(30);
    if (i % 6 == 5) {  // the draw is refused after some tokens
      options.edits.edit = [](std::span<const Token> reply, std::span<float> logits) {
        if (reply.size() == 9) std::fill(logits.begin(), logits.end(), -std::numeric_limits<float>::infinity());
      };
    }
    at_step = below(60);
  }
  return wishes;
}

TEST_CASE("ContinuousBatch: each reply is the one of Generate alone, whatever runs beside it and however it waits") {
  size_t sent_back = 0, full = 0, refused = 0;
  for (const BatchOptions& options : {BatchOptions{.max_running = 3, .max_pages = 4, .prompt_tokens = 64},
                                      {.max_running = 5, .max_pages = 3, .max_tokens = 700, .prompt_tokens = 1},
                                      {.max_running = 1, .max_pages = 2},
                                      {.max_running = 8, .max_pages = 5, .max_tokens = 999, .prompt_tokens = 7},
                                      {.max_running = 100, .prompt_tokens = 1000}}) {
    CAPTURE(options.max_running);
    const std::vector<Wish> wishes = SomeWishes(18, options.max_pages == 2 ? 300 : 550, options.max_pages);
    std::vector<Reply> replies(wishes.size());
    ContinuousBatch batch(TinyModel(), options);
    size_t step = 0;
    for (size_t added = 0; added < wishes.size() || !batch.IsEmpty(); ++step) {
      for (size_t i = 0; i < wishes.size(); ++i) {
        if (wishes[i].at_step != step) continue;
        REQUIRE(batch.Add(wishes[i].For(replies[i])).ok());
        ++added;
      }
      const size_t waited = batch.waiting();
      REQUIRE(batch.Step().ok());
      if (batch.waiting() > waited) ++sent_back;
      CHECK(batch.running() <= options.max_running);
      CHECK(batch.used_pages() <= options.max_pages);
      REQUIRE(step < 100000);
    }
    CHECK(batch.used_pages() == 0);
    for (size_t i = 0; i < wishes.size(); ++i) {
      CAPTURE(i);
      CheckSame(replies[i], Alone(wishes[i], options));
      if (!replies[i].end->ok()) ++refused;
      if (replies[i].end->ok() && (*replies[i].end)->end == GenerateEnd::kFull) ++full;
    }
  }
  // What the law is about did happen.
  CHECK(sent_back > 5);
  CHECK(full > 2);
  CHECK(refused > 2);
}

TEST_CASE("ContinuousBatch: a reply has a token in each step while a long prompt is read beside it") {
  const BatchOptions options{.max_running = 2, .prompt_tokens = 50};
  const uint32_t vocab = TinyModel().config().vocab;
  const Wish short_one{{.prompt = {1, 2, 3}, .options = {.max_new_tokens = 12}}},
      long_one{{.prompt = testing::RandomTokens(420, vocab), .options = {.max_new_tokens = 2}}};
  Reply reply, other;
  ContinuousBatch batch(TinyModel(), options);
  REQUIRE(batch.Add(short_one.For(reply)).ok());
  REQUIRE(batch.Add(long_one.For(other)).ok());
  for (size_t step = 1; step <= 9; ++step) {  // 47 tokens beside the short prompt, then 50 in a step
    CHECK(other.reported.empty());
    REQUIRE(batch.Step().ok());
    CHECK(reply.reported.size() == step);
  }
  CHECK(other.reported.size() == 1);
  while (!batch.IsEmpty()) REQUIRE(batch.Step().ok());
  CheckSame(reply, Alone(short_one, options));
  CheckSame(other, Alone(long_one, options));
}

// Replies of 300 tokens to prompts of these lengths, with `steps` steps behind them.
struct Some {
  Some(const std::vector<size_t>& prompts, size_t max_pages, size_t max_running, size_t steps,
       size_t prompt_tokens = 2000)
      : batch(TinyModel(), {.max_running = max_running, .max_pages = max_pages, .prompt_tokens = prompt_tokens}),
        wish{{.prompt = {}, .options = {.max_new_tokens = 300}}},
        replies(prompts.size()) {
    for (size_t i = 0; i < prompts.size(); ++i) {
      wish.request.prompt = testing::RandomTokens(prompts[i], TinyModel().config().vocab);
      CHECK(batch.Add(wish.For(replies[i])).ok());
    }
    while (steps-- > 0) CHECK(batch.Step().ok());
  }
  ContinuousBatch<Model> batch;
  Wish wish;
  std::vector<Reply> replies;
};

TEST_CASE("ContinuousBatch: where a pass has too few pages the last reply goes back, and none that needs not") {
  // After 7 steps two replies have 257 tokens, of which the last needs a page, and there is one less than two.
  for (const size_t free : {size_t{0}, size_t{1}}) {
    Some some({600, 250, 250}, 5 + free, 3, 7);
    CHECK(some.batch.running() == 3);
    CHECK(some.batch.used_pages() == 5);
    CHECK(some.batch.Step().ok());
    CHECK(some.batch.running() == 2);
    CHECK(some.batch.waiting() == 1);
    CHECK(some.replies[1].reported.size() == 8);
    CHECK(some.replies[2].reported.size() == 7);
  }
}

TEST_CASE("ContinuousBatch: replies begin in the order of Add, and what was sent back waits for its pages") {
  Some some({600, 250, 5}, 4, 2, 12, 200);
  while (!some.replies[0].end.has_value()) {  // the third would have a page, the second would not have two
    CHECK(some.batch.running() == 1);
    CHECK(some.batch.waiting() == 2);
    CHECK(some.replies[1].reported.size() == 7);
    CHECK(some.replies[2].reported.empty());
    REQUIRE(some.batch.Step().ok());
  }
  REQUIRE(some.batch.Step().ok());  // 200 tokens of the second
  CHECK(some.batch.running() == 2);
  CHECK(some.replies[2].reported.empty());
  REQUIRE(some.batch.Step().ok());
  CHECK(some.replies[1].reported.size() == 8);
  CHECK(some.replies[2].reported.size() == 1);
}

TEST_CASE("ContinuousBatch: what is cancelled ends, waiting or running, and the others do not notice") {
  const BatchOptions options{.max_running = 2, .max_pages = 3};
  std::vector<Wish> wishes(4, Wish{{.prompt = {1, 2, 3}, .options = {.max_new_tokens = 40}}});
  for (size_t i = 0; i < wishes.size(); ++i) wishes[i].request.random = Random(i);
  std::vector<Reply> replies(wishes.size());
  std::vector<uint64_t> ids;
  ContinuousBatch batch(TinyModel(), options);
  for (size_t i = 0; i < wishes.size(); ++i) {
    const auto id = batch.Add(wishes[i].For(replies[i]));
    REQUIRE(id.ok());
    ids.push_back(*id);
  }
  for (int step = 0; step < 5; ++step) REQUIRE(batch.Step().ok());
  CHECK(batch.Cancel(ids[0]));
  CHECK(batch.Cancel(ids[2]));
  CHECK(!batch.Cancel(ids[3] + 1));
  CHECK(!replies[0].end.has_value());
  REQUIRE(batch.Step().ok());
  CHECK(!batch.Cancel(ids[0]));
  wishes[0].enough = 5;
  CheckSame(replies[0], Alone(wishes[0], options));
  CHECK((*replies[2].end)->end == GenerateEnd::kCallback);
  CHECK((*replies[2].end)->tokens.empty());
  CHECK((*replies[2].end)->pending.empty());
  CHECK(batch.running() == 2);  // the last one has its place
  while (!batch.IsEmpty()) REQUIRE(batch.Step().ok());
  CheckSame(replies[1], Alone(wishes[1], options));
  CheckSame(replies[3], Alone(wishes[3], options));
}

TEST_CASE("ContinuousBatch: the functions of a reply may add others, and cancel them") {
  const BatchOptions options{.max_running = 3, .max_pages = 2};
  const Wish first{{.prompt = {4}, .options = {.max_new_tokens = 6}}}, second{{.prompt = {5}}};
  Reply reply, endless, next;
  ContinuousBatch batch(TinyModel(), options);
  uint64_t endless_id = 0;
  BatchRequest request = first.For(reply);
  request.on_token = [&, on_token = request.on_token](Token token) {
    if (reply.reported.size() == 3) CHECK(batch.Cancel(endless_id));
    return on_token(token);
  };
  request.on_end = [&, on_end = request.on_end](Result<Generated> end) {
    on_end(std::move(end));
    CHECK(batch.Add(first.For(next)).ok());
  };
  REQUIRE(batch.Add(std::move(request)).ok());
  endless_id = *batch.Add(second.For(endless));
  while (!batch.IsEmpty()) REQUIRE(batch.Step().ok());
  CheckSame(reply, Alone(first, options));
  CheckSame(next, Alone(first, options));
  CHECK(endless.reported.size() == 3);
  CHECK((*endless.end)->end == GenerateEnd::kCallback);
}

#if defined(__cpp_exceptions)
TEST_CASE("ContinuousBatch: what throws leaves the step, and all replies go on as if it had not") {
  const BatchOptions options{.max_running = 4, .max_pages = 4};
  std::vector<Wish> wishes = SomeWishes(6, 300, 5);
  std::vector<Reply> replies(wishes.size());
  ContinuousBatch batch(TinyModel(), options);
  size_t calls = 0, thrown = 0;
  for (size_t i = 0; i < wishes.size(); ++i) {
    BatchRequest request = wishes[i].For(replies[i]);
    // Once before a token is drawn, once after it is reported, and so on.
    request.options.edits.edit = [&, edit = request.options.edits.edit](std::span<const Token> reply,
                                                                        std::span<float> logits) {
      if (++calls % 7 == 0) throw std::runtime_error("in an edit");
      if (edit) edit(reply, logits);
    };
    request.on_token = [&, on_token = request.on_token](Token token) {
      const bool goes_on = on_token(token);
      if (++calls % 7 == 0 && goes_on) throw std::runtime_error("in on_token");
      return goes_on;
    };
    REQUIRE(batch.Add(std::move(request)).ok());
  }
  while (!batch.IsEmpty()) {
    try {
      const Result<Done> stepped = batch.Step();  // (within CHECK, doctest would take the exception)
      CHECK(stepped.ok());
    } catch (const std::runtime_error&) {
      ++thrown;
    }
  }
  CHECK(thrown > 50);
  for (size_t i = 0; i < wishes.size(); ++i) {
    CAPTURE(i);
    CheckSame(replies[i], Alone(wishes[i], options));
  }
}
#endif

TEST_CASE("ContinuousBatch: refuses what no reply can be made of, with a sentence") {
  ContinuousBatch batch(TinyModel(), {.max_pages = 2, .max_tokens = 600});
  const auto refusal = [&](const BatchRequest& request) {
    const auto id = batch.Add(request);
    return id.ok() ? std::string() : id.error();
  };
  CHECK(refusal({}) == "the prompt has no tokens: at least one is needed");
  CHECK(refusal({.prompt = Tokens(601)}) == "the prompt has 601 tokens; there is room for 600");
  CHECK(refusal({.prompt = Tokens(513)}) == "the prompt has 513 tokens, which take 3 pages; the pool has 2");
  CHECK(refusal({.prompt = {1, 19}}) == "token 1 of the prompt is 19; the vocabulary has 19");
  CHECK(refusal({.prompt = {1}, .options = {.edits = {.biases = {{19, 1.0f}}}}}) ==
        "a bias is given for token 19; the vocabulary has 19");
  CHECK(refusal({.prompt = {1}, .options = {.sampler = {.top_p = 2.0f}}}).find("top_p is 2") != std::string::npos);
  CHECK(batch.IsEmpty());
  CHECK(batch.Step().ok());
  CHECK(refusal({.prompt = Tokens(512)}) == "");
}

}  // namespace
}  // namespace bitnet::continuous_batch_test
