// AnyModel<S>: a model of whatever formats a checkpoint has. The file decides the format of each matrix, the
// activation, norms and the rotary embedding; the scheme S what it is run with: the quantizers of inputs and of the
// cache, and that of projections that are stored as reals. One model is compiled, whatever the file is.
//
//   Result<Checkpoint> checkpoint = Checkpoint::Open("ggml-model-i2_s.gguf");
//   Result<AnyModel<>> model = LoadAnyModel(*checkpoint);        // W1.58A8 with an 8-bit cache
//   auto state = model->NewState();
//   auto logits = model->Forward(prompt, state);
//
// It is a Transformer: all that takes one takes it (Generate, conversations, pools). Of WithInt8Cache<A48> its inputs
// have four bits and half of the attention outputs are dropped, for models that bear it.
#ifndef BITNET_IO_ANY_MODEL_H_
#define BITNET_IO_ANY_MODEL_H_

#include <algorithm>
#include <cstddef>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/default_backend.h"
#include "bitnet/backend/definitions.h"
#include "bitnet/backend/erased.h"
#include "bitnet/base/result.h"
#include "bitnet/io/checkpoint.h"
#include "bitnet/io/load_weights.h"
#include "bitnet/io/quantize_rows.h"
#include "bitnet/io/tensor_matrix.h"
#include "bitnet/model/check_scheme.h"
#include "bitnet/model/prepared_model.h"
#include "bitnet/model/tensors.h"
#include "bitnet/model/transformer.h"
#include "bitnet/scheme/scheme.h"

namespace bitnet {

// S as a file completes it. Its weights and its activation are the file's.
template <Scheme S>
struct OfFile : S {
  static_assert(!kHasEdges<S>, "bitnet: a file's layers are all of one kind: the scheme must have no Edge");
  using FfnActivation = ChosenActivation;
  using EmbeddingWeight = typename S::HeadWeight;
};

template <Scheme S = WithInt8Cache<B158>, Backend B = DefaultBackend<S>>
using AnyModel = Transformer<OfFile<S>, Erased<B>>;

namespace detail {

// Two bits or one: what a projection of a file may have.
template <Format F>
inline constexpr bool kIsProjectionFormat = !kIsFloat<F> && FormatTraits<F>::kCodeBits <= 2;
template <RealFormat F>
inline constexpr bool kIsProjectionFormat<F> = false;

template <Scheme S, Backend B>
class AnyModelLoader {
 public:
  AnyModelLoader(const Checkpoint& checkpoint, const Erased<B>& backend, const LoadProgress& progress)
      : checkpoint_(checkpoint), backend_(backend), progress_(progress) {}

  Result<PreparedModel<OfFile<S>, Erased<B>>> Load() {
    const ModelConfig& config = checkpoint_.model_config();
    auto model = PreparedModel<OfFile<S>, Erased<B>>::Empty(config);
    std::vector<std::function<Result<Done>()>> tasks;
    ForEachTensor(
        config,
        [&](auto tensor, auto& to) {
          if constexpr (tensor.kRole == TensorRole::kEmbedding) {
            if (config.tied_embedding)
              return tasks.push_back([this, tensor, &model] { return Take(tensor, model.head); });
          }
          tasks.push_back([this, tensor, &to] { return Take(tensor, to); });
        },
        model);
    // The largest matrices come first, embedding and head: what is read of them is gone again when the others are
    // there.
    std::stable_partition(tasks.begin() + 1, tasks.end(), [&, i = size_t{0}](const auto&) mutable {
      return ++i == tasks.size() - 1 && !config.tied_embedding;
    });
    count_ = tasks.size();
    if constexpr (HostBackend<B>) {
      backend_.backend().executor().Run(count_, [&](size_t i) { Run(tasks[i]); });
    } else {
      for (const auto& task : tasks) Run(task);
    }
    if (!problem_.empty()) return Error{problem_};
    return model;
  }

 private:
  void Run(const std::function<Result<Done>()>& task) {
    {
      const std::lock_guard lock(mutex_);
      if (!problem_.empty()) return;
      if (progress_) progress_(begun_, count_);
      ++begun_;
    }
    const Result<Done> done = task();
    if (done.ok()) return;
    const std::lock_guard lock(mutex_);
    if (problem_.empty()) problem_ = done.error();
  }

  Result<Done> Take(const TensorInfo& tensor, std::vector<float>& to) const {
    Result<std::vector<float>> gain = checkpoint_.Gain(tensor);
    if (!gain.ok()) return Error{gain.error()};
    to = *std::move(gain);
    return Done{};
  }

