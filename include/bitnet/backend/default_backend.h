// DefaultBackend<...>: the backend that layers use where none is named: SimdBackend for the instruction set that this
// translation unit is compiled for.
//
// It is a template (of anything) so that it is looked up where a layer is used: in a program that compiles itself for
// several targets (hwy/foreach_target.h) the alias must not bind to the first target compiled.
#ifndef BITNET_BACKEND_DEFAULT_BACKEND_H_
#define BITNET_BACKEND_DEFAULT_BACKEND_H_

#include "bitnet/backend/reference.h"

namespace bitnet {
template <class>
struct DefaultBackendFor {
  using type = ReferenceBackend;
};
template <class T>
using DefaultBackend = typename DefaultBackendFor<T>::type;
}  // namespace bitnet

#endif  // BITNET_BACKEND_DEFAULT_BACKEND_H_
