# Two translation units in one program, compiled for different CPUs: what depends on the CPU must not be mixed up. (Their
# owner knows that the CPU has what the second asks for; for other CPUs, see "-march" in README.md.)
add_executable(consumer ../main.cc ../other.cc)
target_link_libraries(consumer PRIVATE bitnet::bitnet)

include(CheckCXXCompilerFlag)
set(CMAKE_REQUIRED_FLAGS -Werror)  # clang 19 warns of its own -march=native on some CPUs
check_cxx_compiler_flag(-march=native has_march_native)
if(has_march_native)
  set_source_files_properties(../other.cc PROPERTIES COMPILE_OPTIONS -march=native)
endif()
