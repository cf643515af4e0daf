// OpenAI's completions and chat completions, without HTTP: what a body asks for, and the JSON of replies and refusals.
// What is not offered here is refused by its name, if it would change the reply.
#ifndef BITNET_EXAMPLES_OPENAI_API_H_
#define BITNET_EXAMPLES_OPENAI_API_H_

#include <bitnet/io/chat_template.h>
#include <bitnet/io/json.h>
#include <bitnet/io/load_tokenizer.h>
#include <bitnet/io/quoted.h>
#include <bitnet/model/generate.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace openai {

using bitnet::JsonKind;
using bitnet::JsonText;
using bitnet::JsonValue;

// The model that is served.
struct Served {
  std::string name;
  const bitnet::LoadedTokenizer& loaded;
  const bitnet::ChatFormat* chat_format;  // null: there are no chats
  size_t vocab;                           // of the model
};

struct Refusal {
  int status = 400;
  std::string message, field = {}, code = {};
};

inline std::string TextOrNull(const std::string& text) { return text.empty() ? "null" : JsonText(text); }

inline std::string JsonOf(const Refusal& refusal) {
  const char* const type = refusal.status >= 500   ? "server_error"
                           : refusal.status == 429 ? "rate_limit_error"
                                                   : "invalid_request_error";
  return "{\"error\": {\"message\": " + JsonText(refusal.message) + ", \"type\": " + JsonText(type) +
         ", \"param\": " + TextOrNull(refusal.field) + ", \"code\": " + TextOrNull(refusal.code) + "}}\n";
}

struct Question {
  bool is_chat = false, streams = false, wants_usage = false;
  std::vector<bitnet::Token> prompt;
  bitnet::GenerateOptions options;
  std::vector<std::string> stop;
  std::optional<uint64_t> seed;
};

// Reads a body. Where something is refused the answer is empty, and refusal() says why.
class BodyReader {
 public:
  BodyReader(const Served& served, bool is_chat) : served_(served) { question_.is_chat = is_chat; }

  std::optional<Question> Read(std::string_view body) {
    const auto document = bitnet::JsonDocument::Parse(body, "the body");
    if (!document.ok()) {
      refusal_ = {400, document.error()};
      return std::nullopt;
    }
    const JsonValue root = document->root();
    if (const auto object = root.ExpectObject(); !object.ok()) {
      refusal_ = {400, object.error()};
      return std::nullopt;
    }
    for (const JsonValue field : root.items()) {
      if (field.IsNull()) continue;  // as if it were not there
      if (!ReadField(field)) {
        if (refusal_.field.empty()) refusal_.field = field.key();
        return std::nullopt;
      }
    }
    if (!has_prompt_) {
      const std::string name = question_.is_chat ? "messages" : "prompt";
      refusal_ = {400, "the body: there is no " + name, name};
      return std::nullopt;
    }
    const auto ends = served_.loaded.tokenizer.ends();
    question_.options.stop_tokens.assign(ends.begin(), ends.end());
    // As OpenAI's: 16 tokens of a completion, all there is room for of a chat.
    if (limit_ || !question_.is_chat) question_.options.max_new_tokens = limit_.value_or(16);
    return std::move(question_);
  }
  const Refusal& refusal() const { return refusal_; }

 private:
  static constexpr size_t kMostStops = 4, kMostBiases = 1024;

  bool Refuse(std::string why) {
    refusal_.message = std::move(why);
    return false;
  }
  bool RefuseValue(const JsonValue& value, const std::string& why) { return Refuse(value.Refuse(why).message); }
  // Keeps a value, or why it is none.
  template <class T, class To>
  bool Keep(const bitnet::Result<T>& value, To& to) {
    if (!value.ok()) return Refuse(value.error());
    to = static_cast<To>(*value);
    return true;
  }
  bool ReadNumber(const JsonValue& field, double least, double most, float& to) {
    double number = 0.0;
    if (!Keep(field.AsReal(), number)) return false;
    if (!(number >= least && number <= most)) {
      return RefuseValue(field, "it must be from " + Shown(least) + " to " + Shown(most));
    }
    to = static_cast<float>(number);
    return true;
  }
  static std::string Shown(double number) {
    char text[32];
    std::snprintf(text, sizeof(text), "%g", number);
    return text;
  }
  // A field that changes replies and is offered with one value only, which changes nothing.
  bool Only(const JsonValue& field, bool is_it, const char* value) {
    return is_it || RefuseValue(field, std::string("only ") + value + " is supported here");
  }

