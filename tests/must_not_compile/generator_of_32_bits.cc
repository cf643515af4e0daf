// expect: bitnet: a generator of 64-bit numbers is needed, such as bitnet::Random or std::mt19937_64
#include <random>

#include "bitnet/base/random.h"

#ifdef BITNET_MUST_NOT_COMPILE
using Generator = std::mt19937;
#else
using Generator = std::mt19937_64;
#endif

double Draw(Generator& generator) { return bitnet::UniformReal(generator); }
