// Sampling on the device: the token of SampleToken (backend/sampling.h), bit for bit; only its number comes back.
//
// Blocks of threads share the tokens, a range each. Every launch goes over all logits once:
//   BestLogit        the largest logit of each range, and the first NaN
//   AddDigit         for top-k, and again for top-p: 3 times, for a digit of the least order of a logit that is kept;
//                    what each value of the digit has of what is counted: tokens for top-k, weights for top-p
//   SumWeights       what is kept of each range
//   DrawToken        finds the range, then the token
// A launch begins with what the one before has left to find, in every block of threads; one of them notes it down.
#ifndef BITNET_BACKEND_CUDA_SAMPLE_H_
#define BITNET_BACKEND_CUDA_SAMPLE_H_

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "bitnet/backend/cuda/block_scan.h"
#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/scratch.h"
#include "bitnet/backend/sampling.h"
#include "bitnet/base/exact_math.h"
#include "bitnet/base/host_device.h"
#include "bitnet/base/random.h"
#include "bitnet/base/result.h"

namespace bitnet::cuda {

// What comes back to the host.
struct SampleResult {
  SampleRefusal refusal;
  uint32_t token;  // that was drawn, or whose logit is at fault
};

// As SampleToken says it.
inline Result<uint32_t> ResultOf(const SampleResult& result) {
  if (result.refusal != SampleRefusal::kNone) return RefusalError(result.refusal, result.token);
  return result.token;
}

// Tokens from the largest logit down: all whose order (backend/sampling.h) is above this one, and of those that have it
// so much. Of top-k that is a number of tokens, of top-p a sum of weights. While digits are missing, those of the
// order.
struct SampleCut {
  uint32_t order;
  uint64_t wanted;
};

inline constexpr unsigned kSampleThreads = 256;
inline constexpr unsigned kMostSampleBlocks = 128;

enum SampleCutOf : unsigned { kOfTopK, kOfTopP, kOfNothing };

// In the stream's scratch.
struct SampleMemory {
  static constexpr unsigned kDigits = 3;
  static constexpr unsigned kLast = kDigits - 1;
  static constexpr unsigned kMostOfDigit = 1u << 11;

  uint64_t best[kMostSampleBlocks];    // of a range: the order of the largest logit, below it the token, counting down
  uint32_t nan[kMostSampleBlocks];     // ~ the first token whose logit is NaN; 0 if there is none
  uint64_t sums[kMostSampleBlocks];    // the weights above the cut
  uint32_t equals[kMostSampleBlocks];  // how many tokens are at it
  SampleCut cuts[2][kDigits];          // after each digit
  uint64_t of_digits[2 * kDigits * kMostOfDigit];

  // What each value of a digit has.
  BITNET_DEVICE uint64_t* OfDigit(SampleCutOf which, unsigned digit) {
    return of_digits + (which * kDigits + digit) * kMostOfDigit;
  }
};

// What all launches know.
struct SampleTask {
  static constexpr uint64_t kOne = uint64_t{1} << 40;  // what the most probable token weighs

  const float* logits;
  uint32_t vocab;
  uint32_t range;  // tokens of a block of threads
  uint32_t blocks;
  uint32_t top_k;  // 0: all
  float top_p;     // 1: all
  uint64_t least;  // a token that weighs less is left out (min-p)
  double inverse_temperature;
  SampleMemory* memory;

  BITNET_DEVICE uint32_t Begin(uint32_t block) const { return block * range < vocab ? block * range : vocab; }

  // floor(2^40 Exp((logit - max) / temperature)).
  BITNET_DEVICE uint64_t Weight(float logit, float max) const {
    const auto x = static_cast<float>((static_cast<double>(logit) - static_cast<double>(max)) * inverse_temperature);
    return static_cast<uint64_t>(Exp(x) * 0x1p40f);
  }
  BITNET_DEVICE uint64_t LeftByMinP(uint64_t weight) const { return weight >= least ? weight : 0; }

