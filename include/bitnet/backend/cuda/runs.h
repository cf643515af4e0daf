// Runs: the runs of columns in which the steps of weights and of inputs are both constant, by number: EachCommonRun
// (tensor/step_groups.h) for threads that each take some of them.
//
// The smaller groups are cells; a cell is cut once where a larger group ends inside it. So run 2 i and 2 i + 1 are the
// halves of cell i (the second may be empty), or, where the larger groups end where smaller ones do, run i is cell i.
#ifndef BITNET_BACKEND_CUDA_RUNS_H_
#define BITNET_BACKEND_CUDA_RUNS_H_

#include <cstdint>

#include "bitnet/base/host_device.h"

namespace bitnet::cuda {

struct Runs {
  uint32_t cols;
  uint32_t w_group;  // columns that share a step of the weights ...
  uint32_t x_group;  // ... and of the inputs; at least 1
  uint32_t halves;   // of a cell: 1 or 2
  uint32_t count;    // 0 only where there are no columns

  struct Run {
    uint32_t begin;
    uint32_t end;
  };

  // Groups of `cols` columns or more are not cut.
  static Runs Of(uint32_t cols, uint32_t w_group, uint32_t x_group) {
    const auto within = [&](uint32_t group) { return group < cols ? group : cols == 0 ? 1 : cols; };
    Runs runs = {cols, within(w_group), within(x_group), 1, 0};
    const uint32_t cell = runs.Cell();
    const uint32_t larger = runs.Larger();
    if (larger < cols && larger % cell != 0) runs.halves = 2;
    runs.count = (cols / cell + (cols % cell != 0 ? 1 : 0)) * runs.halves;
    return runs;
  }

  BITNET_HOST_DEVICE uint32_t Cell() const { return w_group < x_group ? w_group : x_group; }
  BITNET_HOST_DEVICE uint32_t Larger() const { return w_group < x_group ? x_group : w_group; }

  BITNET_HOST_DEVICE Run operator[](uint32_t i) const {
    const uint32_t cell = Cell();
    const uint32_t begin = i / halves * cell;
    const uint32_t end = cols - begin < cell ? cols : begin + cell;
    if (halves == 1) return {begin, end};
    const uint32_t larger = Larger();
    const uint32_t rest = larger - begin % larger;  // until a larger group ends
    const uint32_t cut = end - begin < rest ? end : begin + rest;
    return i % 2 == 0 ? Run{begin, cut} : Run{cut, end};
  }

  // The largest power of two that all runs begin at a multiple of; 2^31 for a single run.
  uint32_t Granule() const {
    const uint32_t groups = (w_group < cols ? w_group : 0) | (x_group < cols ? x_group : 0);
    return groups == 0 ? uint32_t{1} << 31 : groups & (~groups + 1);
  }
};

// A walk from run to run: the groups that a column is in, and where they end.
struct RunWalk {
  uint32_t w_at;
  uint32_t x_at;
  uint32_t w_end;
  uint32_t x_end;

  BITNET_HOST_DEVICE RunWalk(const Runs& runs, uint32_t col)
      : w_at(col / runs.w_group),
        x_at(col / runs.x_group),
        w_end((w_at + 1) * runs.w_group),
        x_end((x_at + 1) * runs.x_group) {}

  BITNET_HOST_DEVICE uint32_t Begin(const Runs& runs) const {
    const uint32_t w_begin = w_end - runs.w_group;
    const uint32_t x_begin = x_end - runs.x_group;
    return w_begin > x_begin ? w_begin : x_begin;
  }
  BITNET_HOST_DEVICE uint32_t End(const Runs& runs) const {
    const uint32_t end = w_end < x_end ? w_end : x_end;
    return end < runs.cols ? end : runs.cols;
  }
  // On to the next run.
  BITNET_HOST_DEVICE void Pass(const Runs& runs) {
    const uint32_t end = w_end < x_end ? w_end : x_end;
    if (w_end == end) {
      ++w_at;
      w_end += runs.w_group;
    }
    if (x_end == end) {
      ++x_at;
      x_end += runs.x_group;
    }
  }
};

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_RUNS_H_
