// expect: bitnet: two of the caches to choose from have the same formats
#include "bitnet/scheme/cache.h"

using namespace bitnet;

struct Mine : A48 {
#ifdef BITNET_MUST_NOT_COMPILE
  using Query = Quantizer<A48::Query::Format, AbsMax>;  // which no file tells
#else
  using Key = Quantizer<MidRise<4>, AbsMax>;
  using FirstKey = Key;
#endif
};
using Quantizers = CacheQuantizersOf<WithChosenCache<A48, A48, Mine>>;
static_assert(kIsChosenCache<Quantizers>);