  BITNET_DEVICE static float LogitOf(uint32_t order) {
    return BitCast<float>((order >> 31) != 0 ? order & 0x7fffffffu : ~order);
  }
};

struct BestLogit {
  SampleResult result;  // what is refused; or the token, refusal kNone
  float max;
};

struct BestLogitShared {
  uint64_t best[kSampleThreads / kWarp];
  uint32_t nan[kSampleThreads / kWarp];
};

// Of all ranges, found by each block of threads.
template <class Device>
BITNET_DEVICE BestLogit FindBest(Device& d, BestLogitShared& shared, const SampleTask& task) {
  static_assert(kMostSampleBlocks <= kSampleThreads);
  const bool is_there = d.thread() < task.blocks;
  const uint64_t best =
      LargestOfBlock<kSampleThreads>(d, shared.best, is_there ? task.memory->best[d.thread()] : uint64_t{0});
  const uint32_t nan =
      LargestOfBlock<kSampleThreads>(d, shared.nan, is_there ? task.memory->nan[d.thread()] : uint32_t{0});
  const auto token = ~static_cast<uint32_t>(best);
  const float max = SampleTask::LogitOf(static_cast<uint32_t>(best >> 32));
  SampleRefusal refusal = SampleRefusal::kNone;
  if (task.vocab == 0) {
    refusal = SampleRefusal::kNoLogits;
  } else if (nan != 0) {
    refusal = SampleRefusal::kNan;
  } else if (std::isinf(max)) {
    refusal = max > 0.0f ? SampleRefusal::kInfinite : SampleRefusal::kAllMinusInfinity;
  }
  return {{refusal, task.vocab == 0 ? 0 : nan != 0 ? ~nan : token}, max};
}

struct BestLogitKernel {
  static constexpr unsigned kThreads = kSampleThreads;
  using Shared = BestLogitShared;
  SampleTask task;

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    SampleMemory& memory = *task.memory;
    // What AddDigit adds to.
    constexpr uint32_t kSums = 2 * SampleMemory::kDigits * SampleMemory::kMostOfDigit;
    for (uint32_t i = d.block() * kThreads + d.thread(); i < kSums; i += d.blocks() * kThreads) {
      memory.of_digits[i] = 0;
    }
    uint64_t best = 0;
    uint32_t nan = 0;
    const uint32_t end = task.Begin(d.block() + 1);
    for (uint32_t token = task.Begin(d.block()) + d.thread(); token < end; token += kThreads) {
      const float logit = task.logits[token];
      if (std::isnan(logit)) {
        nan = LargerOf(nan, ~token);
      } else {
        best = LargerOf(best, uint64_t{bitnet::detail::OrderOfLogit(logit)} << 32 | ~token);
      }
    }
    best = LargestOfBlock<kThreads>(d, shared.best, best);
    nan = LargestOfBlock<kThreads>(d, shared.nan, nan);
    if (d.thread() != 0) return;
    memory.best[d.block()] = best;
    memory.nan[d.block()] = nan;
  }
};

// ---- Cuts.

struct SampleDigit {
  unsigned shift, bits;
};
BITNET_HOST_DEVICE constexpr SampleDigit DigitOf(unsigned digit) {
  return digit == 0 ? SampleDigit{21, 11} : digit == 1 ? SampleDigit{10, 11} : SampleDigit{0, 10};
}

struct SampleCutShared {
  uint64_t of_warps[kSampleThreads / kWarp];
  SampleCut cut;
};

