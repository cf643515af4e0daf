# Cross-compiling for 64-bit Arm, whose programs run here under qemu-user: ./dev test-neon.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
find_program(BITNET_AARCH64_COMPILER NAMES aarch64-linux-gnu-g++ aarch64-linux-gnu-g++-15 aarch64-linux-gnu-g++-14
                                           aarch64-linux-gnu-g++-13 aarch64-linux-gnu-g++-12 REQUIRED)
find_program(BITNET_QEMU_AARCH64 NAMES qemu-aarch64 qemu-aarch64-static REQUIRED)
set(CMAKE_CXX_COMPILER "${BITNET_AARCH64_COMPILER}")
set(CMAKE_CROSSCOMPILING_EMULATOR "${BITNET_QEMU_AARCH64}")
# Nothing of this system's libraries is needed to run them.
set(CMAKE_EXE_LINKER_FLAGS_INIT "-static")
