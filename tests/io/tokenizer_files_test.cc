// What reads the files of tokenizers: GGUF, tokenizer.json, tokenizer.model, ranks; and what tells them apart.
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "bitnet/base/bytes.h"
#include "bitnet/io/load_tokenizer.h"
#include "io/gguf_bytes.h"
#include "testing/small_vocabularies.h"
#include "testing/temporary_file.h"

namespace bitnet::tokenizer_files_test {
namespace {

using testing::SmallBpe;
using testing::SmallPieces;
using testing::TokenizerJson;
using testing::WireField;

template <class T>
T Must(Result<T> result) {
  REQUIRE_MESSAGE(result.ok(), (result.ok() ? std::string() : result.error()));
  return *std::move(result);
}
template <class T>
std::string ErrorOf(const Result<T>& result) {
  return result.ok() ? std::string("(it was read)") : result.error();
}
bool Has(const std::string& sentence, std::string_view part) {
  if (sentence.find(part) != std::string::npos) return true;
  MESSAGE(sentence, " does not have ", std::string(part));
  return false;
}

const char* const kTexts[] = {"hello world",
                              "ab'S \n\n12345 the hen an abc",
                              "\u00e9e\u0301\u4e2d\U0001f600",
                              "<think>abc<|eot_id|>",
                              "<s>a</s> <sep>  in",
                              "\xff\xe2\x82 a",
                              ""};

void CheckSame(const Tokenizer& got, const Tokenizer& expected) {
  REQUIRE(got.size() == expected.size());
  for (Token token = 0; token < got.size(); ++token) {
    CHECK(got.Text(token) == expected.Text(token));
    CHECK(got.Type(token) == expected.Type(token));
  }
  for (const char* text : kTexts) {
    CAPTURE(text);
    for (const bool parse : {false, true}) {
      const auto tokens = Must(got.Encode(text, {true, parse}));
      CHECK(tokens == Must(expected.Encode(text, {true, parse})));
      CHECK(Must(got.Decode(tokens)) == Must(expected.Decode(tokens)));
    }
  }
}

// ---- GGUF --------------------------------------------------------------------------------------------------------

template <class T, class Put>
std::vector<uint8_t> ArrayOf(uint32_t type, const std::vector<T>& items, Put&& put) {
  ByteWriter to;
  to.Number(type);
  to.Number(uint64_t{items.size()});
  for (const T& item : items) put(to, item);
  return to.bytes();
}
void PutTexts(testing::GgufBytes& file, const std::string& key, const std::vector<std::string>& texts) {
  file.entries.push_back(
      {key, 9, ArrayOf(8, texts, [](ByteWriter& to, const std::string& text) { testing::PutText(to, text); })});
}

testing::GgufBytes BpeFile(const BpeVocabulary& v, std::string_view pre) {
  testing::GgufBytes file;
  file.Text("general.architecture", "test").Text("tokenizer.ggml.model", "gpt2");
  if (!pre.empty()) file.Text("tokenizer.ggml.pre", pre);
  std::vector<std::string> tokens, merges;
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    tokens.push_back(v.types[id] == TokenType::kNormal ? LettersOfBytes(v.tokens[id]) : v.tokens[id]);
  }
  for (const Merge& m : v.merges) merges.push_back(tokens[m.left] + " " + tokens[m.right]);
  PutTexts(file, "tokenizer.ggml.tokens", tokens);
  PutTexts(file, "tokenizer.ggml.merges", merges);
  file.entries.push_back({"tokenizer.ggml.token_type", 9, ArrayOf(5, v.types, [](ByteWriter& to, TokenType type) {
                            to.Number(static_cast<int32_t>(type));
                          })});
  file.Number("tokenizer.ggml.bos_token_id", 4, uint32_t{*v.named.bos});
  file.Number("tokenizer.ggml.eot_token_id", 4, uint32_t{*v.named.eot});
  file.Text("tokenizer.chat_template", "a template");
  return file;
}
testing::GgufBytes PiecesFile(const SentencePieceVocabulary& v) {
  testing::GgufBytes file;
  file.Text("tokenizer.ggml.model", v.kind == SentencePieceKind::kBpe ? "llama" : "t5");
  PutTexts(file, "tokenizer.ggml.tokens", v.pieces);
  file.entries.push_back(
      {"tokenizer.ggml.scores", 9, ArrayOf(6, v.scores, [](ByteWriter& to, float score) { to.Number(score); })});
  file.entries.push_back({"tokenizer.ggml.token_type", 9, ArrayOf(5, v.types, [](ByteWriter& to, TokenType type) {
                            to.Number(static_cast<int32_t>(type));
                          })});
  file.Number("tokenizer.ggml.bos_token_id", 4, uint32_t{1}).Number("tokenizer.ggml.eos_token_id", 4, uint32_t{2});
  file.Number("tokenizer.ggml.unknown_token_id", 4, uint32_t{0});
  file.Number("tokenizer.ggml.add_bos_token", 7, uint8_t{1}).Number("tokenizer.ggml.add_eos_token", 7, uint8_t{0});
  return file;
}
Result<TokenizerDescription> Read(const testing::GgufBytes& file, const GgufTokenizerOptions& options = {}) {
  return ReadGgufTokenizer(Must(file.Parse()), options);
}
Tokenizer MakeOf(const Result<TokenizerDescription>& description) {
  REQUIRE_MESSAGE(description.ok(), ErrorOf(description));
  return Must(Tokenizer::Make(description->vocabulary));
}

TEST_CASE("GGUF: the vocabulary that was written") {
  BpeVocabulary v = SmallBpe();
  v.whole_words = true;  // as Llama 3's
  const auto read = Read(BpeFile(v, "llama-bpe"));
  CheckSame(MakeOf(read), Must(Tokenizer::Make(v)));
  CHECK(read->chat_template == "a template");
  CHECK(read->notes.empty());
  v.whole_words = false;
  v.named.add_bos = false;
  v.pre_tokenizer = PreTokenizer::kGpt2;
  CheckSame(MakeOf(Read(BpeFile(v, "gpt-2"))), Must(Tokenizer::Make(v)));
  v.pre_tokenizer = PreTokenizer::kQwen2;
  v.nfc = true;
  CheckSame(MakeOf(Read(BpeFile(v, "qwen2"))), Must(Tokenizer::Make(v)));
  for (const SentencePieceKind kind : {SentencePieceKind::kBpe, SentencePieceKind::kUnigram}) {
    SentencePieceVocabulary pieces = SmallPieces(kind);
    CheckSame(MakeOf(Read(PiecesFile(pieces))), Must(Tokenizer::Make(pieces)));
    const std::string map = testing::SmallCharsmap('h', "the ");
    testing::GgufBytes file = PiecesFile(pieces);
    file.entries.push_back(
        {"tokenizer.ggml.precompiled_charsmap", 9,
         ArrayOf(0, std::vector<char>(map.begin(), map.end()), [](ByteWriter& to, char c) { to.Number(c); })});
    file.Number("tokenizer.ggml.add_space_prefix", 7, uint8_t{0});
    file.Number("tokenizer.ggml.remove_extra_whitespaces", 7, uint8_t{1});
    pieces.charsmap = map;
    pieces.space_prefix = SpacePrefix::kNever;
    pieces.remove_extra_whitespaces = true;
    CheckSame(MakeOf(Read(file)), Must(Tokenizer::Make(pieces)));
  }
}

TEST_CASE(
    "GGUF: without a pre-tokenizer words are cut as by Llama 3, which a note says; the caller may say otherwise") {
  const auto read = Read(BpeFile(SmallBpe(), ""));
  REQUIRE(read.ok());
  REQUIRE(read->notes.size() == 1);
  CHECK(Has(read->notes[0], "there is no tokenizer.ggml.pre; words are cut as by Llama 3"));
  CHECK(MakeOf(read).pre_tokenizer() == PreTokenizer::kLlama3);
  CHECK(MakeOf(Read(BpeFile(SmallBpe(), ""), {PreTokenizer::kGpt2})).pre_tokenizer() == PreTokenizer::kGpt2);
  CHECK(MakeOf(Read(BpeFile(SmallBpe(), "nobody"), {PreTokenizer::kGpt2})).pre_tokenizer() == PreTokenizer::kGpt2);
}

TEST_CASE("GGUF: without types, the named tokens are control tokens") {
  testing::GgufBytes file = BpeFile(SmallBpe(), "llama3");
  std::erase_if(file.entries, [](const auto& entry) { return entry.key == "tokenizer.ggml.token_type"; });
  const Tokenizer t = MakeOf(Read(file));
  CHECK(t.Type(*t.Find("<|eot_id|>")) == TokenType::kControl);
  CHECK(t.Type(*t.Find("hello")) == TokenType::kNormal);
}

TEST_CASE("GGUF: what is missing, unknown or damaged is refused by its name") {
  const auto without = [](testing::GgufBytes file, std::string_view key) {
    std::erase_if(file.entries, [&](const auto& entry) { return entry.key == key; });
    return ErrorOf(Read(file));
  };
  const testing::GgufBytes bpe = BpeFile(SmallBpe(), "llama3"),
                           pieces = PiecesFile(SmallPieces(SentencePieceKind::kBpe));
  for (const char* key : {"tokenizer.ggml.model", "tokenizer.ggml.tokens", "tokenizer.ggml.merges"}) {
    CHECK(Has(without(bpe, key), std::string("there is no metadata '") + key + "'"));
  }
  CHECK(Has(without(pieces, "tokenizer.ggml.scores"), "tokenizer.ggml.scores"));
  CHECK(Has(ErrorOf(Read(BpeFile(SmallBpe(), "default"))), "tokenizer.ggml.pre is 'default'; known are gpt-2, "));
  testing::GgufBytes file = bpe;
  file.Number("tokenizer.ggml.swaps_letters", 7, uint8_t{1});
  CHECK(Has(ErrorOf(Read(file)), "the metadata 'tokenizer.ggml.swaps_letters' is not known"));
  file = bpe;
  file.Number("tokenizer.ggml.eos_token_id", 4, uint32_t{277});
  CHECK(Has(ErrorOf(Read(file)), "tokenizer.ggml.eos_token_id is 277; there are 277 tokens"));
  file.entries.back().value = {255, 255, 255, 255};  // none
  CHECK(Read(file).ok());
  file = bpe;
  PutTexts(file, "tokenizer.ggml.added_tokens", {});
  file.entries[1].value = {4, 0, 0, 0, 0, 0, 0, 0, 'b', 'e', 'r', 't'};
  CHECK(Has(ErrorOf(Read(file)), "tokenizer.ggml.model is 'bert'; gpt2, llama or t5 was expected"));
  BpeVocabulary v = SmallBpe();
  v.tokens[259] = "hellO";
  CHECK(Has(ErrorOf(Read(BpeFile(v, "llama3"))), "merge 3, of 'hell' and 'o': there is no token 'hello'"));
  v = SmallBpe();
  v.types[7] = TokenType{0};
  CHECK(Has(ErrorOf(Read(BpeFile(v, "llama3"))), "token 7 has the type 0; 1 to 6 were expected"));
  v.types.resize(9, TokenType::kNormal);
  file = bpe;
  std::erase_if(file.entries, [](const auto& entry) { return entry.key == "tokenizer.ggml.merges"; });
  PutTexts(file, "tokenizer.ggml.merges", {"hello"});
  CHECK(Has(ErrorOf(Read(file)), "merge 0 is 'hello'; two tokens with a space between them were expected"));
  file = pieces;
  file.Number("tokenizer.ggml.precompiled_charsmap", 4, uint32_t{1});
  CHECK(Has(ErrorOf(Read(file)), "an array of 8-bit integers was expected"));
}

// ---- tokenizer.json ----------------------------------------------------------------------------------------------

Result<TokenizerDescription> Read(const TokenizerJson& json) { return ParseTokenizerJson(json.Text(), "t.json"); }

TEST_CASE("tokenizer.json: the vocabulary that was written") {
  for (const PreTokenizerFacts& facts : kPreTokenizers) {
    BpeVocabulary v = SmallBpe();
    v.pre_tokenizer = facts.id;
    CheckSame(MakeOf(Read(TokenizerJson(v))), Must(Tokenizer::Make(v)));
  }
  BpeVocabulary v = SmallBpe();
  TokenizerJson json(v);
  json.normalizer = R"({"type":"NFC"})";
  json.model_options = R"("type":"BPE","ignore_merges":true,"unk_token":"a",)";
  v.nfc = v.whole_words = true;
  v.named.unk = 'a';
  CheckSame(MakeOf(Read(json)), Must(Tokenizer::Make(v)));
  // GPT-2's own form: ByteLevel alone; merges as texts.
  v = SmallBpe();
  json = TokenizerJson(v);
  json.pre_tokenizer = R"({"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true})";
  json.merges.clear();
  for (const Merge& m : v.merges) {
    json.merges += (json.merges.empty() ? "" : ",") +
                   testing::JsonString(LettersOfBytes(v.tokens[m.left]) + " " + LettersOfBytes(v.tokens[m.right]));
  }
  v.pre_tokenizer = PreTokenizer::kGpt2;
  CheckSame(MakeOf(Read(json)), Must(Tokenizer::Make(v)));
}

