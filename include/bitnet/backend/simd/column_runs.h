// ColumnRuns: the runs of columns in which weights and inputs both have one step, of a product of weights in quads.
//
// A run reads whole units of its group of weights. Where it begins or ends within one (an input's group that does not
// end where units do), its inputs are copied with zeros around them; else they are read as they lie.
#ifndef BITNET_BACKEND_SIMD_COLUMN_RUNS_H_
#define BITNET_BACKEND_SIMD_COLUMN_RUNS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "bitnet/base/size.h"
#include "bitnet/tensor/aligned_vector.h"
#include "bitnet/tensor/segments.h"

namespace bitnet {

struct ColumnRun {
  size_t begin, end;    // columns
  size_t x_segment;     // of the inputs' steps
  size_t steps, codes;  // in a block of weights: the steps, and the first unit
  size_t units;
  size_t input;   // where a token's inputs for these units begin
  size_t before;  // columns of the first unit that come before the run
};

// What a product keeps of its tokens; the memory is kept between calls.
class ColumnRuns {
 public:
  // For weights of this layout (QuadWeights) and inputs cut so.
  template <class Weights>
  void Find(const Weights& weights, const Segments& x) {
    constexpr size_t kUnitCols = Weights::Packing::kUnitCols;
    runs_.clear();
    are_copied_ = false;
    width_ = 0;
    EachCommonSegment(weights.segments(), x, [&](size_t begin, size_t end, size_t ws, size_t xs) {
      const size_t first = weights.ColumnInGroup(begin) / kUnitCols * kUnitCols;  // of the group, as are these
      const size_t before = weights.ColumnInGroup(begin) - first;
      const size_t units = (before + (end - begin) + kUnitCols - 1) / kUnitCols;
      // (Where one ends within a unit, and not with its group, the next begins there.)
      are_copied_ = are_copied_ || before != 0;
      runs_.push_back({begin, end, xs, weights.StepsOffset(ws), weights.UnitOffset(begin), units, begin, before});
      width_ += units * kUnitCols;
    });
    if (!are_copied_) return;
    size_t at = 0;
    for (ColumnRun& run : runs_) {
      run.input = at;
      at += run.units * kUnitCols;
    }
  }

  // to[token * width() + run.input ...) = the inputs of each run, with zeros around them.
  template <class Inputs>
  void CopyInputs(const Inputs& x, int8_t* to) const {
    std::fill(to, to + x.tokens * width_, int8_t{0});
    for (size_t t = 0; t < x.tokens; ++t) {
      for (const ColumnRun& run : runs_) {
        std::copy(x.Row(t) + run.begin, x.Row(t) + run.end, to + t * width_ + run.input + run.before);
      }
    }
  }

  const std::vector<ColumnRun>& runs() const { return runs_; }
  bool are_copied() const { return are_copied_; }
  size_t width() const { return width_; }

 private:
  std::vector<ColumnRun> runs_;
  bool are_copied_ = false;
  size_t width_ = 0;  // of a token's copied inputs
};

}  // namespace bitnet

#endif  // BITNET_BACKEND_SIMD_COLUMN_RUNS_H_
