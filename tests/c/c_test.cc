#include "bitnet/c.h"

#include <doctest/doctest.h>

#include "testing/replaced_new.h"

// (This file is the unit that holds the code.)
#define BITNET_C_IMPLEMENTATION
#include "bitnet/c.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "bitnet/backend/simd/default_backend.h"
#include "bitnet/io/any_model.h"
#include "bitnet/io/chat_template.h"
#include "bitnet/io/load_tokenizer.h"
#include "bitnet/io/tokenizer/byte_level.h"
#include "bitnet/model/generate.h"
#include "c/calls.h"
#include "testing/gguf_model.h"
#include "testing/same_bits.h"
#include "testing/temporary_file.h"
#include "testing/tiny_model.h"

namespace bitnet::c_test {
namespace {

using testing::SameBits;
using testing::TemporaryFile;

using Tokens = std::vector<uint32_t>;
using Floats = std::vector<float>;

constexpr uint32_t kEos = 2, kSpaceB = 256, kEot = 257;
constexpr size_t kMaxPositions = 600;  // three pages

struct FileOptions {
  std::string weights = "I2_S";
  bool tokenizer = true;
  std::string chat_template = "{{ role | capitalize }} 'Assistant: ' <|eot_id|>";
};

// A token a byte, one for " b", and one that ends a turn; tokens 1 and 2 begin and end a text.
void WriteFile(const std::string& path, const FileOptions& options = {}) {
  ModelConfig config = testing::GgufModelConfig();
  config.vocab = 258;
  config.max_positions = kMaxPositions;
  const auto more = [&](GgufWriter& writer) {
    if (!options.tokenizer) return;
    std::vector<std::string> tokens(config.vocab);
    for (size_t byte = 0; byte < 256; ++byte) tokens[byte] = LettersOfBytes(std::string(1, static_cast<char>(byte)));
    tokens[kSpaceB] = LettersOfBytes(" b");
    tokens[kEot] = "<|eot_id|>";
    std::vector<int32_t> types(config.vocab, 1);
    types[kEot] = 3;
    writer.Set("tokenizer.ggml.model", "gpt2");
    writer.Set("tokenizer.ggml.pre", "llama-bpe");
    writer.Set("tokenizer.ggml.tokens", tokens);
    writer.Set("tokenizer.ggml.token_type", types);
    writer.Set("tokenizer.ggml.merges", std::vector<std::string>{LettersOfBytes(" ") + " b"});
    writer.Set("tokenizer.ggml.add_bos_token", true);
    if (!options.chat_template.empty()) writer.Set("tokenizer.chat_template", options.chat_template);
  };
  testing::WriteGguf(path, testing::TinyWeights<WithInt8Cache<WithFloat16Head<B158>>>(config),
                     {.weights = options.weights, .more = more});
}

// One file for all tests.
const std::string& Path() {
  static const TemporaryFile file;
  static const bool written = (WriteFile(file.path()), true);
  static_cast<void>(written);
  return file.path();
}

// What a call that must go well says if it does not.
#define CHECK_OK(call)                                                     \
  do {                                                                     \
    const bitnet_status status_ = (call);                                  \
    CHECK_MESSAGE(status_ == BITNET_OK, std::string(bitnet_last_error())); \
  } while (false)

// That a call is refused with this status and these words.
#define CHECK_REFUSED(status, words, call)                                           \
  do {                                                                               \
    bitnet::detail::CFail(BITNET_OK, "", "");                                        \
    CHECK((call) == (status));                                                       \
    CHECK_MESSAGE(std::string(bitnet_last_error()).find(words) != std::string::npos, \
                  std::string(bitnet_last_error()));                                 \
  } while (false)

struct Freed {
  void operator()(bitnet_model* p) const { CHECK_OK(bitnet_model_free(p)); }
  void operator()(bitnet_state* p) const { CHECK_OK(bitnet_state_free(p)); }
  void operator()(bitnet_batch* p) const { CHECK_OK(bitnet_batch_free(p)); }
  void operator()(bitnet_decoder* p) const { CHECK_OK(bitnet_decoder_free(p)); }
};
template <class T>
using Owned = std::unique_ptr<T, Freed>;

bitnet_load_options Options() {
  bitnet_load_options options = {};
  options.struct_bytes = sizeof(options);
  return options;
}
Owned<bitnet_model> Load(const std::string& path = Path(), const bitnet_load_options& options = Options()) {
  bitnet_model* model = nullptr;
  CHECK_OK(bitnet_model_load(path.data(), path.size(), &options, &model));
  REQUIRE(model != nullptr);
  return Owned<bitnet_model>(model);
}
Owned<bitnet_state> NewState(const Owned<bitnet_model>& model, size_t max_tokens = 0) {
  bitnet_state* state = nullptr;
  CHECK_OK(bitnet_state_new(model.get(), max_tokens, &state));
  REQUIRE(state != nullptr);
  return Owned<bitnet_state>(state);
}
Owned<bitnet_state> Copy(const Owned<bitnet_state>& state) {
  bitnet_state* copy = nullptr;
  CHECK_OK(bitnet_state_copy(state.get(), &copy));
  REQUIRE(copy != nullptr);
  return Owned<bitnet_state>(copy);
}
bitnet_state_info Describe(const Owned<bitnet_state>& state) {
  bitnet_state_info info = {};
  info.struct_bytes = sizeof(info);
  CHECK_OK(bitnet_state_describe(state.get(), &info));
  return info;
}
Floats Forward(const Owned<bitnet_state>& state, std::span<const uint32_t> tokens, size_t vocab = 258) {
  const float* logits = nullptr;
  CHECK_OK(bitnet_forward(state.get(), tokens.data(), tokens.size(), &logits));
  REQUIRE(logits != nullptr);
  return Floats(logits, logits + vocab);
}
template <class T>
Floats Copied(const T& logits) {
  REQUIRE_MESSAGE(logits.ok(), (logits.ok() ? "" : logits.error()));
  return Floats(logits->begin(), logits->end());
}
// A list of unknown length: asks for it first, as a caller may.
template <class T, class Call>
std::vector<T> List(Call&& call) {
  size_t count = 0;
  T nothing{};
  const bitnet_status asked = call(static_cast<T*>(nullptr), size_t{0}, &count);
  CHECK(asked == (count == 0 ? BITNET_OK : BITNET_TOO_SMALL));
  std::vector<T> list(count + 1, nothing);
  size_t again = 0;
  if (count != 0) CHECK(call(list.data(), count - 1, &again) == BITNET_TOO_SMALL);
  CHECK(list == std::vector<T>(count + 1, nothing));
  CHECK_OK(call(list.data(), list.size(), &count));
  CHECK(again == count);
  list.resize(count);
  return list;
}
Tokens Encode(const Owned<bitnet_model>& model, std::string_view text, uint32_t flags = 0) {
  return List<uint32_t>([&](uint32_t* to, size_t capacity, size_t* count) {
    return bitnet_encode(model.get(), text.data(), text.size(), flags, to, capacity, count);
  });
}
std::string Decode(const Owned<bitnet_model>& model, std::span<const uint32_t> tokens, uint32_t flags = 0) {
  const auto text = List<char>([&](char* to, size_t capacity, size_t* count) {
    return bitnet_decode(model.get(), tokens.data(), tokens.size(), flags, to, capacity, count);
  });
  return std::string(text.begin(), text.end());
}

// As the C interface chooses its cache. (A model that has but one is compared with it too; others would take long to
// compile, and any_model_test.cc has them.)
using WithAnyCache = WithChosenCache<B158, WithInt8Cache<B158>, WithFloat16Cache<B158>, B158>;

template <Scheme S>
AnyModel<S> LoadPlainly(size_t cache_bits = 0) {
  const Result<Checkpoint> checkpoint = Checkpoint::Open(Path());
  REQUIRE(checkpoint.ok());
  Result<AnyModel<S>> model = LoadAnyModel<S>(*checkpoint, {.cache_bits = cache_bits});
  REQUIRE(model.ok());
  return *std::move(model);
}

// ---- What it computes --------------------------------------------------------------------------------------------

template <Scheme S>
void CheckLogits(uint32_t cache_bits) {
  const AnyModel<S> expected = LoadPlainly<S>(cache_bits);
  auto expected_state = expected.NewState();
  for (const size_t threads : {size_t{0}, size_t{1}, size_t{3}}) {
    bitnet_load_options options = Options();
    options.cache_bits = cache_bits;
    options.threads = threads;
    const auto model = Load(Path(), options);
    const auto state = NewState(model);
    const Tokens tokens = testing::RandomTokens(300, 258);
    expected_state.Truncate(0);
    for (const auto part :
         {std::span(tokens).first(290), std::span(tokens).subspan(290, 1), std::span(tokens).last(9)}) {
      CHECK(SameBits(Forward(state, part), Copied(expected.Forward(part, expected_state))));
    }
    const float* all = nullptr;
    CHECK_OK(bitnet_forward_all(state.get(), tokens.data(), 5, &all));
    const auto expected_all = expected.ForwardAll(std::span(tokens).first(5), expected_state);
    REQUIRE(expected_all.ok());
    for (size_t t = 0; t < 5; ++t) CHECK(SameBits({all + t * 258, 258}, (*expected_all)[t]));
    CHECK(Describe(state).length == 305);
    CHECK(Describe(state).max_tokens == kMaxPositions);
    CHECK(Describe(state).cache_bytes == expected_state.CacheBytes());
    bitnet_model_info info = {};
    info.struct_bytes = sizeof(info);
    CHECK_OK(bitnet_model_describe(model.get(), &info));
    CHECK(info.page_bytes * 2 == expected_state.CacheBytes());
    CHECK(info.cache_bits == (cache_bits == 0 ? 8 : cache_bits));
    if (threads != 0) CHECK(info.threads == threads);
  }
}
TEST_CASE("C: logits are AnyModel's, bit for bit") {
  SUBCASE("a cache of 8 bits") { CheckLogits<WithInt8Cache<B158>>(8); }
  SUBCASE("... which is the default") { CheckLogits<WithInt8Cache<B158>>(0); }
  SUBCASE("a cache of reals in 16 bits") { CheckLogits<WithAnyCache>(16); }
  SUBCASE("a cache of reals") { CheckLogits<WithAnyCache>(32); }
}

TEST_CASE("C: the layout of I2_S is the one that is asked for") {
  const Tokens tokens = testing::RandomTokens(10, 258);
  std::vector<Floats> seen;
  const I2sLayout layouts[] = {I2sLayout::kA, I2sLayout::kB, I2sLayout::kC};
  for (const uint32_t layout : {BITNET_I2S_A, BITNET_I2S_B, BITNET_I2S_C}) {
    bitnet_load_options options = Options();
    options.i2s_layout = layout;
    seen.push_back(Forward(NewState(Load(Path(), options)), tokens));
    const Result<Checkpoint> checkpoint = Checkpoint::Open(Path(), {.decode = {.i2s = layouts[layout]}});
    REQUIRE(checkpoint.ok());
    const auto model = LoadAnyModel(*checkpoint);
    REQUIRE(model.ok());
    auto state = model->NewState();
    CHECK(SameBits(seen.back(), Copied(model->Forward(tokens, state))));
    for (size_t i = 0; i + 1 < seen.size(); ++i) CHECK(!SameBits(seen[i], seen.back()));
  }
}

TEST_CASE("C: reals are quantized where that is asked for") {
  ModelConfig config = testing::GgufModelConfig();
  config.sub_layer_norms = false;
  const TemporaryFile file;
  testing::WriteGguf(file.path(), testing::TinyWeights<WithInt8Cache<WithFloat16Head<B158>>>(config),
                     {.architecture = "llama",
                      .more =
                          [](GgufWriter& w) {
                            w.AddTensor("blk.1.attn_k.weight", {256, 128}, *FindGgufType("F32"),
                                        [] { return std::vector<uint8_t>(size_t{256} * 128 * 4); });
                          },
                      .without = "blk.1.attn_k.weight"});
  bitnet_model* model = nullptr;
  bitnet_load_options options = Options();
  CHECK_REFUSED(BITNET_CANNOT_LOAD, "nothing says that the model was trained for quantized weights",
                bitnet_model_load(file.path().data(), file.path().size(), &options, &model));
  CHECK(model == nullptr);
  options.flags = BITNET_QUANTIZE_ANY_REALS;
  Load(file.path(), options);
}

TEST_CASE("C: a program in C writes what Generate writes") {
  const std::string prompt = "Two bits bear";
  std::string reply(REPLY_BYTES, '?');
  const int status = ReplyFromC(Path().c_str(), prompt.c_str(), 40, reply.data());
  CHECK_MESSAGE(status == BITNET_OK, std::string(bitnet_last_error()));
  reply.resize(std::strlen(reply.c_str()));

  const auto model = LoadPlainly<WithInt8Cache<B158>>();
  const Result<LoadedTokenizer> loaded = LoadTokenizer(Path());
  REQUIRE(loaded.ok());
  GenerateOptions options;
  options.max_new_tokens = 40;
  options.stop_tokens = {kEos, kEot};
  options.sampler.temperature = 0.8f;
  options.sampler.top_k = 40;
  Random random(7);
  auto state = model.NewState();
  const auto tokens = loaded->tokenizer.Encode(prompt);
  REQUIRE(tokens.ok());
  const auto expected = Generate(model, state, *tokens, options, random, [](Token) { return true; });
  REQUIRE(expected.ok());
  const auto text = loaded->tokenizer.Decode(expected->tokens);
  REQUIRE(text.ok());
  CHECK(reply == ReplaceInvalidUtf8(*text));
}

TEST_CASE("C: facts and texts of a model") {
  const auto model = Load();
  bitnet_model_info info = {};
  info.struct_bytes = sizeof(info);
  CHECK_OK(bitnet_model_describe(model.get(), &info));
  CHECK(info.vocab == 258);
  CHECK(info.max_positions == kMaxPositions);
  CHECK(info.layers == 2);
  CHECK(info.hidden == 256);
  CHECK(info.heads == 4);
  CHECK(info.kv_heads == 2);
  CHECK(info.head_dim == 64);
  CHECK(info.ffn == 512);
  CHECK(info.page_tokens == kPageTokens);
  const ModelBytes bytes = LoadPlainly<WithInt8Cache<B158>>().Bytes();
  CHECK(info.weight_bytes == bytes.projections + bytes.embedding + bytes.norms);
  CHECK(info.threads >= 1);
  CHECK(info.tokenizer_vocab == 258);
  CHECK(info.bos == 1);
  const Tokens ends = List<uint32_t>([&](uint32_t* to, size_t capacity, size_t* count) {
    return bitnet_model_ends(model.get(), to, capacity, count);
  });
  CHECK(ends == Tokens{kEos, kEot});
  const auto text = [&](uint32_t which) {
    const char* to = nullptr;
    size_t size = 0;
    CHECK_OK(bitnet_model_text(model.get(), which, &to, &size));
    CHECK(to[size] == '\0');
    return std::string(to, size);
  };
  CHECK(text(BITNET_ARCHITECTURE) == "bitnet-b1.58");
  CHECK(text(BITNET_CHAT_FORMAT) == "BitNet 2B");
  CHECK(text(BITNET_CHAT_TEMPLATE).find("capitalize") != std::string::npos);
  CHECK(text(BITNET_NOTES).empty());
  CHECK(bitnet_abi_version() == BITNET_C_ABI_VERSION);
  CHECK(std::string(bitnet_version()) == "0.1.0");
}

TEST_CASE("C: text becomes tokens and text again") {
  const auto model = Load();
  CHECK(Encode(model, "a b") == Tokens{1, 'a', kSpaceB});
  CHECK(Encode(model, "a b", BITNET_NO_SPECIAL) == Tokens{'a', kSpaceB});
  CHECK(Encode(model, "<|eot_id|>").size() == 11);
  CHECK(Encode(model, "<|eot_id|>", BITNET_PARSE_CONTROL) == Tokens{1, kEot});
  CHECK(Encode(model, "", BITNET_NO_SPECIAL).empty());
  size_t count = 7;
  uint32_t token = 0;
  CHECK_OK(bitnet_encode(model.get(), nullptr, 0, 0, &token, 1, &count));
  CHECK(count == 1);
  CHECK(token == 1);
  const std::string text("\0 b\xf0\x9f\x8c\xb1\xc3\xa9", 9);
  CHECK(Decode(model, Encode(model, text, BITNET_NO_SPECIAL)) == text);
  CHECK(Decode(model, Tokens{'a', kEot}) == "a");
  CHECK(Decode(model, Tokens{'a', kEot}, BITNET_SHOW_CONTROL) == "a<|eot_id|>");
  CHECK(Decode(model, Tokens{'a', 0xc3}) == "a\xef\xbf\xbd");
  CHECK(Decode(model, Tokens{'a', 0xc3}, BITNET_RAW_BYTES) == "a\xc3");
  CHECK(Decode(model, Tokens{}).empty());
}

TEST_CASE("C: a decoder gives whole characters") {
  const auto model = Load();
  bitnet_decoder* made = nullptr;
  CHECK_OK(bitnet_decoder_new(model.get(), BITNET_GOES_ON, &made));
  const Owned<bitnet_decoder> decoder(made);
  const auto append = [&](uint32_t token) {
    const char* text = nullptr;
    size_t bytes = 9;
    CHECK_OK(bitnet_decoder_append(decoder.get(), token, &text, &bytes));
    CHECK(text[bytes] == '\0');
    return std::string(text, bytes);
  };
  const auto finish = [&] {
    const char* text = nullptr;
    size_t bytes = 9;
    CHECK_OK(bitnet_decoder_finish(decoder.get(), &text, &bytes));
    return std::string(text, bytes);
  };
  CHECK(append(kSpaceB) == " b");
  CHECK(append(0xf0).empty());
  CHECK(append(0x9f).empty());
  CHECK(append(0x8c).empty());
  CHECK(append(0xb1) == "\xf0\x9f\x8c\xb1");
  CHECK(append(0xc3).empty());
  const char* text = nullptr;
  size_t bytes = 0;
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "bitnet_decoder_append: token 258 is not in the vocabulary",
                bitnet_decoder_append(decoder.get(), 258, &text, &bytes));
  CHECK(append(0xa9) == "\xc3\xa9");
  CHECK(append(kEot).empty());
  CHECK(append(0xc3).empty());
  CHECK(finish() == "\xef\xbf\xbd");
  CHECK(finish().empty());
}

// SentencePiece puts a space before a first word, which is not of the text; before one that goes on, it is.
TEST_CASE("C: a text that goes on keeps the space of its first word") {
  const TemporaryFile file;
  GgufWriter writer;
  writer.Set("general.architecture", "llama");
  writer.Set("tokenizer.ggml.model", "llama");
  writer.Set("tokenizer.ggml.tokens",
             std::vector<std::string>{"<unk>", "<s>", "</s>", "\xe2\x96\x81", "a", "\xe2\x96\x81\x61"});
  writer.Set("tokenizer.ggml.scores", std::vector<float>{0.0f, 0.0f, 0.0f, -1.0f, -2.0f, -0.5f});
  writer.Set("tokenizer.ggml.token_type", std::vector<int32_t>{2, 3, 3, 1, 1, 1});
  writer.Set("tokenizer.ggml.unknown_token_id", uint32_t{0});
  REQUIRE(writer.Write(file.path()).ok());
  bitnet_load_options options = Options();
  options.tokenizer_path = file.path().data();
  options.tokenizer_path_bytes = file.path().size();
  const auto model = Load(Path(), options);
  CHECK(Encode(model, "a", BITNET_NO_SPECIAL) == Tokens{5});
  CHECK(Decode(model, Tokens{5, 5}) == "a a");
  CHECK(Decode(model, Tokens{5, 5}, BITNET_GOES_ON) == " a a");
  CHECK(Decode(model, Tokens{1, 5}, BITNET_SHOW_CONTROL | BITNET_GOES_ON) == "<s> a");
  for (const uint32_t flags : {0u, uint32_t{BITNET_GOES_ON}, uint32_t{BITNET_GOES_ON | BITNET_SHOW_CONTROL}}) {
    bitnet_decoder* decoder = nullptr;
    CHECK_OK(bitnet_decoder_new(model.get(), flags, &decoder));
    std::string whole;
    for (const uint32_t token : {1u, 5u, 5u}) {
      const char* text = nullptr;
      size_t bytes = 0;
      CHECK_OK(bitnet_decoder_append(decoder, token, &text, &bytes));
      whole.append(text, bytes);
    }
    CHECK(whole == Decode(model, Tokens{1, 5, 5}, flags));
    CHECK_OK(bitnet_decoder_free(decoder));
  }
}

TEST_CASE("C: conversations are written as the model's format has them") {
  for (const char* jinja :
       {"{{ role | capitalize }} 'Assistant: ' <|eot_id|>", "<|im_start|> enable_thinking </think>"}) {
    const TemporaryFile file;
    WriteFile(file.path(), {.chat_template = jinja});
    const auto model = Load(file.path());
    const auto chat = [&](const std::vector<bitnet_message>& messages, uint32_t flags) {
      return List<uint32_t>([&](uint32_t* to, size_t capacity, size_t* count) {
        return bitnet_encode_chat(model.get(), messages.data(), messages.size(), flags, to, capacity, count);
      });
    };
    const std::vector<bitnet_message> messages = {
        {BITNET_SYSTEM, 0, "Be brief.", 9}, {BITNET_USER, 0, "<|eot_id|>", 10}, {BITNET_ASSISTANT, 0, "No.", 3}};
    const std::vector<ChatMessage> same = {
        {ChatRole::kSystem, "Be brief."}, {ChatRole::kUser, "<|eot_id|>"}, {ChatRole::kAssistant, "No."}};
    const Result<LoadedTokenizer> loaded = LoadTokenizer(file.path());
    REQUIRE(loaded.ok());
    const ChatFormat* format = FindChatFormat(loaded->chat_template);
    REQUIRE(format != nullptr);
    const auto expected = [&](const ChatOptions& options) {
      return *EncodeChat(loaded->tokenizer, *format, same, options);
    };
    const Tokens written = chat(messages, 0);
    CHECK(written == expected({}));
    CHECK(chat(messages, BITNET_CHAT_GOES_ON) == expected({.at_start = false}));
    CHECK(chat(messages, BITNET_CHAT_NO_REPLY) == expected({.asks_for_reply = false}));
    CHECK(chat(messages, BITNET_CHAT_NO_THINKING) == expected({.thinking = false}));
    const auto after = [&](uint32_t last) {
      return List<uint32_t>([&](uint32_t* to, size_t capacity, size_t* count) {
        return bitnet_encode_after_reply(model.get(), last, to, capacity, count);
      });
    };
    CHECK(after('a') == *AfterReply(loaded->tokenizer, *format, 'a'));
    CHECK(after(kEot) == *AfterReply(loaded->tokenizer, *format, kEot));
    if (format->name == "BitNet 2B") {
      CHECK(std::count(written.begin(), written.end(), kEot) == 3);  // of three turns, not what the user typed
      CHECK(after('a') == Tokens{kEot});
      CHECK(after(kEot).empty());
    } else {
      CHECK(format->name == "Qwen3");
      CHECK(chat(messages, BITNET_CHAT_NO_THINKING).size() > written.size());
    }
  }
}

TEST_CASE("C: forks go on for themselves, and a state that is cut has what it had") {
  const auto model = Load();
  const Tokens tokens = testing::RandomTokens(270, 258);
  const std::span<const uint32_t> all(tokens);
  const auto state = NewState(model);
  Forward(state, all.first(258));
  const auto fork = Copy(state);
  CHECK(Describe(fork).length == 258);
  const Floats one = Forward(state, all.subspan(258, 4));
  const Floats other = Forward(fork, all.subspan(262, 4));
  CHECK(!SameBits(one, other));
  const auto alone = NewState(model);
  Forward(alone, all.first(258));
  CHECK(SameBits(Forward(alone, all.subspan(262, 4)), other));
  CHECK_OK(bitnet_state_truncate(alone.get(), 258));
  CHECK(Describe(alone).length == 258);
  CHECK(SameBits(Forward(alone, all.subspan(258, 4)), one));
  CHECK_OK(bitnet_state_truncate(alone.get(), 262));
  CHECK_OK(bitnet_state_truncate(alone.get(), 0));
  CHECK(Describe(alone).cache_bytes == 0);
}

TEST_CASE("C: a pass of several states has the bits of each alone") {
  const auto model = Load();
  const Tokens tokens = testing::RandomTokens(40, 258);
  const auto first = NewState(model), second = NewState(model), alone = NewState(model);
  bitnet_batch* made = nullptr;
  CHECK_OK(bitnet_batch_new(model.get(), &made));
  const Owned<bitnet_batch> batch(made);
  const bitnet_turn turns[] = {{first.get(), tokens.data(), 7}, {second.get(), tokens.data() + 7, 1}};
  for (int pass = 0; pass < 2; ++pass) {
    const float* logits = nullptr;
    CHECK_OK(bitnet_batch_forward(batch.get(), turns, 2, &logits));
    if (pass == 0) {
      CHECK(SameBits({logits, 258}, Forward(alone, std::span(tokens).first(7))));
      CHECK_OK(bitnet_state_truncate(alone.get(), 0));
      CHECK(SameBits({logits + 258, 258}, Forward(alone, std::span(tokens).subspan(7, 1))));
    }
  }
  CHECK(Describe(first).length == 14);
  CHECK_OK(bitnet_batch_forward(batch.get(), turns, 2, nullptr));
  // A turn that is refused leaves all as they were.
  const auto full = NewState(model, 2);
  const bitnet_turn too_long[] = {turns[0], {full.get(), tokens.data(), 3}};
  const float* logits = nullptr;
  CHECK_REFUSED(BITNET_FULL, "bitnet_batch_forward: turn 1: position overflow",
                bitnet_batch_forward(batch.get(), too_long, 2, &logits));
  CHECK(logits == nullptr);
  CHECK(Describe(first).length == 21);
  const bitnet_turn twice[] = {turns[0], turns[0]};
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "turn 1: its state is that of turn 0 too",
                bitnet_batch_forward(batch.get(), twice, 2, &logits));
  const bitnet_turn no_state[] = {turns[0], {nullptr, tokens.data(), 1}};
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "the state is NULL", bitnet_batch_forward(batch.get(), no_state, 2, &logits));
  const bitnet_turn no_tokens[] = {turns[0], {full.get(), nullptr, 1}};
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "turn 1: the tokens are NULL",
                bitnet_batch_forward(batch.get(), no_tokens, 2, &logits));
  const auto other = Load();
  const auto stranger = NewState(other);
  const bitnet_turn of_another[] = {turns[0], {stranger.get(), tokens.data(), 1}};
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "turn 1: the state is another model's than the batch",
                bitnet_batch_forward(batch.get(), of_another, 2, &logits));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "no turns", bitnet_batch_forward(batch.get(), turns, 0, &logits));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "the turns are NULL", bitnet_batch_forward(batch.get(), nullptr, 1, &logits));
  second->busy = true;
  CHECK_REFUSED(BITNET_BUSY, "another thread is using the state", bitnet_batch_forward(batch.get(), turns, 2, &logits));
  second->busy = false;
  // All that was taken for that was given back.
  CHECK_OK(bitnet_batch_forward(batch.get(), turns, 2, &logits));
  CHECK(Describe(first).length == 28);
}

