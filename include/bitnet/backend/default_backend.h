// DefaultBackend<...>: the backend that layers use where none is named. Declared only: what it is, the header says that
// a program includes (bitnet.h: SimdBackend for the instruction set that this translation unit is compiled for), so
// that layers are free of any backend's headers. A program that includes a layer's header alone names its backend.
//
// A template (of anything), so that it is looked up where a layer is used: in a file that compiles itself for several
// targets (hwy/foreach_target.h) the name must not bind to the first target, which the machine may not have. There it
// means the baseline target, in the last pass.
#ifndef BITNET_BACKEND_DEFAULT_BACKEND_H_
#define BITNET_BACKEND_DEFAULT_BACKEND_H_

namespace bitnet {

template <class>
struct DefaultBackendFor;
template <class T>
using DefaultBackend = typename DefaultBackendFor<T>::type;

}  // namespace bitnet

#endif  // BITNET_BACKEND_DEFAULT_BACKEND_H_
