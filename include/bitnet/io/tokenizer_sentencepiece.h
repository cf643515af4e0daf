// ParseSentencePieceModel: the vocabulary of SentencePiece's own file (tokenizer.model, spiece.model): a ModelProto of
// sentencepiece_model.proto. Unigram and BPE; models of words or characters, and models that rewrite decoded text, are
// refused by their name, and fields of the model, of pieces and of the normalizer that are not known by their number.
#ifndef BITNET_IO_TOKENIZER_SENTENCEPIECE_H_
#define BITNET_IO_TOKENIZER_SENTENCEPIECE_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bitnet/base/result.h"
#include "bitnet/io/quoted.h"
#include "bitnet/io/tokenizer/vocabulary.h"
#include "bitnet/io/tokenizer/wire_reader.h"

namespace bitnet {

struct SentencePieceOptions {
  // The file does not say whether the model expects them around a text. Llama's expect bos.
  bool add_bos = true, add_eos = false;
};

namespace detail {

class SentencePieceModelReader {
 public:
  SentencePieceModelReader(std::string_view file, const SentencePieceOptions& options)
      : file_(file), options_(options) {}

  std::string Read() {
    vocabulary_.kind = SentencePieceKind::kUnigram;  // what the format takes where it says nothing
    vocabulary_.byte_fallback = false;
    vocabulary_.remove_extra_whitespaces = true;
    WireReader model(file_, 0);
    while (model.Next()) {
      switch (model.field()) {
        case 1:
          ReadPiece(model.Message());
          break;
        case 2:
          ReadTrainer(model.Message());
          break;
        case 3:
          ReadNormalizer(model.Message());
          break;
        case 4:  // self-test samples
          break;
        case 5:
          ReadDenormalizer(model.Message());
          break;
        default:
          RefuseUnknown(model, "the model");
      }
      if (!fault_.empty()) return fault_;
    }
    if (!model.fault().empty()) return model.fault();
    NameTokens();
    return fault_;
  }

  SentencePieceVocabulary& vocabulary() { return vocabulary_; }

 private:
  void Refuse(const std::string& why) {
    if (fault_.empty()) fault_ = why;
  }
  // Numbers from 200 on are extensions, which are nobody's concern.
  void RefuseUnknown(const WireReader& reader, const std::string& what) {
    if (reader.field() < 200) {
      Refuse("at byte " + std::to_string(reader.at()) + ": field " + std::to_string(reader.field()) + " of " + what +
             " is not known");
    }
  }
  void Finish(const WireReader& reader) {
    if (!reader.fault().empty()) Refuse(reader.fault());
  }

  void ReadPiece(WireReader piece) {
    const std::string name = "piece " + std::to_string(vocabulary_.pieces.size());
    std::string_view text;
    float score = 0.0f;
    uint64_t type = 1;
    while (piece.Next()) {
      if (piece.field() == 1) {
        text = piece.Bytes();
      } else if (piece.field() == 2) {
        score = piece.Float();
      } else if (piece.field() == 3) {
        type = piece.Number();
      } else {
        RefuseUnknown(piece, name);
      }
    }
    Finish(piece);
    if (type < 1 || type > 6) Refuse(name + " has the type " + std::to_string(type) + "; 1 to 6 were expected");
    if (!fault_.empty()) return;
    vocabulary_.pieces.push_back(std::string(text));
    vocabulary_.scores.push_back(score);
    vocabulary_.types.push_back(static_cast<TokenType>(type));
  }

  // Of how the model was trained, most fields do not matter any more.
  void ReadTrainer(WireReader trainer) {
    while (trainer.Next()) {
      switch (trainer.field()) {
        case 3: {
          const uint64_t kind = trainer.Number();
          if (kind != 1 && kind != 2) {
            const std::string words = kind == 3 ? " (WORD)" : kind == 4 ? " (CHAR)" : "";
            Refuse("at byte " + std::to_string(trainer.at()) + ": model_type is " + std::to_string(kind) + words +
                   "; 1 (UNIGRAM) or 2 (BPE) was expected");
            break;
          }
          vocabulary_.kind = static_cast<SentencePieceKind>(kind);
          break;
        }
        case 24:
          vocabulary_.whitespace_is_suffix = trainer.Number() != 0;
          break;
        case 35:
          vocabulary_.byte_fallback = trainer.Number() != 0;
          break;
        case 44:
          vocabulary_.unknown_text = trainer.Bytes();
          break;
        case 45:
        case 46:
        case 47:
        case 48:
          names_[trainer.field() - 45] = trainer.Bytes();
          break;
        default:
          break;
      }
    }
    Finish(trainer);
  }

  void ReadNormalizer(WireReader normalizer) {
    while (normalizer.Next()) {
      switch (normalizer.field()) {
        case 1:  // name
        case 6:  // the rules' text, of which field 2 was made
          break;
        case 2:
          vocabulary_.charsmap = normalizer.Bytes();
          break;
        case 3:
          vocabulary_.space_prefix = normalizer.Number() != 0 ? SpacePrefix::kAlways : SpacePrefix::kNever;
          break;
        case 4:
          vocabulary_.remove_extra_whitespaces = normalizer.Number() != 0;
          break;
        case 5:
          vocabulary_.escape_whitespaces = normalizer.Number() != 0;
          break;
        default:
          RefuseUnknown(normalizer, "normalizer_spec");
      }
    }
    Finish(normalizer);
  }

  void ReadDenormalizer(WireReader denormalizer) {
    while (denormalizer.Next()) {
      if (denormalizer.field() == 2 && !denormalizer.Bytes().empty()) {
        Refuse("at byte " + std::to_string(denormalizer.at()) +
               ": denormalizer_spec rewrites decoded text, which is not supported");
      }
    }
    Finish(denormalizer);
  }

  void NameTokens() {
    NamedTokens& named = vocabulary_.named;
    const std::pair<std::optional<Token>*, TokenType> tokens[] = {{&named.unk, TokenType::kUnknown},
                                                                  {&named.bos, TokenType::kControl},
                                                                  {&named.eos, TokenType::kControl},
                                                                  {&named.pad, TokenType::kControl}};
    constexpr std::string_view kNames[] = {"<unk>", "<s>", "</s>", "<pad>"};
    for (size_t i = 0; i < 4; ++i) {
      const std::string_view name = names_[i].empty() ? kNames[i] : names_[i];
      for (size_t id = 0; id < vocabulary_.pieces.size() && !*tokens[i].first; ++id) {
        const bool is_it = vocabulary_.types[id] == tokens[i].second && vocabulary_.pieces[id] == name;
        if (is_it) *tokens[i].first = static_cast<Token>(id);
      }
    }
    named.add_bos = options_.add_bos && named.bos.has_value();
    named.add_eos = options_.add_eos && named.eos.has_value();
  }

  std::string_view file_;
  SentencePieceOptions options_;
  SentencePieceVocabulary vocabulary_;
  std::string_view names_[4];
  std::string fault_;
};

}  // namespace detail

// `name` stands for the file in messages.
inline Result<SentencePieceVocabulary> ParseSentencePieceModel(std::string_view file, const std::string& name,
                                                               const SentencePieceOptions& options = {}) {
  detail::SentencePieceModelReader reader(file, options);
  if (const std::string fault = reader.Read(); !fault.empty()) return Error{name + ": " + fault};
  if (reader.vocabulary().pieces.empty()) return Error{name + ": there are no pieces: is this a SentencePiece model?"};
  return std::move(reader.vocabulary());
}

}  // namespace bitnet

#endif  // BITNET_IO_TOKENIZER_SENTENCEPIECE_H_
