// The code behind bitnet/c.h. That header includes it, in the one unit of a program that defines
// BITNET_C_IMPLEMENTATION; nobody else does, since its functions are not inline.
//
// Each function checks what it is given, so that no assertion below it can end the program, and calls the library
// inside CGuarded, which makes statuses of exceptions.
#ifndef BITNET_IO_C_IMPLEMENTATION_H_
#define BITNET_IO_C_IMPLEMENTATION_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bitnet/backend/default_backend.h"
#include "bitnet/backend/sampling.h"
#include "bitnet/backend/simd/default_backend.h"
#include "bitnet/base/executor.h"
#include "bitnet/base/random.h"
#include "bitnet/base/result.h"
#include "bitnet/base/version.h"
#include "bitnet/c.h"
#include "bitnet/io/any_model.h"
#include "bitnet/io/c_guards.h"
#include "bitnet/io/chat_template.h"
#include "bitnet/io/checkpoint.h"
#include "bitnet/io/load_tokenizer.h"
#include "bitnet/io/text_decoder.h"
#include "bitnet/io/tokenizer.h"
#include "bitnet/io/unicode.h"
#include "bitnet/model/config.h"
#include "bitnet/model/transformer.h"
#include "bitnet/scheme/cache.h"
#include "bitnet/scheme/scheme.h"
#include "bitnet/tensor/matrix_view.h"

namespace bitnet::detail {

#define BITNET_C_TEXT_OF(x) #x
#define BITNET_C_TEXT(x) BITNET_C_TEXT_OF(x)
inline constexpr const char* kCVersion =
    BITNET_C_TEXT(BITNET_VERSION_MAJOR) "." BITNET_C_TEXT(BITNET_VERSION_MINOR) "." BITNET_C_TEXT(BITNET_VERSION_PATCH);
#undef BITNET_C_TEXT
#undef BITNET_C_TEXT_OF

inline constexpr size_t kMostCThreads = 4096;

// Of whatever file, and of the cache that the caller chooses.
using CScheme = WithChosenCache<B158, WithInt8Cache<B158>, WithFloat16Cache<B158>, B158>;
using CModel = AnyModel<CScheme>;

// What a model's handle, and those that came of it, share.
struct CModelCore {
  std::unique_ptr<ThreadPool> pool;  // where the caller chose a number of threads
  size_t threads = 1;
  uint32_t cache_bits = 8;
  std::optional<CModel> model;
  std::optional<Tokenizer> tokenizer;
  std::string no_tokenizer;  // why there is none
  const ChatFormat* format = nullptr;
  std::string architecture, format_name, chat_template, notes;
  std::vector<Token> ends;
  std::optional<Token> bos;
};

}  // namespace bitnet::detail

struct bitnet_model : bitnet::detail::CHandle {
  static constexpr auto kKind = bitnet::detail::CKind::kModel;
  static constexpr const char* kName = "model";
  explicit bitnet_model(std::shared_ptr<const bitnet::detail::CModelCore> c) : CHandle(kKind), core(std::move(c)) {}
  std::shared_ptr<const bitnet::detail::CModelCore> core;
};
struct bitnet_state : bitnet::detail::CHandle {
  static constexpr auto kKind = bitnet::detail::CKind::kState;
  static constexpr const char* kName = "state";
  bitnet_state(std::shared_ptr<const bitnet::detail::CModelCore> c, bitnet::detail::CModel::State s)
      : CHandle(kKind), core(std::move(c)), state(std::move(s)) {}
  std::shared_ptr<const bitnet::detail::CModelCore> core;
  bitnet::detail::CModel::State state;
};
struct bitnet_batch : bitnet::detail::CHandle {
  static constexpr auto kKind = bitnet::detail::CKind::kBatch;
  static constexpr const char* kName = "batch";
  explicit bitnet_batch(std::shared_ptr<const bitnet::detail::CModelCore> c)
      : CHandle(kKind), core(std::move(c)), workspace(core->model->NewWorkspace()) {}
  std::shared_ptr<const bitnet::detail::CModelCore> core;
  bitnet::detail::CModel::Workspace workspace;
  std::vector<bitnet::detail::CModel::Turn> turns;
};
struct bitnet_decoder : bitnet::detail::CHandle {
  static constexpr auto kKind = bitnet::detail::CKind::kDecoder;
  static constexpr const char* kName = "decoder";
  bitnet_decoder(const bitnet::Tokenizer& tokenizer, const bitnet::DecodeOptions& options)
      : CHandle(kKind), decoder(tokenizer, options) {}
  bitnet::TextDecoder decoder;
  std::string text;  // what was given out last
};

