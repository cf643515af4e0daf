// Sizes that are products or sums, computed in one checked place: on a 32-bit machine (and with strangers' numbers on
// any) rows * cols * bytes can exceed size_t, and an allocation of what is left of it would be written past its end.
//
//   ElementCount<T>(rows, cols)   for what memory is taken by: throws std::bad_array_new_length where an object cannot
//                                 hold so many T, as operator new does for arrays
//   SizeProduct(rows, bytes)      the same for parts of a size: throws where the product does not fit size_t
//   CheckedProduct(rows, cols)    for outside data: nothing where it does not fit, so that a Result can say so
//
// Factors may be of any unsigned type. With -fno-exceptions what would throw ends the program with a sentence.
//
// This is for sizes, where memory is taken. What lies inside of memory whose size was computed so has an offset that
// fits too: offsets are not checked.
#ifndef BITNET_BASE_SIZE_H_
#define BITNET_BASE_SIZE_H_

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>
#include <optional>

#include "bitnet/base/assert.h"

namespace bitnet {

namespace detail {

[[noreturn]] inline void SizeDoesNotFit() {
#if defined(__cpp_exceptions)
  throw std::bad_array_new_length();
#else
  AssertionFailed(__FILE__, __LINE__, "a size does not fit this machine's memory");
#endif
}

}  // namespace detail

// The product, where it fits size_t. A factor of 0 makes it 0.
template <std::unsigned_integral... T>
requires(sizeof...(T) > 0) constexpr std::optional<size_t> CheckedProduct(T... factors) {
  if ((!factors || ...)) return 0;
  size_t product = 1;
  bool fits = true;
  const auto multiply = [&](auto factor) {
    fits = fits && factor <= std::numeric_limits<size_t>::max() / product;
    if (fits) product *= static_cast<size_t>(factor);
  };
  (multiply(factors), ...);
  if (!fits) return std::nullopt;
  return product;
}

// The sum, where it fits size_t.
template <std::unsigned_integral... T>
requires(sizeof...(T) > 0) constexpr std::optional<size_t> CheckedSum(T... terms) {
  size_t sum = 0;
  bool fits = true;
  const auto add = [&](auto term) {
    fits = fits && term <= std::numeric_limits<size_t>::max() - sum;
    if (fits) sum += static_cast<size_t>(term);
  };
  (add(terms), ...);
  if (!fits) return std::nullopt;
  return sum;
}

// The same of sizes of which one may not have fit itself.
template <std::same_as<std::optional<size_t>>... T>
requires(sizeof...(T) > 0) constexpr std::optional<size_t> CheckedProduct(T... factors) {
  return (factors.has_value() && ...) ? CheckedProduct(*factors...) : std::nullopt;
}
template <std::same_as<std::optional<size_t>>... T>
requires(sizeof...(T) > 0) constexpr std::optional<size_t> CheckedSum(T... terms) {
  return (terms.has_value() && ...) ? CheckedSum(*terms...) : std::nullopt;
}

template <std::unsigned_integral... T>
requires(sizeof...(T) > 0) constexpr size_t SizeProduct(T... factors) {
  const std::optional<size_t> product = CheckedProduct(factors...);
  if (!product) [[unlikely]]
    detail::SizeDoesNotFit();
  return *product;
}

template <std::unsigned_integral... T>
requires(sizeof...(T) > 0) constexpr size_t SizeSum(T... terms) {
  const std::optional<size_t> sum = CheckedSum(terms...);
  if (!sum) [[unlikely]]
    detail::SizeDoesNotFit();
  return *sum;
}

// The product as a number of T. (A container would answer more than PTRDIFF_MAX bytes with std::length_error, which is
// no std::bad_alloc.)
template <class T, std::unsigned_integral... N>
requires(sizeof...(N) > 0) constexpr size_t ElementCount(N... factors) {
  const std::optional<size_t> count = CheckedProduct(factors...);
  if (!count || *count > static_cast<size_t>(std::numeric_limits<std::ptrdiff_t>::max()) / sizeof(T)) [[unlikely]]
    detail::SizeDoesNotFit();
  return *count;
}

// Where part `part` of `parts` begins in n elements; part number `parts` at n. (On 32 bits n * part need not fit.)
constexpr size_t PartBegin(size_t n, size_t part, size_t parts) {
  return static_cast<size_t>(uint64_t{n} * part / parts);
}

}  // namespace bitnet

#endif  // BITNET_BASE_SIZE_H_
