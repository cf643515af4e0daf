// The version of the library, in one place: CMake reads it from here.
#ifndef BITNET_BASE_VERSION_H_
#define BITNET_BASE_VERSION_H_

#define BITNET_VERSION_MAJOR 0
#define BITNET_VERSION_MINOR 1
#define BITNET_VERSION_PATCH 0

#endif  // BITNET_BASE_VERSION_H_
