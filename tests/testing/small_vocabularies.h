// Small vocabularies, and how files write them: for tests of tokenizers and of what reads their files.
#ifndef BITNET_TESTS_TESTING_SMALL_VOCABULARIES_H_
#define BITNET_TESTS_TESTING_SMALL_VOCABULARIES_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bitnet/io/tokenizer/byte_level.h"
#include "bitnet/io/tokenizer/vocabulary.h"

namespace bitnet::testing {

// Bytes as they are, some merges, <|bos|> and <|eot_id|> (control), <think> (user-defined).
inline BpeVocabulary SmallBpe() {
  BpeVocabulary v;
  for (int byte = 0; byte < 256; ++byte) v.tokens.push_back(std::string(1, static_cast<char>(byte)));
  const auto find = [&](std::string_view text) {
    return static_cast<Token>(std::find(v.tokens.begin(), v.tokens.end(), text) - v.tokens.begin());
  };
  const std::pair<const char*, const char*> merges[] = {
      {"h", "e"},   {"l", "l"},    {"he", "ll"},     {"hell", "o"},    {" ", "w"},   {"o", "r"},
      {" w", "or"}, {" wor", "l"}, {"1", "2"},       {"'", "s"},       {"\n", "\n"}, {" ", " "},
      {"a", "b"},   {"b", "c"},    {"\xc3", "\xa9"}, {"\xf0", "\x9f"}, {"d", "e"},   {"ab", "c"}};
  for (const auto& [left, right] : merges) {
    v.merges.push_back({find(left), find(right), static_cast<Token>(v.tokens.size())});
    v.tokens.push_back(std::string(left) + right);
  }
  v.types.assign(v.tokens.size(), TokenType::kNormal);
  for (const char* special : {"<|bos|>", "<|eot_id|>", "<think>"}) {
    v.tokens.push_back(special);
    v.types.push_back(special[1] == '|' ? TokenType::kControl : TokenType::kUserDefined);
  }
  v.named.bos = find("<|bos|>");
  v.named.eot = find("<|eot_id|>");
  v.named.add_bos = true;
  return v;
}

// <unk>, <s>, </s>, bytes, and some pieces, the better the earlier.
inline SentencePieceVocabulary SmallPieces(SentencePieceKind kind) {
  SentencePieceVocabulary v;
  v.kind = kind;
  const auto add = [&](std::string piece, TokenType type, float score) {
    v.pieces.push_back(std::move(piece));
    v.types.push_back(type);
    v.scores.push_back(score);
  };
  add("<unk>", TokenType::kUnknown, 0.0f);
  add("<s>", TokenType::kControl, 0.0f);
  add("</s>", TokenType::kControl, 0.0f);
  for (int byte = 0; byte < 256; ++byte) {
    char piece[8];
    std::snprintf(piece, sizeof(piece), "<0x%02X>", static_cast<unsigned>(byte));
    add(piece, TokenType::kByte, 0.0f);
  }
  float score = -1.0f;
  for (const char* piece : {"\u2581t", "he",     "\u2581the", "an", "\u2581a", "\u2581\u2581",
                            "in",      "er",     "\u2581an",  "a",  "b",       "c",
                            "e",       "h",      "i",         "n",  "r",       "t",
                            "\u2581",  "\u00e9", "ab",        "bc", "abc",     "\u2581\u2581\u2581"}) {
    add(piece, TokenType::kNormal, score);
    score -= 0.5f;
  }
  add("<sep>", TokenType::kUserDefined, 0.0f);
  v.named = {.bos = 1, .eos = 2, .eot = {}, .unk = 0, .pad = {}, .add_bos = true, .add_eos = false};
  return v;
}

// ---- Files -------------------------------------------------------------------------------------------------------

inline std::string JsonString(std::string_view text) {
  std::string json = "\"";
  for (const char c : text) {
    char escaped[8];
    if (c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20) {
      std::snprintf(escaped, sizeof(escaped), "\\u%04x", static_cast<unsigned>(static_cast<unsigned char>(c)));
      json += escaped;
    } else {
      json.push_back(c);
    }
  }
  return json + "\"";
}

// The parts of a tokenizer.json. What a test wants otherwise it replaces.
struct TokenizerJson {
  std::string added_tokens, vocab, merges;
  std::string normalizer = "null", pre_tokenizer, post_processor = "null", decoder = R"({"type":"ByteLevel"})";
  std::string model_options = R"("type":"BPE","dropout":null,"unk_token":null,"ignore_merges":false,)";
  std::string more;  // keys beside the model

