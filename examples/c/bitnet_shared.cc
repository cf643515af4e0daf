// The library for programs in other languages, libbitnet.so: it offers what bitnet/c.h declares.
#define BITNET_C_IMPLEMENTATION
#include <bitnet/c.h>
