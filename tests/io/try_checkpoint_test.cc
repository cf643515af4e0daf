#include "bitnet/io/try_checkpoint.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "bitnet/backend/simd/default_backend.h"
#include "bitnet/io/examine_checkpoint.h"
#include "bitnet/io/report_text.h"
#include "io/small_checkpoint.h"
#include "testing/temporary_file.h"

namespace bitnet::testing {
namespace {

// A model whose logits are far apart, so that what it writes greedily it also predicts; and that text, of ASCII alone.
void WriteSureModel(const std::string& path) {
  SmallCheckpoint small;
  auto& embedding = small.Find("token_embd.weight");
  Random random(2);
  for (size_t i = 0; i < embedding.bytes.size(); i += 4) {
    const float x = Normal(random);
    std::memcpy(embedding.bytes.data() + i, &x, 4);
  }
  small.Write(path);
}
std::string TextOf(const std::string& path) {
  // (As TryCheckpoint compiles it.)
  const auto model =
      LoadAnyModel<WithChosenCache<B158, WithInt8Cache<B158>, WithSmallCache<B158, 3>>>(*Checkpoint::Open(path));
  REQUIRE(model.ok());
  auto state = model->NewState();
  const std::vector<Token> bos = {1};
  std::string text;
  auto logits = model->Forward(bos, state);
  for (size_t i = 0; i < 60; ++i) {
    REQUIRE(logits.ok());
    const auto best = std::max_element(logits->begin() + 33, logits->begin() + 127) - logits->begin();
    text += static_cast<char>(best);
    const auto token = static_cast<Token>(best);
    logits = model->Forward({&token, 1}, state);
  }
  return text;
}

TEST_CASE("TryCheckpoint: the layout of I2_S, what fewer bits cost, and what a token skips") {
  const TemporaryFile path;
  WriteSureModel(path.path());
  const std::string text = TextOf(path.path());
  const auto examine = [&](I2sLayout layout) {
    CheckpointReport report = ExamineCheckpoint(path.path());
    const size_t errors = report.Count(Severity::kError);
    CHECK(errors == 0);
    TrialOptions options;
    options.checkpoint.decode.i2s = layout;
    TryCheckpoint(text, options, report);
    REQUIRE(report.trial);
    return report;
  };
  const CheckpointReport right = examine(I2sLayout::kA);
  CHECK_FALSE(right.Has("i2s-layout"));
  CHECK_FALSE(right.Has("trial"));
  CHECK(right.trial->tokens == text.size());
  REQUIRE(right.trial->layouts.size() == 3);
  CHECK(right.trial->layouts[0].perplexity < 0.5 * right.trial->layouts[1].perplexity);
  CHECK(right.trial->layouts[0].perplexity < 0.5 * right.trial->layouts[2].perplexity);
  REQUIRE(right.trial->schemes.size() == 3);
  for (const auto& score : right.trial->schemes) {
    CHECK(score.fault.empty());
    CHECK(score.perplexity > 1.0);
  }
  // The text is what 8 bits wrote.
  CHECK(right.trial->schemes[0].perplexity < right.trial->schemes[2].perplexity);
  // Half of the gates are closed, all inputs of q are used but for those that round to zero.
  CHECK(right.trial->use.up.Sparsity() > 30.0);
  CHECK(right.trial->use.up.Sparsity() < 70.0);
  CHECK(right.trial->use.qkv.Sparsity() < 10.0);
  CHECK(right.trial->use.down.Sparsity() > 30.0);

  const CheckpointReport wrong = examine(I2sLayout::kB);
  REQUIRE(wrong.Has("i2s-layout"));
  const auto found = std::find_if(wrong.findings.begin(), wrong.findings.end(),
                                  [](const Finding& f) { return f.rule == "i2s-layout"; });
  CHECK(found->severity == Severity::kError);
  CHECK(found->found.starts_with("layout B of I2_S has the perplexity "));
  CHECK(found->expected.starts_with("layout A of I2_S, whose perplexity is "));

  const std::string words = ReportText(right);
  for (const char* part : {"on a text of 60 tokens", "layout C of I2_S", "8-bit inputs, 3-bit cache", "; down "}) {
    CHECK_MESSAGE(words.find(part) != std::string::npos, part);
  }
  const std::string json = ReportJson(right);
  const Result<JsonDocument> parsed = JsonDocument::Parse(json, "report");
  REQUIRE_MESSAGE(parsed.ok(), (parsed.ok() ? "" : parsed.error()));
  CHECK(parsed->root().At("trial")->At("schemes")->items().size() == 3);
}

TEST_CASE("TryCheckpoint: what cannot be run is a finding") {
  const TemporaryFile path;
  {
    SmallCheckpoint small;
    small.Erase("tokenizer.ggml.tokens");
    small.Write(path.path());
  }
  CheckpointReport report = ExamineCheckpoint(path.path());
  TryCheckpoint("text", {}, report);
  CHECK(report.Has("trial"));
  CHECK_FALSE(report.trial);
}

}  // namespace
}  // namespace bitnet::testing
