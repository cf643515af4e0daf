// StepGroups: the runs of columns in which a row has one step. Weights and inputs may have different ones; a product is
// an exact integer dot within each run where both are constant.
#ifndef BITNET_TENSOR_STEP_GROUPS_H_
#define BITNET_TENSOR_STEP_GROUPS_H_

#include <algorithm>
#include <cstddef>

namespace bitnet {

// Columns [0, cols) cut every `group` columns; group 0 means not cut.
struct StepGroups {
  size_t cols = 0;
  size_t group = 0;

  size_t Count() const { return group == 0 || cols == 0 ? 1 : (cols - 1) / group + 1; }
  size_t Of(size_t col) const { return group == 0 ? 0 : col / group; }
  // The end of the group that holds `col`.
  size_t End(size_t col) const {
    const size_t begin = group == 0 ? 0 : col / group * group;
    return group == 0 || cols - begin <= group ? cols : begin + group;
  }
};

// f(begin, end, group_of_a, group_of_b) for each run of columns in which both have one step, in order.
template <class F>
void EachCommonRun(const StepGroups& a, const StepGroups& b, F&& f) {
  for (size_t begin = 0; begin < a.cols;) {
    const size_t end = std::min(a.End(begin), b.End(begin));
    f(begin, end, a.Of(begin), b.Of(begin));
    begin = end;
  }
}

}  // namespace bitnet

#endif  // BITNET_TENSOR_STEP_GROUPS_H_