// The cut after a digit whose values AddDigit has counted: its value is the largest from which on they have what is
// wanted. Each block of threads finds it, once in a launch; the first one keeps it.
template <class Device>
BITNET_DEVICE SampleCut FindDigit(Device& d, SampleCutShared& shared, const SampleTask& task, SampleCutOf which,
                                  unsigned digit) {
  const uint64_t* of_digit = task.memory->OfDigit(which, digit);
  const SampleDigit at = DigitOf(digit);
  const uint32_t own = (1u << at.bits) / kSampleThreads;
  // The first thread has the largest values.
  const uint32_t top = (1u << at.bits) - 1 - d.thread() * own;
  uint64_t sum = 0;
  for (uint32_t i = 0; i < own; ++i) sum += of_digit[top - i];
  const Scanned<uint64_t> scanned = ScanBlock<kSampleThreads>(d, shared.of_warps, sum);
  SampleCut cut = {0, task.top_k};
  if (digit != 0) {
    cut = task.memory->cuts[which][digit - 1];
  } else if (which == kOfTopP) {
    cut.wanted = static_cast<uint64_t>(std::ceil(static_cast<double>(task.top_p) * static_cast<double>(scanned.all)));
  }
  uint64_t above = scanned.before;
  if (above < cut.wanted && cut.wanted - above <= sum) {
    uint32_t value = top;
    for (; above + of_digit[value] < cut.wanted; --value) above += of_digit[value];
    shared.cut = {cut.order | value << at.shift, cut.wanted - above};
    if (d.block() == 0) task.memory->cuts[which][digit] = shared.cut;
  }
  d.Barrier();
  return shared.cut;
}

// The last one of top-k, where AddDigit for top-p begins.
template <class Device>
BITNET_DEVICE SampleCut TopKCut(Device& d, SampleCutShared& shared, const SampleTask& task, SampleCutOf which,
                                unsigned digit) {
  if (which != kOfTopP || task.top_k == 0) return {0, 0};
  if (digit == 0) return FindDigit(d, shared, task, kOfTopK, SampleMemory::kLast);
  return task.memory->cuts[kOfTopK][SampleMemory::kLast];
}

// Counts, by the values of a digit, what has the digits before.
struct AddDigitKernel {
  static constexpr unsigned kThreads = kSampleThreads;
  struct Shared {
    BestLogitShared best;
    SampleCutShared cut;
    uint64_t of_digit[SampleMemory::kMostOfDigit];
  };
  SampleTask task;
  SampleCutOf which;
  unsigned digit;

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    const BestLogit best = FindBest(d, shared.best, task);
    if (best.result.refusal != SampleRefusal::kNone) return;
    const SampleCut top_k = TopKCut(d, shared.cut, task, which, digit);
    SampleCut cut = {0, 0};
    if (digit != 0) cut = FindDigit(d, shared.cut, task, which, digit - 1);

    const SampleDigit at = DigitOf(digit);
    const uint32_t values = 1u << at.bits;
    for (uint32_t i = d.thread(); i < values; i += kThreads) shared.of_digit[i] = 0;
    d.Barrier();
    const auto add = [&](uint32_t order, float logit, uint64_t times) {
      if (uint64_t{order} >> at.shift >> at.bits != uint64_t{cut.order} >> at.shift >> at.bits) return;
      const uint64_t one = which == kOfTopK ? 1 : task.Weight(logit, best.max);
      d.AtomicAdd(&shared.of_digit[(order >> at.shift) % values], one * times);
    };
    const uint32_t end = task.Begin(d.block() + 1);
    for (uint32_t token = task.Begin(d.block()) + d.thread(); token < end; token += kThreads) {
      const float logit = task.logits[token];
      const uint32_t order = bitnet::detail::OrderOfLogit(logit);
      if (order > top_k.order) add(order, logit, 1);
    }
    // Of those at the cut of top-k as many as it keeps, whichever they are.
    if (top_k.wanted != 0 && d.block() == 0 && d.thread() == 0) {
      add(top_k.order, SampleTask::LogitOf(top_k.order), top_k.wanted);
    }
    d.Barrier();
    for (uint32_t i = d.thread(); i < values; i += kThreads) {
      if (shared.of_digit[i] != 0) d.AtomicAdd(task.memory->OfDigit(which, digit) + i, shared.of_digit[i]);
    }
  }
};

// ---- The draw.

// The cut of all that is kept, as a number of tokens.
struct SampleKept {
  uint32_t order;   // of the cut
  uint64_t weight;  // of a token that is at it
  uint64_t tokens;  // that are kept of those
};

