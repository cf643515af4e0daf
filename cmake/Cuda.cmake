# The backend on an NVIDIA GPU: the target bitnet::cuda, for sources that nvcc compiles. Nothing else of the project sees
# CUDA.
include("${CMAKE_CURRENT_LIST_DIR}/RefuseFastMath.cmake")

# What our own programs are built for, where nobody says; other projects say it themselves. (CMake's own choice is older
# than any GPU that the kernels run on.)
if(PROJECT_IS_TOP_LEVEL AND NOT CMAKE_CUDA_ARCHITECTURES AND NOT DEFINED ENV{CUDAARCHS})
  set(CMAKE_CUDA_ARCHITECTURES 80 90 CACHE STRING "Compute capabilities of the GPUs to compile for")
endif()
include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  message(FATAL_ERROR "bitnet: BITNET_ENABLE_CUDA is ON, and no CUDA compiler was found: install CUDA 12.4 or newer and put \
its nvcc on PATH, or name it with -DCMAKE_CUDA_COMPILER.")
endif()
enable_language(CUDA)
bitnet_refuse_fast_math()
if(CMAKE_CUDA_COMPILER_ID STREQUAL "NVIDIA" AND CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.4)
  message(FATAL_ERROR "bitnet: ${CMAKE_CUDA_COMPILER} is nvcc ${CMAKE_CUDA_COMPILER_VERSION}, which is too old for \
its C++20; install CUDA 12.4 or newer and name its nvcc with -DCMAKE_CUDA_COMPILER.")
endif()
find_package(CUDAToolkit 12.4 REQUIRED)

add_library(bitnet_cuda INTERFACE)
add_library(bitnet::cuda ALIAS bitnet_cuda)
set_target_properties(bitnet_cuda PROPERTIES EXPORT_NAME cuda)
# (Not by the feature cuda_std_20, which CMake before 3.25.2 does not know of nvcc.)
target_compile_options(bitnet_cuda INTERFACE $<$<COMPILE_LANGUAGE:CUDA>:-std=c++20>)
# (Not CUDA::cudart: what has sources for nvcc is linked with the runtime anyway, static or shared as its project says.)
target_link_libraries(bitnet_cuda INTERFACE bitnet CUDA::toolkit)
