// LaunchWitness: who sees every launch on the emulated device by this thread, and every allocation of its memory, as
// long as one lives. (removed_waits.h is one.)
#ifndef BITNET_TESTS_TESTING_LAUNCH_WITNESS_H_
#define BITNET_TESTS_TESTING_LAUNCH_WITNESS_H_

#include <cstddef>
#include <functional>
#include <string>
#include <utility>

#include "testing/simt_schedule.h"

namespace bitnet::testing {

class LaunchWitness {
 public:
  using Run = std::function<void(const Schedule&)>;

  LaunchWitness() : before_(std::exchange(current_, this)) {}
  virtual ~LaunchWitness() { current_ = before_; }
  LaunchWitness(const LaunchWitness&) = delete;
  LaunchWitness& operator=(const LaunchWitness&) = delete;

  // The one that lives; null if none does.
  static LaunchWitness* Current() { return current_; }

  // Instead of the launch, which is run(schedule): in the end memory must be as if that had been all.
  virtual void Launched(const std::string& kernel, const Run& run, const Schedule& schedule) = 0;
  virtual void Allocated(void* p, size_t bytes) = 0;
  virtual void Freed(void* p) = 0;

 private:
  static inline thread_local LaunchWitness* current_ = nullptr;
  LaunchWitness* before_;
};

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_LAUNCH_WITNESS_H_