namespace bitnet::detail {

// ---- The longer functions ----------------------------------------------------------------------------------------

inline bool IsCPath(const char* text, size_t bytes) {
  return text != nullptr && bytes != 0 && std::memchr(text, '\0', bytes) == nullptr;
}

inline bitnet_status LoadC(const char* path_text, size_t path_bytes, const bitnet_load_options* given,
                           bitnet_model** out, const char* at) {
  if (out == nullptr) return CInvalid(at, "there is no place for the model: it is NULL");
  if (!IsCPath(path_text, path_bytes)) return CInvalid(at, "the path is NULL, empty, or holds a zero byte");
  bitnet_load_options options;
  if (!ReadCStruct(given, at, options)) return BITNET_INVALID_ARGUMENT;
  if (options.threads > kMostCThreads) {
    return CInvalid(
        at, "threads is " + std::to_string(options.threads) + "; it may be at most " + std::to_string(kMostCThreads));
  }
  const uint32_t cache_bits = options.cache_bits == 0 ? 8 : options.cache_bits;
  if (cache_bits != 8 && cache_bits != 16 && cache_bits != 32) {
    return CInvalid(at, "cache_bits is " + std::to_string(cache_bits) + "; it must be 8, 16 or 32");
  }
  if (options.i2s_layout > BITNET_I2S_C) {
    return CInvalid(at, "i2s_layout is " + std::to_string(options.i2s_layout) + "; there are 0, 1 and 2");
  }
  if (!HasOnlyCFlags(options.flags, BITNET_QUANTIZE_ANY_REALS, at)) return BITNET_INVALID_ARGUMENT;
  const bool names_tokenizer = options.tokenizer_path != nullptr || options.tokenizer_path_bytes != 0;
  if (names_tokenizer && !IsCPath(options.tokenizer_path, options.tokenizer_path_bytes)) {
    return CInvalid(at, "tokenizer_path is NULL, empty, or holds a zero byte");
  }

  const std::string path(path_text, path_bytes);
  CheckpointOptions checkpoint_options;
  constexpr I2sLayout kLayouts[] = {I2sLayout::kA, I2sLayout::kB, I2sLayout::kC};
  checkpoint_options.decode.i2s = kLayouts[options.i2s_layout];
  checkpoint_options.quantize_any_reals = (options.flags & BITNET_QUANTIZE_ANY_REALS) != 0;
  const Result<Checkpoint> checkpoint = Checkpoint::Open(path, checkpoint_options);
  if (!checkpoint.ok()) return CFail(BITNET_CANNOT_LOAD, at, checkpoint.error());

  auto core = std::make_shared<CModelCore>();
  Result<LoadedTokenizer> loaded =
      LoadTokenizer(names_tokenizer ? std::string(options.tokenizer_path, options.tokenizer_path_bytes) : path);
  if (loaded.ok()) {
    core->tokenizer = std::move(loaded->tokenizer);
    core->chat_template = std::move(loaded->chat_template);
    core->format = FindChatFormat(core->chat_template);
    if (core->format != nullptr) core->format_name = core->format->name;
    for (const std::string& note : loaded->notes) core->notes += (core->notes.empty() ? "" : "\n") + note;
    core->bos = core->tokenizer->named().bos;
    core->ends.assign(core->tokenizer->ends().begin(), core->tokenizer->ends().end());
  } else if (names_tokenizer) {
    return CFail(BITNET_CANNOT_LOAD, at, loaded.error());
  } else {
    core->no_tokenizer = core->notes = "there is no tokenizer: " + loaded.error();
  }
  core->architecture = checkpoint->config().architecture;
  if (!core->bos) core->bos = checkpoint->config().bos;
  for (const Token token : checkpoint->config().eos) {
    if (std::find(core->ends.begin(), core->ends.end(), token) == core->ends.end()) core->ends.push_back(token);
  }

  if (options.threads != 0) core->pool = std::make_unique<ThreadPool>(options.threads);
  Executor& executor = core->pool != nullptr ? *core->pool : DefaultExecutor();
  core->threads = executor.Threads();
  size_t all_tensors = 0;
  const auto report = [&](size_t done, size_t all) {
    all_tensors = all;
    if (options.progress == nullptr || options.progress(options.progress_user, done, all) == 0) return;
#if defined(__cpp_exceptions)
    throw CCancelled();
#endif
  };
  core->cache_bits = cache_bits;
  auto model = LoadAnyModel<CScheme>(*checkpoint, {.progress = report, .cache_bits = cache_bits},
                                     DefaultBackend<B158>(executor));
  if (!model.ok()) return CFail(BITNET_CANNOT_LOAD, at, model.error());
  report(all_tensors, all_tensors);
  core->model.emplace(*std::move(model));
  *out = new bitnet_model(std::move(core));
  return BITNET_OK;
}

// The model's tokenizer, if it has one; if not, says so.
inline const Tokenizer* TokenizerOfC(const bitnet_model& model, const char* at) {
  if (model.core->tokenizer) return &*model.core->tokenizer;
  CFail(BITNET_NO_TOKENIZER, at, model.core->no_tokenizer);
  return nullptr;
}
// ... and its chat format.
inline const ChatFormat* FormatOfC(const bitnet_model& model, const char* at) {
  if (model.core->format != nullptr) return model.core->format;
  CFail(BITNET_NO_CHAT_FORMAT, at,
        model.core->chat_template.empty() ? "the checkpoint carries no chat template"
                                          : "the checkpoint's chat template is none of those that are known");
  return nullptr;
}

inline DecodeOptions DecodeOptionsOfC(uint32_t flags) {
  DecodeOptions options;
  options.show_control = (flags & BITNET_SHOW_CONTROL) != 0;
  options.at_start = (flags & BITNET_GOES_ON) == 0;
  return options;
}

// Appends or finishes: f(the decoder) -> Result<std::string>.
template <class F>
bitnet_status DecodeC(bitnet_decoder* decoder, const char** text, size_t* bytes, const char* name, F&& f) {
  return CGuarded(name, [&](const char* at) -> bitnet_status {
    if (!IsC(decoder, at)) return BITNET_INVALID_ARGUMENT;
    if (text == nullptr || bytes == nullptr) return CInvalid(at, "there is no place for the text, or for its length");
    const CUse use(*decoder);
    if (!use) return CBusy(at, bitnet_decoder::kName);
    Result<std::string> made = f(decoder->decoder);
    if (!made.ok()) return CInvalid(at, made.error());
    decoder->text = *std::move(made);
    *text = decoder->text.c_str();
    *bytes = decoder->text.size();
    return BITNET_OK;
  });
}

// Whether there is room for so many more.
inline bool HasCRoom(const CModel::State& state, size_t tokens) {
  return tokens <= state.max_tokens() - state.length();
}

inline bitnet_status ForwardC(bitnet_state* state, const uint32_t* tokens, size_t count, bool all, const float** logits,
                              const char* name) {
  return CGuarded(name, [&](const char* at) -> bitnet_status {
    if (!IsC(state, at)) return BITNET_INVALID_ARGUMENT;
    if (!IsCArray(tokens, count)) return CInvalid(at, "the tokens are NULL");
    const CUse use(*state);
    if (!use) return CBusy(at, bitnet_state::kName);
    const CModel& model = *state->core->model;
    const auto give = [&](const auto& made, auto&& first) -> bitnet_status {
      if (!made.ok()) {
        return CFail(HasCRoom(state->state, count) ? BITNET_INVALID_ARGUMENT : BITNET_FULL, at, made.error());
      }
      if (logits != nullptr) *logits = first(*made);
      return BITNET_OK;
    };
    const std::span<const Token> read(tokens, count);
    if (all)
      return give(model.ForwardAll(read, state->state), [](MatrixView<const float> rows) { return rows.Row(0); });
    return give(model.Forward(read, state->state), [](std::span<const float> row) { return row.data(); });
  });
}

inline bitnet_status ForwardC(bitnet_batch& batch, std::span<const bitnet_turn> turns, const float** logits,
                              const char* at) {
  const auto turn_name = [](size_t i) { return "turn " + std::to_string(i); };
  for (size_t i = 0; i < turns.size(); ++i) {
    if (!IsC(turns[i].state, at)) return BITNET_INVALID_ARGUMENT;
    if (!IsCArray(turns[i].tokens, turns[i].count)) return CInvalid(at, turn_name(i) + ": the tokens are NULL");
    if (turns[i].state->core != batch.core) {
      return CInvalid(at, turn_name(i) + ": the state is another model's than the batch");
    }
    for (size_t j = 0; j < i; ++j) {
      if (turns[j].state == turns[i].state) {
        return CInvalid(at, turn_name(i) + ": its state is that of " + turn_name(j) + " too");
      }
    }
  }
  struct Uses {
    std::span<const bitnet_turn> turns;
    size_t taken = 0;
    ~Uses() {
      for (const bitnet_turn& turn : turns.first(taken)) turn.state->busy.store(false);
    }
  } uses{turns};
  for (; uses.taken < turns.size(); ++uses.taken) {
    if (turns[uses.taken].state->busy.exchange(true)) return CBusy(at, bitnet_state::kName);
  }
  batch.turns.clear();
  for (const bitnet_turn& turn : turns) {
    batch.turns.push_back({&turn.state->state, {turn.tokens, turn.count}});
  }
  const auto made = batch.core->model->Forward(batch.turns, batch.workspace);
  if (!made.ok()) {
    const bool fit = std::all_of(batch.turns.begin(), batch.turns.end(),
                                 [](const CModel::Turn& turn) { return HasCRoom(*turn.state, turn.tokens.size()); });
    return CFail(fit ? BITNET_INVALID_ARGUMENT : BITNET_FULL, at, made.error());
  }
  if (logits != nullptr) *logits = made->Row(0);
  return BITNET_OK;
}

inline bitnet_status SampleC(std::span<const float> logits, const bitnet_sampler* given, uint64_t* random,
                             uint32_t* token, const char* at) {
  if (logits.empty() || logits.size() > kMostSampledTokens) {
    return CInvalid(at, "vocab is " + std::to_string(logits.size()) + "; it must be from 1 to " +
                            std::to_string(kMostSampledTokens));
  }
  if (logits.data() == nullptr) return CInvalid(at, "the logits are NULL");
  if (token == nullptr) return CInvalid(at, "there is no place for the token: it is NULL");
  bitnet_sampler read;
  if (!ReadCStruct(given, at, read)) return BITNET_INVALID_ARGUMENT;
  SamplerOptions options;
  options.temperature = read.temperature;
  options.top_k = read.top_k;
  options.top_p = read.top_p == 0.0f ? 1.0f : read.top_p;
  options.min_p = read.min_p;
  if (const Result<Done> valid = options.Validate(); !valid.ok()) return CInvalid(at, valid.error());
  const bool is_greedy = options.temperature == 0.0f;
  if (!is_greedy && random == nullptr) {
    return CInvalid(at, "random is NULL: a draw at a temperature above 0 needs a number to go on from");
  }
  Random generator(is_greedy ? 0 : *random);
  thread_local SampleScratch scratch;
  const Result<Token> drawn = SampleToken(logits, options, is_greedy ? 0 : RandomBits(generator), scratch);
  if (!drawn.ok()) return CFail(BITNET_FAILED, at, drawn.error());
  if (!is_greedy) *random = generator.state();
  *token = *drawn;
  return BITNET_OK;
}

}  // namespace bitnet::detail