TEST_CASE("tokenizer.json: what is not supported is refused by its path") {
  const auto error = [](auto change) {
    TokenizerJson json(SmallBpe());
    change(json);
    return ErrorOf(Read(json));
  };
  using J = TokenizerJson&;
  CHECK(Has(error([](J j) { j.more = R"("swaps":1,)"; }), "t.json: swaps: this key is not known"));
  CHECK(Has(error([](J j) { j.model_options = R"("type":"Unigram",)"; }),
            "model: is of type 'Unigram'; BPE was expected"));
  CHECK(Has(error([](J j) { j.model_options = R"("dropout":0.5,)"; }), "model.dropout: is set"));
  CHECK(Has(error([](J j) { j.model_options = R"("end_of_word_suffix":"</w>",)"; }), "model.end_of_word_suffix"));
  CHECK(Has(error([](J j) { j.model_options = R"("unk_token":"[UNK]",)"; }), "there is no token '[UNK]'"));
  CHECK(Has(error([](J j) { j.model_options = R"("wonder":1,)"; }), "model.wonder: this key is not known"));
  CHECK(Has(error([](J j) { j.normalizer = R"({"type":"Lowercase"})"; }), "normalizer: is of type 'Lowercase'"));
  CHECK(Has(error([](J j) { j.normalizer = R"({"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"NFKC"}]})"; }),
            "normalizer.normalizers[1]: is of type 'NFKC'"));
  CHECK(
      Has(error([](J j) { j.pre_tokenizer = R"({"type":"Whitespace"})"; }), "pre_tokenizer: is of type 'Whitespace'"));
  CHECK(Has(error([](J j) { j.pre_tokenizer = R"({"type":"ByteLevel","add_prefix_space":true})"; }),
            "pre_tokenizer.add_prefix_space: add_prefix_space is true"));
  CHECK(Has(error([](J j) { j.pre_tokenizer = R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":false})"; }),
            "words are cut twice, or not at all"));
  CHECK(Has(error([](J j) {
              j.pre_tokenizer = R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"\\s+"},)"
                                R"("behavior":"Isolated","invert":false}]})";
            }),
            R"(pre_tokenizer.pretokenizers[0].pattern: the pattern '\s+' is not known)"));
  CHECK(Has(error([](J j) { j.pre_tokenizer = j.decoder = "null"; }), "neither a byte-level pre_tokenizer nor U+2581"));
  CHECK(Has(error([](J j) { j.decoder = R"({"type":"WordPiece"})"; }), "decoder: is of type 'WordPiece'; ByteLevel"));
  CHECK(Has(error([](J j) { j.post_processor = R"({"type":"BertProcessing"})"; }), "post_processor: is of type"));
  CHECK(Has(error([](J j) { j.merges = R"(["h","zz"])"; }),
            "model.merges[0]: merge 0, of 'h' and 'zz': there is no token"));
  CHECK(Has(error([](J j) { j.merges = "[1]"; }), "model.merges[0]"));
  CHECK(Has(error([](J j) { j.vocab += R"(,"zz":5)"; }), "the id 5 is that of '\\xc4\\x85' already"));
  CHECK(Has(error([](J j) { j.vocab += R"(,"zz":4000000000)"; }), "the id 4000000000 is too large"));
  CHECK(Has(error([](J j) { j.vocab += R"(,"zz":-1)"; }), "model.vocab.zz: it is -1"));
  CHECK(Has(error([](J j) { j.added_tokens += R"(,{"id":300,"content":"x","single_word":true})"; }),
            "single_word is true, which is not supported"));
  CHECK(Has(ErrorOf(ParseTokenizerJson("{}", "t.json")), "t.json: there is no key 'model'"));
  CHECK(Has(ErrorOf(ParseTokenizerJson("[", "t.json")), "t.json: "));
  CHECK(Has(ErrorOf(ParseTokenizerJson("[]", "t.json")), "an object was expected"));
}