  bool ReadField(const JsonValue& field) {
    const std::string_view key = field.key();
    bitnet::GenerateOptions& options = question_.options;
    const auto is_zero = [&] {
      const auto number = field.AsReal();
      return number.ok() && *number == 0.0;
    };
    const auto is_one = [&] {
      const auto number = field.AsReal();
      return number.ok() && *number == 1.0;
    };
    const auto is_false = [&] { return field.kind() == JsonKind::kFlag && !*field.AsFlag(); };
    const auto is_empty = [&] {
      return (field.kind() == JsonKind::kList || field.kind() == JsonKind::kObject) && field.items().size() == 0;
    };
    const auto is_text = [&](std::string_view text) {
      const auto value = field.AsText();
      return value.ok() && *value == text;
    };

    if (key == "model") return ReadModel(field);
    if (key == "messages" && question_.is_chat) return ReadMessages(field);
    if (key == "prompt" && !question_.is_chat) return ReadPrompt(field);
    if (key == "max_tokens" || (key == "max_completion_tokens" && question_.is_chat)) {
      size_t limit = 0;
      if (!Keep(field.AsUnsigned(1, uint64_t{1} << 31), limit)) return false;
      limit_ = std::min(limit, limit_.value_or(limit));
      return true;
    }
    if (key == "temperature") return ReadNumber(field, 0.0, 2.0, options.sampler.temperature);
    if (key == "top_p") return ReadNumber(field, 1e-6, 1.0, options.sampler.top_p);
    if (key == "min_p") return ReadNumber(field, 0.0, 1.0, options.sampler.min_p);
    if (key == "top_k") return Keep(field.AsUnsigned(0, uint64_t{1} << 31), options.sampler.top_k);
    if (key == "repetition_penalty") return ReadNumber(field, 0.01, 100.0, options.edits.repetition_penalty);
    if (key == "seed") {
      question_.seed.emplace();
      return Keep(field.AsUnsigned(), *question_.seed);
    }
    if (key == "stop") return ReadStop(field);
    if (key == "logit_bias") return ReadBiases(field);
    if (key == "stream") return Keep(field.AsFlag(), question_.streams);
    if (key == "stream_options") {
      if (const auto object = field.ExpectObject(); !object.ok()) return Refuse(object.error());
      const auto usage = field.Find("include_usage");
      return !usage || usage->IsNull() || Keep(usage->AsFlag(), question_.wants_usage);
    }
    if (key == "n" || key == "best_of") return Only(field, is_one(), "1");
    if (key == "frequency_penalty" || key == "presence_penalty") {
      return Only(field, is_zero(), "0 (there is repetition_penalty)");
    }
    if (key == "echo" || key == "logprobs") return Only(field, is_false(), "false");
    if (key == "top_logprobs") return Only(field, is_zero(), "0");
    if (key == "suffix") return Only(field, is_text(""), "an empty text");
    if (key == "tools" || key == "functions") return Only(field, is_empty(), "an empty list");
    if (key == "tool_choice" || key == "function_call") {
      return Only(field, is_text("none") || is_text("auto"), "\"none\"");
    }
    if (key == "response_format") {
      const auto type = field.Find("type");
      const auto text = type ? type->AsText() : bitnet::Result<std::string_view>(bitnet::Error{});
      return Only(field, text.ok() && *text == "text", "{\"type\": \"text\"}");
    }
    // What tells the service about its caller changes no reply.
    for (const char* about : {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
                              "parallel_tool_calls"}) {
      if (key == about) return true;
    }
    return RefuseValue(field, "this field is not known here");
  }

