#include <bitnet/train.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "testing/tiny_model.h"
#include "testing/write_plainly.h"

namespace bitnet::testing::checkpoint_test {
namespace {

// A file that is gone after the test.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& name)
      : path_((std::filesystem::temp_directory_path() / ("bitnet_train_" + name)).string()) {}
  ~TemporaryFile() { std::filesystem::remove(path_); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TrainOptions SmallOptions() {
  TrainOptions options;
  options.steps = 6;
  options.batch = 2;
  options.sequence = 9;
  options.stage2_share = 0.5;
  options.warmup = 2;
  return options;
}

ModelConfig SmallConfig() {
  ModelConfig config = TinyConfig();
  config.layers = 1;
  return config;
}

template <Scheme S1 = B158, Scheme S2 = A48>
Trainer<S1, S2> NewTrainer(const TrainOptions& options = SmallOptions(), const ModelConfig& config = SmallConfig(),
                           uint64_t text = 1) {
  auto trainer = Trainer<S1, S2>::Create(config, options, Corpus(RandomTokens(300, 19, text)));
  if (!trainer.ok()) FAIL(trainer.error());
  return *std::move(trainer);
}

template <class T>
void Advance(T& trainer, uint64_t until) {
  while (trainer.step() < until) REQUIRE(trainer.Step().ok());
}

// Everything a checkpoint keeps.
template <class T>
std::vector<uint8_t> Everything(const T& trainer) {
  const TemporaryFile file("everything");
  REQUIRE(trainer.Save(file.path()).ok());
  return *ReadFile(file.path());
}

TEST_CASE("Checkpoint: six steps are n steps, a save, a load and the rest, bit for bit") {
  auto whole = NewTrainer();
  Advance(whole, 6);
  const TemporaryFile file("resume");
  // 3 is the last of stage 1: the switch is after the load.
  for (uint64_t split = 0; split <= 6; ++split) {
    INFO("split at " << split);
    {
      auto first = NewTrainer();
      Advance(first, split);
      REQUIRE(first.Save(file.path()).ok());
    }
    auto second = NewTrainer();
    Advance(second, 2);  // whatever it did before is forgotten
    REQUIRE(second.Load(file.path()).ok());
    CHECK(second.step() == split);
    CHECK(second.stage() == (split > 3 ? 2 : 1));
    Advance(second, 6);
    CHECK(second.ValidationLoss() == whole.ValidationLoss());
    CHECK(Everything(second) == Everything(whole));
  }
}

// Whether loading is refused with this sentence and leaves the trainer as it was.
template <class T>
bool Refused(T& trainer, const std::string& path, const std::string& why) {
  const std::vector<uint8_t> before = Everything(trainer);
  const Result<Done> loaded = trainer.Load(path);
  if (loaded.ok()) return false;
  INFO(loaded.error());
  CHECK(loaded.error().find(why) != std::string::npos);
  CHECK(loaded.error().find(path) == 0);
  CHECK(Everything(trainer) == before);
  return true;
}

TEST_CASE("Checkpoint: a damaged or truncated file is refused, wherever the damage is") {
  auto trainer = NewTrainer();
  Advance(trainer, 1);
  const std::vector<uint8_t> good = Everything(trainer);
  const TemporaryFile file("damaged");
  Advance(trainer, 2);
  const auto try_bytes = [&](const std::vector<uint8_t>& bytes, const std::string& why) {
    REQUIRE(WritePlainly(file.path(), bytes));
    const Result<Done> loaded = trainer.Load(file.path());
    REQUIRE(!loaded.ok());
    CHECK(loaded.error().find(why) != std::string::npos);
  };
  // Every byte of the head, then samples.
  for (size_t at = 0; at < good.size(); at += at < 1000 ? 1 : 997) {
    INFO("byte " << at << " of " << good.size());
    std::vector<uint8_t> bad = good;
    bad[at] ^= static_cast<uint8_t>(1u << at % 8);
    try_bytes(bad, file.path());
  }
  for (size_t size = 0; size < good.size(); size += size < 200 ? 1 : 1499) {
    INFO("the first " << size << " of " << good.size() << " bytes");
    try_bytes({good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size)}, file.path());
  }
  std::vector<uint8_t> version = good;
  version[8] = 2;
  try_bytes(version, "version 2 of a bitnet checkpoint; this library reads version 1");
  try_bytes({'h', 'e', 'l', 'l', 'o'}, "not a bitnet checkpoint");
  CHECK(Refused(trainer, file.path() + ".nowhere", "cannot be opened"));

  REQUIRE(WritePlainly(file.path(), good));
  CHECK(trainer.Load(file.path()).ok());
  CHECK(Everything(trainer) == good);
}

TEST_CASE("Checkpoint: a file whose checksum is right but whose contents are not is refused") {
  auto trainer = NewTrainer();
  const TemporaryFile file("forged");
  REQUIRE(trainer.Save(file.path()).ok());
  const std::vector<uint8_t> good = *LoadSealed(file.path(), kCheckpointFile);
  const auto try_payload = [&](const std::vector<uint8_t>& payload) {
    REQUIRE(SaveSealed(file.path(), kCheckpointFile, payload).ok());
    return Refused(trainer, file.path(), "");
  };
  for (size_t size = 0; size < good.size(); size += size < 100 ? 7 : 2503) {
    INFO("the first " << size << " of " << good.size() << " bytes");
    CHECK(try_payload({good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size)}));
  }
  std::vector<uint8_t> longer = good;
  longer.push_back(0);
  CHECK(try_payload(longer));
  std::vector<uint8_t> entries = good;
  entries[0] ^= 1;
  CHECK(try_payload(entries));
  // The length of the first name, then of everything: no allocation follows it.
  std::vector<uint8_t> huge = good;
  for (size_t i = 4; i < 8; ++i) huge[i] = 0xff;
  CHECK(try_payload(huge));
  // The last value of the second moment becomes NaN, infinite, negative.
  for (const float value : {NAN, INFINITY, -1.0f, -1e-30f}) {
    CAPTURE(value);
    std::vector<uint8_t> bad = good;
    std::memcpy(bad.data() + bad.size() - sizeof(value), &value, sizeof(value));
    REQUIRE(SaveSealed(file.path(), kCheckpointFile, bad).ok());
    CHECK(Refused(trainer, file.path(), "reading second moment final_norm: value 19 is "));
    CHECK(Refused(trainer, file.path(), "; it must be finite and not negative"));
  }
}

TEST_CASE("Checkpoint: numbers that no run has are not written, and the old file stays") {
  const ModelConfig config = SmallConfig();
  const RunDescription run = DescribeConfig(config);
  TrainingState state;
  state.step = 3;
  Random random(1);
  state.weights = LatentWeights::Initial(config, random);
  state.optimizer = AdamW(state.weights, {});
  state.optimizer.first_moment().layer(0).down[5] = -1.0f;
  const TemporaryFile file("not_written");
  REQUIRE(SaveCheckpoint(file.path(), run, state).ok());
  const std::vector<uint8_t> before = *ReadFile(file.path());
  const auto refusal = [&](auto&& change) {
    TrainingState bad = state;
    change(bad);
    const Result<Done> saved = SaveCheckpoint(file.path(), run, bad);
    CHECK(*ReadFile(file.path()) == before);
    return saved.ok() ? std::string() : saved.error();
  };
  const std::string begin = file.path() + ": not written: ";
  CHECK(refusal([](TrainingState& s) { s.weights.layer(0).q[7] = NAN; }) ==
        begin + "weights layer0.q: value 7 is nan; it must be finite");
  CHECK(refusal([](TrainingState& s) { s.weights.final_norm()[0] = -INFINITY; }) ==
        begin + "weights final_norm: value 0 is -inf; it must be finite");
  CHECK(refusal([](TrainingState& s) { s.optimizer.first_moment().embedding()[1] = INFINITY; }) ==
        begin + "first moment embedding: value 1 is inf; it must be finite");
  CHECK(refusal([](TrainingState& s) { s.optimizer.second_moment().layer(0).ffn_norm[2] = -1.0f; }) ==
        begin + "second moment layer0.ffn_norm: value 2 is -1; it must be finite and not negative");
}

TEST_CASE("Checkpoint: a run whose weights overflowed does not replace its last good file") {
  TrainOptions options = SmallOptions();
  options.warmup = 0;
  options.learning_rate = options.second_learning_rate = 3e38f;
  options.weight_decay = 3e38f;
  auto trainer = NewTrainer<Fp32, Fp32>(options);
  const TemporaryFile file("overflowed");
  REQUIRE(trainer.Save(file.path()).ok());
  const std::vector<uint8_t> before = *ReadFile(file.path());
  REQUIRE(trainer.Step().ok());
  const Result<Done> saved = trainer.Save(file.path());
  REQUIRE_FALSE(saved.ok());
  CHECK(saved.error().find(file.path() + ": not written: weights ") == 0);
  CHECK(*ReadFile(file.path()) == before);
}

TEST_CASE("Checkpoint: those of when schemes decided about sub-layer norms are read, and written again as they were") {
  for (const std::string name : {"checkpoint_1.bin", "checkpoint_1_subnorm.bin"}) {
    INFO(name);
    const std::string old = std::string(BITNET_SOURCE_DIR) + "/tests/golden/" + name;
    ModelConfig config;
    config.vocab = 3, config.hidden = 4, config.layers = 1, config.heads = 2, config.kv_heads = 1, config.head_dim = 2;
    config.ffn = 6, config.max_positions = 8, config.rope_base = 123.5f;
    config.sub_layer_norms = name == "checkpoint_1_subnorm.bin";
    config.tied_embedding = !config.sub_layer_norms;
    TrainOptions options;
    options.steps = 4, options.batch = 2, options.sequence = 5, options.stage2_share = 0.5, options.warmup = 1;
    std::vector<uint32_t> text;
    for (uint32_t i = 0; i < 120; ++i) text.push_back(i * i % 3);
    auto trainer = Trainer<B158, A48>::Create(config, options, Corpus(text));
    REQUIRE(trainer.ok());
    const Result<Done> loaded = trainer->Load(old);
    INFO((loaded.ok() ? "" : loaded.error()));
    REQUIRE(loaded.ok());
    CHECK(trainer->step() == 3);
    CHECK(Everything(*trainer) == *ReadFile(old));
    CHECK(trainer->Step().ok());
    // The norms belong to the run.
    config.sub_layer_norms = !config.sub_layer_norms;
    auto other = Trainer<B158, A48>::Create(config, options, Corpus(text));
    REQUIRE(other.ok());
    CHECK(Refused(*other, old, "its scheme of stage 1 is B158"));
  }
}

struct OtherInputs : A48 {  // the same name, another quantizer
  using Input = Quantizer<Int<4>, AbsMax>;
};

template <class T>
struct AtDown : A48 {
  using DownInput = Transformed<T, A48::DownInput>;
};

TEST_CASE("Checkpoint: schemes of one name are told apart by what their transforms do") {
  const std::string schemes[] = {DescribeScheme<A48>(ModelConfig{}),
                                 DescribeScheme<AtDown<Hadamard<64>>>(ModelConfig{}),
                                 DescribeScheme<AtDown<Hadamard<128>>>(ModelConfig{}),
                                 DescribeScheme<AtDown<Hadamard<16384>>>(ModelConfig{}),
                                 DescribeScheme<AtDown<Hadamard<32768>>>(ModelConfig{}),
                                 DescribeScheme<AtDown<Hadamard<64, RandomSigns<1>>>>(ModelConfig{}),
                                 DescribeScheme<AtDown<Hadamard<64, RandomSigns<2>>>>(ModelConfig{})};
  for (const std::string& a : schemes) CHECK(std::ranges::count(schemes, a) == 1);
}

TEST_CASE("Checkpoint: that of another run is refused by what differs") {
  const TemporaryFile file("other");
  REQUIRE(NewTrainer().Save(file.path()).ok());
  TrainOptions options = SmallOptions();
  options.batch = 3;
  auto batch = NewTrainer(options);
  CHECK(Refused(batch, file.path(), "its batch is 2, this run's is 3"));
  options = SmallOptions();
  options.adam.beta2 = 0.999f;
  auto beta = NewTrainer(options);
  CHECK(Refused(beta, file.path(), "its beta2 is 0.949999988, this run's is 0.999"));
  ModelConfig config = SmallConfig();
  config.ffn = 45;
  auto ffn = NewTrainer(SmallOptions(), config);
  CHECK(Refused(ffn, file.path(), "its ffn is 44, this run's is 45"));
  auto text = NewTrainer(SmallOptions(), SmallConfig(), 2);
  CHECK(Refused(text, file.path(), "its text's checksum is"));
  auto stage1 = NewTrainer<A48, A48>();
  CHECK(Refused(stage1, file.path(), "its scheme of stage 1 is B158"));
  auto stage2 = NewTrainer<B158, OtherInputs>();
  CHECK(Refused(stage2, file.path(), "its scheme of stage 2 is A48"));
  auto same = NewTrainer();
  CHECK(same.Load(file.path()).ok());
  // On however many machines: all have the same state.
  options = SmallOptions();
  options.share = {1, 2};
  auto rank = NewTrainer(options);
  CHECK(rank.Load(file.path()).ok());
  CHECK(Everything(rank) == Everything(same));
}

TEST_CASE("Checkpoint: a place that cannot be written is said") {
  const Result<Done> saved = NewTrainer().Save("/nowhere/at/all");
  REQUIRE(!saved.ok());
  CHECK(saved.error().find("/nowhere/at/all: cannot be opened for writing: No such file or directory") == 0);
}

}  // namespace
}  // namespace bitnet::testing::checkpoint_test