BITNET_DEVICE SampleKept KeptBy(const SampleTask& task, SampleCutOf which, const SampleCut& cut, float max) {
  if (which == kOfNothing) return {0, 0, 0};
  const uint64_t weight = task.Weight(SampleTask::LogitOf(cut.order), max);
  // Top-p takes another one as long as the ones before do not reach what is wanted.
  const uint64_t tokens = which == kOfTopK ? cut.wanted : (cut.wanted - 1) / weight + 1;
  return {cut.order, task.LeftByMinP(weight), tokens};
}

struct SumWeightsKernel {
  static constexpr unsigned kThreads = kSampleThreads;
  struct Shared {
    BestLogitShared best;
    SampleCutShared cut;
    uint64_t sums[kThreads / kWarp];
    uint32_t equals[kThreads / kWarp];
  };
  SampleTask task;
  SampleCutOf which;

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    const BestLogit best = FindBest(d, shared.best, task);
    if (best.result.refusal != SampleRefusal::kNone) return;
    SampleCut cut = {0, 0};
    if (which != kOfNothing) cut = FindDigit(d, shared.cut, task, which, SampleMemory::kLast);
    uint64_t sum = 0;
    uint32_t equals = 0;
    const uint32_t end = task.Begin(d.block() + 1);
    for (uint32_t token = task.Begin(d.block()) + d.thread(); token < end; token += kThreads) {
      const float logit = task.logits[token];
      const uint32_t order = bitnet::detail::OrderOfLogit(logit);
      if (order > cut.order) sum += task.LeftByMinP(task.Weight(logit, best.max));
      equals += order == cut.order ? 1u : 0u;
    }
    sum = ScanBlock<kThreads>(d, shared.sums, sum).all;
    equals = ScanBlock<kThreads>(d, shared.equals, equals).all;
    if (d.thread() != 0) return;
    task.memory->sums[d.block()] = sum;
    task.memory->equals[d.block()] = equals;
  }
};

// One block of threads.
struct DrawTokenKernel {
  static constexpr unsigned kThreads = kSampleThreads;
  static constexpr unsigned kMinBlocks = 2;
  // What a range or a part of it has.
  struct Share {
    uint64_t sum;     // of the weights above the cut
    uint64_t equals;  // tokens at it
  };
  struct Owner {
    uint32_t thread;
    uint64_t left;    // of the draw, in its share
    uint64_t equals;  // that are kept in and after its share
  };
  struct Shared {
    BestLogitShared best;
    uint64_t sums[kThreads / kWarp];
    uint64_t equals[kThreads / kWarp];
    Owner owner;
  };
  SampleTask task;
  SampleCutOf which;
  bool is_greedy;
  const uint64_t* random;  // in memory: all else of the launch is the next token's too, so that a graph has it
  SampleResult* result;

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    const BestLogit best = FindBest(d, shared.best, task);
    if (is_greedy || best.result.refusal != SampleRefusal::kNone) {
      if (d.thread() == 0) *result = best.result;
      return;
    }
    SampleKept kept = {0, 0, 0};
    if (which != kOfNothing) kept = KeptBy(task, which, task.memory->cuts[which][SampleMemory::kLast], best.max);

