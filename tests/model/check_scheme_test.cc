#include "bitnet/model/check_scheme.h"

#include <doctest/doctest.h>

#include <string>

#include "bitnet/model/model_file.h"
#include "testing/expect_assertion.h"
#include "testing/tiny_model.h"

namespace bitnet::testing {
namespace {

template <Scheme S>
std::string Refusal(const ModelConfig& config) {
  const Result<Done> fits = CheckScheme<S>(config);
  return fits.ok() ? "" : fits.error();
}

// A ternary level times an INT8 level is at most 128 in magnitude: 2^22 columns reach 2^29.
struct EightBitHeads : A48 {
  static constexpr const char* kName = "EightBitHeads";
  using HeadWeight = Quantizer<Int<8>, AbsMax, PerRow>;
  using HeadInput = Quantizer<Int<8>, AbsMax>;
  using Query = Quantizer<MidRise<8>, AbsMax>;
  using Key = Query;
  using FirstKey = Quantizer<MidRise<7>, AbsMax>;
};

TEST_CASE("CheckScheme: the widest sums that fit are accepted, one column more is refused by its name") {
  ModelConfig config;
  config.ffn = (1u << 22) - 1;
  CHECK(Refusal<A48>(config) == "");
  config.ffn += 1;
  CHECK(Refusal<A48>(config) ==
        "config: ffn is 4194304; with the scheme A48 a dot product of that many levels at down could reach 2^29");
  CHECK(Refusal<Fp32>(config) == "");

  config = ModelConfig();
  config.hidden = (1u << 15) - 1;
  CHECK(Refusal<EightBitHeads>(config) == "");
  config.hidden += 1;
  CHECK(Refusal<EightBitHeads>(config).find("hidden is 32768; with the scheme EightBitHeads") != std::string::npos);
  CHECK(Refusal<EightBitHeads>(config).find("the output head") != std::string::npos);

  config = ModelConfig();
  config.heads = config.kv_heads = 1;
  config.head_dim = 8256;
  CHECK(Refusal<EightBitHeads>(config) == "");
  config.head_dim += 2;
  CHECK(Refusal<EightBitHeads>(config).find("attention scores") != std::string::npos);
  CHECK(Refusal<A48>(config) == "");
  CHECK(Refusal<WithChosenCache<A48, A48, EightBitHeads>>(config).find("attention scores") != std::string::npos);

  config = ModelConfig();
  config.heads = config.kv_heads = 1u << 14;
  config.head_dim = (1u << 8) + 2;
  CHECK(Refusal<A48>(config).find("heads * head_dim is 4227072") != std::string::npos);
}

TEST_CASE("CheckScheme: a file of sizes that the scheme cannot sum is refused before its tensors are read") {
  ModelConfig config = TinyConfig();
  config.ffn = 1u << 22;
  ByteWriter to;
  config.Write(to);
  const Result<ModelWeights<A48>> model = DeserializeModel<A48>(to.bytes());
  REQUIRE(!model.ok());
  CHECK(model.error().find("ffn is 4194304; with the scheme A48") != std::string::npos);
}

}  // namespace
}  // namespace bitnet::testing
