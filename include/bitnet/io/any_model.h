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
// have four bits and half of the attention outputs are dropped, for models that bear it. Of WithChosenCache<B158> the
// cache is chosen when the model is loaded, too: AnyModelOptions::cache_bits.
#ifndef BITNET_IO_ANY_MODEL_H_
#define BITNET_IO_ANY_MODEL_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/default_backend.h"
#include "bitnet/backend/definitions.h"
#include "bitnet/backend/erased.h"
#include "bitnet/base/executor.h"
#include "bitnet/base/result.h"
#include "bitnet/format/packing.h"
#include "bitnet/io/checkpoint.h"
#include "bitnet/io/load_weights.h"
#include "bitnet/io/quantize_rows.h"
#include "bitnet/io/tensor_matrix.h"
#include "bitnet/model/check_scheme.h"
#include "bitnet/model/prepared_model.h"
#include "bitnet/model/tensors.h"
#include "bitnet/model/transformer.h"
#include "bitnet/scheme/cache.h"
#include "bitnet/scheme/scheme.h"
#include "bitnet/tensor/quantized_matrix.h"

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

// Few formats are compiled. Heads of 4 bits become such of 6; and formats beside Ternary have steps for groups of
// columns, if only one a row.
inline QuantizedMatrix<Int<6>> AsInt6(const QuantizedMatrix<Int<4>>& from, Executor& executor) {
  QuantizedMatrix<Int<6>> to(from.rows(), from.cols(), from.granularity());
  std::copy(from.steps().begin(), from.steps().end(), to.steps().begin());
  constexpr int kOffset =
      FormatTraits<Int<4>>::Level(0) - FormatTraits<Int<6>>::Level(0);  // levels of both are 1 apart
  ParallelRanges(executor, from.rows(), 256, 1, [&](size_t begin, size_t end) {
    std::vector<uint8_t> codes(from.cols());
    for (size_t r = begin; r < end; ++r) {
      from.UnpackCodes(r, codes);
      for (uint8_t& code : codes) code = static_cast<uint8_t>(code + kOffset);
      Packing<Int<6>>::Pack(codes, to.bytes().subspan(r * to.RowBytes(to.cols()), to.RowBytes(to.cols())));
    }
  });
  return to;
}
template <LevelFormat F>
QuantizedMatrix<F> InGroups(const QuantizedMatrix<F>& from) {
  QuantizedMatrix<F> to(from.rows(), from.cols(), {true, from.cols()});
  std::copy(from.bytes().begin(), from.bytes().end(), to.bytes().begin());
  for (size_t r = 0; r < from.rows(); ++r) to.steps()[r] = from.Step(r, 0);
  return to;
}

// Matrices, one at a time, of whatever format they are: what is common to all schemes whose weights Q quantizes.
template <AnyQuantizer Q, Backend B>
class AnyMatrixLoader {
 public:
  AnyMatrixLoader(const Checkpoint& checkpoint, const Erased<B>& backend)
      : checkpoint_(checkpoint), backend_(backend) {}

  Result<Done> Load(const TensorInfo& tensor, std::vector<float>& to) const {
    Result<std::vector<float>> gain = checkpoint_.Gain(tensor);
    if (!gain.ok()) return Error{gain.error()};
    to = *std::move(gain);
    return Done{};
  }
  template <Operand X, class U>
  Result<Done> Load(const TensorInfo& tensor, AnyMatrix<B, X, U>& to) const {
    // Projections have no rows looked up, and embeddings and heads no others.
    constexpr bool kIsProjection = !U::template kHas<RowLookup>;
    Result<TensorMatrix> read = checkpoint_.Matrix(tensor);
    if (!read.ok()) return Error{read.error()};
    return std::visit([&](auto& matrix) { return Prepare<kIsProjection>(tensor, matrix, to); }, *read);
  }

