// Intel's matrix unit (AMX-INT8: Sapphire Rapids and later): products of 16 x 64 with 64 x 16 bytes, 1024 multiply-adds
// a cycle where the vector instructions do 128. Highway has no operation for it, so the instructions stand here.
//
// Nothing needs to be asked for when compiling: CPU and operating system are asked at run time. Linux lets a process
// use the unit when it says so, once, for good: stacks of signal handlers (sigaltstack) must then have room for the
// unit's registers, 8 KB more. With BITNET_NO_AMX=1 in the environment the unit is left alone. Results are the same.
#ifndef BITNET_BACKEND_SIMD_AMX_H_
#define BITNET_BACKEND_SIMD_AMX_H_

#include <array>
#include <cstddef>
#include <cstdint>

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__)
#define BITNET_HAS_AMX 1
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
#else
#define BITNET_HAS_AMX 0
#endif

namespace bitnet::detail {

// Tokens that one pass of a block of weights takes (AmxTiles::Add), and the columns of one instruction.
inline constexpr size_t kAmxTokens = 32;
inline constexpr size_t kAmxCols = 64;

#if BITNET_HAS_AMX

// Whether this process may use the unit.
inline bool HasAmx() {
  static const bool has = [] {
    const char* unwanted = getenv("BITNET_NO_AMX");
    if (unwanted != nullptr && unwanted[0] != '\0') return false;
    // (<cpuid.h> of clang 14 does not know -masm=intel.)
    struct {
      unsigned a, b, c, d;
    } info;
    const auto ask = [&](unsigned leaf) {
      asm volatile("cpuid" : "=a"(info.a), "=b"(info.b), "=c"(info.c), "=d"(info.d) : "a"(leaf), "c"(0));
    };
    ask(0);
    if (info.a < 7) return false;
    ask(1);
    constexpr unsigned kOsXsave = 1u << 27;
    if ((info.c & kOsXsave) == 0) return false;
    ask(7);
    constexpr unsigned kTileAndInt8 = 3u << 24;
    if ((info.d & kTileAndInt8) != kTileAndInt8) return false;
    unsigned enabled = 0, enabled_high = 0;
    asm volatile("xgetbv" : "=a"(enabled), "=d"(enabled_high) : "c"(0));
    constexpr unsigned kTileState = 3u << 17;
    if ((enabled & kTileState) != kTileState) return false;
    constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
    constexpr long kTileData = 18;
    const int saved = errno;
    const bool is_permitted = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
    errno = saved;
    return is_permitted;
  }();
  return has;
}

// The unit's registers, set up for this thread from the first Configure or Add on as long as the object lives: eight
// tiles of rows of 64 bytes. Tiles are template arguments, for they are part of the instructions.
class AmxTiles {
 public:
  using Rows = std::array<uint8_t, 8>;

  AmxTiles() = default;
  ~AmxTiles() {
    if (rows_ != Rows{}) asm volatile("tilerelease" ::: "memory");
  }
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;

  // Sets how many rows each tile has: 200 cycles; nothing if they are set so already.
  void Configure(const Rows& rows) {
    if (rows == rows_) return;
    struct alignas(64) {
      uint8_t palette = 1;
      uint8_t start_row = 0;
      uint8_t reserved[14] = {};
      uint16_t row_bytes[16] = {};
      uint8_t rows[16] = {};
    } config;
    for (size_t tile = 0; tile < rows.size(); ++tile) {
      config.row_bytes[tile] = kRowBytes;
      config.rows[tile] = rows[tile];
    }
    asm volatile("ldtilecfg %0" ::"m"(config) : "memory");
    rows_ = rows;
  }

  template <int kTile>
  static void Load(const void* from, size_t stride) {
    asm volatile("{tileloadd (%0,%1,1), %%tmm%c2|tileloadd tmm%c2, [%0+%1*1]}" ::"r"(from), "r"(stride), "i"(kTile)
                 : "memory");
  }
  template <int kTile>
  static void Store(void* to, size_t stride) {
    asm volatile("{tilestored %%tmm%c2, (%0,%1,1)|tilestored [%0+%1*1], tmm%c2}" ::"r"(to), "r"(stride), "i"(kTile)
                 : "memory");
  }
  template <int kTile>
  static void Clear() {
    asm volatile("{tilezero %%tmm%c0|tilezero tmm%c0}" ::"i"(kTile));
  }
  // sum[i][j] += dot of row i of `rows`, signed bytes, with column j of `columns`, unsigned; a row of `columns` is four
  // rows of its matrix, quads of bytes. Sums are modulo 2^32.
  template <int kSum, int kRows, int kColumns>
  static void Multiply() {
    asm volatile("{tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0|tdpbsud tmm%c0, tmm%c1, tmm%c2}" ::"i"(kSum), "i"(kRows),
                 "i"(kColumns));
  }

