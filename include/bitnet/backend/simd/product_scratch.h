// ProductScratch: memory that products keep between calls. It grows only, and is taken before threads start, so that
// decoding allocates nothing after the first token, whichever thread does what.
#ifndef BITNET_BACKEND_SIMD_PRODUCT_SCRATCH_H_
#define BITNET_BACKEND_SIMD_PRODUCT_SCRATCH_H_

#include <cstddef>
#include <cstdint>

#include "bitnet/backend/simd/column_runs.h"
#include "bitnet/base/size.h"
#include "bitnet/tensor/aligned_vector.h"

namespace bitnet {

class ProductScratch {
 public:
  // Memory of any content, on a cache line.
  std::byte* Bytes(size_t count) { return Reserve(bytes_, count); }
  int32_t* Sums(size_t count) { return Reserve(sums_, count); }
  uint32_t* Order(size_t count) { return Reserve(order_, count); }
  int8_t* Inputs(size_t count) { return Reserve(inputs_, count); }
  ColumnRuns& runs() { return runs_; }

 private:
  template <class T>
  static T* Reserve(AlignedVector<T>& memory, size_t count) {
    if (memory.size() < count) memory.resize(ElementCount<T>(count));
    return memory.data();
  }

  AlignedVector<std::byte> bytes_;
  AlignedVector<int32_t> sums_;
  AlignedVector<uint32_t> order_;
  AlignedVector<int8_t> inputs_;
  ColumnRuns runs_;
};

}  // namespace bitnet

#endif  // BITNET_BACKEND_SIMD_PRODUCT_SCRATCH_H_