 private:
  template <bool kIsProjection, Format F, Operand X, class U>
  Result<Done> Prepare(const TensorInfo& tensor, QuantizedMatrix<F>& matrix, AnyMatrix<B, X, U>& to) const {
    if constexpr (kIsProjection && kIsFloat<F>) {
      const auto quantized = QuantizeRows<Q>(matrix);
      matrix = {};
      return PrepareAs<kIsProjection, OperandOf<Q>>(tensor, quantized, to);
    } else if constexpr (kIsProjection && kIsProjectionFormat<F>) {
      if (matrix.granularity().group != 0) return PrepareAs<kIsProjection, Grouped<F>>(tensor, matrix, to);
      if constexpr (std::is_same_v<F, Ternary>) {
        return PrepareAs<kIsProjection, F>(tensor, matrix, to);
      } else {
        return PrepareAs<kIsProjection, Grouped<F>>(tensor, InGroups(matrix), to);
      }
    } else if constexpr (!kIsProjection && kIsFloat<F>) {
      return PrepareAs<kIsProjection, F>(tensor, matrix, to);
    } else if constexpr (!kIsProjection && !kIsProjectionFormat<F>) {
      if (matrix.granularity().group == 0) return Refused(tensor, kIsProjection);
      if constexpr (std::is_same_v<F, Int<4>>) {
        const QuantizedMatrix<Int<6>> wide = AsInt6(matrix, executor());
        matrix = {};
        return PrepareAs<kIsProjection, Grouped<Int<6>>>(tensor, wide, to);
      } else {
        return PrepareAs<kIsProjection, Grouped<F>>(tensor, matrix, to);
      }
    } else {
      return Refused(tensor, kIsProjection);
    }
  }
  Result<Done> Refused(const TensorInfo& tensor, bool is_projection) const {
    return checkpoint_.Refuse(
        tensor,
        "its type is " + checkpoint_.TypeName(tensor) + "; " +
            (is_projection ? "projections of one or two bits a weight, or reals, are run"
                           : "embeddings and heads of reals, or of 4, 6 or 8 bits with steps of groups, are run"));
  }

  template <bool kIsProjection, Operand W, Operand X, class U>
  Result<Done> PrepareAs(const TensorInfo& tensor, const QuantizedMatrix<FormatOf<W>>& matrix,
                         AnyMatrix<B, X, U>& to) const {
    // A head of codes is multiplied with codes.
    constexpr bool kForCodes = !kIsProjection && std::is_same_v<X, Float> && U::kMultiplies && !kIsFloat<FormatOf<W>>;
    using Inputs = std::conditional_t<kForCodes, typename RealInputs<B>::Codes, X>;
    if (!DotFits<FormatOf<W>, FormatOf<Inputs>>(matrix.cols())) {
      return checkpoint_.Refuse(tensor, "a dot product of " + std::to_string(matrix.cols()) +
                                            " such levels with those of the inputs could reach 2^29");
    }
    if constexpr (U::template kHas<ChosenRows> || U::template kHas<ChosenColumns>) {
      // Where no gate is ever closed nothing is gained by choosing.
      const std::string_view name = tensor.name;
      if (backend_.activation() == ActivationKind::kSilu && (name == "up" || name == "down")) {
        to = backend_.template PrepareWhole<W, X, U>(matrix);
        return Done{};
      }
    }
    if constexpr (kForCodes) {
      to = backend_.template PrepareForCodes<W, U>(matrix);
    } else {
      to = backend_.template PrepareMatrix<W, X, U>(matrix);
    }
    return Done{};
  }

  Executor& executor() const {
    if constexpr (HostBackend<B>) return backend_.backend().executor();
    return DefaultExecutor();
  }

  const Checkpoint& checkpoint_;
  const Erased<B>& backend_;
};

// Loads one after the other, or several at once. All of them or an error, that of the first that failed.
class LoadTasks {
 public:
  explicit LoadTasks(const LoadProgress& progress) : progress_(progress) {}
  void Add(std::function<Result<Done>()> task) { tasks_.push_back(std::move(task)); }
  // Those that were added so far are run alone, before the others.
  void RunTheseFirst() { alone_ = tasks_.size(); }

  Result<Done> Run(Executor* executor) {
    for (size_t i = 0; i < alone_; ++i) Run(i);
    if (executor != nullptr) {
      executor->Run(tasks_.size() - alone_, [this](size_t i) { Run(alone_ + i); });
    } else {
      for (size_t i = alone_; i < tasks_.size(); ++i) Run(i);
    }
    if (!problem_.empty()) return Error{problem_};
    return Done{};
  }