TEST_CASE("tokenizer.json: added tokens that strip white space") {
  TokenizerJson json(SmallBpe());
  json.added_tokens += R"(,{"id":277,"content":"<m>","lstrip":true,"rstrip":true,"special":true})";
  const Tokenizer t = MakeOf(Read(json));
  CHECK(Must(t.Encode("ab  <m>\n ab", {false, true})) == std::vector<Token>{*t.Find("ab"), 277, *t.Find("ab")});
}

TEST_CASE("tokenizer_config.json: names, bos and eos, the chat template") {
  TokenizerDescription d = Must(Read(TokenizerJson(SmallBpe())));
  REQUIRE(ApplyTokenizerConfig(R"({"bos_token":{"content":"<|bos|>","lstrip":false},"eos_token":"<|eot_id|>","x":[1],
    "pad_token":"[PAD]","add_bos_token":false,"add_eos_token":true,"chat_template":"{{ x }}"})",
                               "c", d)
              .ok());
  const Tokenizer t = Must(Tokenizer::Make(d.vocabulary));
  CHECK(t.named().eos == t.Find("<|eot_id|>"));
  CHECK(!t.named().add_bos);
  CHECK(t.named().add_eos);
  CHECK(d.chat_template == "{{ x }}");
  CHECK(Has(ErrorOf(ApplyTokenizerConfig(R"({"eos_token":"nobody"})", "c", d)),
            "c: eos_token: there is no token 'nobody'"));
  CHECK(Has(ErrorOf(ApplyTokenizerConfig(R"({"add_bos_token":1})", "c", d)), "true or false was expected"));
}

