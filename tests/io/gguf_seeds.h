// GgufSeeds: small GGUF files that are right: metadata of all types, and a tensor of each type that is read.
#ifndef BITNET_TESTS_IO_GGUF_SEEDS_H_
#define BITNET_TESTS_IO_GGUF_SEEDS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "bitnet/io/gguf_types.h"
#include "io/gguf_bytes.h"

namespace bitnet::testing {

inline GgufBytes::Entry ArrayEntry(std::string key, uint32_t type, uint64_t count, const std::vector<uint8_t>& values) {
  ByteWriter to;
  to.Number(type);
  to.Number(count);
  to.bytes().insert(to.bytes().end(), values.begin(), values.end());
  return {std::move(key), 9, to.bytes()};
}

inline std::vector<std::vector<uint8_t>> GgufSeeds() {
  std::vector<std::vector<uint8_t>> seeds;
  GgufBytes metadata;
  metadata.Text("general.architecture", "bitnet-b1.58").Number("general.alignment", 4, uint32_t{32});
  metadata.Number("u8", 0, uint8_t{1}).Number("i16", 3, int16_t{-2}).Number("f", 6, 0.5f).Number("yes", 7, uint8_t{1});
  metadata.Number("i64", 11, int64_t{-3}).Number("d", 12, 0.25);
  metadata.entries.push_back(ArrayEntry("ints", 5, 2, {1, 0, 0, 0, 2, 0, 0, 0}));
  metadata.entries.push_back(ArrayEntry("flags", 7, 3, {1, 0, 1}));
  metadata.entries.push_back(ArrayEntry("texts", 8, 2, {1, 0, 0, 0, 0, 0, 0, 0, 'a', 0, 0, 0, 0, 0, 0, 0, 0}));
  metadata.entries.push_back(ArrayEntry("nested", 9, 1, {0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 5, 6}));
  seeds.push_back(metadata.Make());
  metadata.version = 2;
  metadata.tensors = {{"x", {3, 2}, 0, 0}, {"unknown", {7}, 99, 32}, {"y", {4, 2, 2, 1}, 1, 64}};
  metadata.data.resize(64 + 32);
  seeds.push_back(metadata.Make());
  for (const GgufType& type : GgufTypes()) {
    if (type.block_values == 0) continue;
    // Zeros are legal in all types. The tensors are large enough for lengths to tell types of one number apart.
    const uint64_t cols = type.name == "I2_S" ? 128 : uint64_t{type.block_values} * 2;
    const uint64_t rows = type.name == "Q2_0" || type.name == "PQ2_0" ? 16 : 4;
    GgufBytes file;
    file.tensors = {{"w", {cols, rows}, type.id, 0}};
    file.data.resize(static_cast<size_t>(*type.Bytes(rows, cols)), 0);
    seeds.push_back(file.Make());
  }
  return seeds;
}

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_IO_GGUF_SEEDS_H_
