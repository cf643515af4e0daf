// ChatFormat: how a model wants a conversation written: what stands before and after the text of each role.
//
//   const ChatFormat* format = FindChatFormat(description.chat_template);   // null: not known; fill in a ChatFormat
//   auto tokens = EncodeChat(tokenizer, *format, {{ChatRole::kUser, "Hello"}});
//
// There is no engine for the templates (Jinja) that files carry: those of the supported models are recognised by words
// that only they have, and written here as data. A template that is not known is never replaced by a similar one; the
// caller gives a ChatFormat of its own then.
//
// What roles say is text: a <|eot_id|> that a user types is not the token.
#ifndef BITNET_IO_CHAT_TEMPLATE_H_
#define BITNET_IO_CHAT_TEMPLATE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bitnet/base/result.h"
#include "bitnet/io/tokenizer.h"
#include "bitnet/io/unicode.h"

namespace bitnet {

enum class ChatRole : uint8_t { kSystem, kUser, kAssistant };

struct ChatMessage {
  ChatRole role = ChatRole::kUser;
  std::string text;
};

// The texts are the caller's, who keeps them.
struct ChatFormat {
  std::string_view name;
  struct Turn {
    std::string_view before, after;
  };
  // By role. The assistant's `before` is what makes the model reply. Its `after` is the token that ends a reply, which
  // the model writes itself, and what follows that.
  std::array<Turn, 3> turns;
  bool trims = false;                    // white space around texts goes
  std::string_view without_thinking;     // after the assistant's `before`, to have a reply at once
  bool drops_earlier_reasoning = false;  // replies lose what is up to </think>, but for those after the last question
  // Of the first messages of a conversation: what stands before the text of a system message at their start; and the
  // text of one that is put there where there is none (empty: none is).
  std::string_view before_system = {}, instead_of_system = {};
};

struct ChatOptions {
  // The conversation's first messages: bos is put before them, if the vocabulary asks for it, and what the format has
  // of its own.
  bool at_start = true;
  bool asks_for_reply = true;  // ends with what makes the model reply
  bool thinking = true;        // false: without_thinking, where the format has it
};

namespace detail {

inline constexpr ChatFormat kBitNetChat = {
    "BitNet 2B",
    {{{"System: ", "<|eot_id|>"}, {"User: ", "<|eot_id|>"}, {"Assistant: ", "<|eot_id|>"}}},
    true,
    "",
    false};
inline constexpr ChatFormat kLlama3Chat = {"Llama 3",
                                           {{{"<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"},
                                             {"<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"},
                                             {"<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"}}},
                                           true,
                                           "",
                                           false};
inline constexpr ChatFormat kFalcon3Chat = {
    "Falcon3",
    {{{"<|system|>\n", "\n"}, {"<|user|>\n", "\n"}, {"<|assistant|>\n", "<|endoftext|>\n"}}},
    false,
    "",
    false};
inline constexpr ChatFormat kChatMlChat = {"ChatML",
                                           {{{"<|im_start|>system\n", "<|im_end|>\n"},
                                             {"<|im_start|>user\n", "<|im_end|>\n"},
                                             {"<|im_start|>assistant\n", "<|im_end|>\n"}}},
                                           false,
                                           "",
                                           false};
// The date is what the template has where its caller gives none. Llama 3.3 has the same.
inline constexpr std::string_view kLlama31Dates = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n";
inline constexpr ChatFormat kLlama31Chat = {"Llama 3.1", kLlama3Chat.turns, true,         "",
                                            false,       kLlama31Dates,     kLlama31Dates};
inline constexpr ChatFormat kQwen25Chat = {"Qwen2.5",
                                           kChatMlChat.turns,
                                           false,
                                           "",
                                           false,
                                           "",
                                           "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."};
inline constexpr ChatFormat kQwen3Chat = {"Qwen3", kChatMlChat.turns, false, "<think>\n\n</think>\n\n", true};

// How a template is recognised: it has all of `has`, and none of `lacks`.
struct ChatSigns {
  const ChatFormat* format;
  std::array<std::string_view, 4> has;
  std::array<std::string_view, 3> lacks;  // what would make it another one
};
inline constexpr ChatSigns kChatSigns[] = {
    {&kBitNetChat, {"capitalize", "'Assistant: '", "<|eot_id|>"}, {"raise_exception", "[INST]", ""}},
    // Microsoft's own GGUF files carry this one, which the model was not trained by.
    {&kBitNetChat, {"BITNETAssistant: ", "'Human: '", ""}, {}},
    // Later ones put dates and tools in: 3.1 and 3.3 one date, 3.2 that of the day.
    {&kLlama31Chat,
     {R"("<|start_header_id|>system<|end_header_id|>\n\n")", R"("Cutting Knowledge Date: December 2023\n")",
      R"(set date_string = "26 Jul 2024")", R"("Today Date: " + date_string + "\n\n")"},
     {"strftime_now", "<think>", ""}},
    {&kLlama3Chat, {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}, {"Cutting Knowledge", "tools", ""}},
    {&kFalcon3Chat,
     {"<|assistant|>", "<|user|>", "eos_token + '\\n'"},
     {"<|user|>\\n' + message['content'] + eos_token", "<|end|>", "tools"}},
    {&kQwen3Chat, {"<|im_start|>", "enable_thinking", "</think>"}, {"You are", "", ""}},
    // Qwen2.5 puts a system message of its own in.
    {&kQwen25Chat,
     {R"('<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n')",
      R"('<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n')", R"('<|im_start|>assistant\n')",
      ""},
     {"<think>", "</think>", ""}},
    {&kChatMlChat, {"<|im_start|>", "<|im_end|>", ""}, {"You are", "<think>", "<tool_call>"}},
};

inline bool IsPythonSpace(char32_t code) { return IsWhitespace(code) || (code >= 0x1c && code <= 0x1f); }

// Without white space at both ends, as Jinja's trim.
inline std::string_view Trimmed(std::string_view text) {
  while (!text.empty()) {
    const Utf8Char c = DecodeUtf8(text, 0);
    if (!c.valid || !IsPythonSpace(c.code)) break;
    text.remove_prefix(c.bytes);
  }
  while (!text.empty()) {
    size_t last = text.size() - 1;
    while (last > 0 && (static_cast<uint8_t>(text[last]) & 0xc0) == 0x80) --last;
    const Utf8Char c = DecodeUtf8(text, last);
    if (!c.valid || last + c.bytes != text.size() || !IsPythonSpace(c.code)) break;
    text.remove_suffix(c.bytes);
  }
  return text;
}

}  // namespace detail

// The format of a template that a file carries, or null.
inline const ChatFormat* FindChatFormat(std::string_view jinja) {
  // A line's end within Jinja's quotes is written as itself or as \n.
  std::string text;
  for (const char c : jinja) c == '\n' ? text += "\\n" : text += c;
  const auto has = [&](std::string_view sign) { return text.find(sign) != std::string::npos; };
  for (const detail::ChatSigns& signs : detail::kChatSigns) {
    bool is_it = true;
    for (const std::string_view sign : signs.has) is_it = is_it && (sign.empty() || has(sign));
    for (const std::string_view sign : signs.lacks) is_it = is_it && (sign.empty() || !has(sign));
    if (is_it) return signs.format;
  }
  return nullptr;
}

// The conversation in the parts that Tokenizer::Encode takes: views of the format and of the messages.
inline std::vector<TextPart> ChatParts(const ChatFormat& format, std::span<const ChatMessage> messages,
                                       const ChatOptions& options = {}) {
  size_t last_question = 0;
  for (size_t i = 0; i < messages.size(); ++i) {
    if (messages[i].role == ChatRole::kUser) last_question = i;
  }
  std::vector<TextPart> parts;
  const ChatFormat::Turn& system = format.turns[static_cast<size_t>(ChatRole::kSystem)];
  const bool has_system = !messages.empty() && messages[0].role == ChatRole::kSystem;
  if (options.at_start && !has_system && !format.instead_of_system.empty()) {
    parts.push_back({system.before, true});
    parts.push_back({format.instead_of_system, true});
    parts.push_back({system.after, true});
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    const ChatFormat::Turn& turn = format.turns[static_cast<size_t>(messages[i].role)];
    std::string_view text = messages[i].text;
    if (format.drops_earlier_reasoning && messages[i].role == ChatRole::kAssistant && i < last_question) {
      constexpr std::string_view kEnd = "</think>";
      if (const size_t end = text.rfind(kEnd); end != std::string_view::npos) {
        text.remove_prefix(end + kEnd.size());
        while (text.starts_with('\n')) text.remove_prefix(1);
      }
    }
    if (format.trims) text = detail::Trimmed(text);
    parts.push_back({turn.before, true});
    if (i == 0 && options.at_start && has_system && !format.before_system.empty()) {
      parts.push_back({format.before_system, true});
    }
    parts.push_back({text, false});
    parts.push_back({turn.after, true});
  }
  if (options.asks_for_reply) {
    parts.push_back({format.turns[static_cast<size_t>(ChatRole::kAssistant)].before, true});
    if (!options.thinking) parts.push_back({format.without_thinking, true});
  }
  return parts;
}

// The tokens of a conversation, or of its next messages. For a turn that goes on after a reply in the cache: give the
// new messages alone with `at_start` false, after the tokens of AfterReply.
inline Result<std::vector<Token>> EncodeChat(const Tokenizer& tokenizer, const ChatFormat& format,
                                             std::span<const ChatMessage> messages, const ChatOptions& options = {}) {
  std::vector<Token> tokens;
  const NamedTokens& named = tokenizer.named();
  if (options.at_start && named.add_bos) tokens.push_back(*named.bos);
  const std::vector<TextPart> parts = ChatParts(format, messages, options);
  if (Result<Done> done = tokenizer.Encode(parts, false, tokens); !done.ok()) return Error{done.error()};
  return tokens;
}

// What has to follow a reply before the next messages: the token that ends it, unless the model wrote it, and what the
// format has after that. `last` is the reply's last token.
inline Result<std::vector<Token>> AfterReply(const Tokenizer& tokenizer, const ChatFormat& format, Token last) {
  std::vector<Token> tokens;
  const TextPart part = {format.turns[static_cast<size_t>(ChatRole::kAssistant)].after, true};
  if (Result<Done> done = tokenizer.Encode(std::span(&part, 1), false, tokens); !done.ok()) return Error{done.error()};
  if (!tokens.empty() && tokenizer.IsEnd(tokens[0]) && tokenizer.IsEnd(last)) tokens.erase(tokens.begin());
  return tokens;
}

}  // namespace bitnet

#endif  // BITNET_IO_CHAT_TEMPLATE_H_
