#include "bitnet/io/convert_checkpoint.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include "bitnet/io/chat_template.h"
#include "bitnet/io/examine_checkpoint.h"
#include "io/small_checkpoint.h"
#include "testing/small_vocabularies.h"
#include "testing/temporary_file.h"

namespace bitnet::convert_checkpoint_test {
namespace {

using testing::SmallCheckpoint;
using testing::TemporaryFile;
namespace fs = std::filesystem;

const std::string kModels = std::string(BITNET_SOURCE_DIR) + "/tests/golden/transformers/";

bool Has(const std::string& sentence, std::string_view part) { return sentence.find(part) != std::string::npos; }

class Folder {
 public:
  ~Folder() { fs::remove_all(name_.path()); }
  const std::string& path() const { return name_.path(); }

 private:
  TemporaryFile name_;
};

Checkpoint Open(const std::string& path) {
  Result<Checkpoint> checkpoint = Checkpoint::Open(path);
  if (!checkpoint.ok()) FAIL(checkpoint.error());
  return *std::move(checkpoint);
}

template <class T>
T Must(Result<T> result) {
  if (!result.ok()) FAIL(result.error());
  return *std::move(result);
}

// The same gains, the same embeddings, the same levels and steps of each projection; masters quantized as the loader
// does.
void CheckSame(const Checkpoint& a, const Checkpoint& b) {
  const ModelConfig &ca = a.model_config(), &cb = b.model_config();
  CHECK(ca.vocab == cb.vocab);
  CHECK(ca.layers == cb.layers);
  CHECK(ca.head_dim == cb.head_dim);
  CHECK(ca.rms_eps == cb.rms_eps);
  CHECK(ca.rope_base == cb.rope_base);
  CHECK(ca.rope_magnitude == doctest::Approx(static_cast<double>(cb.rope_magnitude)).epsilon(1e-6));
  CHECK(ca.tied_embedding == cb.tied_embedding);
  CHECK(a.config().activation == b.config().activation);
  CHECK(a.config().bos == b.config().bos);
  CHECK(a.config().eos == b.config().eos);
  REQUIRE(ca.rope_frequencies.size() == cb.rope_frequencies.size());
  for (size_t i = 0; i < ca.rope_frequencies.size(); ++i) {
    CHECK(ca.rope_frequencies[i] == doctest::Approx(cb.rope_frequencies[i]).epsilon(1e-6));
  }
  size_t tensors = 0;
  ForEachTensor(ca, [&](const TensorInfo& tensor) {
    CAPTURE(tensor.FullName());
    ++tensors;
    if (tensor.role == TensorRole::kGain) {
      CHECK(Must(a.Gain(tensor)) == Must(b.Gain(tensor)));
      return;
    }
    TensorMatrix of_a = Must(a.Matrix(tensor)), of_b = Must(b.Matrix(tensor));
    if (tensor.role == TensorRole::kProjection) {
      of_a = detail::CodesOfProjection(std::move(of_a));
      of_b = detail::CodesOfProjection(std::move(of_b));
    }
    REQUIRE(of_a.index() == of_b.index());
    std::visit(
        [&]<class Matrix>(const Matrix& matrix) {
          const Matrix& other = *std::get_if<Matrix>(&of_b);
          CHECK(matrix.rows() == other.rows());
          CHECK(std::ranges::equal(matrix.bytes(), other.bytes()));
          CHECK(std::ranges::equal(matrix.steps(), other.steps()));
        },
        of_a);
  });
  CHECK(tensors >= 20);
}

TEST_CASE("ConvertToGguf: folders of every class: the checkpoint that is read back has the same bits") {
  for (const char* name : {"bitnet_offline", "bitnet_online", "llama_bitlinear_llama3", "llama_online_linear",
                           "llama_online_yarn", "qwen3_offline"}) {
    CAPTURE(name);
    const Checkpoint from = Open(kModels + name);
    const TemporaryFile path;
    size_t calls = 0;
    ConvertOptions options = {.type = "I2_S"};
    options.progress = [&](size_t done, size_t) { CHECK(done == calls++); };
    const ConvertReport report = Must(ConvertToGguf(from, path.path(), options));
    CHECK(report.converted.size() == 14);
    CHECK(report.LargestLoss() == 0.0);
    const Checkpoint to = Open(path.path());
    CheckSame(from, to);
    CHECK(to.config().architecture == (std::string(name).starts_with("bitnet")  ? "bitnet-b1.58"
                                       : std::string(name).starts_with("qwen3") ? "qwen3"
                                                                                : "llama"));
    // Nothing but its tokenizer is wrong with it.
    for (const Finding& finding : ExamineCheckpoint(path.path()).findings) {
      CHECK_MESSAGE((finding.rule == "tokenizer" || finding.rule == "shares"), finding.rule);
    }
    // And back: packed, by scales that multiply.
    if (std::string(name) == "llama_bitlinear_llama3") continue;  // its frequencies have no name any more
    const Folder folder;
    Must(ConvertToHf(to, folder.path()));
    CheckSame(from, Open(folder.path()));
  }
}

TEST_CASE("ConvertToGguf: a GGUF file is for ConvertGguf") {
  const TemporaryFile in, out;
  SmallCheckpoint().Write(in.path());
  const auto converted =
      ConvertToGguf(*Checkpoint::Open(in.path()), out.path(), {.type = "TQ2_0", .i2s = {}, .progress = {}});
  REQUIRE(!converted.ok());
  CHECK(converted.error().ends_with("it is a GGUF file already; ConvertGguf gives it another type"));
}

TEST_CASE("ConvertToGguf: halves for scales lose what is said") {
  const TemporaryFile path;
  const ConvertReport report = Must(ConvertToGguf(Open(kModels + "bitnet_offline"), path.path(), {.type = "Q2_0"}));
  CHECK(report.LargestLoss() < 1.0 / 2048);
  const auto refused =
      ConvertToGguf(Open(kModels + "bitnet_offline"), path.path(), {.type = "TQ2_0", .i2s = {}, .progress = {}});
  REQUIRE_FALSE(refused.ok());
  CHECK(Has(refused.error(), "q_proj.weight"));
  CHECK(Has(refused.error(), "its rows have 128 values; in TQ2_0 they have multiples of 256"));
  CHECK(Has(ConvertToGguf(Open(kModels + "bitnet_offline"), path.path(), {.type = "Q6_K"}).error(), "'Q6_K'"));
}

TEST_CASE("ConvertToHf: GGUF files of each type: the folder has the same bits") {
  for (const char* type : {"I2_S", "TQ1_0", "Q2_0"}) {
    for (const char* architecture : {"bitnet-b1.58", "bitnet", "llama"}) {
      CAPTURE(type);
      CAPTURE(architecture);
      const TemporaryFile path;
      const Folder folder;
      ModelConfig config = SmallCheckpoint::Config();
      config.sub_layer_norms = std::string(architecture) != "llama";
      config.tied_embedding = std::string(type) != "Q2_0";
      SmallCheckpoint checkpoint(type, architecture, config);
      if (std::string(type) == "I2_S") checkpoint.SetScale("blk.2.attn_q.weight", -0.3f);  // codes change their signs
      if (std::string(architecture) == "bitnet") {
        std::vector<uint8_t> half(4);
        const float scale = 0.5f;
        std::memcpy(half.data(), &scale, 4);
        checkpoint.tensors.push_back({"blk.1.attn_q.scale", {1}, "F32", half});
      }
      checkpoint.Write(path.path());
      const Checkpoint from = Open(path.path());
      const ConvertReport report = Must(ConvertToHf(from, folder.path()));
      CHECK(report.converted.size() == 28);
      CHECK(report.LargestLoss() == 0.0);
      CheckSame(from, Open(folder.path()));
      // Over itself, and to GGUF again.
      Must(ConvertToHf(Open(folder.path()), folder.path()));
      CheckSame(from, Open(folder.path()));
      Must(ConvertToGguf(Open(folder.path()), path.path(), {.type = type}));
      CheckSame(Open(folder.path()), Open(path.path()));
    }
  }
}

TEST_CASE("ConvertToHf: what packed weights cannot say is refused, and the old folder is whole") {
  const TemporaryFile path;
  const Folder folder;
  const auto refused = [&](const SmallCheckpoint& checkpoint) {
    checkpoint.Write(path.path());
    const Result<ConvertReport> report = ConvertToHf(Open(path.path()), folder.path());
    REQUIRE_FALSE(report.ok());
    CHECK_FALSE(fs::exists(folder.path()));
    return report.error();
  };
  SmallCheckpoint two("Q2_0");
  two.Find("blk.1.ffn_up.weight").bytes[2] |= 0x03;
  CHECK(Has(refused(two), "'blk.1.ffn_up.weight': it has other levels than -1, 0 and 1"));
  SmallCheckpoint groups("TQ2_0");
  groups.Find("blk.1.ffn_down.weight").bytes[64] ^= 1;
  CHECK(Has(refused(groups), "'blk.1.ffn_down.weight': it has several scales; packed weights have one"));
  SmallCheckpoint zero;
  zero.SetScale("blk.3.attn_k.weight", 0.0f);
  CHECK(Has(refused(zero), "'blk.3.attn_k.weight': its scale is 0.000000"));
  ModelConfig odd = SmallCheckpoint::Config();
  odd.ffn = 258;
  CHECK(Has(refused(SmallCheckpoint("I2_S", "bitnet-b1.58", odd)),
            "it has 258 rows; packed weights have multiples of 4"));
  ModelConfig plain = SmallCheckpoint::Config();
  plain.sub_layer_norms = false;
  CHECK(Has(refused(SmallCheckpoint("I2_S", "bitnet-b1.58", plain)), "transformers has no model like 'bitnet'"));
  SmallCheckpoint factors("I2_S", "llama", plain);
  std::vector<uint8_t> ones(4 * 32);
  for (size_t i = 0; i < ones.size(); i += 4) std::memcpy(ones.data() + i, "\0\0\x80\x3f", 4);
  factors.tensors.push_back({"rope_freqs.weight", {32}, "F32", ones});
  CHECK(Has(refused(factors), "frequencies of its own"));
}

TEST_CASE("ConvertToHf: an embedding of codes becomes floats") {
  const TemporaryFile path;
  const Folder folder;
  SmallCheckpoint checkpoint;
  auto& embedding = checkpoint.Find("token_embd.weight");
  embedding.type = "Q8_0";
  embedding.bytes.assign(257 * 256 / 32 * 34, 3);
  for (size_t i = 0; i < embedding.bytes.size(); i += 34) embedding.bytes[i + 1] = 0x3c;
  checkpoint.Write(path.path());
  const Checkpoint from = Open(path.path());
  const ConvertReport report = Must(ConvertToHf(from, folder.path()));
  CHECK(Has(report.notes[0], "its type was Q8_0; its values are floats now"));
  const Checkpoint to = Open(folder.path());
  TensorInfo tensor = {TensorRole::kEmbedding, {}, "embedding", 257, 256};
  const TensorMatrix before = Must(from.Matrix(tensor)), after = Must(to.Matrix(tensor));
  std::vector<float> a(256), b(256);
  for (size_t r = 0; r < 257; r += 64) {
    std::visit([&](const auto& m) { m.DequantizeRow(r, a); }, before);
    std::visit([&](const auto& m) { m.DequantizeRow(r, b); }, after);
    CHECK(a == b);
  }
}

// A file of this tokenizer alone, read again.
Result<TokenizerDescription> ThroughGguf(const TokenizerDescription& tokenizer) {
  const TemporaryFile path;
  GgufWriter writer;
  const Result<std::vector<std::string>> set = SetGgufTokenizer(writer, tokenizer);
  if (!set.ok()) return Error{set.error()};
  const NamedTokens& named = NamedTokensOf(tokenizer);
  if (named.bos) writer.Set("tokenizer.ggml.bos_token_id", *named.bos);
  if (named.eos) writer.Set("tokenizer.ggml.eos_token_id", *named.eos);
  if (named.eot) writer.Set("tokenizer.ggml.eot_token_id", *named.eot);
  REQUIRE(writer.Write(path.path()).ok());
  const Result<GgufFile> file = GgufFile::Open(path.path());
  REQUIRE(file.ok());
  return ReadGgufTokenizer(*file);
}

void CheckSameTokens(const TokenizerDescription& a, const TokenizerDescription& b) {
  const Tokenizer one = Must(Tokenizer::Make(a.vocabulary)), other = Must(Tokenizer::Make(b.vocabulary));
  REQUIRE(one.size() == other.size());
  for (Token token = 0; token < one.size(); ++token) {
    CHECK(one.Text(token) == other.Text(token));
    CHECK(one.Type(token) == other.Type(token));
  }
  for (const char* text : {"hello world", "ab'S \n\n12345 the hen an abc", "\u00e9e\u0301\u4e2d\U0001f600",
                           "<think>abc<|eot_id|>", "<s>a</s> <sep>  in", "a<\u00e9 a>b", " ", ""}) {
    for (const bool parse : {false, true}) {
      CHECK(Must(one.Encode(text, {true, parse})) == Must(other.Encode(text, {true, parse})));
    }
  }
  CHECK(a.chat_template == b.chat_template);
}

TEST_CASE("SetGgufTokenizer: what is written is read as the same tokenizer") {
  for (const PreTokenizer pre :
       {PreTokenizer::kGpt2, PreTokenizer::kLlama3, PreTokenizer::kQwen2, PreTokenizer::kQwen35}) {
    BpeVocabulary v = testing::SmallBpe();
    v.tokens.push_back("<\u00e9 a>");  // special tokens are written as they are
    v.types.push_back(TokenType::kUserDefined);
    v.pre_tokenizer = pre;
    v.whole_words = pre == PreTokenizer::kLlama3;
    v.nfc = pre == PreTokenizer::kQwen2 || pre == PreTokenizer::kQwen35;
    const TokenizerDescription tokenizer = {v, "{{ a }}", {}};
    CheckSameTokens(tokenizer, Must(ThroughGguf(tokenizer)));
    v.nfc = !v.nfc;
    CHECK(Has(ThroughGguf({v, "", {}}).error(), "the tokenizer does otherwise"));
  }
  for (const SentencePieceKind kind : {SentencePieceKind::kBpe, SentencePieceKind::kUnigram}) {
    SentencePieceVocabulary v = testing::SmallPieces(kind);
    for (const SpacePrefix prefix : {SpacePrefix::kAlways, SpacePrefix::kNever}) {
      v.space_prefix = prefix;
      v.remove_extra_whitespaces = prefix == SpacePrefix::kNever;
      const TokenizerDescription tokenizer = {v, "", {}};
      CheckSameTokens(tokenizer, Must(ThroughGguf(tokenizer)));
    }
    GgufWriter writer;
    v.space_prefix = SpacePrefix::kFirst;
    CHECK(Must(SetGgufTokenizer(writer, {v, "", {}})).size() == 1);
    v.whitespace_is_suffix = true;
    CHECK(Has(ThroughGguf({v, "", {}}).error(), "cannot be said in GGUF"));
  }
  BpeVocabulary ranks = testing::SmallBpe();
  ranks.whole_words = true;
  ranks.special_matches.push_back({1, true, false});
  CHECK(Has(ThroughGguf({ranks, "", {}}).error(), "strip white space"));
  ranks.merges.clear();
  CHECK(Has(ThroughGguf({ranks, "", {}}).error(), "no merges"));
}

TEST_CASE("ConvertToGguf: the folder's tokenizer goes along") {
  const Folder folder;
  const TemporaryFile path;
  fs::copy(kModels + "bitnet_offline", folder.path(), fs::copy_options::recursive);
  fs::copy(std::string(BITNET_SOURCE_DIR) + "/tests/golden/io/tokenizers/llama3.json",
           folder.path() + "/tokenizer.json");
  const ConvertReport report = Must(ConvertToGguf(Open(folder.path()), path.path(), {.type = "I2_S"}));
  REQUIRE(report.notes.size() == 1);
  CHECK(Has(report.notes[0], "a text begins with token "));
  const TokenizerDescription before = Must(DescribeTokenizer(folder.path()));
  CheckSameTokens(before, Must(DescribeTokenizer(path.path())));
}

// A GGUF file of a small model with this tokenizer, or with none.
void WriteWithTokenizer(const std::string& path, const std::optional<TokenizerDescription>& tokenizer) {
  ModelConfig config = SmallCheckpoint::Config();
  config.vocab = 300;
  SmallCheckpoint checkpoint("I2_S", "bitnet-b1.58", config);
  std::erase_if(checkpoint.entries, [](const auto& entry) { return entry.first.starts_with("tokenizer."); });
  if (tokenizer) {
    checkpoint.entries.emplace_back("tokenizer", [&](GgufWriter& to) {
      REQUIRE(SetGgufTokenizer(to, *tokenizer).ok());
      const NamedTokens& named = NamedTokensOf(*tokenizer);
      if (named.bos) to.Set("tokenizer.ggml.bos_token_id", *named.bos);
      if (named.eos) to.Set("tokenizer.ggml.eos_token_id", *named.eos);
      if (named.eot) to.Set("tokenizer.ggml.eot_token_id", *named.eot);
    });
  }
  checkpoint.Write(path);
}

TEST_CASE("ConvertToHf: the file's tokenizer and chat format go along") {
  BpeVocabulary bpe = testing::SmallBpe();
  bpe.whole_words = true;
  bpe.named.eos = bpe.named.bos;
  const std::string chat = "{{ 'Human: ' ... 'BITNETAssistant: ' }}";
  for (const TokenizerDescription& tokenizer :
       {TokenizerDescription{bpe, chat, {}},
        TokenizerDescription{testing::SmallPieces(SentencePieceKind::kBpe), chat, {}}}) {
    const TemporaryFile path;
    const Folder folder, copy;
    WriteWithTokenizer(path.path(), tokenizer);
    CHECK(Must(ConvertToHf(Open(path.path()), folder.path())).notes.empty());
    CheckSameTokens(Must(DescribeTokenizer(path.path())), Must(DescribeTokenizer(folder.path())));
    const LoadedTokenizer of_file = Must(LoadTokenizer(path.path())), of_folder = Must(LoadTokenizer(folder.path()));
    REQUIRE(FindChatFormat(of_folder.chat_template) != nullptr);
    CHECK(FindChatFormat(of_folder.chat_template) == FindChatFormat(of_file.chat_template));
    CHECK(std::ranges::equal(of_file.tokenizer.ends(), of_folder.tokenizer.ends()));
    // From a folder they are copied; and over itself nothing is lost.
    Must(ConvertToHf(Open(folder.path()), copy.path()));
    Must(ConvertToHf(Open(copy.path()), copy.path()));
    CheckSameTokens(Must(DescribeTokenizer(path.path())), Must(DescribeTokenizer(copy.path())));
    CHECK(Must(LoadTokenizer(copy.path())).tokenizer.named().add_bos);
  }
}

TEST_CASE("ConvertToHf: without a tokenizer that can be written a note says why") {
  const TemporaryFile path;
  const Folder folder;
  WriteWithTokenizer(path.path(), std::nullopt);
  std::vector<std::string> notes = Must(ConvertToHf(Open(path.path()), folder.path())).notes;
  REQUIRE(notes.size() == 1);
  CHECK(Has(notes[0], ": there is no tokenizer in it: "));
  CHECK(Has(notes[0], "tokenizer.ggml.model"));
  BpeVocabulary twice = testing::SmallBpe();
  twice.whole_words = true;
  twice.tokens[1] = "abc";
  WriteWithTokenizer(path.path(), TokenizerDescription{twice, "", {}});
  notes = Must(ConvertToHf(Open(path.path()), folder.path())).notes;
  REQUIRE(notes.size() == 1);
  CHECK(Has(notes[0], "have one text, 'abc'"));
  CHECK_FALSE(fs::exists(folder.path() + "/tokenizer.json"));
}

TEST_CASE("ConvertToHf: a tokenizer.json that would hide what is written is refused before anything is") {
  const TemporaryFile path;
  const Folder folder;
  WriteWithTokenizer(path.path(), TokenizerDescription{testing::SmallPieces(SentencePieceKind::kBpe), "", {}});
  fs::create_directory(folder.path());
  fs::copy(std::string(BITNET_SOURCE_DIR) + "/tests/golden/io/tokenizers/llama3.json",
           folder.path() + "/tokenizer.json");
  CHECK(Has(ConvertToHf(Open(path.path()), folder.path()).error(), ": has a tokenizer.json, which is not replaced"));
  CHECK_FALSE(fs::exists(folder.path() + "/model.safetensors"));
}

}  // namespace
}  // namespace bitnet::convert_checkpoint_test