TEST_CASE("C: tokens are drawn as by SampleToken") {
  Floats logits(100);
  Random random(5);
  for (float& logit : logits) logit = 0.5f * Normal(random);  // (so flat that each option changes draws)
  uint64_t seed = 11;
  Random expected(11);
  SampleScratch scratch;
  for (int i = 0; i < 50; ++i) {
    bitnet_sampler sampler = {};
    sampler.struct_bytes = sizeof(sampler);
    sampler.temperature = 0.5f + 0.1f * static_cast<float>(i % 7);
    sampler.top_k = static_cast<size_t>(i % 5) * 10;
    sampler.top_p = i % 3 == 0 ? 0.0f : 0.3f * static_cast<float>(i % 3);
    sampler.min_p = i % 4 == 0 ? 0.1f : 0.0f;
    SamplerOptions options;
    options.temperature = sampler.temperature;
    options.top_k = sampler.top_k;
    options.top_p = sampler.top_p == 0.0f ? 1.0f : sampler.top_p;
    options.min_p = sampler.min_p;
    uint32_t token = 0;
    CHECK_OK(bitnet_sample(logits.data(), logits.size(), &sampler, &seed, &token));
    CHECK(token == *SampleToken(logits, options, expected(), scratch));
  }
  const auto best = static_cast<uint32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  uint32_t token = 0;
  CHECK_OK(bitnet_sample(logits.data(), logits.size(), nullptr, nullptr, &token));
  CHECK(token == best);
  const uint64_t before = seed;
  CHECK_OK(bitnet_sample(logits.data(), logits.size(), nullptr, &seed, &token));
  CHECK(seed == before);
}

