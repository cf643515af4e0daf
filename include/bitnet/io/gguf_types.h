// The tensor types of GGUF files: number, name, how many bytes what shape takes.
//
// Forks of llama.cpp gave one number to different types. FindGgufTypes(id) lists all that a number may mean; which one
// a tensor has is decided by its length (io/gguf.h). A number that is not here is refused by number. To add a type, add
// a line; what decodes it is in io/blocks.h.
//
//   row of a matrix:  row_bytes, then a block for each block_values columns
//   I2_S:             blocks run across rows (across_rows), tensor_bytes follow the last. A block is a byte: its three
//                     layouts agree about nothing else.
//   IQ2_BN_R4:        `rows_together` rows are one unit
#ifndef BITNET_IO_GGUF_TYPES_H_
#define BITNET_IO_GGUF_TYPES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace bitnet {

struct GgufType {
  uint32_t id;
  std::string_view name;
  uint32_t block_values;
  uint32_t block_bytes;
  uint32_t row_bytes = 0;
  uint32_t rows_together = 1;
  bool across_rows = false;
  uint32_t tensor_bytes = 0;
  // Why such tensors cannot be read at all; empty: it depends on who reads (io/blocks.h).
  std::string_view refusal = {};

  // Bytes of a tensor of `rows` rows of `cols` values; none where the type has no such shape, or 64 bits do not hold
  // it.
  constexpr std::optional<uint64_t> Bytes(uint64_t rows, uint64_t cols) const {
    constexpr uint64_t kMost = uint64_t{1} << 62;
    if (block_values == 0 || rows == 0 || cols == 0 || rows > kMost / cols) return std::nullopt;
    const uint64_t values = rows * cols;
    if (across_rows) {
      if (values % block_values != 0) return std::nullopt;
      return values / block_values * block_bytes + tensor_bytes;
    }
    if (cols % block_values != 0 || rows % rows_together != 0) return std::nullopt;
    const uint64_t blocks = cols / block_values;
    if (blocks > (kMost - row_bytes) / block_bytes) return std::nullopt;
    const uint64_t row = blocks * block_bytes + row_bytes;
    return rows > (kMost - tensor_bytes) / row ? std::nullopt : std::optional(rows * row + tensor_bytes);
  }
};

namespace detail {

inline constexpr std::string_view kTablesOutside =
    "TL1 and TL2 are permuted by a configuration that is not in the file";

inline constexpr auto kGgufTypes = std::to_array<GgufType>({
    {0, "F32", 1, 4},
    {1, "F16", 1, 2},
    {2, "Q4_0", 32, 18},
    {3, "Q4_1", 32, 20},
    {6, "Q5_0", 32, 22},
    {7, "Q5_1", 32, 24},
    {8, "Q8_0", 32, 34},
    {9, "Q8_1", 32, 36},
    {10, "Q2_K", 256, 84},
    {11, "Q3_K", 256, 110},
    {12, "Q4_K", 256, 144},
    {13, "Q5_K", 256, 176},
    {14, "Q6_K", 256, 210},
    {15, "Q8_K", 256, 292},
    {16, "IQ2_XXS", 256, 66},
    {17, "IQ2_XS", 256, 74},
    {18, "IQ3_XXS", 256, 98},
    {19, "IQ1_S", 256, 50},
    {20, "IQ4_NL", 32, 18},
    {21, "IQ3_S", 256, 110},
    {22, "IQ2_S", 256, 82},
    {23, "IQ4_XS", 256, 136},
    {24, "I8", 1, 1},
    {25, "I16", 1, 2},
    {26, "I32", 1, 4},
    {27, "I64", 1, 8},
    {28, "F64", 1, 8},
    {29, "IQ1_M", 256, 56},
    {30, "BF16", 1, 2},
    {34, "TQ1_0", 256, 54},
    {35, "TQ2_0", 256, 66},
    {36, "I2_S", 4, 1, 0, 1, true, 32},
    {37, "I8_S", 1, 1},
    {38, "TL1", 0, 0, 0, 1, false, 0, kTablesOutside},
    {39, "MXFP4", 32, 17},
    {39, "TL2", 0, 0, 0, 1, false, 0, kTablesOutside},
    {40, "NVFP4", 64, 36},
    {41, "Q1_0", 128, 18},
    {42, "Q2_0", 64, 18},
    {42, "PQ2_0", 128, 34},
    {134, "IQ1_BN", 64, 13, 2},
    {135, "IQ2_BN", 64, 16, 4},
    {142, "PQ2_0", 128, 34},
    {143, "PTQ1_0", 128, 28},
    {335, "IQ2_BN_R4", 64, 16, 4, 4},
});

}  // namespace detail

// All lines of the table.
inline std::span<const GgufType> GgufTypes() { return detail::kGgufTypes; }

// What a number may mean; nothing where it is not known. (Lines of one number stand together.)
inline std::span<const GgufType> FindGgufTypes(uint32_t id) {
  size_t begin = 0;
  while (begin < detail::kGgufTypes.size() && detail::kGgufTypes[begin].id != id) ++begin;
  size_t end = begin;
  while (end < detail::kGgufTypes.size() && detail::kGgufTypes[end].id == id) ++end;
  return GgufTypes().subspan(begin, end - begin);
}

// The first type of this name; null where there is none.
inline const GgufType* FindGgufType(std::string_view name) {
  for (const GgufType& type : detail::kGgufTypes) {
    if (type.name == name) return &type;
  }
  return nullptr;
}

}  // namespace bitnet

#endif  // BITNET_IO_GGUF_TYPES_H_
