// MatMulByValues: the product of levels that no other kernel takes: levels beyond signed bytes, and groups of columns
// at odd places. A warp for each output: its lanes take columns, or, where there are several runs, a run each, and read
// weights value by value, whatever their layout. Right for everything, and no faster than that.
#ifndef BITNET_BACKEND_CUDA_PRODUCT_BY_VALUES_H_
#define BITNET_BACKEND_CUDA_PRODUCT_BY_VALUES_H_

#include <cstddef>
#include <cstdint>

#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/limits.h"
#include "bitnet/backend/cuda/product_of_rows.h"
#include "bitnet/backend/cuda/runs.h"
#include "bitnet/backend/cuda/views.h"
#include "bitnet/tensor/operand.h"

namespace bitnet::cuda {

// Tokens are more than a grid is high: blocks take every 65535th.
inline unsigned GridHeight(size_t tokens) { return static_cast<unsigned>(tokens < kMaxGridY ? tokens : kMaxGridY); }

template <class View, Operand X, class Chosen, class To>
struct MatMulByValues {
  static constexpr unsigned kThreads = 128;
  static constexpr unsigned kMinBlocks = 8;
  using Shared = NoShared;

  View w;
  RowsView<X> x;
  Chosen chosen;
  To y;
  Runs runs;

  template <class Stream>
  static void LaunchIn(Stream& stream, const View& w, const RowsView<X>& x, const Chosen& chosen, const To& y) {
    stream.Launch(MatMulByValues{w, x, chosen, y, Runs::Of(w.cols, w.group, x.group)},
                  Grid{BlocksFor(w.rows, kThreads / kWarp), GridHeight(x.rows)});
  }

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    const uint32_t at = d.block() * (kThreads / kWarp) + d.warp();
    for (uint32_t token = d.block_y(); token < x.rows; token += d.blocks_y()) {
      if (at >= chosen.Count(token, w.rows)) continue;
      const uint32_t row = chosen.Row(token, at);
      const double total = runs.count == 1 ? OneRun(d, token, row) : EachRun(d, token, row);
      if (d.lane() == 0) y(token, row, static_cast<float>(total));
    }
  }

 private:
  BITNET_DEVICE int32_t Product(uint32_t token, uint32_t row, uint32_t col) const {
    return int32_t{w.Value(row, col)} * int32_t{x.Row(token)[col]};
  }
  template <class Device>
  BITNET_DEVICE double OneRun(Device& d, uint32_t token, uint32_t row) const {
    int32_t dot = 0;
    for (uint32_t c = d.lane(); c < w.cols; c += kWarp) dot += Product(token, row, c);
    return 0.0 + double(WarpSum(d, dot)) * double(w.Steps(row)[0] * x.Steps(token)[0]);
  }
  template <class Device>
  BITNET_DEVICE double EachRun(Device& d, uint32_t token, uint32_t row) const {
    double total = 0.0;
    for (uint32_t first = 0; first < runs.count; first += kWarp) {
      // A run that is empty, or is not there, adds +0, which changes no sum that began with +0.
      double term = 0.0;
      const uint32_t mine = first + d.lane();
      if (mine < runs.count) {
        const Runs::Run run = runs[mine];
        int32_t dot = 0;
        for (uint32_t c = run.begin; c < run.end; ++c) dot += Product(token, row, c);
        if (run.begin < run.end) {
          term =
              double(dot) * double(w.Steps(row)[run.begin / runs.w_group] * x.Steps(token)[run.begin / runs.x_group]);
        }
      }
      for (unsigned lane = 0; lane < kWarp; ++lane) total += d.Shuffle(term, lane);
    }
    return total;
  }
};

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_PRODUCT_BY_VALUES_H_
