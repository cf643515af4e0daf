#!/usr/bin/env bash
# Checks that nvcc compiles every header of some folders, without a warning and without Highway: what a backend for CUDA
# includes; and a file of kernels. Exits with 77, which is neither success nor failure, where no nvcc compiles C++20.
#
#   nvcc.sh KERNELS.cu INCLUDE_FOLDER FOLDER...
set -euo pipefail
kernels=$1
include=$2
shift 2
PATH=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

compile() { nvcc -std=c++20 -Werror all-warnings -I "$include" -c "$1" -o "$work/unit.o"; }

echo '#include <span>' >"$work/no_header.cu"
if ! output=$(compile "$work/no_header.cu" 2>&1); then
  echo "skipped: no nvcc compiles C++20 here: $output"
  exit 77
fi

(cd "$include" && find "$@" -name '*.h' | sort) | sed 's/.*/#include "&"/' >"$work/headers.cu"
if [[ ! -s $work/headers.cu ]]; then
  echo "there is no header in these folders of $include: $*"
  exit 1
fi
compile "$work/headers.cu"
compile "$kernels"
echo "nvcc compiles $(wc -l <"$work/headers.cu") headers"
