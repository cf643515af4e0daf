// The library for programs in other languages: libbitnet.so, which offers what bitnet/c.h declares. generate.py uses it.
#define BITNET_C_IMPLEMENTATION
#include <bitnet/c.h>