TEST_CASE("C: progress is told, and may end a load") {
  struct Told {
    std::vector<std::pair<size_t, size_t>> calls;
    size_t end_at;
  };
  const auto tell = [](void* user, size_t done, size_t all) -> int32_t {
    Told& told = *static_cast<Told*>(user);
    told.calls.push_back({done, all});
    return told.calls.size() == told.end_at;
  };
  for (const size_t threads : {size_t{1}, size_t{3}}) {
    Told told = {{}, 0};
    bitnet_load_options options = Options();
    options.threads = threads;
    options.progress = tell;
    options.progress_user = &told;
    Load(Path(), options);
    REQUIRE(told.calls.size() > 10);
    for (size_t i = 0; i < told.calls.size(); ++i) {
      CHECK(told.calls[i] == std::pair(i, told.calls.size() - 1));
    }
    const size_t calls = told.calls.size();
    for (const size_t end_at : {size_t{1}, calls / 2, calls}) {
      told = {{}, end_at};
      bitnet_model* model = nullptr;
      CHECK_REFUSED(BITNET_CANCELLED, "bitnet_model_load: the progress callback ended it",
                    bitnet_model_load(Path().data(), Path().size(), &options, &model));
      CHECK(model == nullptr);
    }
  }
}

// ---- Misuse ------------------------------------------------------------------------------------------------------

