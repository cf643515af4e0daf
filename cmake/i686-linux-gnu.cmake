# 32-bit x86, whose programs the kernel of x86-64 runs: ./dev test-32. The compiler is Debian's cross-compiler, or one
# of this system that has 32-bit libraries (g++-multilib; Debian installs one or the other).
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR i686)
find_program(BITNET_I686_COMPILER NAMES i686-linux-gnu-g++ i686-linux-gnu-g++-15 i686-linux-gnu-g++-14
                                        i686-linux-gnu-g++-13 i686-linux-gnu-g++-12)
if(NOT BITNET_I686_COMPILER)
  find_program(BITNET_MULTILIB_COMPILER NAMES g++ c++ clang++ REQUIRED)
  set(BITNET_I686_COMPILER "${BITNET_MULTILIB_COMPILER}")
endif()
set(CMAKE_CXX_COMPILER "${BITNET_I686_COMPILER}")
# The last two: floats are computed as floats, without the excess precision of the x87.
set(CMAKE_CXX_FLAGS_INIT "-m32 -msse2 -mfpmath=sse")
# Nothing of this system's libraries is needed to run them.
set(CMAKE_EXE_LINKER_FLAGS_INIT "-static")