// ---- tokenizer.model ---------------------------------------------------------------------------------------------

TEST_CASE("tokenizer.model: the vocabulary that was written") {
  for (const SentencePieceKind kind : {SentencePieceKind::kBpe, SentencePieceKind::kUnigram}) {
    SentencePieceVocabulary v = SmallPieces(kind);
    CheckSame(Must(Tokenizer::Make(Must(ParseSentencePieceModel(testing::SentencePieceFile(v), "m")))),
              Must(Tokenizer::Make(v)));
    v.charsmap = testing::SmallCharsmap('h', "the ");
    v.space_prefix = SpacePrefix::kNever;
    v.remove_extra_whitespaces = true;
    v.whitespace_is_suffix = kind == SentencePieceKind::kBpe;
    CheckSame(Must(Tokenizer::Make(Must(ParseSentencePieceModel(testing::SentencePieceFile(v), "m")))),
              Must(Tokenizer::Make(v)));
  }
  // What is left out has the format's defaults.
  SentencePieceVocabulary v = SmallPieces(SentencePieceKind::kUnigram);
  const auto read = Must(ParseSentencePieceModel(
      testing::PieceMessages(v) + WireField(2, WireField(47, "an") + WireField(44, "??") + WireField(35, uint64_t{1})),
      "m", {false, false}));
  CHECK(read.kind == SentencePieceKind::kUnigram);
  CHECK(read.space_prefix == SpacePrefix::kAlways);
  CHECK(read.remove_extra_whitespaces);
  CHECK(read.unknown_text == "??");
  CHECK(read.named.bos == Token{1});
  CHECK(!read.named.add_bos);
  CHECK(!read.named.eos);  // "an" is no control token
}

