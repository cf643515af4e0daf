// KeyOf<T>(): tells types apart when the program runs, without run-time types.
#ifndef BITNET_BACKEND_TYPE_KEY_H_
#define BITNET_BACKEND_TYPE_KEY_H_

namespace bitnet {

// Another address for each type.
template <class T>
const void* KeyOf() {
  static constexpr char kKey = 0;
  return &kKey;
}

}  // namespace bitnet

#endif  // BITNET_BACKEND_TYPE_KEY_H_
