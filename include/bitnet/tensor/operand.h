// An operand of a product: a format, with a step for each row (or one for all), or Grouped<format>, with a step for
// each group of columns of a row. A type, because kernels and layouts of the two differ.
#ifndef BITNET_TENSOR_OPERAND_H_
#define BITNET_TENSOR_OPERAND_H_

#include <type_traits>

#include "bitnet/format/format.h"
#include "bitnet/quant/quantizer.h"

namespace bitnet {

template <LevelFormat F>
struct Grouped {
  using Format = F;
};

namespace detail {
template <class O>
struct OperandFacts {
  using Format = O;
  static constexpr bool kIsGrouped = false;
};
template <class F>
struct OperandFacts<Grouped<F>> {
  using Format = F;
  static constexpr bool kIsGrouped = true;
};
template <class Q, bool kIsGrouped>
struct OperandOfQuantizer {
  using type = typename Q::Format;
};
template <class Q>
struct OperandOfQuantizer<Q, true> {
  using type = Grouped<typename Q::Format>;
};
}  // namespace detail

template <class O>
using FormatOf = typename detail::OperandFacts<O>::Format;
template <class O>
inline constexpr bool kIsGrouped = detail::OperandFacts<O>::kIsGrouped;

template <class O>
concept Operand = Format<FormatOf<O>>;

// What a quantizer makes.
template <AnyQuantizer Q>
using OperandOf = typename detail::OperandOfQuantizer<Q, kGroupSize<typename Q::Granularity> != 0>::type;

}  // namespace bitnet

#endif  // BITNET_TENSOR_OPERAND_H_
