#include "bitnet/model/config.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <string>

#include "bitnet/base/bytes.h"

namespace bitnet {
namespace {

// The sentence that refuses a configuration with one member changed; empty if it is accepted.
template <class Change>
std::string Refusal(Change&& change) {
  ModelConfig config;
  change(config);
  const Result<Done> valid = config.Validate();
  return valid.ok() ? "" : valid.error();
}

bool Holds(const std::string& sentence, const std::string& part) { return sentence.find(part) != std::string::npos; }

TEST_CASE("ModelConfig: the default is valid, and so are the smallest and the largest sizes") {
  CHECK(Refusal([](ModelConfig&) {}) == "");
  CHECK(Refusal([](ModelConfig& c) {
          c.vocab = c.hidden = c.layers = c.heads = c.kv_heads = c.ffn = c.max_positions = 1;
          c.head_dim = 2;
          c.rms_eps = std::numeric_limits<float>::denorm_min();
        }) == "");
  CHECK(Refusal([](ModelConfig& c) { c.ffn = c.vocab = (1u << 24) - 1; }) == "");
}

TEST_CASE("ModelConfig: a size of 0 or of 2^24 and more is refused by its name") {
  const struct {
    const char* name;
    uint32_t ModelConfig::*member;
  } sizes[] = {{"vocab", &ModelConfig::vocab},       {"hidden", &ModelConfig::hidden},
               {"layers", &ModelConfig::layers},     {"heads", &ModelConfig::heads},
               {"kv_heads", &ModelConfig::kv_heads}, {"head_dim", &ModelConfig::head_dim},
               {"ffn", &ModelConfig::ffn},           {"max_positions", &ModelConfig::max_positions}};
  for (const auto& size : sizes) {
    for (const uint32_t value : {0u, 1u << 24, std::numeric_limits<uint32_t>::max()}) {
      CHECK(Refusal([&](ModelConfig& c) { c.*size.member = value; }) == "config: " + std::string(size.name) + " is " +
                                                                            std::to_string(value) +
                                                                            "; it must be between 1 and 16777215");
    }
  }
}

TEST_CASE("ModelConfig: what does not fit together is refused with a sentence") {
  CHECK(Holds(Refusal([](ModelConfig& c) { c.head_dim = 63; }), "head_dim is 63; the rotary embedding needs an even"));
  CHECK(
      Holds(Refusal([](ModelConfig& c) { c.kv_heads = 3; }), "heads is 4 and kv_heads 3; kv_heads must divide heads"));
  CHECK(Holds(Refusal([](ModelConfig& c) { c.kv_heads = 8; }), "kv_heads must divide heads"));
  CHECK(Holds(Refusal([](ModelConfig& c) { c.heads = 1u << 23; }), "heads * head_dim is 536870912"));
  for (const float base :
       {1.0f, 0.0f, -5.0f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    CHECK(Holds(Refusal([&](ModelConfig& c) { c.rope_base = base; }), "rope_base is "));
  }
  for (const float eps :
       {0.0f, -1e-9f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    CHECK(Holds(Refusal([&](ModelConfig& c) { c.rms_eps = eps; }), "rms_eps is "));
  }
}

TEST_CASE("ModelConfig: is read as it was written") {
  ModelConfig config;
  config.vocab = 1, config.hidden = 2, config.layers = 3, config.heads = 4, config.kv_heads = 5, config.head_dim = 6;
  config.ffn = 7, config.max_positions = 8, config.rope_base = 9.5f, config.rms_eps = 10.5f;
  for (const bool flag : {false, true}) {
    config.tied_embedding = flag;
    config.sub_layer_norms = !flag;
    ByteWriter to;
    config.Write(to);
    ByteReader from(to.bytes());
    CHECK(ModelConfig::Read(from) == config);
    CHECK(from.ok());
    CHECK(from.remaining() == 0);
  }
  // What came later takes no room where it is not used, and none is lost where it is.
  ByteWriter without;
  config.Write(without);
  config.head_norms = true;
  ByteWriter with_norms;
  config.Write(with_norms);
  CHECK(with_norms.bytes().size() == without.bytes().size());
  config.rope_frequencies = {1.0, 0.5, 0.0};
  config.rope_magnitude = 1.25f;
  ByteWriter to;
  config.Write(to);
  ByteReader from(to.bytes());
  CHECK(ModelConfig::Read(from) == config);
  CHECK(from.remaining() == 0);
  // Cut anywhere it is refused.
  for (size_t n = 0; n < to.bytes().size(); ++n) {
    ByteReader part(std::span<const uint8_t>(to.bytes()).first(n));
    ModelConfig::Read(part);
    CHECK(!part.ok());
  }
  // A head as wide as a stranger says takes no memory that the file has not.
  std::vector<uint8_t> wide = to.bytes();
  for (size_t i = 20; i < 24; ++i) wide[i] = 0xff;  // head_dim
  ByteReader wide_from(wide);
  ModelConfig::Read(wide_from);
  CHECK(Holds(wide_from.error(), "too short for 2147483647 rotary frequencies"));
  wide[without.bytes().size() - 1] = 8;
  ByteReader unknown(wide);
  ModelConfig::Read(unknown);
  CHECK(Holds(unknown.error(), "its features are 8; at most 7 is known"));
}

TEST_CASE("ModelConfig: rotary frequencies of its own") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(Holds(Refusal([](ModelConfig& c) { c.rope_frequencies.resize(31); }), "rope_frequencies has 31 values"));
  for (const double f : {-1.0, nan, std::numeric_limits<double>::infinity()}) {
    CHECK(Holds(Refusal([&](ModelConfig& c) { c.rope_frequencies.assign(32, f); }), "rope_frequencies holds"));
  }
  CHECK(Holds(Refusal([](ModelConfig& c) { c.rope_magnitude = 2.0f; }), "there are no rope_frequencies"));
  for (const float m : {0.0f, -1.0f, static_cast<float>(nan)}) {
    const auto change = [&](ModelConfig& c) { c.rope_frequencies.assign(32, 1.0), c.rope_magnitude = m; };
    CHECK(Holds(Refusal(change), "rope_magnitude is"));
  }
  ModelConfig config;
  config.rope_frequencies.assign(32, 1.0);
  config.rope_magnitude = 2.0f;
  CHECK(config.Validate().ok());
}

TEST_CASE("ModelConfig: widths") {
  ModelConfig config;
  config.heads = 4, config.kv_heads = 2, config.head_dim = 6;
  CHECK(config.query_width() == 24);
  CHECK(config.kv_width() == 12);
}

}  // namespace
}  // namespace bitnet
