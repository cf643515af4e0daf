# What the tests, benchmarks and examples of this repository share. No user of the library sees any of it.
if(PROJECT_IS_TOP_LEVEL)
  if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
  endif()
  set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
  find_program(CCACHE_COMMAND ccache)
  mark_as_advanced(CCACHE_COMMAND)
  if(CCACHE_COMMAND AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
    set(CMAKE_CXX_COMPILER_LAUNCHER "${CCACHE_COMMAND}")
  endif()
endif()
set(CMAKE_CXX_EXTENSIONS OFF)

if((CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 12) OR
   (CMAKE_CXX_COMPILER_ID STREQUAL "Clang" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 14))
  message(FATAL_ERROR "bitnet: ${CMAKE_CXX_COMPILER} is ${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}; \
install g++ 12 or clang 14, or newer, and name it with -DCMAKE_CXX_COMPILER.")
endif()

# Warnings, sanitizers and where the repository is (for golden data).
add_library(bitnet_program INTERFACE)
set(BITNET_WARNINGS -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wsign-conversion)
target_compile_options(bitnet_program INTERFACE ${BITNET_WARNINGS})
if(BITNET_WERROR)
  target_compile_options(bitnet_program INTERFACE -Werror)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # A note on the calling convention of vectors, which says nothing of the code.
  target_compile_options(bitnet_program INTERFACE -Wno-psabi)
  # g++ looks for memory that it may use again whenever it has taken twice what it held, from 128 MiB on; here that is a
  # tenth of its time. Where the machine has 3 GiB for each compiler, from 2 GiB on.
  cmake_host_system_information(RESULT memory QUERY TOTAL_PHYSICAL_MEMORY)  # in MiB
  cmake_host_system_information(RESULT cpus QUERY NUMBER_OF_LOGICAL_CORES)
  math(EXPR memory_of_each "${memory} / ${cpus}")
  if(memory_of_each GREATER 3072)
    target_compile_options(bitnet_program INTERFACE --param=ggc-min-heapsize=2097152)
  endif()
endif()
if(BITNET_SANITIZE)
  set(sanitize_flags -fsanitize=${BITNET_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_compile_options(bitnet_program INTERFACE ${sanitize_flags})
  target_link_options(bitnet_program INTERFACE ${sanitize_flags})
endif()
target_compile_definitions(bitnet_program INTERFACE "BITNET_SOURCE_DIR=\"${PROJECT_SOURCE_DIR}\"")

# The CPU. Kept apart from the rest, because a source that compiles itself for several SIMD targets chooses its own.
include(CheckCXXCompilerFlag)
separate_arguments(arch_flags UNIX_COMMAND "${BITNET_ARCH_FLAGS}")
add_library(bitnet_arch INTERFACE)
foreach(flag IN LISTS arch_flags)
  string(MAKE_C_IDENTIFIER "BITNET_HAS${flag}" supported)
  check_cxx_compiler_flag("${flag}" ${supported})
  if(${supported})
    target_compile_options(bitnet_arch INTERFACE "${flag}")
  else()
    message(STATUS "bitnet: the compiler does not know ${flag}; building without it")
  endif()
endforeach()
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  # Clang 19 finds that its own -march=native does not go together (AVX10.1 of 256 bits beside AVX-512), in every file.
  check_cxx_compiler_flag(-Winvalid-feature-combination BITNET_HAS_WINVALID_FEATURE_COMBINATION)
  if(BITNET_HAS_WINVALID_FEATURE_COMBINATION)
    target_compile_options(bitnet_arch INTERFACE -Wno-invalid-feature-combination)
  endif()
endif()

# bitnet_optimize(TARGET LEVEL): what is compiled with -O3, CMake's choice for Release, with this instead. (Presets with
# another level, `test` and `fuzz`, mean it for all programs.)
function(bitnet_optimize target level)
  if(CMAKE_CXX_FLAGS_RELEASE MATCHES "-O3")
    target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:${level}>)
  endif()
endfunction()

# Sets `out` to whether one of the sources has a line that matches the regular expression.
function(bitnet_mentions out regex)
  set(${out} OFF PARENT_SCOPE)
  foreach(source IN LISTS ARGN)
    file(STRINGS "${source}" lines REGEX "${regex}" LIMIT_COUNT 1)
    if(lines)
      set(${out} ON PARENT_SCOPE)
    endif()
  endforeach()
endfunction()

# bitnet_add_program(TARGET SOURCE...): an executable with our warnings. Sources that include the training headers get
# Eigen, those that include bitnet/io get nlohmann-json, those that include httplib.h get cpp-httplib; sources that use
# foreach_target.h (which compiles them once for each SIMD target) get no BITNET_ARCH_FLAGS.
function(bitnet_add_program target)
  add_executable(${target} ${ARGN})
  bitnet_link_program(${target} ${ARGN})
endfunction()

function(bitnet_link_program target)
  bitnet_mentions(trains "^ *#include.*(bitnet/train|Eigen/)" ${ARGN})
  bitnet_mentions(reads_checkpoints "^ *#include.*(bitnet/io|nlohmann/)" ${ARGN})
  bitnet_mentions(many_targets "^ *#include.*hwy/foreach_target\\.h" ${ARGN})
  if(trains)
    target_link_libraries(${target} PRIVATE bitnet::train)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
      # GCC bug 105593: the AVX-512 intrinsics that Eigen uses are said to read uninitialized values.
      target_compile_options(${target} PRIVATE -Wno-uninitialized -Wno-maybe-uninitialized)
    endif()
  endif()
  if(reads_checkpoints)
    target_link_libraries(${target} PRIVATE bitnet::io)
  endif()
  bitnet_mentions(serves "^ *#include.*httplib\\.h" ${ARGN})
  if(serves)
    target_link_libraries(${target} PRIVATE httplib::headers)
  endif()
  if(NOT many_targets)
    target_link_libraries(${target} PRIVATE bitnet_arch)
  endif()
  target_link_libraries(${target} PRIVATE bitnet::bitnet bitnet_program)
endfunction()

# The folders that a compiler needs to see every header, for the tests that run the compiler themselves.
set(BITNET_COMPILE_COMMAND "${CMAKE_CXX_COMPILER}" -std=c++20 "-I${PROJECT_SOURCE_DIR}/include")
get_target_property(highway_include Highway::headers INTERFACE_INCLUDE_DIRECTORIES)
list(APPEND BITNET_COMPILE_COMMAND -isystem "${highway_include}")
# ... those of training and of public checkpoints too.
set(BITNET_FULL_COMPILE_COMMAND ${BITNET_COMPILE_COMMAND})
foreach(target Eigen3::Eigen nlohmann_json::nlohmann_json)
  get_target_property(folders ${target} INTERFACE_INCLUDE_DIRECTORIES)
  list(REMOVE_DUPLICATES folders)
  foreach(folder IN LISTS folders)
    list(APPEND BITNET_FULL_COMPILE_COMMAND -isystem "${folder}")
  endforeach()
endforeach()
