// expect: bitnet: the heads of a cache that is chosen when the program runs may not be Transformed
#include "bitnet/scheme/cache.h"

using namespace bitnet;

#ifdef BITNET_MUST_NOT_COMPILE
template <class Q>
using Head = Transformed<Hadamard<4>, Q>;
#else
template <class Q>
using Head = Q;
#endif
struct Mine : A48 {
  using Query = Head<A48::Query>;
  using Key = Head<A48::Key>;
  using FirstKey = Head<A48::FirstKey>;
};
using Quantizers = CacheQuantizersOf<WithChosenCache<A48, Mine>>;
static_assert(kIsChosenCache<Quantizers>);
