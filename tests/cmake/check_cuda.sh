#!/usr/bin/env bash
# Checks what CMake makes of CUDA, as far as it goes without a GPU: what is refused; that a project which uses an
# installed bitnet::cuda builds; and that nobody who does not ask for CUDA is told of it. Exits with 77 where there is no
# nvcc.
#
#   check_cuda.sh SOURCE_DIR HIGHWAY_DIR CMAKE GENERATOR COMPILER
set -euo pipefail
source=$1 highway=$2 cmake=$3 generator=$4 compiler=$5
export PATH=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin
command -v nvcc >/dev/null || { echo "skipped: there is no nvcc here"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export CMAKE_PREFIX_PATH=$work/installed:$highway

wrong() {
  echo "$1"
  exit 1
}
# configure FOLDER ARGUMENT...: its output, in one line.
configure() {
  local folder=$1
  shift
  { "$cmake" -B "$work/$folder" -G "$generator" -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_BUILD_TYPE=Release "$@" 2>&1 ||
    echo "FAILED"; } | tr -s ' \n' ' '
}
ours=(-S "$source" -DBITNET_FETCH_DEPS=OFF -DBITNET_BUILD_TESTS=OFF -DBITNET_BUILD_BENCHMARKS=OFF
  -DBITNET_BUILD_EXAMPLES=OFF)

output=$(configure with "${ours[@]}" -DBITNET_ENABLE_CUDA=ON)
[[ $output != *FAILED* ]] || wrong "BITNET_ENABLE_CUDA=ON: $output"
for flag in -use_fast_math --use_fast_math -ftz=true "-prec-div=false" "--prec-sqrt false"; do
  output=$(configure with "${ours[@]}" "-DCMAKE_CUDA_FLAGS=-lineinfo $flag")
  [[ $output == *"bitnet: CMAKE_CUDA_FLAGS has -"*"the results of kernels would not be those of CPUs"*FAILED* ]] ||
    wrong "CMAKE_CUDA_FLAGS=$flag must be refused: $output"
done
output=$(configure with "${ours[@]}" -DCMAKE_CUDA_FLAGS= -DCMAKE_CUDA_FLAGS_RELEASE=-use_fast_math)
[[ $output == *"bitnet: CMAKE_CUDA_FLAGS_RELEASE has -use_fast_math"*FAILED* ]] || wrong "of a configuration: $output"
output=$(configure with "${ours[@]}" -DCMAKE_CUDA_FLAGS="-lineinfo -ftz=false" -DCMAKE_CUDA_FLAGS_RELEASE=-O3)
[[ $output != *FAILED* ]] || wrong "other flags are nobody's business: $output"

# Somebody's project.
mkdir "$work/project"
cat >"$work/project/CMakeLists.txt" <<'TEXT'
cmake_minimum_required(VERSION 3.22)
project(consumer LANGUAGES CXX)
find_package(bitnet REQUIRED COMPONENTS ${COMPONENTS})
if("cuda" IN_LIST COMPONENTS)
  enable_language(CUDA)
  add_executable(consumer main.cu)
  target_link_libraries(consumer PRIVATE bitnet::cuda)
endif()
TEXT
cat >"$work/project/main.cu" <<'TEXT'
#include <bitnet/cuda.h>
#include <cstdio>
int main() {
  const auto backend = bitnet::CudaBackend::Create();
  std::printf("%s\n", backend.ok() ? "made" : backend.error().c_str());
}
TEXT
project=(-S "$work/project" -DCMAKE_CUDA_ARCHITECTURES=80)

output=$(configure without "${ours[@]}")
"$cmake" --install "$work/without" --prefix "$work/installed" >/dev/null
output=$(configure p1 "${project[@]}")
[[ $output != *FAILED* && $output != *cuda* ]] || wrong "nobody asked for CUDA: $output"
output=$(configure p2 "${project[@]}" -DCOMPONENTS=cuda)
[[ $output == *"there is no target bitnet::cuda: bitnet was installed without"*FAILED* ]] || wrong "no part: $output"

rm -r "$work/installed"  # (files of one second are taken for the same)
"$cmake" --install "$work/with" --prefix "$work/installed" >/dev/null
output=$(configure p3 "${project[@]}" -DCOMPONENTS=cuda -DCMAKE_DISABLE_FIND_PACKAGE_CUDAToolkit=ON)
[[ $output == *"there is no target bitnet::cuda: no CUDA 12.4 or newer was found"*FAILED* ]] || wrong "no CUDA: $output"
output=$(configure p4 "${project[@]}" -DCOMPONENTS=cuda -DCMAKE_CUDA_FLAGS=-use_fast_math)
[[ $output == *"bitnet: CMAKE_CUDA_FLAGS has -use_fast_math"*FAILED* ]] || wrong "a project's fast math: $output"
output=$(configure p5 "${project[@]}" -DCOMPONENTS=cuda)
[[ $output != *FAILED* ]] || wrong "the part is installed, and CUDA is here: $output"
output=$("$cmake" --build "$work/p5" 2>&1) || wrong "a project does not build: $output"
output=$("$work/p5/consumer")
[[ $output == made || $output == "CUDA: "* ]] || wrong "the project's program says: $output"
echo "bitnet::cuda is configured, installed, found and built"
