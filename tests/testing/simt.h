// The emulated device: kernels of the CUDA backend on a CPU. A block's threads are fibers of one thread, in any order;
// what a GPU leaves undefined is an error that says the kernel, the block and the thread.
//
//   DeviceMemory memory;
//   float* y = memory.Allocate<float>(n);
//   for (const Schedule& schedule : kSchedules) {
//     CAPTURE(schedule);
//     Launch(Kernel{.y = y}, cuda::Grid{blocks}, schedule);  // throws SimtError
//   }
//   EmulatedStream stream(schedule);  // for a function that launches
//
// The sanitizers see more: of addresses, an access outside of an allocation; of threads, what barriers, launches and
// their ends do not order.
#ifndef BITNET_TESTS_TESTING_SIMT_H_
#define BITNET_TESTS_TESTING_SIMT_H_

#include "testing/device_memory.h"
#include "testing/emulated_device.h"
#include "testing/emulated_stream.h"
#include "testing/simt_launch.h"
#include "testing/simt_schedule.h"

#endif  // BITNET_TESTS_TESTING_SIMT_H_
