// The block types of GGUF that are read: for each its layout, the format of which its codes are, and where its steps
// lie. To add one, describe its block in io/block_layout.h, say here what it means, and add it to io/blocks.h.
//
//   Format     code c of the file is level c of the format (c ^ kFlip, where the file has two's complement)
//   kGroup     columns that share a step; 0: a row or the tensor
//   Steps      of a block, float each; exact
//
// What is between rows, and across them, is said by kRows.
#ifndef BITNET_IO_BLOCK_TYPES_H_
#define BITNET_IO_BLOCK_TYPES_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "bitnet/format/format.h"
#include "bitnet/format/real16.h"
#include "bitnet/io/block_layout.h"
#include "bitnet/io/tensor_matrix.h"

namespace bitnet {

namespace block {

template <class T>
T Load(const uint8_t* from) {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

enum class Rows {
  kBlocks,         // a row is its blocks
  kHalfFirst,      // a row is its step, a half, and its blocks
  kFloatFirst,     // the same with a float
  kFoursFirst,     // four rows: their steps, floats, and blocks of the four
  kAcross,         // blocks run across rows; a float follows the last
  kAcrossInFours,  // of four rows a byte a column; a float follows the last
};

// A step in each block: a half at kHalfAt.
template <class F, const BlockLayout& kBlock, size_t kHalfAt>
struct WithHalf {
  using Format = F;
  static constexpr const BlockLayout& kLayout = kBlock;
  static constexpr uint8_t kFlip = 0;
  static constexpr Rows kRows = Rows::kBlocks;
  static constexpr size_t kGroup = kBlock.values;
  static constexpr size_t kStepsPerBlock = 1;
  static constexpr size_t kStepAt = kHalfAt;
  static void Steps(const uint8_t* block, float* steps) { steps[0] = float{Load<Float16>(block + kHalfAt)}; }
};

// Steps outside of the blocks.
template <const BlockLayout& kBlock, Rows kWhere>
struct TernaryRows {
  using Format = Ternary;
  static constexpr const BlockLayout& kLayout = kBlock;
  static constexpr uint8_t kFlip = 0;
  static constexpr Rows kRows = kWhere;
  static constexpr size_t kGroup = 0;
  static constexpr size_t kStepsPerBlock = 0;
};

struct Tq2_0 : WithHalf<Ternary, layout::kTq2_0, 64> {};
struct Tq1_0 : WithHalf<Ternary, layout::kTq1_0, 52> {};
struct Ptq1_0 : WithHalf<Ternary, layout::kPtq1_0, 26> {};
struct Q1_0 : WithHalf<Binary, layout::kQ1_0, 0> {};
struct Q2_0 : WithHalf<MinusOneToTwo, layout::kQ2_0, 0> {};
struct Pq2_0 : WithHalf<MinusOneToTwo, layout::kPq2_0, 0> {};
struct Q4_0 : WithHalf<Int<4>, layout::kQ4_0, 0> {};
struct Q8_0 : WithHalf<Int<8>, layout::kQ8_0, 0> {
  static constexpr uint8_t kFlip = 0x80;
};
struct I2sA : TernaryRows<layout::kI2sA, Rows::kAcross> {};
struct I2sB : TernaryRows<layout::kI2sB, Rows::kAcross> {};
struct I2sC : TernaryRows<layout::kI2sC<0>, Rows::kAcrossInFours> {};
struct Iq1Bn : TernaryRows<layout::kIq1Bn, Rows::kHalfFirst> {};
struct Iq2Bn : TernaryRows<layout::kIq2Bn, Rows::kFloatFirst> {};
struct Iq2BnR4 : TernaryRows<layout::kIq2BnR4, Rows::kFoursFirst> {};

// Each 16 columns have the step d times a signed byte: a product of 11 and 8 bits, exact as a float.
struct Q6_K : WithHalf<Int<6>, layout::kQ6_K, 208> {
  static constexpr size_t kGroup = 16;
  static constexpr size_t kStepsPerBlock = 16;
  static void Steps(const uint8_t* block, float* steps) {
    const float d = Load<Float16>(block + 208);
    for (size_t i = 0; i < kStepsPerBlock; ++i) steps[i] = d * static_cast<float>(static_cast<int8_t>(block[192 + i]));
  }
};

}  // namespace block

}  // namespace bitnet

#endif  // BITNET_IO_BLOCK_TYPES_H_
