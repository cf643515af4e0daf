// The page tables of a pass over one sequence that begins on page 0 of a cache.
#ifndef BITNET_TESTS_TESTING_ONE_PAGE_H_
#define BITNET_TESTS_TESTING_ONE_PAGE_H_

#include <cstdint>

#include "bitnet/tensor/key_values.h"

namespace bitnet::testing {

inline constexpr uint32_t kFirstPages[] = {0, 1, 2, 3};
inline constexpr PageTable kOnePage[] = {PageTable(kFirstPages, 1)};
inline constexpr PageTable kFourPages[] = {PageTable(kFirstPages)};

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_ONE_PAGE_H_
