#include <utility>

#include "bitnet/base/assert.h"
#include "bitnet/io/load_tokenizer.h"
#include "examples/openai_api.h"
#include "fuzz/fuzz.h"
#include "testing/small_vocabularies.h"

namespace bitnet::testing::openai_body_fuzz {

std::vector<std::vector<uint8_t>> Seeds() {
  return {
      SeedOf(R"({"model": "m", "prompt": "hello w\u00e9", "max_tokens": 4, "temperature": 0.5, "top_p": 0.9, "seed": 7,
      "top_k": 3, "min_p": 0.1, "stop": ["a", "b"], "logit_bias": {"3": -100, "4": 2.5}, "n": 1, "user": "u"})"),
      SeedOf(R"({"prompt": [1, 2, 3], "stream": true, "stream_options": {"include_usage": true}, "stop": "x",
      "echo": false, "logprobs": null, "suffix": "", "frequency_penalty": 0, "best_of": 1})"),
      SeedOf(R"({"messages": [{"role": "system", "content": "hell"}, {"role": "user", "content": [{"type": "text",
      "text": "hello"}]}, {"role": "assistant", "content": "abc"}, {"role": "user", "content": "12"}],
      "max_completion_tokens": 3, "repetition_penalty": 1.2, "tools": [], "tool_choice": "none",
      "response_format": {"type": "text"}, "metadata": {}})")};
}

int OneInput(const uint8_t* data, size_t size) {
  static const bitnet::LoadedTokenizer loaded = {
      *bitnet::Tokenizer::Make(bitnet::testing::SmallBpe()), "{{ 'Human: ' ... 'BITNETAssistant: ' }}", {}};
  static const size_t vocab = loaded.tokenizer.size();
  static const openai::Served served = {"m", loaded, bitnet::FindChatFormat(loaded.chat_template), vocab};
  for (const bool is_chat : {false, true}) {
    openai::BodyReader reader(served, is_chat);
    const auto question = reader.Read({reinterpret_cast<const char*>(data), size});
    if (!question) {
      const openai::Refusal& refusal = reader.refusal();
      BITNET_ASSERT(
          refusal.status >= 400 && refusal.status < 500 && !refusal.message.empty() && refusal.message.size() < 8000,
          "a refusal is a sentence");
      BITNET_ASSERT(bitnet::JsonDocument::Parse(openai::JsonOf(refusal), "r").ok(), "a refusal is JSON");
      continue;
    }
    BITNET_ASSERT(question->options.Validate().ok(), "what is taken can be generated");
    BITNET_ASSERT(question->stop.size() <= 4, "at most four texts to stop at");
    for (const bitnet::LogitBias& bias : question->options.edits.biases) {
      BITNET_ASSERT(bias.token < vocab, "a bias is of a token");
    }
    const openai::ReplyWriter writer(*question, served.name, "id", 1);
    const auto whole = bitnet::JsonDocument::Parse(writer.Whole("\"\n", "stop", 1), "w");
    BITNET_ASSERT(whole.ok(), "a reply is JSON");
  }
  return 0;
}

BITNET_FUZZ_TARGET(openai_body);

}  // namespace bitnet::testing::openai_body_fuzz