  // sums[t * 64 + i] += dot of row i of a block of 64 with the inputs x[t * x_stride ...], for t < tokens <= kAmxTokens
  // and `cols` columns, a multiple of kAmxCols. quads: four columns of one row in 32 bits, [cols / 4][64 rows]. Sums
  // are modulo 2^32.
  void Add(const uint8_t* quads, size_t cols, const int8_t* x, size_t x_stride, size_t tokens, int32_t* sums) {
    const auto first = static_cast<uint8_t>(tokens < kTileRows ? tokens : kTileRows);
    const auto second = static_cast<uint8_t>(tokens > kTileRows ? tokens - kTileRows : 1);
    Configure({first, first, second, second, first, second, kTileRows, kTileRows});
    if (tokens > kTileRows) {
      AddTiles<true>(quads, cols, x, x_stride, sums);
    } else {
      AddTiles<false>(quads, cols, x, x_stride, sums);
    }
  }

 private:
  static constexpr size_t kTileRows = 16;
  static constexpr size_t kRowBytes = 64;
  static constexpr size_t kQuadBytes = 4 * kRowBytes;  // of 64 rows
  // Registers: sums of the first and the second 16 tokens with two groups of 16 rows; inputs; weights.
  enum : int { kSum00, kSum01, kSum10, kSum11, kInputs0, kInputs1, kWeights0, kWeights1 };

  template <bool kBoth>
  static void AddTiles(const uint8_t* quads, size_t cols, const int8_t* x, size_t x_stride, int32_t* sums) {
    constexpr size_t kSumStride = 64 * sizeof(int32_t);
    for (size_t group = 0; group < 4; group += 2) {
      int32_t* const to = sums + group * 16;
      Load<kSum00>(to, kSumStride);
      Load<kSum01>(to + 16, kSumStride);
      if constexpr (kBoth) Load<kSum10>(to + kTileRows * 64, kSumStride);
      if constexpr (kBoth) Load<kSum11>(to + kTileRows * 64 + 16, kSumStride);
      for (size_t c = 0; c < cols; c += kAmxCols) {
        const uint8_t* const weights = quads + c / 4 * kQuadBytes + group * kRowBytes;
        Load<kInputs0>(x + c, x_stride);
        Load<kWeights0>(weights, kQuadBytes);
        Load<kWeights1>(weights + kRowBytes, kQuadBytes);
        Multiply<kSum00, kInputs0, kWeights0>();
        Multiply<kSum01, kInputs0, kWeights1>();
        if constexpr (kBoth) Load<kInputs1>(x + kTileRows * x_stride + c, x_stride);
        if constexpr (kBoth) Multiply<kSum10, kInputs1, kWeights0>();
        if constexpr (kBoth) Multiply<kSum11, kInputs1, kWeights1>();
      }
      Store<kSum00>(to, kSumStride);
      Store<kSum01>(to + 16, kSumStride);
      if constexpr (kBoth) Store<kSum10>(to + kTileRows * 64, kSumStride);
      if constexpr (kBoth) Store<kSum11>(to + kTileRows * 64 + 16, kSumStride);
    }
  }

  Rows rows_ = {};
};

#else

inline bool HasAmx() { return false; }

// Never used.
class AmxTiles {
 public:
  using Rows = std::array<uint8_t, 8>;
  void Configure(const Rows&) {}
  template <int>
  static void Load(const void*, size_t) {}
  template <int>
  static void Store(void*, size_t) {}
  template <int>
  static void Clear() {}
  template <int, int, int>
  static void Multiply() {}
  void Add(const uint8_t*, size_t, const int8_t*, size_t, size_t, int32_t*) {}
};

#endif
#undef BITNET_HAS_AMX

}  // namespace bitnet::detail

#endif  // BITNET_BACKEND_SIMD_AMX_H_
