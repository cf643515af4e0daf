// What functions that a CUDA kernel may call too are written with. Other compilers see nothing of it.
#ifndef BITNET_BASE_HOST_DEVICE_H_
#define BITNET_BASE_HOST_DEVICE_H_

// Before such a function.
#ifdef __CUDACC__
#define BITNET_HOST_DEVICE __host__ __device__
#else
#define BITNET_HOST_DEVICE
#endif

namespace bitnet {

// std::bit_cast, which is the host's alone.
template <class To, class From>
BITNET_HOST_DEVICE constexpr To BitCast(const From& from) {
  return __builtin_bit_cast(To, from);
}

}  // namespace bitnet

#endif  // BITNET_BASE_HOST_DEVICE_H_