TEST_CASE("C: what cannot be loaded is said") {
  bitnet_model* model = nullptr;
  const auto load = [&](std::string_view path, const bitnet_load_options* options) {
    return bitnet_model_load(path.data(), path.size(), options, &model);
  };
  CHECK_REFUSED(BITNET_CANNOT_LOAD, "no/such/file.gguf", load("no/such/file.gguf", nullptr));
  CHECK_REFUSED(BITNET_CANNOT_LOAD, "tests", load(BITNET_SOURCE_DIR "/tests", nullptr));
  CHECK_REFUSED(BITNET_CANNOT_LOAD, "README.md", load(BITNET_SOURCE_DIR "/README.md", nullptr));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "the path is NULL", load({}, nullptr));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "zero byte", load(std::string_view("a\0b", 3), nullptr));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "there is no place for the model",
                bitnet_model_load("a", 1, nullptr, nullptr));
  const auto wrong = [&](auto&& change) {
    bitnet_load_options options = Options();
    change(options);
    return load(Path(), &options);
  };
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "struct_bytes is 0", wrong([](auto& o) { o.struct_bytes = 0; }));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "struct_bytes is 123456", wrong([](auto& o) { o.struct_bytes = 123456; }));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "threads is 5000", wrong([](auto& o) { o.threads = 5000; }));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "cache_bits is 12", wrong([](auto& o) { o.cache_bits = 12; }));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "i2s_layout is 3", wrong([](auto& o) { o.i2s_layout = 3; }));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "of which 2 is not known", wrong([](auto& o) { o.flags = 3; }));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "reserved", wrong([](auto& o) { o.reserved = 1; }));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "tokenizer_path is", wrong([](auto& o) { o.tokenizer_path_bytes = 1; }));
  CHECK_REFUSED(BITNET_CANNOT_LOAD, "no/such/tokenizer", wrong([](auto& o) {
                  o.tokenizer_path = "no/such/tokenizer";
                  o.tokenizer_path_bytes = 17;
                }));
  CHECK(model == nullptr);
  // Long paths, of characters that are not cut, wherever the end falls.
  std::string path;
  for (int i = 0; i < 2000; ++i) path += "\xc3\xa9";
  for (int i = 0; i < 2; ++i) {
    CHECK_REFUSED(BITNET_CANNOT_LOAD, "\xc3\xa9", load(path, nullptr));
    const std::string sentence = bitnet_last_error();
    CHECK(sentence.size() >= 2046);
    CHECK(sentence == ReplaceInvalidUtf8(sentence));
    path.insert(0, 1, 'x');
  }
}

