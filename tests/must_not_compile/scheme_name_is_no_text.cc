// expect only: bitnet: the scheme's kName must be a const char*
#include <bitnet/bitnet.h>

#include <string_view>

struct Mine : bitnet::A48 {
#ifdef BITNET_MUST_NOT_COMPILE
  static constexpr std::string_view kName = "Mine";
#else
  static constexpr const char* kName = "Mine";
#endif
};

bitnet::ModelWeights<Mine> weights;
