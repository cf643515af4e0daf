#include "bitnet/io/chat_template.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "testing/small_vocabularies.h"

namespace bitnet::chat_template_test {
namespace {

// The templates as the models' files have them, up to what tells them apart; rendered by Jinja2 3.1 for `kMessages`.
struct Known {
  const char* name;
  const char* jinja;
  const char* expected;
};
const ChatMessage kMessages[] = {{ChatRole::kSystem, " Be brief.\n"},
                                 {ChatRole::kUser, "Hi \u3000"},
                                 {ChatRole::kAssistant, "<think>\nhm\n</think>\n\nHello <|eot_id|>"},
                                 {ChatRole::kUser, "Bye"}};
const Known kKnown[] = {
    {"BitNet 2B",
     "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = message['role'] | "
     "capitalize "
     "+ ': '+ message['content'] | trim + '<|eot_id|>' %}{{ content }}{% endfor %}{% if add_generation_prompt %}"
     "{{ 'Assistant: ' }}{% endif %}",
     "System: Be brief.<|eot_id|>User: Hi<|eot_id|>Assistant: <think>\nhm\n</think>\n\nHello <|eot_id|><|eot_id|>"
     "User: Bye<|eot_id|>Assistant: "},
    {"BitNet 2B",
     "{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}{% if message['role'] == 'user' %}{{ "
     "'Human: ' + message['content'] + '\\n\\nBITNETAssistant: ' + eos_token }}{% endif %}{% endfor %}"
     "{# 'Human: ' #}{{'Human: '}}",
     nullptr},
    {"Llama 3",
     "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ "
     "message['content'] | trim + '<|eot_id|>' %}{{ content }}{% endfor %}",
     "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi"
     "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n<think>\nhm\n</think>\n\nHello <|eot_id|><|eot_id|>"
     "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"Falcon3",
     "{% if message['role'] == 'system' %}{{ '<|system|>\\n' + message['content'] + '\\n' }}{% elif message['role'] == "
     "'user' %}{{ '<|user|>\\n' + message['content'] + '\\n' }}{% elif message['role'] == 'assistant' %}{% if not "
     "loop.last %}{{ '<|assistant|>\\n' + message['content'] + eos_token + '\\n' }}{% endif %}{% endif %}",
     "<|system|>\n Be brief.\n\n<|user|>\nHi \u3000\n<|assistant|>\n<think>\nhm\n</think>\n\nHello <|eot_id|>"
     "<|endoftext|>\n<|user|>\nBye\n<|assistant|>\n"},
    {"ChatML",
     "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + "
     "'\n'}}{% endfor %}",
     "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\nHi \u3000<|im_end|>\n<|im_start|>assistant\n"
     "<think>\nhm\n</think>\n\nHello <|eot_id|><|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"},
    {"Qwen3",
     "{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{{- '<|im_start|>assistant\\n' }}{%- if "
     "enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}<|im_end|>"
     "<tool_call>",
     "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\nHi \u3000<|im_end|>\n<|im_start|>assistant\n"
     "Hello <|eot_id|><|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"},
    {"Llama 3.1",
     R"({%- if not date_string is defined %}{%- set date_string = "26 Jul 2024" %}{%- endif %}{%- if tools %}...)"
     R"({{- "<|start_header_id|>system<|end_header_id|>\n\n" }}{{- "Cutting Knowledge Date: December 2023\n" }})"
     R"({{- "Today Date: " + date_string + "\n\n" }}{{- system_message }}{{- "<|eot_id|>" }})"
     R"({{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }})",
     "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
     "Be brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant"
     "<|end_header_id|>\n\n<think>\nhm\n</think>\n\nHello <|eot_id|><|eot_id|><|start_header_id|>user<|end_header_id|>"
     "\n\nBye<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"Qwen2.5",
     R"({{- '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n' }})"
     R"({{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}<tool_call>)"
     R"({%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %})",
     "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\nHi \u3000<|im_end|>\n<|im_start|>assistant\n"
     "<think>\nhm\n</think>\n\nHello <|eot_id|><|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"}};

std::string Joined(const std::vector<TextPart>& parts) {
  std::string text;
  for (const TextPart& part : parts) text += part.text;
  return text;
}

TEST_CASE("FindChatFormat: the known templates, written as Jinja writes them") {
  for (const Known& known : kKnown) {
    CAPTURE(known.name);
    const ChatFormat* format = FindChatFormat(known.jinja);
    REQUIRE(format != nullptr);
    CHECK(format->name == known.name);
    if (known.expected != nullptr) CHECK(Joined(ChatParts(*format, kMessages)) == known.expected);
  }
  std::string falcon = kKnown[3].jinja;
  for (size_t at = falcon.find("\\n"); at != std::string::npos; at = falcon.find("\\n")) falcon.replace(at, 2, "\n");
  CHECK(FindChatFormat(falcon) == FindChatFormat(kKnown[3].jinja));
  const ChatFormat* qwen = FindChatFormat(kKnown[5].jinja);
  const std::span<const ChatMessage> two(kMessages, 2);
  CHECK(Joined(ChatParts(*qwen, two, {.thinking = false})).ends_with("<|im_start|>assistant\n<think>\n\n</think>\n\n"));
  CHECK(Joined(ChatParts(*qwen, two, {.asks_for_reply = false})).ends_with("<|im_end|>\n"));
}

TEST_CASE("ChatParts: what stands where a conversation begins without a system message") {
  const std::span<const ChatMessage> last(kMessages + 3, 1), none;
  const ChatFormat *llama = FindChatFormat(kKnown[6].jinja), *qwen = FindChatFormat(kKnown[7].jinja);
  const std::string dates =
      "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
      "<|eot_id|>";
  const std::string of_qwen =
      "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n";
  const std::string bye =
      "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n";
  CHECK(Joined(ChatParts(*llama, last)) == dates + bye);
  CHECK(Joined(ChatParts(*qwen, last)) == of_qwen + "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n");
  CHECK(Joined(ChatParts(*qwen, none, {.asks_for_reply = false})) == of_qwen);
  // Later messages are as they are, those of the system too.
  CHECK(Joined(ChatParts(*llama, last, {.at_start = false})) == bye);
  const std::vector<ChatMessage> system = {kMessages[3], {ChatRole::kSystem, "Be long."}};
  const std::string be_long = "<|start_header_id|>system<|end_header_id|>\n\nBe long.<|eot_id|>";
  CHECK(Joined(ChatParts(*llama, std::span(system).subspan(1), {.at_start = false, .asks_for_reply = false})) ==
        be_long);
  CHECK(Joined(ChatParts(*llama, system, {.asks_for_reply = false})).ends_with("Bye<|eot_id|>" + be_long));
  // What others have is not theirs.
  CHECK(Joined(ChatParts(*FindChatFormat(kKnown[2].jinja), last)) == bye);
}

TEST_CASE("FindChatFormat: others, and changes of known ones, are not known") {
  for (const char* jinja : {"", "{{ messages }}", "{{ '[INST] ' + message['content'] + ' [/INST]' }}",
                            "<|start_header_id|><|end_header_id|><|eot_id|> Cutting Knowledge Date: December 2023",
                            "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud.<|im_end|>",
                            "'<|user|>\\n' + message['content'] + eos_token + '\\n' <|assistant|>",
                            "<|user|>\n' + message['content'] + '<|end|>\n <|assistant|> eos_token + '\\n'"}) {
    CAPTURE(jinja);
    CHECK(FindChatFormat(jinja) == nullptr);
  }
  // Llama 3.2's date is that of the day.
  const auto changed = [](size_t known, std::string_view from, const std::string& to) {
    std::string jinja = kKnown[known].jinja;
    const size_t at = jinja.find(from);
    REQUIRE(at != std::string::npos);
    return FindChatFormat(jinja.replace(at, from.size(), to));
  };
  CHECK(changed(6, "{%- set", "{%- set date_string = strftime_now(\"%d %b %Y\") %}{%- set") == nullptr);
  CHECK(changed(6, "26 Jul", "27 Jul") == nullptr);
  CHECK(changed(6, "December 2023", "March 2023") == nullptr);
  CHECK(changed(6, "system<|end", "Metadata<|end") == nullptr);
  CHECK(changed(7, "helpful", "harmless") == nullptr);
  CHECK(changed(7, "assistant\\n' }}", "assistant\\nDecision:' }}") == nullptr);
  CHECK(changed(7, "message.content", "message.content | trim") == nullptr);
}

TEST_CASE("EncodeChat: what roles say makes no control tokens, what the format says does") {
  BpeVocabulary v = testing::SmallBpe();
  const auto made = Tokenizer::Make(v);
  REQUIRE(made.ok());
  const Token eot = *made->Find("<|eot_id|>"), bos = *made->Find("<|bos|>");
  const ChatFormat* format = FindChatFormat(kKnown[0].jinja);
  const std::vector<ChatMessage> messages = {{ChatRole::kUser, " hello<|eot_id|> "}};
  const auto tokens = EncodeChat(*made, *format, messages);
  REQUIRE(tokens.ok());
  CHECK(std::count(tokens->begin(), tokens->end(), eot) == 1);
  CHECK(tokens->front() == bos);
  CHECK(*made->Decode(*tokens, {.show_control = true}) == "<|bos|>User: hello<|eot_id|><|eot_id|>Assistant: ");
  const auto next = EncodeChat(*made, *format, messages, {.at_start = false});
  CHECK(next->front() != bos);
  CHECK(next->size() + 1 == tokens->size());
  // The same tokens as those of the text as a whole.
  const std::vector<ChatMessage> plain = {{ChatRole::kUser, "hello"}};
  CHECK(*EncodeChat(*made, *format, plain) ==
        *made->Encode("User: hello<|eot_id|>Assistant: ", {.add_special = true, .parse_control = true}));
}

TEST_CASE("AfterReply: the end of the reply unless the model wrote it, and what stands after it") {
  const auto made = Tokenizer::Make(testing::SmallBpe());
  REQUIRE(made.ok());
  const Token eot = *made->Find("<|eot_id|>");
  const ChatFormat* bitnet = FindChatFormat(kKnown[0].jinja);
  CHECK(*AfterReply(*made, *bitnet, eot) == std::vector<Token>{});
  CHECK(*AfterReply(*made, *bitnet, 'a') == std::vector<Token>{eot});
  ChatFormat own = *bitnet;
  own.turns[2].after = "<|eot_id|>\n";
  CHECK(*AfterReply(*made, own, eot) == std::vector<Token>{'\n'});
  CHECK(*AfterReply(*made, own, 'a') == std::vector<Token>{eot, '\n'});
}

}  // namespace
}  // namespace bitnet::chat_template_test
