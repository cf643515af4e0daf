// ColumnRuns: the runs of columns in which weights and inputs both have one step, and each run's inputs as kernels read
// them: in whole units of columns.
#ifndef BITNET_BACKEND_SIMD_COLUMN_RUNS_H_
#define BITNET_BACKEND_SIMD_COLUMN_RUNS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "bitnet/base/size.h"
#include "bitnet/tensor/aligned_vector.h"
#include "bitnet/tensor/step_groups.h"

namespace bitnet {

struct ColumnRun {
  size_t begin, end;        // columns
  size_t w_group, x_group;  // whose steps they have
  size_t before;            // columns of the first unit that come before the run
  size_t units;
  size_t input;         // where a token's inputs for these units begin
  size_t steps, codes;  // of weights in quads: where, in a block, the steps and the first unit are
};

// What a product keeps of its tokens; the memory is kept between calls.
class ColumnRuns {
 public:
  // Of weights in quads (QuadWeights), whose units begin anew with each of their groups. Only where a run begins within
  // a unit, because of a group of inputs, are the inputs copied, with zeros around each run.
  template <class Weights>
  void FindInUnits(const Weights& weights, const StepGroups& x) {
    constexpr size_t kUnitCols = Weights::Packing::kUnitCols;
    Find(weights.step_groups(), x, kUnitCols, [&](size_t begin) { return weights.ColumnInGroup(begin) % kUnitCols; });
    are_copied_ = false;
    for (ColumnRun& run : runs_) {
      run.steps = weights.StepsOffset(run.w_group);
      run.codes = weights.UnitOffset(run.begin);
      are_copied_ = are_copied_ || run.before != 0;
    }
    if (are_copied_) return;
    for (ColumnRun& run : runs_) run.input = run.begin;
  }
  // Of weights of which any column can be the first; units of `unit_cols` columns. Inputs are copied, with zeros after
  // each run.
  void FindAnywhere(const StepGroups& w, const StepGroups& x, size_t unit_cols) {
    Find(w, x, unit_cols, [](size_t) { return size_t{0}; });
    are_copied_ = true;
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
  template <class Before>
  void Find(const StepGroups& w, const StepGroups& x, size_t unit_cols, Before&& before_first) {
    runs_.clear();
    width_ = 0;
    EachCommonRun(w, x, [&](size_t begin, size_t end, size_t ws, size_t xs) {
      const size_t before = before_first(begin);
      const size_t units = (before + (end - begin) + unit_cols - 1) / unit_cols;
      runs_.push_back({begin, end, ws, xs, before, units, width_, 0, 0});
      width_ += units * unit_cols;
    });
  }

  std::vector<ColumnRun> runs_;
  bool are_copied_ = false;
  size_t width_ = 0;  // of a token's copied inputs
};

}  // namespace bitnet

#endif  // BITNET_BACKEND_SIMD_COLUMN_RUNS_H_
