// TestQuantizer<Q>(): Q on the emulated device against the reference, with and without top-k and lists.
#ifndef BITNET_TESTS_CUDA_TEST_QUANTIZER_H_
#define BITNET_TESTS_CUDA_TEST_QUANTIZER_H_

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bitnet/backend/cuda/lists.h"
#include "bitnet/backend/cuda/quantize.h"
#include "bitnet/backend/reference_operations.h"
#include "cuda/device_rows.h"

namespace bitnet::testing {

inline const std::vector<size_t> kNarrowRows = {1, 2, 7, 8, 9, 31, 33, 64, 100, 130};
inline const std::vector<size_t> kWideRows = {3,   15,  16,  17,  32,  63,  65,  127, 128, 129,  200,  255,
                                              256, 257, 263, 300, 511, 512, 513, 700, 770, 1024, 2560, 5460};

template <AnyQuantizer Q>
constexpr int TopOf() {
  if constexpr (kIsFloat<typename Q::Format>) {
    return 7;
  } else {
    return FormatTraits<typename Q::Format>::kTop;
  }
}

template <AnyQuantizer Q>
void TestQuantizerOn(RowsCase& c) {
  using X = OperandOf<Q>;
  constexpr size_t kGroup = kGroupSize<typename Q::Granularity>;
  EmulatedStream stream(c.schedule);
  DeviceMemory memory;
  QuantizedRows<X> expected;
  reference::Quantize<Q>(c.x.view(), expected);
  reference::FindNonzero(expected);
  {
    DeviceRows<X> rows(c.rows, c.cols, kGroup);
    cuda::Quantize<Q>(stream, MatrixView<const float>(c.x.view()), rows.view());
    rows.ExpectSame(expected, "Quantize, " + c.place);
    cuda::FindNonzero(stream, rows.view());
    rows.ExpectSameLists(expected.nonzero(), "FindNonzero, " + c.place);

    auto* count = memory.Allocate<uint64_t>(1);
    cuda::CountNonzero(stream, rows.view(), count);
    CHECK(*count == reference::CountNonzero(expected));
    DeviceLists lists(c.rows, c.cols);
    for (size_t r = 0; r < c.rows; ++r)
      lists.view().counts[r] = static_cast<uint32_t>(3 * r + expected.nonzero().Count(r));
    uint64_t pairs = 0;
    for (size_t r = 0; r < c.rows; ++r) pairs += reference::NonzeroOfRow(expected, r) * lists.view().counts[r];
    cuda::CountNonzero(stream, rows.view(), lists.view(), count);
    CHECK(*count == pairs);
  }
  DeviceRows<X> listed(c.rows, c.cols, kGroup);
  cuda::Quantize<Q>(stream, MatrixView<const float>(c.x.view()), listed.view(), true);
  listed.ExpectSame(expected, "Quantize with lists, " + c.place);
  listed.ExpectSameLists(expected.nonzero(), "Quantize with lists, " + c.place);

  if constexpr (HasZero<typename Q::Format>()) {
    for (const size_t k : {size_t{1}, (c.cols + 1) / 2, c.cols}) {
      const std::string place = "QuantizeTopK of " + std::to_string(k) + ", " + c.place;
      DeviceRows<X> rows(c.rows, c.cols, kGroup);
      reference::QuantizeTopK<Q>(c.x.view(), k, expected);
      reference::FindNonzero(expected);
      cuda::QuantizeTopK<Q>(stream, MatrixView<const float>(c.x.view()), k, rows.view(), true);
      rows.ExpectSame(expected, place);
      rows.ExpectSameLists(expected.nonzero(), place);
    }
  }
}

template <AnyQuantizer Q>
void TestQuantizer(const char* name) {
  CAPTURE(name);
  static_assert(cuda::kQuantizesOnDevice<Q>);
  for (RowsCase& c : DrawRows(kNarrowRows, kWideRows, TopOf<Q>())) TestQuantizerOn<Q>(c);
}

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_CUDA_TEST_QUANTIZER_H_
