// What products read of their inputs, of whatever format: by the type that holds a level, so that kernels are compiled
// once for all formats that share it.
#if defined(BITNET_BACKEND_SIMD_INPUT_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_INPUT_ROWS_INL_H_
#undef BITNET_BACKEND_SIMD_INPUT_ROWS_INL_H_
#else
#define BITNET_BACKEND_SIMD_INPUT_ROWS_INL_H_
#endif

#include <cstddef>

#include "bitnet/backend/simd/simd_rows.h"
#include "bitnet/backend/simd/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

template <class X>
struct InputRows {
  template <Operand O>
  explicit InputRows(const SimdRows<O>& x)
      : levels(x.Row(0)),
        stride(x.stride()),
        tokens(x.rows()),
        step_groups(x.step_groups()),
        steps(tokens == 0 ? nullptr : x.Steps(0).data()) {}
  const X* Row(size_t token) const { return levels + token * stride; }
  float Step(size_t token, size_t step_group = 0) const { return steps[token * step_groups.Count() + step_group]; }

  const X* levels;
  size_t stride;
  size_t tokens;
  StepGroups step_groups;
  const float* steps;
};

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_INPUT_ROWS_INL_H_