TEST_CASE("C: structs of other versions") {
  struct Newer {
    bitnet_load_options options;
    uint64_t more;
  } newer = {Options(), 0};
  newer.options.struct_bytes = sizeof(newer);
  Load(Path(), newer.options);
  newer.more = 1;
  bitnet_model* refused = nullptr;
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "an option is set that this version of the library does not know",
                bitnet_model_load(Path().data(), Path().size(), &newer.options, &refused));
  // An older caller's options end before what is set behind them.
  bitnet_load_options older = Options();
  older.struct_bytes = offsetof(bitnet_load_options, cache_bits);
  older.threads = 1;
  older.cache_bits = 77;
  const auto model = Load(Path(), older);
  struct NewerInfo {
    bitnet_model_info info;
    uint64_t more;
  } info = {{}, 5};
  info.info.struct_bytes = sizeof(info);
  CHECK_OK(bitnet_model_describe(model.get(), &info.info));
  CHECK(info.info.vocab == 258);
  CHECK(info.more == 0);
  info.info = {};
  info.info.layers = 99;
  info.info.struct_bytes = offsetof(bitnet_model_info, layers);
  CHECK_OK(bitnet_model_describe(model.get(), &info.info));
  CHECK(info.info.vocab == 258);
  CHECK(info.info.layers == 99);
  CHECK(info.info.struct_bytes == offsetof(bitnet_model_info, layers));
}

