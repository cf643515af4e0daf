// Where the elements of the matrix unit's tiles lie, written down from the manual and from nothing else: PTX ISA 9.0,
// 9.7.14.5.10 "Matrix Fragments for mma.m16n8k32", types .s8 and .s32. In each fragment the elements are the bytes of
// its registers, from the lowest. (The manual's groupID = %laneid >> 2, threadID_in_group = %laneid % 4.)
#ifndef BITNET_TESTS_CUDA_MMA_FRAGMENTS_H_
#define BITNET_TESTS_CUDA_MMA_FRAGMENTS_H_

#include <cstdint>
#include <vector>

namespace bitnet::testing {

struct MmaElement {
  unsigned row, col;
};
inline MmaElement ElementOfA(unsigned lane, unsigned i) {
  const unsigned group_id = lane >> 2;
  const unsigned thread_id_in_group = lane % 4;
  return {i < 4 || (8 <= i && i < 12) ? group_id : group_id + 8,
          i < 8 ? thread_id_in_group * 4 + (i & 0x3) : thread_id_in_group * 4 + (i & 0x3) + 16};
}
inline MmaElement ElementOfB(unsigned lane, unsigned i) {
  const unsigned group_id = lane >> 2;
  const unsigned thread_id_in_group = lane % 4;
  return {i < 4 ? thread_id_in_group * 4 + (i & 0x3) : thread_id_in_group * 4 + (i & 0x3) + 16, group_id};
}
inline MmaElement ElementOfC(unsigned lane, unsigned i) {
  const unsigned group_id = lane >> 2;
  const unsigned thread_id_in_group = lane % 4;
  return {i < 2 ? group_id : group_id + 8, thread_id_in_group * 2 + (i & 0x1)};
}

// Of each lane, where in a matrix stored by rows each element of its fragment is.
template <unsigned kElements>
std::vector<uint32_t> FragmentTable(MmaElement (*at)(unsigned, unsigned), unsigned cols) {
  std::vector<uint32_t> table;
  for (unsigned lane = 0; lane < 32; ++lane) {
    for (unsigned i = 0; i < kElements; ++i) table.push_back(at(lane, i).row * cols + at(lane, i).col);
  }
  return table;
}

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_CUDA_MMA_FRAGMENTS_H_