TEST_CASE("tokenizer.model: what is unknown or damaged is refused, with its byte") {
  const SentencePieceVocabulary v = SmallPieces(SentencePieceKind::kBpe);
  const std::string good = testing::SentencePieceFile(v);
  const auto error = [&](const std::string& more) { return ErrorOf(ParseSentencePieceModel(good + more, "m")); };
  CHECK(Has(error(WireField(9, uint64_t{1})),
            "m: at byte " + std::to_string(good.size()) + ": field 9 of the model is not known"));
  CHECK(Has(error(WireField(1, WireField(7, uint64_t{1}))), "field 7 of piece 284 is not known"));
  CHECK(Has(error(WireField(1, WireField(1, "x") + WireField(3, uint64_t{7}))), "piece 284 has the type 7"));
  CHECK(Has(error(WireField(1, WireField(1, uint64_t{3}))), "field 1 has wire type 0; bytes was expected"));
  CHECK(Has(error(WireField(2, WireField(3, uint64_t{3}))),
            "model_type is 3 (WORD); 1 (UNIGRAM) or 2 (BPE) was expected"));
  CHECK(Has(error(WireField(3, WireField(9, uint64_t{1}))), "field 9 of normalizer_spec is not known"));
  CHECK(Has(error(WireField(5, WireField(2, "x"))), "denormalizer_spec rewrites decoded text"));
  CHECK(error(WireField(5, WireField(3, uint64_t{0})) + WireField(300, "x") + WireField(4, "x")) == "(it was read)");
  CHECK(Has(ErrorOf(ParseSentencePieceModel("", "m")), "there are no pieces"));
  for (size_t bytes = 1; bytes < good.size(); bytes += 97) {
    const auto cut = ParseSentencePieceModel(good.substr(0, bytes), "m");
    if (!cut.ok()) CHECK(Has(cut.error(), "m: at byte "));
  }
}

