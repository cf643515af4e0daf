// CAnyModel: an AnyModel of whatever cache, which the caller of the C interface (bitnet/c.h) chooses when it runs.
#ifndef BITNET_IO_C_MODEL_H_
#define BITNET_IO_C_MODEL_H_

#include <cstddef>
#include <limits>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "bitnet/base/result.h"
#include "bitnet/io/any_model.h"
#include "bitnet/model/config.h"
#include "bitnet/model/transformer.h"
#include "bitnet/scheme/scheme.h"
#include "bitnet/tensor/matrix_view.h"

namespace bitnet::detail {

class CModelState {
 public:
  virtual ~CModelState() = default;
  virtual size_t length() const = 0;
  virtual size_t max_tokens() const = 0;
  virtual size_t CacheBytes() const = 0;
  virtual void Truncate(size_t length) = 0;
  virtual std::unique_ptr<CModelState> Copy() const = 0;
};

struct CModelTurn {
  CModelState* state;
  std::span<const Token> tokens;
};

class CModelBatch {
 public:
  virtual ~CModelBatch() = default;
};

class CAnyModel {
 public:
  virtual ~CAnyModel() = default;
  virtual const ModelConfig& config() const = 0;
  virtual ModelBytes Bytes() const = 0;
  virtual size_t PageBytes() const = 0;
  virtual std::unique_ptr<CModelState> NewState(size_t max_tokens) const = 0;
  virtual std::unique_ptr<CModelBatch> NewBatch() const = 0;
  // States and batches are this model's.
  virtual Result<const float*> Forward(std::span<const Token> tokens, bool all, CModelState& state) const = 0;
  virtual Result<const float*> Forward(std::span<const CModelTurn> turns, CModelBatch& batch) const = 0;
};

template <Scheme S>
class CModelOf final : public CAnyModel {
  using Model = AnyModel<S>;

  struct State final : CModelState {
    explicit State(typename Model::State s) : state(std::move(s)) {}
    size_t length() const override { return state.length(); }
    size_t max_tokens() const override { return state.max_tokens(); }
    size_t CacheBytes() const override { return state.CacheBytes(); }
    void Truncate(size_t length) override { state.Truncate(length); }
    std::unique_ptr<CModelState> Copy() const override { return std::make_unique<State>(state); }
    typename Model::State state;
  };
  struct Batch final : CModelBatch {
    explicit Batch(typename Model::Workspace w) : workspace(std::move(w)) {}
    typename Model::Workspace workspace;
    std::vector<typename Model::Turn> turns;
  };

 public:
  explicit CModelOf(Model model) : model_(std::move(model)) {}
  const ModelConfig& config() const override { return model_.config(); }
  ModelBytes Bytes() const override { return model_.Bytes(); }
  size_t PageBytes() const override { return model_.PageBytes().value_or(std::numeric_limits<size_t>::max()); }
  std::unique_ptr<CModelState> NewState(size_t max_tokens) const override {
    return std::make_unique<State>(model_.NewState(max_tokens));
  }
  std::unique_ptr<CModelBatch> NewBatch() const override { return std::make_unique<Batch>(model_.NewWorkspace()); }
  Result<const float*> Forward(std::span<const Token> tokens, bool all, CModelState& state) const override {
    auto& own = static_cast<State&>(state).state;
    if (all) {
      const Result<MatrixView<const float>> logits = model_.ForwardAll(tokens, own);
      if (!logits.ok()) return Error{logits.error()};
      return logits->Row(0);
    }
    const Result<std::span<const float>> logits = model_.Forward(tokens, own);
    if (!logits.ok()) return Error{logits.error()};
    return logits->data();
  }
  Result<const float*> Forward(std::span<const CModelTurn> turns, CModelBatch& batch) const override {
    auto& own = static_cast<Batch&>(batch);
    own.turns.clear();
    for (const CModelTurn& turn : turns) own.turns.push_back({&static_cast<State*>(turn.state)->state, turn.tokens});
    const Result<MatrixView<const float>> logits = model_.Forward(own.turns, own.workspace);
    if (!logits.ok()) return Error{logits.error()};
    return logits->Row(0);
  }

 private:
  Model model_;
};

}  // namespace bitnet::detail

#endif  // BITNET_IO_C_MODEL_H_