// ---- The functions -------------------------------------------------------------------------------------------------

extern "C" {

BITNET_C_API uint32_t bitnet_abi_version(void) { return BITNET_C_ABI_VERSION; }

BITNET_C_API const char* bitnet_version(void) { return bitnet::detail::kCVersion; }

BITNET_C_API const char* bitnet_last_error(void) { return bitnet::detail::LastCError(); }

BITNET_C_API bitnet_status bitnet_model_load(const char* path, size_t path_bytes, const bitnet_load_options* options,
                                             bitnet_model** model) {
  using namespace bitnet::detail;
  return CGuarded("bitnet_model_load", [&](const char* at) { return LoadC(path, path_bytes, options, model, at); });
}

BITNET_C_API bitnet_status bitnet_model_free(bitnet_model* model) {
  return bitnet::detail::FreeC(model, "bitnet_model_free");
}

BITNET_C_API bitnet_status bitnet_model_describe(const bitnet_model* model, bitnet_model_info* info) {
  using namespace bitnet::detail;
  return CGuarded("bitnet_model_describe", [&](const char* at) -> bitnet_status {
    if (!IsC(model, at)) return BITNET_INVALID_ARGUMENT;
    const CModelCore& core = *model->core;
    const bitnet::ModelConfig& config = core.model->config();
    const bitnet::ModelBytes bytes = core.model->Bytes();
    bitnet_model_info facts = {};
    facts.vocab = config.vocab;
    facts.max_positions = config.max_positions;
    facts.layers = config.layers;
    facts.hidden = config.hidden;
    facts.heads = config.heads;
    facts.kv_heads = config.kv_heads;
    facts.head_dim = config.head_dim;
    facts.ffn = config.ffn;
    facts.weight_bytes = bytes.projections + bytes.embedding + bytes.norms;
    facts.page_tokens = bitnet::kPageTokens;
    facts.page_bytes = core.model->PageBytes().value_or(std::numeric_limits<size_t>::max());
    facts.threads = core.threads;
    facts.tokenizer_vocab = core.tokenizer ? core.tokenizer->size() : 0;
    facts.cache_bits = core.cache_bits;
    facts.bos = core.bos.value_or(BITNET_NO_TOKEN);
    return WriteCStruct(facts, at, info);
  });
}

BITNET_C_API bitnet_status bitnet_model_text(const bitnet_model* model, uint32_t which, const char** text,
                                             size_t* bytes) {
  using namespace bitnet::detail;
  return CGuarded("bitnet_model_text", [&](const char* at) -> bitnet_status {
    if (!IsC(model, at)) return BITNET_INVALID_ARGUMENT;
    if (text == nullptr || bytes == nullptr) return CInvalid(at, "there is no place for the text, or for its length");
    const CModelCore& core = *model->core;
    const std::string* const texts[] = {&core.architecture, &core.format_name, &core.chat_template, &core.notes};
    if (which >= std::size(texts)) return CInvalid(at, "there is no text " + std::to_string(which));
    *text = texts[which]->c_str();
    *bytes = texts[which]->size();
    return BITNET_OK;
  });
}

BITNET_C_API bitnet_status bitnet_model_ends(const bitnet_model* model, uint32_t* tokens, size_t capacity,
                                             size_t* count) {
  using namespace bitnet::detail;
  return CGuarded("bitnet_model_ends", [&](const char* at) -> bitnet_status {
    if (!IsC(model, at) || !HasCPlace(tokens, capacity, count, at)) return BITNET_INVALID_ARGUMENT;
    return GiveCList<uint32_t>(model->core->ends, tokens, capacity, count, at);
  });
}

BITNET_C_API bitnet_status bitnet_encode(const bitnet_model* model, const char* text, size_t text_bytes, uint32_t flags,
                                         uint32_t* tokens, size_t capacity, size_t* count) {
  using namespace bitnet::detail;
  return CGuarded("bitnet_encode", [&](const char* at) -> bitnet_status {
    if (!IsC(model, at) || !HasCPlace(tokens, capacity, count, at)) return BITNET_INVALID_ARGUMENT;
    if (!IsCArray(text, text_bytes)) return CInvalid(at, "the text is NULL, and its length is not 0");
    if (!HasOnlyCFlags(flags, BITNET_NO_SPECIAL | BITNET_PARSE_CONTROL, at)) return BITNET_INVALID_ARGUMENT;
    const bitnet::Tokenizer* tokenizer = TokenizerOfC(*model, at);
    if (tokenizer == nullptr) return BITNET_NO_TOKENIZER;
    bitnet::EncodeOptions options;
    options.add_special = (flags & BITNET_NO_SPECIAL) == 0;
    options.parse_control = (flags & BITNET_PARSE_CONTROL) != 0;
    const auto made = tokenizer->Encode(std::string_view(text, text_bytes), options);
    if (!made.ok()) return CFail(BITNET_FAILED, at, made.error());
    return GiveCList<uint32_t>(*made, tokens, capacity, count, at);
  });
}

BITNET_C_API bitnet_status bitnet_decode(const bitnet_model* model, const uint32_t* tokens, size_t count,
                                         uint32_t flags, char* text, size_t capacity, size_t* bytes) {
  using namespace bitnet::detail;
  return CGuarded("bitnet_decode", [&](const char* at) -> bitnet_status {
    if (!IsC(model, at) || !HasCPlace(text, capacity, bytes, at)) return BITNET_INVALID_ARGUMENT;
    if (!IsCArray(tokens, count)) return CInvalid(at, "the tokens are NULL");
    constexpr uint32_t kKnown = BITNET_SHOW_CONTROL | BITNET_GOES_ON | BITNET_RAW_BYTES;
    if (!HasOnlyCFlags(flags, kKnown, at)) return BITNET_INVALID_ARGUMENT;
    const bitnet::Tokenizer* tokenizer = TokenizerOfC(*model, at);
    if (tokenizer == nullptr) return BITNET_NO_TOKENIZER;
    auto made = tokenizer->Decode({tokens, count}, DecodeOptionsOfC(flags));
    if (!made.ok()) return CInvalid(at, made.error());
    if ((flags & BITNET_RAW_BYTES) == 0) made = bitnet::ReplaceInvalidUtf8(*made);
    return GiveCList<char>(*made, text, capacity, bytes, at);
  });
}

BITNET_C_API bitnet_status bitnet_decoder_new(const bitnet_model* model, uint32_t flags, bitnet_decoder** decoder) {
  using namespace bitnet::detail;
  return CGuarded("bitnet_decoder_new", [&](const char* at) -> bitnet_status {
    if (!IsC(model, at)) return BITNET_INVALID_ARGUMENT;
    if (decoder == nullptr) return CInvalid(at, "there is no place for the decoder: it is NULL");
    if (!HasOnlyCFlags(flags, BITNET_SHOW_CONTROL | BITNET_GOES_ON, at)) return BITNET_INVALID_ARGUMENT;
    const bitnet::Tokenizer* tokenizer = TokenizerOfC(*model, at);
    if (tokenizer == nullptr) return BITNET_NO_TOKENIZER;
    *decoder = new bitnet_decoder(*tokenizer, DecodeOptionsOfC(flags));
    return BITNET_OK;
  });
}

BITNET_C_API bitnet_status bitnet_decoder_append(bitnet_decoder* decoder, uint32_t token, const char** text,
                                                 size_t* bytes) {
  return bitnet::detail::DecodeC(decoder, text, bytes, "bitnet_decoder_append",
                                 [&](bitnet::TextDecoder& d) { return d.Append(token); });
}

BITNET_C_API bitnet_status bitnet_decoder_finish(bitnet_decoder* decoder, const char** text, size_t* bytes) {
  return bitnet::detail::DecodeC(decoder, text, bytes, "bitnet_decoder_finish",
                                 [](bitnet::TextDecoder& d) -> bitnet::Result<std::string> { return d.Finish(); });
}

BITNET_C_API bitnet_status bitnet_decoder_free(bitnet_decoder* decoder) {
  return bitnet::detail::FreeC(decoder, "bitnet_decoder_free");
}

BITNET_C_API bitnet_status bitnet_encode_chat(const bitnet_model* model, const bitnet_message* messages,
                                              size_t message_count, uint32_t flags, uint32_t* tokens, size_t capacity,
                                              size_t* count) {
  using namespace bitnet::detail;
  return CGuarded("bitnet_encode_chat", [&](const char* at) -> bitnet_status {
    if (!IsC(model, at) || !HasCPlace(tokens, capacity, count, at)) return BITNET_INVALID_ARGUMENT;
    if (!IsCArray(messages, message_count)) return CInvalid(at, "the messages are NULL");
    constexpr uint32_t kKnown = BITNET_CHAT_GOES_ON | BITNET_CHAT_NO_REPLY | BITNET_CHAT_NO_THINKING;
    if (!HasOnlyCFlags(flags, kKnown, at)) return BITNET_INVALID_ARGUMENT;
    std::vector<bitnet::ChatMessage> read;
    for (size_t i = 0; i < message_count; ++i) {
      const bitnet_message& message = messages[i];
      const std::string name = "message " + std::to_string(i);
      if (message.role > BITNET_ASSISTANT || message.reserved != 0) {
        return CInvalid(at, name + ": its role is " + std::to_string(message.role) +
                                " (system: 0, user: 1, assistant: 2), or `reserved` is not 0");
      }
      if (!IsCArray(message.text, message.text_bytes)) {
        return CInvalid(at, name + ": its text is NULL, and the length of that is not 0");
      }
      const std::string_view text(message.text, message.text_bytes);
      read.push_back({static_cast<bitnet::ChatRole>(message.role), std::string(text)});
    }
    const bitnet::Tokenizer* tokenizer = TokenizerOfC(*model, at);
    if (tokenizer == nullptr) return BITNET_NO_TOKENIZER;
    const bitnet::ChatFormat* format = FormatOfC(*model, at);
    if (format == nullptr) return BITNET_NO_CHAT_FORMAT;
    bitnet::ChatOptions options;
    options.at_start = (flags & BITNET_CHAT_GOES_ON) == 0;
    options.asks_for_reply = (flags & BITNET_CHAT_NO_REPLY) == 0;
    options.thinking = (flags & BITNET_CHAT_NO_THINKING) == 0;
    const auto made = bitnet::EncodeChat(*tokenizer, *format, read, options);
    if (!made.ok()) return CFail(BITNET_FAILED, at, made.error());
    return GiveCList<uint32_t>(*made, tokens, capacity, count, at);
  });
}

BITNET_C_API bitnet_status bitnet_encode_after_reply(const bitnet_model* model, uint32_t last, uint32_t* tokens,
                                                     size_t capacity, size_t* count) {
  using namespace bitnet::detail;
  return CGuarded("bitnet_encode_after_reply", [&](const char* at) -> bitnet_status {
    if (!IsC(model, at) || !HasCPlace(tokens, capacity, count, at)) return BITNET_INVALID_ARGUMENT;
    const bitnet::Tokenizer* tokenizer = TokenizerOfC(*model, at);
    if (tokenizer == nullptr) return BITNET_NO_TOKENIZER;
    const bitnet::ChatFormat* format = FormatOfC(*model, at);
    if (format == nullptr) return BITNET_NO_CHAT_FORMAT;
    if (last >= tokenizer->size()) return CInvalid(at, tokenizer->NoSuchToken(last).message);
    const auto made = bitnet::AfterReply(*tokenizer, *format, last);
    if (!made.ok()) return CFail(BITNET_FAILED, at, made.error());
    return GiveCList<uint32_t>(*made, tokens, capacity, count, at);
  });
}

BITNET_C_API bitnet_status bitnet_state_new(const bitnet_model* model, size_t max_tokens, bitnet_state** state) {
  using namespace bitnet::detail;
  return CGuarded("bitnet_state_new", [&](const char* at) -> bitnet_status {
    if (!IsC(model, at)) return BITNET_INVALID_ARGUMENT;
    if (state == nullptr) return CInvalid(at, "there is no place for the state: it is NULL");
    const CModel& any = *model->core->model;
    const size_t most = any.config().max_positions;
    *state = new bitnet_state(model->core, any.NewState(max_tokens == 0 ? most : std::min(max_tokens, most)));
    return BITNET_OK;
  });
}

BITNET_C_API bitnet_status bitnet_state_copy(const bitnet_state* state, bitnet_state** copy) {
  using namespace bitnet::detail;
  return CGuarded("bitnet_state_copy", [&](const char* at) -> bitnet_status {
    if (!IsC(state, at)) return BITNET_INVALID_ARGUMENT;
    if (copy == nullptr) return CInvalid(at, "there is no place for the copy: it is NULL");
    const CUse use(*state);
    if (!use) return CBusy(at, bitnet_state::kName);
    *copy = new bitnet_state(state->core, state->state);
    return BITNET_OK;
  });
}

BITNET_C_API bitnet_status bitnet_state_truncate(bitnet_state* state, size_t length) {
  using namespace bitnet::detail;
  return CGuarded("bitnet_state_truncate", [&](const char* at) -> bitnet_status {
    if (!IsC(state, at)) return BITNET_INVALID_ARGUMENT;
    const CUse use(*state);
    if (!use) return CBusy(at, bitnet_state::kName);
    if (length > state->state.length()) {
      return CInvalid(at, "length is " + std::to_string(length) + "; the state has " +
                              std::to_string(state->state.length()) + " tokens");
    }
    state->state.Truncate(length);
    return BITNET_OK;
  });
}

BITNET_C_API bitnet_status bitnet_state_free(bitnet_state* state) {
  return bitnet::detail::FreeC(state, "bitnet_state_free");
}

BITNET_C_API bitnet_status bitnet_state_describe(const bitnet_state* state, bitnet_state_info* info) {
  using namespace bitnet::detail;
  return CGuarded("bitnet_state_describe", [&](const char* at) -> bitnet_status {
    if (!IsC(state, at)) return BITNET_INVALID_ARGUMENT;
    const CUse use(*state);
    if (!use) return CBusy(at, bitnet_state::kName);
    bitnet_state_info facts = {};
    facts.length = state->state.length();
    facts.max_tokens = state->state.max_tokens();
    facts.cache_bytes = state->state.CacheBytes();
    return WriteCStruct(facts, at, info);
  });
}

BITNET_C_API bitnet_status bitnet_forward(bitnet_state* state, const uint32_t* tokens, size_t count,
                                          const float** logits) {
  return bitnet::detail::ForwardC(state, tokens, count, false, logits, "bitnet_forward");
}

BITNET_C_API bitnet_status bitnet_forward_all(bitnet_state* state, const uint32_t* tokens, size_t count,
                                              const float** logits) {
  return bitnet::detail::ForwardC(state, tokens, count, true, logits, "bitnet_forward_all");
}

BITNET_C_API bitnet_status bitnet_batch_new(const bitnet_model* model, bitnet_batch** batch) {
  using namespace bitnet::detail;
  return CGuarded("bitnet_batch_new", [&](const char* at) -> bitnet_status {
    if (!IsC(model, at)) return BITNET_INVALID_ARGUMENT;
    if (batch == nullptr) return CInvalid(at, "there is no place for the batch: it is NULL");
    *batch = new bitnet_batch(model->core);
    return BITNET_OK;
  });
}

BITNET_C_API bitnet_status bitnet_batch_forward(bitnet_batch* batch, const bitnet_turn* turns, size_t turn_count,
                                                const float** logits) {
  using namespace bitnet::detail;
  return CGuarded("bitnet_batch_forward", [&](const char* at) -> bitnet_status {
    if (!IsC(batch, at)) return BITNET_INVALID_ARGUMENT;
    if (!IsCArray(turns, turn_count)) return CInvalid(at, "the turns are NULL");
    const CUse use(*batch);
    if (!use) return CBusy(at, bitnet_batch::kName);
    return ForwardC(*batch, {turns, turn_count}, logits, at);
  });
}

BITNET_C_API bitnet_status bitnet_batch_free(bitnet_batch* batch) {
  return bitnet::detail::FreeC(batch, "bitnet_batch_free");
}

BITNET_C_API bitnet_status bitnet_sample(const float* logits, size_t vocab, const bitnet_sampler* options,
                                         uint64_t* random, uint32_t* token) {
  using namespace bitnet::detail;
  return CGuarded("bitnet_sample", [&](const char* at) {
    return SampleC({logits, vocab}, options, random, token, at);
  });
}

}  // extern "C"

#endif  // BITNET_IO_C_IMPLEMENTATION_H_