// ---- Ranks -------------------------------------------------------------------------------------------------------

TEST_CASE("Ranks: the vocabulary that was written; what is malformed is refused, with its line") {
  BpeVocabulary v = SmallBpe();
  v.merges.clear();
  v.whole_words = true;
  v.named = {};
  std::string file;
  for (size_t id = 0; id < 274; ++id) file += testing::Base64(v.tokens[id]) + " " + std::to_string(id) + "\n";
  TiktokenOptions options;
  options.special_tokens = {{"<|bos|>", 274}, {"<|eot_id|>", 275}};
  const Tokenizer t = Must(Tokenizer::Make(Must(ParseTiktoken(file, "r", options))));
  v.tokens.pop_back();
  v.types.pop_back();
  CheckSame(t, Must(Tokenizer::Make(v)));
  CHECK(t.named().eot == Token{275});

  const auto error = [&](const std::string& text) { return ErrorOf(ParseTiktoken(text, "r", {})); };
  CHECK(Has(error("YQ== 0\nYg== x\n"),
            "r: line 2: a token in base64, a space and its rank were expected, and this is 'Yg== x'"));
  CHECK(Has(error("YQ==\n"), "line 1"));
  CHECK(Has(error("YQ= 0\n"), "line 1"));
  CHECK(Has(error(" 0\n"), "line 1"));
  CHECK(Has(error("YQ== -1\n"), "line 1"));
  CHECK(Has(error("YQ== 4294967296\n"), "line 1"));
  CHECK(Has(error("YQ== 5000\n"), "the id 5000 is too large"));
  CHECK(Has(error("YQ== 1\nYg== 1\n"), "line 2: the id 1 is there twice"));
  CHECK(Has(error("YQ== 1\nYQ== 2\n"), "the token 'a' is there twice"));
  CHECK(Must(ParseTiktoken("YQ== 0\r\n\r\nYg== 2", "r", {})).tokens == std::vector<std::string>{"a", "", "b"});
  const auto special = Llama3SpecialTokens(128000);
  CHECK(special.size() == 256);
  CHECK(special[9] == std::pair<std::string, Token>("<|eot_id|>", 128009));
  CHECK(special[255].first == "<|reserved_special_token_250|>");
}