 private:
  void Run(size_t i) {
    {
      const std::lock_guard lock(mutex_);
      if (!problem_.empty()) return;
      if (progress_) progress_(begun_, tasks_.size());
      ++begun_;
    }
    const Result<Done> done = tasks_[i]();
    if (done.ok()) return;
    const std::lock_guard lock(mutex_);
    if (problem_.empty()) problem_ = done.error();
  }

  const LoadProgress& progress_;
  std::vector<std::function<Result<Done>()>> tasks_;
  std::mutex mutex_;
  std::string problem_;
  size_t alone_ = 0, begun_ = 0;
};

}  // namespace detail

struct AnyModelOptions {
  LoadProgress progress = {};
  // Of a value in the cache: which of the scheme's caches it is (scheme/cache.h). 0: the first, or the only one.
  size_t cache_bits = 0;
};

namespace detail {

// The index of the scheme's cache of so many bits.
template <Scheme S>
Result<size_t> CacheOfBits(size_t bits) {
  std::optional<size_t> found;
  std::string all;
  ForEachCache<CacheQuantizersOf<S>>([&]<class Each>(size_t i, std::type_identity<Each>) {
    if (!found.has_value() && (bits == 0 || CacheBits<Each>() == bits)) found = i;
    all += (i == 0 ? "" : ", ") + std::to_string(CacheBits<Each>());
  });
  if (found.has_value()) return *found;
  return Error{"cache_bits is " + std::to_string(bits) + "; the scheme " + S::kName + " has caches of " + all +
               " bits here"};
}

}  // namespace detail

// Several threads read and prepare at once, those of the backend. At any time a matrix a thread is held beside what is
// prepared. Where memory ends std::bad_alloc leaves (base/result.h).
template <Scheme S = WithInt8Cache<B158>, Backend B = DefaultBackend<S>>
Result<AnyModel<S, B>> LoadAnyModel(const Checkpoint& checkpoint, const AnyModelOptions& options = {},
                                    B backend = B()) {
  if (Result<Done> fits = CheckScheme<OfFile<S>>(checkpoint.model_config()); !fits.ok()) {
    return Error{checkpoint.path() + ": " + fits.error()};
  }
  const Result<size_t> cache = detail::CacheOfBits<S>(options.cache_bits);
  if (!cache.ok()) return Error{cache.error()};
  const Erased<B> erased(std::move(backend), checkpoint.config().activation, *cache);
  const detail::AnyMatrixLoader<typename S::Weight, B> matrices(checkpoint, erased);
  auto model = PreparedModel<OfFile<S>, Erased<B>>::Empty(checkpoint.model_config());
  detail::LoadTasks tasks(options.progress);
  const auto add = [&](const TensorInfo& tensor, auto& to) {
    tasks.Add([&matrices, tensor, &to] { return matrices.Load(tensor, to); });
  };
  // Embedding and head first and alone, the largest matrices: what is read of them is gone again when the others come,
  // so that it adds nothing to the most memory that is held.
  const auto add_outer = [&](auto tensor, auto& to) {
    if constexpr (tensor.kRole == TensorRole::kEmbedding) {
      if (model.config.tied_embedding) return add(tensor, model.head);
    }
    add(tensor, to);
  };
  ForEachTensorBeforeLayers(model.config, add_outer, model);
  ForEachTensorAfterLayers(model.config, add_outer, model);
  tasks.RunTheseFirst();
  for (size_t i = 0; i < model.config.layers; ++i) ForEachTensorOfLayer(model.config, i, add, model.layers[i]);
  Executor* executor = nullptr;
  if constexpr (HostBackend<B>) executor = &erased.backend().executor();
  if (Result<Done> loaded = tasks.Run(executor); !loaded.ok()) return Error{loaded.error()};
  return AnyModel<S, B>(std::move(model), erased);
}

}  // namespace bitnet

#endif  // BITNET_IO_ANY_MODEL_H_