    // First each thread has a range; then a part of the range that it is, tokens that follow each other.
    Share share = {0, 0};
    if (d.thread() < task.blocks) share = {task.memory->sums[d.thread()], task.memory->equals[d.thread()]};
    const Owner range = FindOwner(d, shared, share, kept, [&](uint64_t all) { return ScaleBits(*random, all); });
    kept.tokens = range.equals;
    const uint32_t end_of_range = task.Begin(range.thread + 1);
    const uint32_t size = (task.range + kThreads - 1) / kThreads;
    const uint32_t begin = LesserOf(task.Begin(range.thread) + d.thread() * size, end_of_range);
    const uint32_t end = LesserOf(begin + size, end_of_range);
    share = {0, 0};
    for (uint32_t token = begin; token < end; ++token) {
      const float logit = task.logits[token];
      const uint32_t order = bitnet::detail::OrderOfLogit(logit);
      if (order > kept.order) share.sum += task.LeftByMinP(task.Weight(logit, best.max));
      share.equals += order == kept.order ? 1u : 0u;
    }
    Owner part = FindOwner(d, shared, share, kept, [&](uint64_t) { return range.left; });
    if (d.thread() != part.thread) return;
    for (uint32_t token = begin; token < end; ++token) {
      const float logit = task.logits[token];
      const uint32_t order = bitnet::detail::OrderOfLogit(logit);
      uint64_t weight = order > kept.order ? task.LeftByMinP(task.Weight(logit, best.max)) : 0;
      if (order == kept.order && part.equals != 0) {
        weight = kept.weight;
        --part.equals;
      }
      if (part.left < weight) {
        *result = {SampleRefusal::kNone, token};
        return;
      }
      part.left -= weight;
    }
  }

 private:
  BITNET_DEVICE static uint32_t LesserOf(uint32_t a, uint32_t b) { return a < b ? a : b; }

  // The thread whose share, in their order, the draw falls into; `left` says what it is of the sum of all.
  template <class Device, class Left>
  BITNET_DEVICE static Owner FindOwner(Device& d, Shared& shared, const Share& share, const SampleKept& kept,
                                       const Left& left) {
    const uint64_t before = ScanBlock<kThreads>(d, shared.equals, share.equals).before;
    const uint64_t equals = before < kept.tokens ? kept.tokens - before : 0;
    const uint64_t weight = share.sum + (share.equals < equals ? share.equals : equals) * kept.weight;
    const Scanned<uint64_t> weights = ScanBlock<kThreads>(d, shared.sums, weight);
    const uint64_t draw = left(weights.all);
    if (weights.before <= draw && draw - weights.before < weight) {
      shared.owner = {d.thread(), draw - weights.before, equals};
    }
    d.Barrier();
    return shared.owner;
  }
};

// *result of the token that *random draws from logits [vocab], all on the device; ResultOf makes of it what SampleToken
// returns.
template <class Stream>
void Sample(Stream& stream, const float* logits, size_t vocab, const SamplerOptions& options, const uint64_t* random,
            SampleResult* result) {
  CheckSample(vocab, options);
  SampleTask task{};
  task.logits = logits;
  task.vocab = static_cast<uint32_t>(vocab);
  const unsigned ranges = BlocksFor(vocab, kSampleThreads);
  task.range = ranges <= kMostSampleBlocks ? kSampleThreads : BlocksFor(vocab, kMostSampleBlocks);
  task.blocks = BlocksFor(vocab, task.range);
  task.top_k = options.top_k < vocab ? static_cast<uint32_t>(options.top_k) : 0;
  task.top_p = options.top_p;
  task.least = static_cast<uint64_t>(std::ceil(double(options.min_p) * double(SampleTask::kOne)));
  task.inverse_temperature = 1.0 / double(options.temperature);
  task.memory = stream.template Scratch<SampleMemory>(ScratchSlot::kSampling, 1);
  const bool is_greedy = options.temperature == 0.0f;
  const Grid all = {task.blocks, 1};
  SampleCutOf which = kOfNothing;
  if (vocab != 0) stream.Launch(BestLogitKernel{task}, all);
  if (vocab != 0 && !is_greedy) {
    for (const SampleCutOf next : {kOfTopK, kOfTopP}) {
      if (next == kOfTopK ? task.top_k == 0 : !(task.top_p < 1.0f)) continue;
      which = next;
      for (unsigned digit = 0; digit < SampleMemory::kDigits; ++digit) {
        stream.Launch(AddDigitKernel{task, which, digit}, all);
      }
    }
    stream.Launch(SumWeightsKernel{task, which}, all);
  }
  stream.Launch(DrawTokenKernel{task, which, is_greedy, random, result}, Grid{});
}

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_SAMPLE_H_