// ---- Any of them -------------------------------------------------------------------------------------------------

void Write(const std::filesystem::path& path, std::string_view text) { std::ofstream(path, std::ios::binary) << text; }

TEST_CASE("LoadTokenizer: tells files apart by what they begin with, and looks into folders") {
  const testing::TemporaryFile unique;
  const std::filesystem::path folder = unique.path() + ".folder";
  std::filesystem::create_directory(folder);
  const auto bpe = SmallBpe();
  const auto gguf = BpeFile(bpe, "llama3").Make();
  Write(folder / "a.bin", {reinterpret_cast<const char*>(gguf.data()), gguf.size()});
  CHECK(Must(LoadTokenizer((folder / "a.bin").string())).chat_template == "a template");
  CHECK(Has(ErrorOf(LoadTokenizer(folder.string())), "neither tokenizer.json nor tokenizer.model"));
  Write(folder / "tokenizer.model", testing::SentencePieceFile(SmallPieces(SentencePieceKind::kBpe)));
  CHECK(Must(LoadTokenizer(folder.string())).tokenizer.is_sentencepiece());
  Write(folder / "tokenizer.json", "\n " + TokenizerJson(bpe).Text());
  CHECK(Must(LoadTokenizer(folder.string())).chat_template.empty());
  Write(folder / "tokenizer_config.json", R"({"chat_template":"c"})");
  CHECK(Must(LoadTokenizer(folder.string())).chat_template == "c");
  Write(folder / "ranks", "YQ== 0\n");
  CHECK(Has(ErrorOf(LoadTokenizer((folder / "ranks").string())), "has 1 ranks, and does not say how words are cut"));
  Write(folder / "empty", "");
  CHECK(Has(ErrorOf(LoadTokenizer((folder / "empty").string())), "empty"));
  CHECK(Has(ErrorOf(LoadTokenizer((folder / "nothing").string())), "nothing"));
  std::filesystem::remove_all(folder);
}

// Real vocabularies, where they are: texts and the expected ids.
TEST_CASE("Vocabularies in ../shared/data/vocab: the expected ids") {
  const std::filesystem::path folder = std::filesystem::path(BITNET_SOURCE_DIR).parent_path() / "shared/data/vocab";
  if (!std::filesystem::exists(folder)) {
    MESSAGE(folder.string(), " is not there: nothing compared");
    return;
  }
  const auto slurp = [](const std::filesystem::path& path) {
    const auto bytes = Must(ReadFile(path.string()));
    return std::string(bytes.begin(), bytes.end());
  };
  const std::pair<const char*, const char*> files[] = {
      {"gpt-2.gguf", "gpt-2"}, {"llama-spm.gguf", "llama-spm"}, {"llama-3.tiktoken", "llama-3"}};
  for (const auto& [file, name] : files) {
    CAPTURE(file);
    const Tokenizer t = Must(LoadTokenizer((folder / file).string())).tokenizer;
    const std::string texts = slurp(folder / (std::string(name) + ".inp"));
    const std::string ids = slurp(folder / (std::string(name) + ".out"));
    constexpr std::string_view kSeparator = "\n__ggml_vocab_test__\n";
    size_t line = 0, count = 0;
    for (size_t at = 0; at <= texts.size(); ++count) {
      const size_t end = std::min(texts.find(kSeparator, at), texts.size());
      const std::string text = texts.substr(at, end - at);
      const size_t line_end = ids.find('\n', line);
      std::string got;
      for (const Token token : Must(t.Encode(text, {false, false}))) got += " " + std::to_string(token);
      CHECK(got == ids.substr(line, line_end - line));
      line = line_end + 1;
      at = end + kSeparator.size();
    }
    CHECK(count == 47);
  }
}

}  // namespace
}  // namespace bitnet::tokenizer_files_test
