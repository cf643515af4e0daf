// expect: bitnet: Keep<N, D> needs 0 < N <= D
#include "bitnet/scheme/scheme.h"

struct Mine : bitnet::A48 {
#ifdef BITNET_MUST_NOT_COMPILE
  using OutputKeep = bitnet::Keep<3, 2>;
#else
  using OutputKeep = bitnet::Keep<2, 3>;
#endif
};

static_assert(bitnet::Scheme<Mine>);