TEST_CASE("C: a checkpoint without a tokenizer, and one with a chat template that is not known") {
  const TemporaryFile without;
  WriteFile(without.path(), {.tokenizer = false});
  {
    const auto model = Load(without.path());
    bitnet_model_info info = {};
    info.struct_bytes = sizeof(info);
    CHECK_OK(bitnet_model_describe(model.get(), &info));
    CHECK(info.tokenizer_vocab == 0);
    CHECK(info.bos == 1);
    const char* notes = nullptr;
    size_t bytes = 0;
    CHECK_OK(bitnet_model_text(model.get(), BITNET_NOTES, &notes, &bytes));
    CHECK(std::string(notes, bytes).starts_with("there is no tokenizer: "));
    uint32_t tokens[8];
    char text[8];
    size_t count = 0;
    bitnet_decoder* decoder = nullptr;
    CHECK_REFUSED(BITNET_NO_TOKENIZER, "bitnet_encode: there is no tokenizer: " + without.path(),
                  bitnet_encode(model.get(), "a", 1, 0, tokens, 8, &count));
    CHECK_REFUSED(BITNET_NO_TOKENIZER, "bitnet_decode: ", bitnet_decode(model.get(), tokens, 0, 0, text, 8, &count));
    CHECK_REFUSED(BITNET_NO_TOKENIZER, "bitnet_decoder_new: ", bitnet_decoder_new(model.get(), 0, &decoder));
    CHECK_REFUSED(BITNET_NO_TOKENIZER,
                  "bitnet_encode_chat: ", bitnet_encode_chat(model.get(), nullptr, 0, 0, tokens, 8, &count));
    CHECK_REFUSED(BITNET_NO_TOKENIZER,
                  "bitnet_encode_after_reply: ", bitnet_encode_after_reply(model.get(), 1, tokens, 8, &count));
    CHECK(decoder == nullptr);
    Forward(NewState(model), Tokens{1, 2, 3});
    const Tokens ends = List<uint32_t>(
        [&](uint32_t* to, size_t capacity, size_t* n) { return bitnet_model_ends(model.get(), to, capacity, n); });
    CHECK(ends == Tokens{kEos});
    // Another file's.
    bitnet_load_options options = Options();
    options.tokenizer_path = Path().data();
    options.tokenizer_path_bytes = Path().size();
    CHECK(Encode(Load(without.path(), options), "a b") == Tokens{1, 'a', kSpaceB});
  }
  for (const char* jinja : {"", "{{ messages }}"}) {
    const TemporaryFile unknown;
    WriteFile(unknown.path(), {.chat_template = jinja});
    const auto model = Load(unknown.path());
    uint32_t tokens[8];
    size_t count = 0;
    CHECK_REFUSED(BITNET_NO_CHAT_FORMAT, *jinja == '\0' ? "carries no chat template" : "none of those that are known",
                  bitnet_encode_chat(model.get(), nullptr, 0, 0, tokens, 8, &count));
    CHECK_REFUSED(BITNET_NO_CHAT_FORMAT, "chat template", bitnet_encode_after_reply(model.get(), 1, tokens, 8, &count));
  }
}

TEST_CASE("C: states refuse what has no room and what is no token") {
  const auto model = Load();
  const auto state = NewState(model, 4);
  const Tokens tokens = {1, 2, 3, 258};
  const float* logits = nullptr;
  const auto forward = [&](const uint32_t* from, size_t count) {
    return bitnet_forward(state.get(), from, count, &logits);
  };
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "bitnet_forward: token 3 of the input is 258; the vocabulary has 258",
                forward(tokens.data(), 4));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "no tokens were given", forward(tokens.data(), 0));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "no tokens were given", forward(nullptr, 0));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "the tokens are NULL", forward(nullptr, 1));
  CHECK(Describe(state).length == 0);
  CHECK_OK(forward(tokens.data(), 3));
  CHECK_OK(bitnet_forward(state.get(), tokens.data(), 1, nullptr));
  logits = nullptr;
  CHECK_REFUSED(BITNET_FULL, "position overflow: 4 tokens are in the cache", forward(tokens.data(), 1));
  CHECK_REFUSED(BITNET_FULL, "bitnet_forward_all: position overflow",
                bitnet_forward_all(state.get(), tokens.data(), 1, &logits));
  CHECK_REFUSED(BITNET_FULL, "position overflow", forward(tokens.data(), std::numeric_limits<size_t>::max()));
  CHECK(logits == nullptr);
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "length is 5; the state has 4 tokens", bitnet_state_truncate(state.get(), 5));
  CHECK(Describe(state).length == 4);
  CHECK(Describe(NewState(model, 1000000)).max_tokens == kMaxPositions);
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "there is no place for the state", bitnet_state_new(model.get(), 0, nullptr));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "there is no place for the copy", bitnet_state_copy(state.get(), nullptr));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "info is NULL", bitnet_state_describe(state.get(), nullptr));
}

TEST_CASE("C: handles that are NULL, or of another kind") {
  const auto model = Load();
  const auto state = NewState(model);
  bitnet_decoder* decoder = nullptr;
  bitnet_batch* batch = nullptr;
  CHECK_OK(bitnet_decoder_new(model.get(), 0, &decoder));
  CHECK_OK(bitnet_batch_new(model.get(), &batch));
  uint32_t tokens[8] = {};
  char text[8];
  size_t count = 0;
  const char* given = nullptr;
  const float* logits = nullptr;
  bitnet_model_info model_info = {};
  model_info.struct_bytes = sizeof(model_info);
  bitnet_state_info state_info = {};
  state_info.struct_bytes = sizeof(state_info);
  bitnet_state* new_state = nullptr;
  bitnet_batch* new_batch = nullptr;
  bitnet_decoder* new_decoder = nullptr;
  void* const all[] = {nullptr, model.get(), state.get(), decoder, batch};
  for (void* handle : all) {
    const std::string words = handle == nullptr ? " is NULL" : "is a handle of another kind";
    const auto refused = [&](const char* function, void* own, bitnet_status status) {
      if (handle == own) return;
      CAPTURE(function);
      CHECK(status == BITNET_INVALID_ARGUMENT);
      CHECK_MESSAGE(std::string(bitnet_last_error()).find(words) != std::string::npos,
                    std::string(bitnet_last_error()));
      CHECK_MESSAGE(std::string(bitnet_last_error()).starts_with(function), std::string(bitnet_last_error()));
    };
    if (handle != model.get()) {
      auto* m = static_cast<bitnet_model*>(handle);
      refused("bitnet_model_describe", model.get(), bitnet_model_describe(m, &model_info));
      refused("bitnet_model_text", model.get(), bitnet_model_text(m, 0, &given, &count));
      refused("bitnet_model_ends", model.get(), bitnet_model_ends(m, tokens, 8, &count));
      refused("bitnet_encode", model.get(), bitnet_encode(m, "a", 1, 0, tokens, 8, &count));
      refused("bitnet_decode", model.get(), bitnet_decode(m, tokens, 1, 0, text, 8, &count));
      refused("bitnet_decoder_new", model.get(), bitnet_decoder_new(m, 0, &new_decoder));
      refused("bitnet_encode_chat", model.get(), bitnet_encode_chat(m, nullptr, 0, 0, tokens, 8, &count));
      refused("bitnet_encode_after_reply", model.get(), bitnet_encode_after_reply(m, 0, tokens, 8, &count));
      refused("bitnet_state_new", model.get(), bitnet_state_new(m, 0, &new_state));
      refused("bitnet_batch_new", model.get(), bitnet_batch_new(m, &new_batch));
      if (handle != nullptr) refused("bitnet_model_free", model.get(), bitnet_model_free(m));
    }
    if (handle != state.get()) {
      auto* s = static_cast<bitnet_state*>(handle);
      refused("bitnet_state_describe", state.get(), bitnet_state_describe(s, &state_info));
      refused("bitnet_state_copy", state.get(), bitnet_state_copy(s, &new_state));
      refused("bitnet_state_truncate", state.get(), bitnet_state_truncate(s, 0));
      refused("bitnet_forward", state.get(), bitnet_forward(s, tokens, 1, &logits));
      refused("bitnet_forward_all", state.get(), bitnet_forward_all(s, tokens, 1, &logits));
      if (handle != nullptr) refused("bitnet_state_free", state.get(), bitnet_state_free(s));
    }
    if (handle != decoder) {
      auto* d = static_cast<bitnet_decoder*>(handle);
      refused("bitnet_decoder_append", decoder, bitnet_decoder_append(d, 0, &given, &count));
      refused("bitnet_decoder_finish", decoder, bitnet_decoder_finish(d, &given, &count));
      if (handle != nullptr) refused("bitnet_decoder_free", decoder, bitnet_decoder_free(d));
    }
    if (handle != batch) {
      auto* b = static_cast<bitnet_batch*>(handle);
      refused("bitnet_batch_forward", batch, bitnet_batch_forward(b, nullptr, 0, &logits));
      if (handle != nullptr) refused("bitnet_batch_free", batch, bitnet_batch_free(b));
    }
  }
  CHECK(new_state == nullptr);
  CHECK(new_batch == nullptr);
  CHECK(new_decoder == nullptr);
  CHECK_OK(bitnet_decoder_free(decoder));
  CHECK_OK(bitnet_batch_free(batch));
  CHECK_OK(bitnet_model_free(nullptr));
  CHECK_OK(bitnet_state_free(nullptr));
  CHECK_OK(bitnet_batch_free(nullptr));
  CHECK_OK(bitnet_decoder_free(nullptr));
}

