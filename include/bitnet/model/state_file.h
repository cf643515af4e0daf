// Files of conversations: what a state's Save gives, to go on from in another process or on another machine.
//
//   SaveState(model, state, "chat.state");
//   LoadState(model, "chat.state", state);   // the state's tokens become the file's
//
// After the seal (base/bytes.h): layers, heads of a layer, their width (u32 each), tokens (u64); then, if there are
// tokens, of each layer the keys and the values: the levels of the first token's format, and of the others' (i16),
// codes (bytes), steps (f32), each list after its length (u64). A file of another shape or other formats is refused,
// and so are codes without levels. It is not known of which weights, quantizers and transforms it is: with others the
// text goes on as if another model had written its beginning.
#ifndef BITNET_MODEL_STATE_FILE_H_
#define BITNET_MODEL_STATE_FILE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "bitnet/base/assert.h"
#include "bitnet/base/bytes.h"
#include "bitnet/model/model_file.h"
#include "bitnet/model/transformer.h"
#include "bitnet/scheme/cache.h"

namespace bitnet {

inline constexpr FileKind kStateFile = {"BITNETCV", 1, "bitnet conversation file"};

namespace detail {

template <Format F, Format First>
void WriteHeads(ByteWriter& to, const QuantizedHeads<F, First>& heads) {
  for (const std::vector<int16_t>& id : {FormatId<First>(), FormatId<F>()}) to.Numbers(std::span<const int16_t>(id));
  to.Numbers(heads.codes());
  to.Numbers(heads.steps());
}

template <Format F, Format First>
void ReadHeads(ByteReader& from, const std::string& name, const char* scheme, size_t kv_heads, size_t head_dim,
               size_t tokens, QuantizedHeads<F, First>& heads) {
  ReadFormat(from, name + " of the first token", scheme, FormatId<First>());
  ReadFormat(from, name, scheme, FormatId<F>());
  if (!from.ok()) return;
  const std::optional<size_t> bytes = QuantizedHeads<F, First>::StoredBytes(kv_heads, head_dim, tokens);
  if (!bytes.has_value() || *bytes > from.remaining()) {
    from.Fail(name, "the file is too short for " + std::to_string(tokens) + " tokens");
    return;
  }
  heads = QuantizedHeads<F, First>(kv_heads, head_dim, tokens);
  from.Numbers(name, heads.codes());
  from.Numbers(name, heads.steps());
  if (from.ok() && !heads.IsValid()) from.Fail(name, "it holds codes that its number format does not have");
}

template <class Quantizers>
void WriteLayer(ByteWriter& to, const HostCache<Quantizers>& layer) {
  if constexpr (kIsChosenCache<Quantizers>) {
    std::visit([&](const auto& one) { WriteLayer(to, one); }, layer.one);
  } else {
    WriteHeads(to, layer.keys);
    WriteHeads(to, layer.values);
  }
}

// Of several caches that it may be, the file's: the first of which it can be read.
template <class Quantizers>
void ReadLayer(ByteReader& from, const std::string& name, const char* scheme, const ModelConfig& config, size_t tokens,
               HostCache<Quantizers>& layer) {
  if constexpr (kIsChosenCache<Quantizers>) {
    const ByteReader at = from;
    ForEachCache<Quantizers>([&]<class Each>(size_t i, std::type_identity<Each>) {
      if (i != 0 && from.ok()) return;
      ByteReader attempt = at;
      ReadLayer(attempt, name, scheme, config, tokens, layer.one.template emplace<HostCache<Each>>());
      if (i == 0 || attempt.ok()) from = attempt;
    });
  } else {
    ReadHeads(from, name + "keys", scheme, config.kv_heads, config.head_dim, tokens, layer.keys);
    ReadHeads(from, name + "values", scheme, config.kv_heads, config.head_dim, tokens, layer.values);
  }
}

}  // namespace detail

// `config` of the model whose state it was.
template <Scheme S>
std::vector<uint8_t> SerializeState(const ModelConfig& config, const SavedState<S>& saved) {
  BITNET_ASSERT(
      saved.length == 0 || (saved.layers.size() == InnerCount<S>(config) && saved.edges.size() == EdgeCount<S>(config)),
      "SerializeState: what was saved is of a model with other layers");
  ByteWriter to;
  to.Number(config.layers);
  to.Number(config.kv_heads);
  to.Number(config.head_dim);
  to.Number(static_cast<uint64_t>(saved.length));
  const auto write = [&](const auto& layer) { detail::WriteLayer(to, layer); };
  for (size_t i = 0; i < config.layers && saved.length != 0; ++i) AtLayer<S>(config, i, write, saved);
  return std::move(to.bytes());
}

// `payload` starts at kSealHeaderBytes of the file, for messages.
template <Scheme S>
Result<SavedState<S>> DeserializeState(const ModelConfig& config, std::span<const uint8_t> payload) {
  ByteReader from(payload, kSealHeaderBytes);
  SavedState<S> saved;
  const std::pair<const char*, uint32_t> shape[] = {
      {"layers", config.layers}, {"heads of keys", config.kv_heads}, {"width of a head", config.head_dim}};
  for (const auto& [what, expected] : shape) {
    const auto stored = from.Number<uint32_t>(what);
    if (from.ok() && stored != expected) {
      from.Fail(what, "it is " + std::to_string(stored) + "; the model's is " + std::to_string(expected));
    }
  }
  const auto length = from.Number<uint64_t>("tokens");
  if (from.ok() && length > config.max_positions) {
    from.Fail("tokens", std::to_string(length) + " tokens; the model allows " + std::to_string(config.max_positions));
  }
  saved.length = from.ok() ? static_cast<size_t>(length) : 0;
  saved.layers.resize(InnerCount<S>(config));
  saved.edges.resize(EdgeCount<S>(config));
  for (size_t i = 0; i < config.layers && from.ok() && saved.length != 0; ++i) {
    const std::string at = "layer" + std::to_string(i) + ".";
    const auto read = [&](auto& layer) { detail::ReadLayer(from, at, S::kName, config, saved.length, layer); };
    AtLayer<S>(config, i, read, saved);
  }
  if (from.ok() && from.remaining() != 0) {
    from.Fail("the end", std::to_string(from.remaining()) + " bytes follow the last layer; none were expected");
  }
  if (!from.ok()) return Error{from.error()};
  return saved;
}

template <Scheme S, Backend B>
Result<Done> SaveState(const Transformer<S, B>& model, TransformerState<S, B>& state, const std::string& path) {
  BITNET_ASSERT(model.IsOwn(state), "SaveState: the state is another model's");
  const Result<SavedState<S>> saved = state.Save();
  if (!saved.ok()) return Error{saved.error()};
  return SaveSealed(path, kStateFile, SerializeState(model.config(), *saved));
}

// Where it is refused, the state stays as it was.
template <Scheme S, Backend B>
Result<Done> LoadState(const Transformer<S, B>& model, const std::string& path, TransformerState<S, B>& state,
                       const ReadLimits& limits = {}) {
  BITNET_ASSERT(model.IsOwn(state), "LoadState: the state is another model's");
  const Result<std::vector<uint8_t>> payload = LoadSealed(path, kStateFile, limits);
  if (!payload.ok()) return Error{payload.error()};
  const Result<SavedState<S>> saved = DeserializeState<S>(model.config(), *payload);
  if (!saved.ok()) return Error{path + ": " + saved.error()};
  if (Result<Done> restored = state.Restore(*saved); !restored.ok()) {
    return Error{path + ": " + restored.error()};
  }
  return Done{};
}

}  // namespace bitnet

#endif  // BITNET_MODEL_STATE_FILE_H_