  bool ReadModel(const JsonValue& field) {
    std::string_view name;
    if (!Keep(field.AsText(), name)) return false;
    if (name == served_.name) return true;
    refusal_ = {404,
                "there is no model " + bitnet::Quoted(name) + " here; " + bitnet::Quoted(served_.name) + " is served",
                "model", "model_not_found"};
    return false;
  }

  // A text, or tokens as they are.
  bool ReadPrompt(const JsonValue& field) {
    has_prompt_ = true;
    if (field.kind() == JsonKind::kText)
      return Keep(served_.loaded.tokenizer.Encode(*field.AsText()), question_.prompt);
    if (field.kind() != JsonKind::kList) return RefuseValue(field, "a text, or a list of tokens, was expected");
    question_.prompt.reserve(field.items().size());
    for (const JsonValue item : field.items()) {
      if (item.kind() == JsonKind::kText || item.kind() == JsonKind::kList) {
        return RefuseValue(item, "one prompt a request: a text, or a list of tokens");
      }
      if (!Keep(item.AsUnsigned32(), question_.prompt.emplace_back())) return false;
    }
    return true;
  }

  bool ReadMessages(const JsonValue& field) {
    has_prompt_ = true;
    if (served_.chat_format == nullptr) {
      return Refuse("this model has no chat template that is known here; /v1/completions takes a prompt");
    }
    if (const auto list = field.ExpectList(); !list.ok()) return Refuse(list.error());
    std::vector<bitnet::ChatMessage> messages;
    for (const JsonValue item : field.items()) {
      if (const auto object = item.ExpectObject(); !object.ok()) return Refuse(object.error());
      const auto role = item.At("role"), content = item.At("content");
      if (!role.ok()) return Refuse(role.error());
      if (!content.ok()) return Refuse(content.error());
      bitnet::ChatMessage& message = messages.emplace_back();
      if (!ReadRole(*role, message.role) || !ReadContent(*content, message.text)) return false;
      for (const JsonValue other : item.items()) {
        if (other.key() != "role" && other.key() != "content" && !other.IsNull()) {
          return RefuseValue(other, "this field of a message is not supported here");
        }
      }
    }
    if (messages.empty()) return RefuseValue(field, "at least one message is needed");
    return Keep(bitnet::EncodeChat(served_.loaded.tokenizer, *served_.chat_format, messages), question_.prompt);
  }
  bool ReadRole(const JsonValue& field, bitnet::ChatRole& to) {
    std::string_view role;
    if (!Keep(field.AsText(), role)) return false;
    if (role == "system" || role == "developer") {
      to = bitnet::ChatRole::kSystem;
    } else if (role == "user") {
      to = bitnet::ChatRole::kUser;
    } else if (role == "assistant") {
      to = bitnet::ChatRole::kAssistant;
    } else {
      return RefuseValue(field, "the roles are system, developer, user and assistant here");
    }
    return true;
  }
  // A text, or parts that are texts.
  bool ReadContent(const JsonValue& field, std::string& to) {
    if (field.kind() != JsonKind::kList) return Keep(field.AsText(), to);
    for (const JsonValue part : field.items()) {
      const auto type = part.At("type");
      if (!type.ok()) return Refuse(type.error());
      const auto kind = type->AsText();
      if (!kind.ok() || *kind != "text") return RefuseValue(*type, "parts of a message are of the type \"text\" here");
      const auto text = part.At("text");
      if (!text.ok()) return Refuse(text.error());
      std::string_view its;
      if (!Keep(text->AsText(), its)) return false;
      to += its;
    }
    return true;
  }

  bool ReadStop(const JsonValue& field) {
    const auto add = [&](const JsonValue& value) {
      std::string& stop = question_.stop.emplace_back();
      if (!Keep(value.AsText(), stop)) return false;
      return !stop.empty() || RefuseValue(value, "a text to stop at must not be empty");
    };
    if (field.kind() != JsonKind::kList) return add(field);
    if (field.items().size() > kMostStops) {
      return RefuseValue(field, "at most " + std::to_string(kMostStops) + " texts to stop at are taken");
    }
    for (const JsonValue item : field.items()) {
      if (!add(item)) return false;
    }
    return true;
  }