TEST_CASE("C: arguments that are NULL or outside their ranges") {
  const auto model = Load();
  const bitnet_model* m = model.get();
  uint32_t tokens[8] = {300};
  char text[8];
  size_t count = 0;
  const char* given = nullptr;
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "info is NULL", bitnet_model_describe(m, nullptr));
  bitnet_model_info info = {};
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "struct_bytes is 0", bitnet_model_describe(m, &info));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "no place for the text", bitnet_model_text(m, 0, nullptr, &count));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "no place for the text", bitnet_model_text(m, 0, &given, nullptr));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "there is no text 4", bitnet_model_text(m, 4, &given, &count));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "it is NULL", bitnet_model_ends(m, tokens, 8, nullptr));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "the memory for the result is NULL", bitnet_model_ends(m, nullptr, 8, &count));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "the text is NULL", bitnet_encode(m, nullptr, 1, 0, tokens, 8, &count));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "it is NULL", bitnet_encode(m, "a", 1, 0, tokens, 8, nullptr));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "the memory for the result", bitnet_encode(m, "a", 1, 0, nullptr, 8, &count));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "flags are 9, of which 8", bitnet_encode(m, "a", 1, 9, tokens, 8, &count));
  CHECK_REFUSED(BITNET_TOO_SMALL, "the result has 4 elements; there is room for 2",
                bitnet_encode(m, "abc", 3, 0, tokens, 2, &count));
  CHECK(count == 4);
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "the tokens are NULL", bitnet_decode(m, nullptr, 1, 0, text, 8, &count));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "it is NULL", bitnet_decode(m, tokens, 1, 0, text, 8, nullptr));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "token 300 is not in the vocabulary",
                bitnet_decode(m, tokens, 1, 0, text, 8, &count));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "of which 64", bitnet_decode(m, tokens, 1, 64, text, 8, &count));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "no place for the decoder", bitnet_decoder_new(m, 0, nullptr));
  bitnet_decoder* none = nullptr;
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "of which 4", bitnet_decoder_new(m, BITNET_RAW_BYTES, &none));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "no place for the batch", bitnet_batch_new(m, nullptr));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "the messages are NULL",
                bitnet_encode_chat(m, nullptr, 1, 0, tokens, 8, &count));
  bitnet_message message = {3, 0, "a", 1};
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "message 0: its role is 3",
                bitnet_encode_chat(m, &message, 1, 0, tokens, 8, &count));
  message = {BITNET_USER, 0, nullptr, 1};
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "message 0: its text is NULL",
                bitnet_encode_chat(m, &message, 1, 0, tokens, 8, &count));
  message = {BITNET_USER, 1, "a", 1};
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "`reserved`", bitnet_encode_chat(m, &message, 1, 0, tokens, 8, &count));
  message = {BITNET_USER, 0, "a", 1};
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "of which 8", bitnet_encode_chat(m, &message, 1, 8, tokens, 8, &count));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "token 258 is not in", bitnet_encode_after_reply(m, 258, tokens, 8, &count));

  bitnet_sampler sampler = {};
  sampler.struct_bytes = sizeof(sampler);
  sampler.temperature = 1.0f;
  float logits[] = {0.0f, 1.0f};
  uint64_t random = 1;
  uint32_t token = 77;
  const auto wrong = [&](auto&& change) {
    bitnet_sampler changed = sampler;
    change(changed);
    return bitnet_sample(logits, 2, &changed, &random, &token);
  };
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "temperature is -1", wrong([](auto& s) { s.temperature = -1.0f; }));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "temperature is", wrong([](auto& s) { s.temperature = NAN; }));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "top_p is 2", wrong([](auto& s) { s.top_p = 2.0f; }));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "top_p is", wrong([](auto& s) { s.top_p = NAN; }));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "min_p is -1", wrong([](auto& s) { s.min_p = -1.0f; }));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "reserved", wrong([](auto& s) { s.reserved = 1; }));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "struct_bytes is 1", wrong([](auto& s) { s.struct_bytes = 1; }));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "random is NULL", bitnet_sample(logits, 2, &sampler, nullptr, &token));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "no place for the token",
                bitnet_sample(logits, 2, &sampler, &random, nullptr));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "the logits are NULL", bitnet_sample(nullptr, 2, &sampler, &random, &token));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "vocab is 0", bitnet_sample(logits, 0, &sampler, &random, &token));
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "vocab is 16777216",
                bitnet_sample(logits, size_t{1} << 24, &sampler, &random, &token));
  logits[1] = NAN;
  CHECK_REFUSED(BITNET_FAILED, "the logit of token 1 is NaN", bitnet_sample(logits, 2, &sampler, &random, &token));
  CHECK(random == 1);
  CHECK(token == 77);
}

// ---- Lifetimes, threads, memory ----------------------------------------------------------------------------------

TEST_CASE("C: what came of a model outlives its handle") {
  auto model = Load();
  const auto state = NewState(model);
  const Floats before = Forward(state, Tokens{1, 2, 3});
  bitnet_decoder* decoder = nullptr;
  bitnet_batch* batch = nullptr;
  CHECK_OK(bitnet_decoder_new(model.get(), 0, &decoder));
  CHECK_OK(bitnet_batch_new(model.get(), &batch));
  model.reset();
  CHECK_OK(bitnet_state_truncate(state.get(), 0));
  CHECK(SameBits(Forward(state, Tokens{1, 2, 3}), before));
  const char* text = nullptr;
  size_t bytes = 0;
  CHECK_OK(bitnet_decoder_append(decoder, 'a', &text, &bytes));
  CHECK(std::string(text, bytes) == "a");
  const Tokens tokens = {4};
  const bitnet_turn turn = {state.get(), tokens.data(), 1};
  CHECK_OK(bitnet_batch_forward(batch, &turn, 1, nullptr));
  CHECK_OK(bitnet_decoder_free(decoder));
  CHECK_OK(bitnet_batch_free(batch));
}

