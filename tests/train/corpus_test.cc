#include <bitnet/train/corpus.h>
#include <doctest/doctest.h>

#include <set>
#include <string>
#include <vector>

namespace bitnet::testing {
namespace {

std::vector<uint32_t> Counting(size_t n) {
  std::vector<uint32_t> tokens(n);
  for (size_t i = 0; i < n; ++i) tokens[i] = static_cast<uint32_t>(i);
  return tokens;
}

TEST_CASE("Corpus: bytes are tokens, the last tenth is held out") {
  const Corpus corpus = Corpus::FromBytes(std::string("ab\xff") + std::string(1, '\0') + "0123456789abcdef");
  CHECK(corpus.train().size() == 18);
  CHECK(corpus.validation().size() == 2);
  CHECK(corpus.train()[2] == 255);
  CHECK(corpus.train()[3] == 0);
  CHECK(corpus.validation()[1] == 'f');
  CHECK(!Corpus::FromFile("/nowhere").ok());
}

TEST_CASE("Corpus: samples are runs of the training part, targets follow, all starts occur") {
  const Corpus corpus(Counting(40), 0.5);
  Random random(1);
  std::set<uint32_t> starts;
  for (int i = 0; i < 200; ++i) {
    const TokenBatch batch = corpus.Sample(random, 2, 5);
    REQUIRE(batch.tokens() == 10);
    REQUIRE(batch.inputs.size() == 10);
    for (size_t t = 0; t < 10; ++t) {
      CHECK(batch.targets[t] == batch.inputs[t] + 1);
      CHECK(batch.inputs[t] == batch.inputs[t / 5 * 5] + t % 5);
      CHECK(batch.targets[t] < 20);
    }
    starts.insert(batch.inputs[0]);
  }
  CHECK(starts.size() == 15);
}

TEST_CASE("Corpus: validation windows do not overlap and never leave the held-out part") {
  const Corpus corpus(Counting(100), 0.5);
  CHECK(corpus.ValidationWindows(7) == 7);
  const TokenBatch all = corpus.ValidationBatch(0, 7, 7, 7);
  for (size_t i = 0; i < 49; ++i) CHECK(all.inputs[i] == 50 + i);
  CHECK(all.targets.back() == 99);
  // Three of seven, evenly; in two batches the same ones.
  const TokenBatch some = corpus.ValidationBatch(1, 2, 3, 7);
  CHECK(some.inputs[0] == 50 + 2 * 7);
  CHECK(some.inputs[7] == 50 + 4 * 7);
}

TEST_CASE("Corpus: a length that leaves no number for the token after it is refused") {
  const Result<Done> checked = Corpus(Counting(100), 0.5).Check(~size_t{0}, 256);
  REQUIRE(!checked.ok());
  CHECK(checked.error().find("training part has 50 tokens") != std::string::npos);
}

TEST_CASE("Corpus: fingerprints tell texts and splits apart") {
  const uint64_t one = Corpus(Counting(40)).Fingerprint();
  CHECK(one == Corpus(Counting(40)).Fingerprint());
  CHECK(one != Corpus(Counting(41)).Fingerprint());
  CHECK(one != Corpus(Counting(40), 0.5).Fingerprint());
}

}  // namespace
}  // namespace bitnet::testing