  template <TensorRole kRole, bool kEdge, Operand X, class U>
  Result<Done> Take(const Tensor<kRole, kEdge>& tensor, AnyMatrix<B, X, U>& to) const {
    Result<TensorMatrix> read = checkpoint_.Matrix(tensor);
    if (!read.ok()) return Error{read.error()};
    return std::visit([&](auto& matrix) { return Prepare<kRole>(tensor, matrix, to); }, *read);
  }

  template <TensorRole kRole, Format F, Operand X, class U>
  Result<Done> Prepare(const TensorInfo& tensor, QuantizedMatrix<F>& matrix, AnyMatrix<B, X, U>& to) const {
    constexpr bool kIsProjection = kRole == TensorRole::kProjection;
    if constexpr (kIsProjection && kIsFloat<F>) {
      QuantizedMatrix<typename S::Weight::Format> quantized = QuantizeRows<typename S::Weight>(
          matrix.rows(), matrix.cols(), [&](size_t row, std::span<float> values) { matrix.UnpackRow(row, values); });
      matrix = {};
      return PrepareAs<OperandOf<typename S::Weight>>(tensor, quantized, to);
    } else if constexpr (kIsProjection && kIsProjectionFormat<F>) {
      return matrix.granularity().group == 0 ? PrepareAs<F>(tensor, matrix, to)
                                             : PrepareAs<Grouped<F>>(tensor, matrix, to);
    } else if constexpr (!kIsProjection && kIsFloat<F>) {
      return PrepareAs<F>(tensor, matrix, to);
    } else if constexpr (!kIsProjection && !kIsProjectionFormat<F>) {
      if (matrix.granularity().group != 0) return PrepareAs<Grouped<F>>(tensor, matrix, to);
      return Refused(tensor);
    } else {
      return Refused(tensor);
    }
  }
  Result<Done> Refused(const TensorInfo& tensor) const {
    return checkpoint_.Refuse(tensor, "its type is " + checkpoint_.TypeName(tensor) + "; " +
                                          (tensor.role == TensorRole::kProjection
                                               ? "projections of one or two bits a weight, or reals, are run"
                                               : "embeddings and heads of reals or of 4, 6 or 8 bits are run"));
  }

  template <Operand W, Operand X, class U>
  Result<Done> PrepareAs(const TensorInfo& tensor, const QuantizedMatrix<FormatOf<W>>& matrix,
                         AnyMatrix<B, X, U>& to) const {
    if (!DotFits<FormatOf<W>, FormatOf<X>>(matrix.cols())) {
      return checkpoint_.Refuse(tensor, "a dot product of " + std::to_string(matrix.cols()) +
                                            " such levels with those of the inputs could reach 2^29");
    }
    // Where no gate is ever closed nothing is gained by choosing.
    if constexpr (U::template kHas<ChosenRows> || U::template kHas<ChosenColumns>) {
      const std::string_view name = tensor.name;
      if (backend_.activation() == ActivationKind::kSilu && (name == "up" || name == "down")) {
        to = backend_.template PrepareWhole<W, X, U>(matrix);
        return Done{};
      }
    }
    // A head of codes is multiplied with codes.
    if constexpr (std::is_same_v<X, Float> && U::kMultiplies && !kIsFloat<FormatOf<W>>) {
      to = backend_.template PrepareForCodes<W, U>(matrix);
    } else {
      to = backend_.template PrepareMatrix<W, X, U>(matrix);
    }
    return Done{};
  }

  const Checkpoint& checkpoint_;
  const Erased<B>& backend_;
  const LoadProgress& progress_;
  std::mutex mutex_;
  std::string problem_;
  size_t begun_ = 0, count_ = 0;
};

}  // namespace detail

// Several threads read and prepare at once, those of the backend. At any time a matrix a thread is held beside what is
// prepared. Where memory ends std::bad_alloc leaves (base/result.h).
template <Scheme S = WithInt8Cache<B158>, Backend B = DefaultBackend<S>>
Result<AnyModel<S, B>> LoadAnyModel(const Checkpoint& checkpoint, const LoadProgress& progress = {}, B backend = B()) {
  if (Result<Done> fits = CheckScheme<OfFile<S>>(checkpoint.model_config()); !fits.ok()) {
    return Error{checkpoint.path() + ": " + fits.error()};
  }
  const Erased<B> erased(std::move(backend), checkpoint.config().activation);
  auto model = detail::AnyModelLoader<S, B>(checkpoint, erased, progress).Load();
  if (!model.ok()) return Error{model.error()};
  return AnyModel<S, B>(*std::move(model), erased);
}

}  // namespace bitnet

#endif  // BITNET_IO_ANY_MODEL_H_
