// Loops over values that a thread holds in registers: a device has none that a variable names.
#ifndef BITNET_BACKEND_CUDA_UNROLL_H_
#define BITNET_BACKEND_CUDA_UNROLL_H_

// Before such a loop, whose bounds are constants. (Other compilers would warn of the pragma.)
#ifdef __CUDACC__
#define BITNET_UNROLL _Pragma("unroll")
#else
#define BITNET_UNROLL
#endif

#endif  // BITNET_BACKEND_CUDA_UNROLL_H_
