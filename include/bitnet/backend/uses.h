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

}  // namespace bitnet

#endif  // BITNET_BACKEND_USES_H_