  explicit TokenizerJson(const BpeVocabulary& v) {
    for (size_t id = 0; id < v.tokens.size(); ++id) {
      const bool is_normal = v.types[id] == TokenType::kNormal;
      const std::string text = JsonString(is_normal ? LettersOfBytes(v.tokens[id]) : v.tokens[id]);
      std::string& to = is_normal ? vocab : added_tokens;
      if (!to.empty()) to += ",";
      if (is_normal) {
        to += text + ":" + std::to_string(id);
      } else {
        const bool is_special = v.types[id] == TokenType::kControl;
        to += R"({"id":)" + std::to_string(id) + R"(,"content":)" + text +
              R"(,"single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":)" +
              (is_special ? "true}" : "false}");
      }
    }
    for (const Merge& m : v.merges) {
      merges += (merges.empty() ? "" : ",") + std::string("[") + JsonString(LettersOfBytes(v.tokens[m.left])) + "," +
                JsonString(LettersOfBytes(v.tokens[m.right])) + "]";
    }
    pre_tokenizer = R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":)" +
                    JsonString(FactsOf(v.pre_tokenizer).pattern) +
                    R"(},"behavior":"Isolated","invert":false},)"
                    R"({"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}]})";
    if (v.named.add_bos) {
      const std::string bos = JsonString(v.tokens[*v.named.bos]);
      post_processor = R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":)" + bos +
                       R"(,"type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[],"special_tokens":{}})";
    }
  }

  std::string Text() const {
    return R"({"version":"1.0","truncation":null,"padding":null,)" + more + R"("added_tokens":[)" + added_tokens +
           R"(],"normalizer":)" + normalizer + R"(,"pre_tokenizer":)" + pre_tokenizer + R"(,"post_processor":)" +
           post_processor + R"(,"decoder":)" + decoder + R"(,"model":{)" + model_options + R"("vocab":{)" + vocab +
           R"(},"merges":[)" + merges + "]}}";
  }
};

// Protobuf, by hand.
inline std::string WireNumber(uint64_t number) {
  std::string bytes;
  for (; number > 127; number >>= 7) bytes.push_back(static_cast<char>((number & 127) | 128));
  bytes.push_back(static_cast<char>(number));
  return bytes;
}
inline std::string WireField(uint64_t field, uint64_t number) { return WireNumber(field << 3) + WireNumber(number); }
inline std::string WireField(uint64_t field, std::string_view bytes) {
  return WireNumber((field << 3) | 2) + WireNumber(bytes.size()) + std::string(bytes);
}
inline std::string WireField(uint64_t field, float real) {
  std::string bytes = WireNumber((field << 3) | 5);
  for (int i = 0; i < 4; ++i) bytes.push_back(static_cast<char>((std::bit_cast<uint32_t>(real) >> (8 * i)) & 255));
  return bytes;
}

inline std::string PieceMessages(const SentencePieceVocabulary& v) {
  std::string file;
  for (size_t i = 0; i < v.pieces.size(); ++i) {
    file += WireField(
        1, WireField(1, v.pieces[i]) + WireField(2, v.scores[i]) + WireField(3, static_cast<uint64_t>(v.types[i])));
  }
  return file;
}
inline std::string SentencePieceFile(const SentencePieceVocabulary& v) {
  const bool adds_space = v.space_prefix != SpacePrefix::kNever;
  return PieceMessages(v) +
         WireField(2, WireField(3, static_cast<uint64_t>(v.kind)) + WireField(35, uint64_t{v.byte_fallback}) +
                          WireField(24, uint64_t{v.whitespace_is_suffix})) +
         WireField(3, WireField(1, "identity") + WireField(2, v.charsmap) + WireField(3, uint64_t{adds_space}) +
                          WireField(4, uint64_t{v.remove_extra_whitespaces}) +
                          WireField(5, uint64_t{v.escape_whitespaces}));
}

inline std::string Base64(std::string_view bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t bits = 0;
    for (size_t k = 0; k < 3; ++k)
      bits = (bits << 8) | (i + k < bytes.size() ? static_cast<uint8_t>(bytes[i + k]) : 0u);
    for (size_t k = 0; k < 4; ++k) text.push_back(i + k > bytes.size() ? '=' : kDigits[(bits >> (18 - 6 * k)) & 63]);
  }
  return text;
}

// A precompiled_charsmap that rewrites one byte of ASCII: as Darts' double array lays it out.
inline std::string SmallCharsmap(uint8_t from, std::string_view to) {
  std::vector<uint32_t> units(1024, 0x80000000u);
  const auto unit = [](uint32_t offset, uint32_t label, bool has_value) {
    return (offset << 10) | (has_value ? 256u : 0u) | label;
  };
  units[0] = unit(256, 0, false);
  const uint32_t node = 256 ^ from;
  units[node] = unit(node ^ 512, from, true);  // its value lies at 512
  units[512] = 0x80000000u | 1;                // the text's place
  std::string file(reinterpret_cast<const char*>(units.data()), units.size() * 4);
  const auto bytes = static_cast<uint32_t>(file.size());
  std::string size(4, '\0');
  for (int i = 0; i < 4; ++i) size[static_cast<size_t>(i)] = static_cast<char>((bytes >> (8 * i)) & 255);
  return size + file + std::string(1, '\0') + std::string(to) + std::string(1, '\0');
}

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_SMALL_VOCABULARIES_H_