  bool ReadBiases(const JsonValue& field) {
    if (const auto object = field.ExpectObject(); !object.ok()) return Refuse(object.error());
    if (field.items().size() > kMostBiases) {
      return RefuseValue(field, "at most " + std::to_string(kMostBiases) + " biases are taken");
    }
    for (const JsonValue item : field.items()) {
      bitnet::LogitBias& bias = question_.options.edits.biases.emplace_back();
      const std::string_view key = item.key();
      if (key.empty() || key.size() > 9 || key.find_first_not_of("0123456789") != std::string_view::npos) {
        return RefuseValue(item, "the number of a token was expected as the key");
      }
      for (const char digit : key) bias.token = 10 * bias.token + static_cast<bitnet::Token>(digit - '0');
      if (bias.token >= served_.vocab) {
        return RefuseValue(item, "the vocabulary has " + std::to_string(served_.vocab) + " tokens");
      }
      if (!ReadNumber(item, -100.0, 100.0, bias.bias)) return false;
    }
    return true;
  }

  const Served& served_;
  Question question_;
  Refusal refusal_;
  std::optional<size_t> limit_;
  bool has_prompt_ = false;
};

// The JSON of one reply, at once or in events.
class ReplyWriter {
 public:
  ReplyWriter(const Question& question, const std::string& model, const std::string& id, int64_t created)
      : is_chat_(question.is_chat), wants_usage_(question.wants_usage), prompt_tokens_(question.prompt.size()) {
    const std::string kind = is_chat_ ? "chat.completion" : "text_completion";
    const bool is_chunk = question.streams && is_chat_;
    head_ = "{\"id\": " + JsonText((is_chat_ ? "chatcmpl-" : "cmpl-") + id) +
            ", \"object\": " + JsonText(kind + (is_chunk ? ".chunk" : "")) +
            ", \"created\": " + std::to_string(created) + ", \"model\": " + JsonText(model) + ", \"choices\": [";
  }

  std::string Whole(const std::string& text, const std::string& finish_reason, size_t tokens) const {
    const std::string what =
        is_chat_ ? "\"message\": {\"role\": \"assistant\", \"content\": " + JsonText(text) + ", \"refusal\": null}"
                 : "\"text\": " + JsonText(text);
    return head_ + Choice(what, finish_reason) + "], " + Usage(tokens) + "}\n";
  }

  // The first event of a chat says who speaks.
  std::string First() const {
    return is_chat_ ? Event("\"delta\": {\"role\": \"assistant\", \"content\": \"\"}", "") : "";
  }
  std::string More(const std::string& text) const {
    return Event(is_chat_ ? "\"delta\": {\"content\": " + JsonText(text) + "}" : "\"text\": " + JsonText(text), "");
  }
  std::string Last(const std::string& finish_reason, size_t tokens) const {
    std::string events = Event(is_chat_ ? "\"delta\": {}" : "\"text\": \"\"", finish_reason);
    if (wants_usage_) events += "data: " + head_ + "], " + Usage(tokens) + "}\n\n";
    return events + "data: [DONE]\n\n";
  }

 private:
  static std::string Choice(const std::string& what, const std::string& finish_reason) {
    return "{\"index\": 0, " + what + ", \"logprobs\": null, \"finish_reason\": " + TextOrNull(finish_reason) + "}";
  }
  std::string Event(const std::string& what, const std::string& finish_reason) const {
    return "data: " + head_ + Choice(what, finish_reason) + "]" + (wants_usage_ ? ", \"usage\": null" : "") + "}\n\n";
  }
  std::string Usage(size_t tokens) const {
    return "\"usage\": {\"prompt_tokens\": " + std::to_string(prompt_tokens_) +
           ", \"completion_tokens\": " + std::to_string(tokens) +
           ", \"total_tokens\": " + std::to_string(prompt_tokens_ + tokens) + "}";
  }

  bool is_chat_, wants_usage_;
  size_t prompt_tokens_;
  std::string head_;
};

}  // namespace openai

#endif  // BITNET_EXAMPLES_OPENAI_API_H_