TEST_CASE("C: threads share a model, and are kept from sharing a state") {
  const auto model = Load();
  const Tokens tokens = testing::RandomTokens(20, 258);
  const auto state = NewState(model);
  const Floats expected = Forward(state, tokens);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 5; ++k) {
        bitnet_state* own = nullptr;
        const float* logits = nullptr;
        if (bitnet_state_new(model.get(), 0, &own) != BITNET_OK ||
            bitnet_forward(own, tokens.data(), tokens.size(), &logits) != BITNET_OK ||
            !SameBits({logits, 258}, expected) || bitnet_state_free(own) != BITNET_OK) {
          ++wrong;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);

  state->busy = true;
  const float* logits = nullptr;
  bitnet_state* copy = nullptr;
  bitnet_state_info info = {};
  info.struct_bytes = sizeof(info);
  CHECK_REFUSED(BITNET_BUSY, "bitnet_forward: another thread is using the state",
                bitnet_forward(state.get(), tokens.data(), 1, &logits));
  CHECK_REFUSED(BITNET_BUSY, "bitnet_state_copy", bitnet_state_copy(state.get(), &copy));
  CHECK_REFUSED(BITNET_BUSY, "bitnet_state_truncate", bitnet_state_truncate(state.get(), 0));
  CHECK_REFUSED(BITNET_BUSY, "bitnet_state_describe", bitnet_state_describe(state.get(), &info));
  CHECK_REFUSED(BITNET_BUSY, "bitnet_state_free", bitnet_state_free(state.get()));
  state->busy = false;
  CHECK_OK(bitnet_forward(state.get(), tokens.data(), 1, &logits));
  bitnet_decoder* decoder = nullptr;
  CHECK_OK(bitnet_decoder_new(model.get(), 0, &decoder));
  decoder->busy = true;
  const char* text = nullptr;
  size_t bytes = 0;
  CHECK_REFUSED(BITNET_BUSY, "another thread is using the decoder", bitnet_decoder_finish(decoder, &text, &bytes));
  decoder->busy = false;
  CHECK_OK(bitnet_decoder_free(decoder));
  bitnet_batch* batch = nullptr;
  CHECK_OK(bitnet_batch_new(model.get(), &batch));
  batch->busy = true;
  CHECK_REFUSED(BITNET_BUSY, "another thread is using the batch", bitnet_batch_forward(batch, nullptr, 0, &logits));
  batch->busy = false;
  CHECK_OK(bitnet_batch_free(batch));

  // Errors are the thread's own.
  CHECK_REFUSED(BITNET_INVALID_ARGUMENT, "NULL", bitnet_state_truncate(nullptr, 0));
  std::string of_another = "?";
  std::thread([&] { of_another = bitnet_last_error(); }).join();
  CHECK(of_another.empty());
}

TEST_CASE("C: what is thrown becomes a status") {
  const auto thrown = [](auto&& what) {
    return detail::CGuarded("bitnet_test", [&](const char*) -> bitnet_status { throw what; });
  };
  CHECK_REFUSED(BITNET_NO_MEMORY, "bitnet_test: there is not enough memory", thrown(std::bad_alloc()));
  CHECK_REFUSED(BITNET_NO_MEMORY, "bitnet_test: there is not enough memory", thrown(std::length_error("vector")));
  CHECK_REFUSED(BITNET_FAILED, "bitnet_test: some words", thrown(std::runtime_error("some words")));
  CHECK_REFUSED(BITNET_FAILED, "bitnet_test: something", thrown(7));
}

// Calls f() -> bitnet_status with the first, second, ... taking of memory failing, until none is left to fail; at last
// it must go well. `step`: how many are passed over, the more the later.
template <class F>
void CheckMemory(const char* what, bool steps, F&& f) {
  CAPTURE(what);
  size_t failures = 0;
  for (size_t n = 0;; n += steps ? 1 + n / 8 : 1) {
    bool happened = false;
    bitnet_status status = BITNET_OK;
    {
      const testing::FailingAllocation failing(n, testing::Ends::kOnce);
      status = f();
      happened = failing.happened();
    }
    if (!happened) {
      CHECK_MESSAGE(status == BITNET_OK, std::string(bitnet_last_error()));
      break;
    }
    ++failures;
    CHECK_MESSAGE((status == BITNET_NO_MEMORY || status == BITNET_OK), status, " ", std::string(bitnet_last_error()));
  }
  CHECK(failures > 0);
}

TEST_CASE("C: memory that ends is a status") {
  const std::string& path = Path();
  bitnet_load_options options = Options();
  options.threads = 1;
  CheckMemory("load", true, [&] {
    bitnet_model* model = nullptr;
    const bitnet_status status = bitnet_model_load(path.data(), path.size(), &options, &model);
    CHECK((status == BITNET_OK) == (model != nullptr));
    bitnet_model_free(model);
    return status;
  });
  const auto model = Load(path, options);
  const Tokens tokens = testing::RandomTokens(30, 258);
  const Floats expected = Forward(NewState(model), tokens);
  CheckMemory("new state", false, [&] {
    bitnet_state* state = nullptr;
    const bitnet_status status = bitnet_state_new(model.get(), 0, &state);
    CHECK((status == BITNET_OK) == (state != nullptr));
    bitnet_state_free(state);
    return status;
  });
  CheckMemory("forward", false, [&] {
    bitnet_state* state = nullptr;
    bitnet_status status = bitnet_state_new(model.get(), 0, &state);
    if (status != BITNET_OK) return status;
    const float* logits = nullptr;
    status = bitnet_forward(state, tokens.data(), tokens.size(), &logits);
    // The same call again gives the same bits.
    if (status != BITNET_OK) CHECK_OK(bitnet_forward(state, tokens.data(), tokens.size(), &logits));
    CHECK(SameBits({logits, 258}, expected));
    bitnet_state_free(state);
    return status;
  });
  const auto state = NewState(model);
  Forward(state, tokens);
  CheckMemory("copy", false, [&] {
    bitnet_state* copy = nullptr;
    const bitnet_status status = bitnet_state_copy(state.get(), &copy);
    bitnet_state_free(copy);
    return status;
  });
  const std::string text = "A text of more bytes than a string holds by itself";
  CheckMemory("encode", false, [&] {
    uint32_t to[100];
    size_t count = 0;
    return bitnet_encode(model.get(), text.data(), text.size(), 0, to, 100, &count);
  });
  CheckMemory("decode", false, [&] {
    char to[100];
    size_t count = 0;
    return bitnet_decode(model.get(), tokens.data(), tokens.size(), 0, to, 100, &count);
  });
  CheckMemory("an error", false, [&] {
    const bitnet_status status = bitnet_state_truncate(state.get(), 31);
    return status == BITNET_INVALID_ARGUMENT ? BITNET_OK : status;
  });
}

}  // namespace
}  // namespace bitnet::c_test
