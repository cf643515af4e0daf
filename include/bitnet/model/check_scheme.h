// CheckScheme<S>(config): whether the sums of a scheme's integer products fit their 32 bits at a configuration's
// widths, and whether the scheme leaves a tied embedding tied.
#ifndef BITNET_MODEL_CHECK_SCHEME_H_
#define BITNET_MODEL_CHECK_SCHEME_H_

#include <cstddef>
#include <string>
#include <type_traits>

#include "bitnet/backend/definitions.h"
#include "bitnet/base/result.h"
#include "bitnet/model/config.h"
#include "bitnet/scheme/cache.h"
#include "bitnet/scheme/scheme.h"

namespace bitnet {

// ModelConfig::Validate knows sizes, not formats; this knows both (docs/numerics.md: a dot product of levels stays
// below 2^29). Backends assert the same, matrix by matrix. The configuration must be valid.
template <Scheme S>
Result<Done> CheckScheme(const ModelConfig& c) {
  std::string problem;
  const auto say = [&](bool fits, const char* what, const char* width, size_t columns) {
    if (!problem.empty() || fits) return;
    problem = "config: " + std::string(width) + " is " + std::to_string(columns) + "; with the scheme " + S::kName +
              " a dot product of that many levels at " + what + " could reach 2^29";
  };
  const auto check = [&]<class W, class X>(const char* what, const char* width, size_t columns) {
    say(DotFits<typename W::Format, typename X::Format>(columns), what, width, columns);
  };
  const auto check_layers = [&]<class L>() {
    using W = typename L::Weight;
    check.template operator()<W, typename L::Input>("the inputs of attention and FFN", "hidden", c.hidden);
    check.template operator()<W, typename L::OutputInput>("the attention output", "heads * head_dim", c.query_width());
    check.template operator()<W, typename L::DownInput>("down", "ffn", c.ffn);
    ForEachCache<CacheQuantizersOf<L>>([&]<class Heads>(size_t, std::type_identity<Heads>) {
      using Q = typename Heads::Query;
      check.template operator()<Q, typename Heads::Key>("attention scores", "head_dim", c.head_dim);
      check.template operator()<Q, typename Heads::FirstKey>("attention scores", "head_dim", c.head_dim);
    });
  };
  check_layers.template operator()<S>();
  if (kHasEdges<S>) check_layers.template operator()<EdgeOf<S>>();
  check.template operator()<typename S::HeadWeight, typename S::HeadInput>("the output head", "hidden", c.hidden);
  if (problem.empty() && c.tied_embedding && !kMayTieEmbedding<S>) {
    problem = "config: tied_embedding is true; the scheme " + std::string(S::kName) +
              " quantizes the embedding otherwise than the output head";
  }
  if (!problem.empty()) return Error{problem};
  return Done{};
}

}  // namespace bitnet

#endif  // BITNET_MODEL_CHECK_SCHEME_H_
