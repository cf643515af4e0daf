// What a prepared matrix is read for: a set of uses, part of its type. A backend chooses its layout by it, and an
// operation that the set does not name does not compile.
//
//   Uses<Dense>               MatMul: all of it for every token
//   Uses<ChosenRows>          MatMulRows: some outputs of each token; and MatMul
//   Uses<ChosenColumns>       MatMulColumns: some inputs of each token; and MatMul
//   Uses<Dense, RowLookup>    Embed: rows by their numbers; here beside MatMul, as a tied embedding is read
#ifndef BITNET_BACKEND_USES_H_
#define BITNET_BACKEND_USES_H_

#include <type_traits>

namespace bitnet {

struct Dense {};
struct ChosenRows {};
struct ChosenColumns {};
struct RowLookup {};

template <class... U>
struct Uses {
  template <class Use>
  static constexpr bool kHas = (std::is_same_v<Use, U> || ...);
  // Whether it is multiplied with at all.
  static constexpr bool kMultiplies = kHas<Dense> || kHas<ChosenRows> || kHas<ChosenColumns>;
};

// What an operation needs, in a sentence.
template <class U>
constexpr void CheckMultiplies() {
  static_assert(U::kMultiplies,
                "bitnet: MatMul needs a matrix that multiplies: Uses<Dense>, or chosen rows or columns");
}
template <class U>
constexpr void CheckChoosesRows() {
  static_assert(U::template kHas<ChosenRows>,
                "bitnet: MatMulRows needs a matrix whose rows are chosen: Uses<ChosenRows>");
}
template <class U>
constexpr void CheckChoosesColumns() {
  static_assert(U::template kHas<ChosenColumns>,
                "bitnet: MatMulColumns needs a matrix whose columns are chosen: Uses<ChosenColumns>");
}
template <class U>
constexpr void CheckLooksUpRows() {
  static_assert(U::template kHas<RowLookup>, "bitnet: Embed needs a matrix whose rows are looked up: Uses<RowLookup>");
}

}  // namespace bitnet

#endif  // BITNET_BACKEND_USES_H_
