// Memory ends: every operation, at every place where it takes memory, leaves its object as it was, and can be called
// again. And what is said beforehand of how much they take.
#include <doctest/doctest.h>

#include <string_view>

#include "testing/replaced_new.h"

// Eigen takes its memory by malloc and asks before whether that is allowed (EIGEN_RUNTIME_NO_MALLOC), by an assertion
// that a program may define.
#define EIGEN_RUNTIME_NO_MALLOC
namespace bitnet::testing {
inline void EigenTakesMemory() {
  if (FailingAllocation::IsNow()) throw std::bad_alloc();
}
}  // namespace bitnet::testing
#define eigen_assert(condition)                                                        \
  do {                                                                                 \
    if constexpr (std::string_view(#condition).substr(0, 17) == "is_malloc_allowed") { \
      ::bitnet::testing::EigenTakesMemory();                                           \
    } else if (!(condition)) {                                                         \
      std::abort();                                                                    \
    }                                                                                  \
  } while (false)

#include <bitnet/bitnet.h>
#include <bitnet/train.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "testing/tiny_model.h"

namespace bitnet::testing {
namespace {

// Passes on to an executor that each attempt makes afresh, so that its threads have no buffers yet.
class FreshExecutor final : public Executor {
 public:
  explicit FreshExecutor(size_t threads) : threads_(threads) { Renew(); }
  void Renew() {
    executor_.reset();
    if (threads_ == 1) {
      executor_ = std::make_unique<SequentialExecutor>();
    } else {
      executor_ = std::make_unique<ThreadPool>(threads_);
    }
  }
  size_t Threads() const override { return executor_->Threads(); }
  void Run(size_t tasks, TaskRef task) override { executor_->Run(tasks, task); }

 private:
  size_t threads_;
  std::unique_ptr<Executor> executor_;
};

// f() in a thread of its own, whose thread_local buffers are empty.
template <class F>
void InNewThread(F&& f) {
  std::thread(f).join();
}

// What an object looks like, or an operation gave: numbers to compare.
using Numbers = std::vector<double>;

void Add(Numbers& to, std::span<const float> values) { to.insert(to.end(), values.begin(), values.end()); }

// make() -> pointer to an object, warm(object) is called in the same thread; op(object) -> a value, the operation whose
// memory ends, in a thread without buffers; outcome(value, object) -> Numbers, which may call more operations;
// look(object) -> Numbers, what an operation that throws must leave.
//
// Law: op throws bad_alloc, or does its work without the memory; if it throws, look() is as before, and once more op
// and outcome() give what they give for an object that saw no failure.
template <class Make, class Op, class Outcome, class Look>
void CheckEveryFailure(FreshExecutor& executor, const Make& make, const Op& op, const Outcome& outcome,
                       const Look& look) {
  using Value = decltype(op(*make()));
  Numbers expected;
  InNewThread([&] {
    auto object = make();
    InNewThread([&] {
      std::optional<Value> value;
      value.emplace(op(*object));
      expected = outcome(*value, *object);
    });
  });
  for (const Ends ends : {Ends::kOnce, Ends::kForGood}) {
    // What is tried after the first failure hardly depends on where that was: every third does.
    const size_t step = ends == Ends::kOnce ? 1 : 3;
    bool happened = true;
    for (size_t n = 0; happened; n += step) {
      std::string problem;
      const auto attempt = [&](auto& object) {
        executor.Renew();
        const Numbers before = look(object);
        std::optional<Value> value;
        bool threw = false;
        {
          const FailingAllocation failing(n, ends);
          try {
            value.emplace(op(object));
          } catch (const std::bad_alloc&) {
            threw = true;
          }
          happened = failing.happened();
        }
        if (threw) {
          if (!happened) problem = "it throws bad_alloc though memory is there";
          if (look(object) != before) problem = "the object has changed";
          value.emplace(op(object));
        }
        if (problem.empty() && outcome(*value, object) != expected) problem = "afterwards it gives something else";
      };
      InNewThread([&] {
        auto object = make();
        InNewThread([&] { attempt(*object); });
      });
      // (The first one must happen, or nothing is tested.)
      if (n == 0 && !happened) problem = "no memory is taken";
      if (!problem.empty()) {
        const std::string how = ends == Ends::kOnce ? "once" : "for good";
        FAIL_CHECK("memory ends " << how << " at allocation " << n << ": " << problem);
        return;
      }
    }
  }
}

constexpr size_t kPrompt = 300;  // more than a prefill runs at once

template <Scheme S>
class Inference {
 public:
  using Model = Transformer<S>;
  using State = typename Model::State;

  explicit Inference(FreshExecutor& executor)
      : executor_(executor),
        weights_(TinyWeights<S>()),
        model_(weights_, DefaultBackend<S>(executor)),
        tokens_(RandomTokens(kPrompt + 10, weights_.config.vocab)) {}

  void Check() {
    const std::span<const Token> tokens = tokens_;
    const auto forward = [&](size_t first, size_t count) {
      return [this, tokens, first, count](State& state) { return model_.Forward(tokens.subspan(first, count), state); };
    };
    const auto logits = [&](size_t next) {
      // ... of the operation, of the next token, and the state's length and counts.
      return [this, tokens, next](const Result<std::span<const float>>& result, State& state) {
        Numbers numbers;
        Add(numbers, *result);
        Add(numbers, *model_.Forward(tokens.subspan(next, 1), state));
        const Numbers seen = Look(state);
        numbers.insert(numbers.end(), seen.begin(), seen.end());
        return numbers;
      };
    };
    const auto state_of = [&](size_t length) {
      return [this, tokens, length] {
        auto state = std::make_unique<State>(model_.NewState(kPrompt + 10));
        state->CountWeights(true);
        if (length != 0) static_cast<void>(*model_.Forward(tokens.first(length), *state));
        return state;
      };
    };
    {
      INFO("prefill");
      CheckEveryFailure(executor_, state_of(0), forward(0, kPrompt), logits(kPrompt), Look);
    }
    {
      INFO("prefill after tokens");
      CheckEveryFailure(executor_, state_of(3), forward(3, kPrompt), logits(kPrompt + 3), Look);
    }
    {
      INFO("the first token");
      CheckEveryFailure(executor_, state_of(0), forward(0, 1), logits(1), Look);
    }
    {
      INFO("decode");
      // The first token of a page: what else decoding needs may be there.
      CheckEveryFailure(executor_, state_of(kPageTokens), forward(kPageTokens, 1), logits(kPageTokens + 1), Look);
    }
    const auto rows = [](const Result<MatrixView<const float>>& result, State& state) {
      Numbers numbers = Look(state);
      Add(numbers, {result->data(), result->rows() * result->cols()});
      return numbers;
    };
    {
      INFO("ForwardAll");
      CheckEveryFailure(
          executor_, state_of(2), [&](State& state) { return model_.ForwardAll(tokens.first(kPrompt), state); }, rows,
          Look);
    }
    {
      INFO("Hidden");
      CheckEveryFailure(
          executor_, state_of(2), [&](State& state) { return model_.Hidden(tokens.first(kPrompt), state); }, rows,
          Look);
    }
    {
      INFO("Generate");
      CheckEveryFailure(
          executor_, state_of(2),
          [&](State& state) {
            Random random(5);
            GenerateOptions options;
            options.max_new_tokens = 6;
            options.sampler.top_p = 0.9f;
            return Generate(model_, state, tokens.first(270), options, random, [](Token) { return true; });
          },
          [&](const Result<Generated>& result, State& state) {
            Numbers numbers = Look(state);
            numbers.insert(numbers.end(), result->tokens.begin(), result->tokens.end());
            return numbers;
          },
          Look);
    }
    if constexpr (std::is_same_v<S, B158>) {  // as for any scheme
      INFO("ContinuousBatch");
      // Three replies, of which the last has to give its page back. (What is reported takes no memory here.)
      struct Replies {
        explicit Replies(const Model& model)
            : batch(model, {.max_running = 3, .max_pages = 3, .max_tokens = kPrompt, .prompt_tokens = 300}) {}
        ContinuousBatch<Model> batch;
        std::vector<std::vector<Token>> reported = std::vector<std::vector<Token>>(3);
        size_t ended = 0;
      };
      const auto make = [&] {
        auto made = std::make_unique<Replies>(model_);
        for (size_t i = 0; i < 3; ++i) {
          made->reported[i].reserve(kPrompt);
          BatchRequest request;
          request.prompt.assign(tokens.begin(), tokens.begin() + (i == 2 ? 5 : 255));
          request.options.max_new_tokens = 3;
          request.options.edits.repetition_penalty = i == 1 ? 1.2f : 1.0f;
          request.random = Random(i);
          request.on_token = [its = &made->reported[i]](Token token) {
            its->push_back(token);
            return true;
          };
          request.on_end = [ended = &made->ended](const Result<Generated>& reply) { *ended += size_t{reply.ok()}; };
          static_cast<void>(*made->batch.Add(std::move(request)));
        }
        return made;
      };
      CheckEveryFailure(
          executor_, make,
          [](Replies& replies) {
            while (!replies.batch.IsEmpty()) static_cast<void>(*replies.batch.Step());
            return true;
          },
          [](bool, Replies& replies) {
            Numbers numbers = {static_cast<double>(replies.ended)};
            for (const std::vector<Token>& reported : replies.reported) {
              numbers.insert(numbers.end(), reported.begin(), reported.end());
            }
            return numbers;
          },
          [](const Replies&) { return Numbers(); });  // it goes on from where it was, and need not be there again
    }
    // Two conversations of which one is a fork of the other, a page from full: both take pages, one copies a shared
    // one.
    struct Pair {
      std::shared_ptr<typename Model::Pool> pool;
      std::unique_ptr<State> states[2];
      typename Model::Workspace workspace;
    };
    const auto pair = [&] {
      auto made = std::make_unique<Pair>();
      made->pool = model_.NewPool(6);
      made->states[0] = std::make_unique<State>(model_.NewState(kPrompt + 10, made->pool));
      static_cast<void>(*model_.Forward(tokens.first(kPageTokens - 2), *made->states[0]));
      made->states[1] = std::make_unique<State>(*made->states[0]);
      made->workspace = model_.NewWorkspace();
      return made;
    };
    const auto look_at_pair = [](const Pair& two) {
      Numbers numbers = Look(*two.states[0]);
      const Numbers second = Look(*two.states[1]);
      numbers.insert(numbers.end(), second.begin(), second.end());
      numbers.push_back(static_cast<double>(two.pool->used_pages()));
      return numbers;
    };
    {
      INFO("a pass of two conversations");
      CheckEveryFailure(
          executor_, pair,
          [&](Pair& two) {
            const typename Model::Turn turns[] = {{two.states[0].get(), tokens.subspan(kPageTokens - 2, 4)},
                                                  {two.states[1].get(), tokens.subspan(3, 5)}};
            return model_.Forward(turns, two.workspace);
          },
          [&](const Result<MatrixView<const float>>& result, Pair& two) {
            Numbers numbers = look_at_pair(two);
            Add(numbers, {result->data(), result->rows() * result->cols()});
            for (const auto& state : two.states) Add(numbers, *model_.Forward(tokens.first(1), *state));
            return numbers;
          },
          look_at_pair);
    }
    {
      INFO("save and restore");
      CheckEveryFailure(
          executor_, pair,
          [&](Pair& two) -> Result<Done> {
            const auto saved = two.states[0]->Save();
            if (!saved.ok()) return Error{saved.error()};
            return two.states[1]->Restore(*saved);
          },
          [&](const Result<Done>&, Pair& two) {
            Numbers numbers = look_at_pair(two);
            for (const auto& state : two.states) Add(numbers, *model_.Forward(tokens.first(1), *state));
            return numbers;
          },
          look_at_pair);
    }
    {
      INFO("construction, and a state");
      CheckEveryFailure(
          executor_, [] { return std::make_unique<int>(0); },
          [&](int&) {
            auto model = std::make_unique<Model>(weights_, DefaultBackend<S>(executor_));
            State state = model->NewState(8);
            return std::pair(std::move(model), std::move(state));
          },
          [&](std::pair<std::unique_ptr<Model>, State>& made, int&) {
            Numbers numbers;
            Add(numbers, *made.first->Forward(tokens.first(5), made.second));
            return numbers;
          },
          [](const int&) { return Numbers(); });
    }
  }

 private:
  static Numbers Look(const State& state) {
    Numbers numbers = {static_cast<double>(state.length())};
    for (const WeightUse& use : state.weight_use()) {
      for (const WeightCount& count : {use.qkv, use.out, use.gate, use.up, use.down}) {
        numbers.push_back(static_cast<double>(count.used));
        numbers.push_back(static_cast<double>(count.total));
      }
    }
    return numbers;
  }

  FreshExecutor& executor_;
  ModelWeights<S> weights_;
  Model model_;
  std::vector<Token> tokens_;
};

template <Scheme S>
void CheckInference(size_t threads) {
  FreshExecutor executor(threads);
  Inference<S>(executor).Check();
}

TEST_CASE("Transformer: where memory ends the state is as it was, and the same call gives the same bits") {
  SUBCASE("A48") { CheckInference<A48>(1); }
  SUBCASE("A48, two threads") { CheckInference<A48>(2); }
  SUBCASE("B158") { CheckInference<B158>(1); }
  SUBCASE("Fp32") { CheckInference<Fp32>(1); }
}

// The bytes of a file, and which files lie beside it; and how many files this process has open.
Numbers LookAtFiles(const std::filesystem::path& path) {
  Numbers numbers;
  std::ifstream file(path, std::ios::binary);
  numbers.insert(numbers.end(), std::istreambuf_iterator<char>(file), {});
  file.close();
  for (const auto& folder : {path.parent_path(), std::filesystem::path("/proc/self/fd")}) {
    if (!std::filesystem::exists(folder)) continue;
    const auto entries = std::filesystem::directory_iterator(folder);
    numbers.push_back(static_cast<double>(std::distance(begin(entries), end(entries))));
  }
  return numbers;
}

// An empty folder, gone at the end.
class Folder {
 public:
  Folder() : path_(std::filesystem::temp_directory_path() / ("bitnet_failing_" + std::to_string(Process()))) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directory(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string operator/(const char* name) const { return (path_ / name).string(); }

 private:
  static unsigned long long Process() {
    std::random_device device;
    return device();
  }
  std::filesystem::path path_;
};

template <Scheme S>
void CheckFiles() {
  FreshExecutor executor(1);
  const Folder folder;
  const std::string path = folder / "model";
  const LatentWeights latent = TinyLatent(TinyConfigOf<S>(), 1);
  const ModelWeights<S> weights = ModelWeights<S>::Quantize(latent);
  const ModelWeights<S> other = TinyWeights<S>(TinyConfigOf<S>(), 2);
  const auto file = [&] {
    // (Written by a save of other weights.)
    if (!SaveModel(other, path).ok()) FAIL("the model cannot be saved");
    return std::make_unique<std::string>(path);
  };
  const auto bytes = [](const ModelWeights<S>& model) {
    const std::vector<uint8_t> all = SerializeModel(model);
    return Numbers(all.begin(), all.end());
  };
  {
    INFO("save");
    CheckEveryFailure(
        executor, file, [&](const std::string& at) { return SaveModel(weights, at); },
        [](const Result<Done>& result, const std::string& at) { return result.ok() ? LookAtFiles(at) : Numbers(); },
        [](const std::string& at) { return LookAtFiles(at); });
  }
  {
    INFO("load");
    CheckEveryFailure(
        executor, file, [](const std::string& at) { return LoadModel<S>(at); },
        [&](const Result<ModelWeights<S>>& result, const std::string&) { return bytes(*result); },
        [](const std::string& at) { return LookAtFiles(at); });
  }
  {
    INFO("export");
    CheckEveryFailure(
        executor, [] { return std::make_unique<int>(0); }, [&](int&) { return ModelWeights<S>::Quantize(latent); },
        [&](const ModelWeights<S>& result, const int&) { return bytes(result); }, [](const int&) { return Numbers(); });
  }
}

TEST_CASE("State, KeyValues, QuantizedMatrix: where memory ends what is assigned to stays as it was") {
  const auto check = [](const auto& larger, const auto& make, const auto& same) {
    bool happened = true;
    for (size_t n = 0; happened; ++n) {
      auto object = make();
      {
        const FailingAllocation failing(n, Ends::kOnce);
        try {
          object = larger;
        } catch (const std::bad_alloc&) {
        }
        happened = failing.happened();
      }
      if (happened) CHECK(same(object));
    }
  };
  using Page = std::remove_cvref_t<decltype(std::declval<SimdBackend::Cache<CacheQuantizersOf<A48>>>()[0])>;
  check(
      Page(2, 8, 500), [] { return Page(1, 4, 3); },
      [](const Page& c) {
        return c.kv_heads() == 1 && c.max_tokens() == 3 && c.head_dim() == 4 && c.values.max_tokens() == 3;
      });
  using Matrix = QuantizedMatrix<Ternary>;
  check(
      Matrix(50, 60, {}), [] { return Matrix(2, 3, {}); },
      [](const Matrix& m) { return m.rows() == 2 && m.cols() == 3 && m.bytes().size() == 2; });
  SequentialExecutor executor;
  const Transformer<A48> model(TinyWeights<A48>(), DefaultBackend<A48>(executor));
  const std::vector<Token> tokens = RandomTokens(8, TinyConfig().vocab);
  auto larger = model.NewState(100);
  REQUIRE(model.Forward(tokens, larger).ok());
  check(
      larger, [&] { return model.NewState(8); },
      [&](auto& state) {
        return state.length() == 0 && state.max_tokens() == 8 && model.Forward(tokens, state).ok() &&
               !model.Forward(tokens, state).ok();
      });
}

TEST_CASE("model file: where memory ends the file is as it was, and can be saved and loaded again") {
  SUBCASE("A48") { CheckFiles<A48>(); }
  SUBCASE("Fp32") { CheckFiles<Fp32>(); }
}

TEST_CASE("BitLinear: where memory ends the same call gives the same bits") {
  FreshExecutor executor(1);
  const LatentWeights latent = TinyLatent(TinyConfig(), 1);
  const std::span<const float> weights = latent.layer(0).gate;
  const std::vector<float> x(TinyConfig().hidden * 3, 0.5f);
  std::vector<float> y(TinyConfig().ffn * 3);
  using Layer = BitLinear<A48::Weight, A48::Input>;
  CheckEveryFailure(
      executor,
      [&] {
        return std::make_unique<Layer>(weights, TinyConfig().ffn, TinyConfig().hidden, DefaultBackend<A48>(executor));
      },
      [&](Layer& layer) {
        layer(x, y);
        return Done{};
      },
      [&](Done, Layer&) { return Numbers(y.begin(), y.end()); }, [](const Layer&) { return Numbers(); });
}

Numbers AllWeights(const LatentWeights& weights) { return {weights.values().begin(), weights.values().end()}; }

// Two batches of other lengths, so that every buffer is too short for the second.
template <Scheme S>
void CheckTrainingModel(size_t threads) {
  FreshExecutor executor(threads);
  const ModelConfig config = TinyConfig();
  const LatentWeights latent = TinyLatent(config, 7);
  LatentWeights gradients = LatentWeights::Zeros(config);
  const auto batch = [&](size_t sequences, size_t length) {
    return TokenBatch{sequences, length, RandomTokens(sequences * length, config.vocab, length),
                      RandomTokens(sequences * length, config.vocab, length + 1)};
  };
  const TokenBatch shorter = batch(1, 6), longer = batch(2, 70);
  using Model = TrainingModel<S>;
  const auto run = [&](Model& model, const TokenBatch& of) {
    const double loss = model.Forward(of);
    std::fill(gradients.values().begin(), gradients.values().end(), 0.0f);
    model.Backward(of, gradients);
    return loss;
  };
  const auto make = [&] {
    auto model = std::make_unique<Model>(config, DefaultBackend<S>(executor));
    model->Quantize(latent);
    run(*model, shorter);
    return model;
  };
  // What a failed pass leaves must not be seen by a pass over the batch of before it.
  const auto look = [&](Model& model) {
    Numbers numbers = {run(model, shorter)};
    const Numbers g = AllWeights(gradients);
    numbers.insert(numbers.end(), g.begin(), g.end());
    return numbers;
  };
  CheckEveryFailure(
      executor, make, [&](Model& model) { return run(model, longer); },
      [&](double loss, Model&) {
        Numbers numbers = AllWeights(gradients);
        numbers.push_back(loss);
        return numbers;
      },
      look);
}

TEST_CASE("TrainingModel: where memory ends the next pass has the bits of a model that saw no failure") {
  SUBCASE("A48") { CheckTrainingModel<A48>(1); }
  SUBCASE("A48, two threads") { CheckTrainingModel<A48>(2); }
  SUBCASE("Fp32") { CheckTrainingModel<Fp32>(1); }
}

template <Scheme S1, Scheme S2>
class Training {
 public:
  using T = Trainer<S1, S2>;

  explicit Training(FreshExecutor& executor, const ModelConfig& config = TinyConfigOf<S1>())
      : executor_(executor), config_(config) {
    config_.layers = 1;  // many steps are done here
    options_.steps = 6;
    options_.batch = 2;
    options_.sequence = 20;
    options_.stage2_share = 0.5;
    options_.warmup = 2;
    options_.validation_windows = 3;
  }

  void CheckSteps() {
    const auto step = [](T& trainer) { return trainer.Step(); };
    const auto course = [](const Result<StepReport>& report, T& trainer) {
      Numbers numbers = Look(trainer);
      for (const StepReport& r : {*report, *trainer.Step()}) {
        for (const double value : {r.loss, r.gradient_norm, double(r.learning_rate)}) numbers.push_back(value);
      }
      const Numbers then = Look(trainer);
      numbers.insert(numbers.end(), then.begin(), then.end());
      return numbers;
    };
    for (const uint64_t before : {0u, 1u, 3u}) {
      INFO("step " << before);
      CheckEveryFailure(executor_, At(before), step, course, Look);
    }
    for (const int stage : {1, 2}) {
      INFO("validation, stage " << stage);
      CheckEveryFailure(
          executor_, At(1), [&](T& trainer) { return trainer.ValidationLoss(stage); },
          [](double loss, T& trainer) {
            Numbers numbers = {loss, trainer.Step()->loss};
            return numbers;
          },
          Look);
    }
  }

  void CheckTheRest() {
    {
      INFO("creation");
      CheckEveryFailure(
          executor_, [] { return std::make_unique<int>(0); }, [&](int&) { return Create(); },
          [](const Result<T>& trainer, const int&) { return Look(*trainer); }, [](const int&) { return Numbers(); });
    }
    {
      INFO("fork");
      CheckEveryFailure(
          executor_, At(1), [](T& trainer) { return trainer.template Fork<S2>(); },
          [](T& fork, T&) {
            Numbers numbers = {fork.Step()->loss};
            const Numbers then = Look(fork);
            numbers.insert(numbers.end(), then.begin(), then.end());
            return numbers;
          },
          Look);
    }
    const Folder folder;
    const std::string path = folder / "checkpoint";
    {
      INFO("save");
      CheckEveryFailure(
          executor_,
          [&] {
            auto trainer = At(1)();
            if (!trainer->Save(path).ok() || !trainer->Step().ok()) FAIL("the run cannot be saved");
            return trainer;
          },
          [&](T& trainer) { return trainer.Save(path); },
          [&](const Result<Done>& result, T&) { return result.ok() ? LookAtFiles(path) : Numbers(); },
          [&](T& trainer) {
            Numbers numbers = Look(trainer);
            const Numbers file = LookAtFiles(path);
            numbers.insert(numbers.end(), file.begin(), file.end());
            return numbers;
          });
    }
    {
      INFO("load");
      if (!At(3)()->Save(path).ok()) FAIL("the run cannot be saved");
      CheckEveryFailure(
          executor_, At(1), [&](T& trainer) { return trainer.Load(path); },
          [&](const Result<Done>& result, T& trainer) {
            Numbers numbers = {double(result.ok()), trainer.Step()->loss};
            const Numbers then = Look(trainer);
            numbers.insert(numbers.end(), then.begin(), then.end());
            return numbers;
          },
          [&](T& trainer) {
            Numbers numbers = Look(trainer);
            const Numbers file = LookAtFiles(path);
            numbers.insert(numbers.end(), file.begin(), file.end());
            return numbers;
          });
    }
  }

 private:
  Result<T> Create() const {
    return T::Create(config_, options_, Corpus(RandomTokens(800, config_.vocab)), DefaultBackend<S1>(executor_));
  }
  // A trainer that has done some steps.
  std::function<std::unique_ptr<T>()> At(uint64_t steps) const {
    return [this, steps] {
      auto trainer = std::make_unique<T>(*Create());
      while (trainer->step() < steps) {
        if (!trainer->Step().ok()) FAIL("a step failed");
      }
      return trainer;
    };
  }
  static Numbers Look(const T& trainer) {
    Numbers numbers = AllWeights(trainer.weights());
    numbers.push_back(static_cast<double>(trainer.step()));
    return numbers;
  }

  FreshExecutor& executor_;
  ModelConfig config_;
  TrainOptions options_;
};

TEST_CASE("Trainer: where memory ends weights and step() are as they were, and the run goes on with the same bits") {
  FreshExecutor sequential(1), pool(2);
  SUBCASE("B158, A48") { Training<B158, A48>(sequential).CheckSteps(); }
  SUBCASE("B158, A48, two threads") { Training<B158, A48>(pool).CheckSteps(); }
  SUBCASE("Fp32 with sub-layer norms") {
    Training<Fp32, Fp32>(sequential, WithSubLayerNorms(TinyConfig())).CheckSteps();
  }
  SUBCASE("Mixed") { Training<Mixed, Mixed>(sequential).CheckSteps(); }
  SUBCASE("all else") { Training<B158, A48>(sequential).CheckTheRest(); }
}

// What Bytes() says against the most that was held. (What threads keep, and steps of weights, are not in it.)
template <Scheme S1, Scheme S2>
void CheckTrainerBytes(uint32_t layers, uint32_t width, uint32_t batch, bool sub_layer_norms = false) {
  ModelConfig config = TinyConfig();
  config.sub_layer_norms = sub_layer_norms;
  config.layers = layers;
  config.hidden = width;
  config.ffn = 3 * width;
  TrainOptions options;
  options.steps = 2;
  options.stage2_share = 0.5;
  options.batch = batch;
  options.sequence = 80;
  const Corpus corpus(RandomTokens(2000, config.vocab));
  SequentialExecutor executor;
  using T = Trainer<S1, S2>;
  const size_t before = held;
  most_held = before;
  {
    Result<T> trainer = T::Create(config, options, corpus, DefaultBackend<S1>(executor));
    REQUIRE(trainer.ok());
    REQUIRE(trainer->Run([](const StepReport&) { return true; }).ok());
  }
  const double share = static_cast<double>(most_held - before) / static_cast<double>(*T::Bytes(config, options));
  CHECK(share > 0.99);
  CHECK(share < 1.1);
}

TEST_CASE("Trainer: a run with both stages takes about what Bytes() says") {
  CheckTrainerBytes<B158, A48>(3, 128, 1);
  CheckTrainerBytes<B158, A48>(2, 32, 40);
  CheckTrainerBytes<B158, A48>(60, 8, 1);
  CheckTrainerBytes<Fp32, Fp32>(3, 64, 8, true);
}

}  // namespace
}  // namespace bitnet::testing
