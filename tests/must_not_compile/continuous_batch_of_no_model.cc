// expect: bitnet: ContinuousBatch needs a model with NewPool, NewState(max_tokens, pool), NewWorkspace, and Feed
#include <bitnet/bitnet.h>

#ifdef BITNET_MUST_NOT_COMPILE
struct MyModel {
  struct State {};
  struct Turn {};
  struct Workspace {};
};
#else
using MyModel = bitnet::Transformer<bitnet::A48>;
#endif

bool IsIdle(const bitnet::ContinuousBatch<MyModel>& batch) { return batch.IsEmpty(); }
