#!/usr/bin/env bash
# Checks what nvcc makes of the library: every header of some folders compiles without a warning and without Highway, and
# so do a file of kernels and models of some schemes; no kernel has a trap, which is what a call of a function that only
# the host has would become (see BITNET_HOST_DEVICE); and in none is a product of floats fused with a sum, which would
# round otherwise than on a CPU. Old GPUs are refused; programs that do not find a driver say so. Exits with 77, which is
# neither success nor failure, where no nvcc compiles C++20. BITNET_CUDA_RESOURCES names the script whose table of what
# kernels take is compared with what these do.
#
#   nvcc.sh ARCHITECTURE,... SCHEME,... KERNELS.cu MODEL.cu INCLUDE_FOLDER HEADER_OR_FOLDER...
set -euo pipefail
IFS=, read -ra architectures <<<"$1"
IFS=, read -ra schemes <<<"$2"
kernels=$3 model=$4 include=$5
shift 5
PATH=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# (Kernels are optimised whatever the host's code is.)
compile() { nvcc -std=c++20 -Werror all-warnings -Xcompiler -O0 -I "$include" "$@"; }

echo '#include <span>' >"$work/no_header.cu"
if ! output=$(compile -c "$work/no_header.cu" -o "$work/unit.o" 2>&1); then
  echo "skipped: no nvcc compiles C++20 here: $output"
  exit 77
fi

(cd "$include" && find "$@" -name '*.h' -o -name '*.cuh' | sort) | sed 's/.*/#include "&"/' >"$work/headers.cu"
if [[ ! -s $work/headers.cu ]]; then
  echo "there is no header in these folders of $include: $*"
  exit 1
fi
compile -arch=sm_80 -c "$work/headers.cu" -o "$work/unit.o"
compile -arch=sm_80 -c "$kernels" -o "$work/unit.o"
echo "nvcc compiles $(wc -l <"$work/headers.cu") headers"

# GPUs that are too old are refused, with the sentence that says so.
if nvcc --list-gpu-arch | grep -q '^compute_75$'; then
  echo '#include "bitnet/cuda.h"' >"$work/too_old.cu"
  if output=$(compile -arch=sm_75 -c "$work/too_old.cu" -o "$work/unit.o" 2>&1); then
    echo "nvcc compiles the backend for sm_75"
    exit 1
  fi
  if [[ $output != *"bitnet: the CUDA backend needs a GPU of compute capability 8.0"* ]]; then
    echo "for sm_75 nvcc says: $output"
    exit 1
  fi
fi

# shellcheck source=tests/cmake/ptx.sh
source "$(dirname "$0")/ptx.sh"

code=()
for architecture in "${architectures[@]}"; do
  code+=(-gencode "arch=compute_$architecture,code=sm_$architecture")
done
for scheme in "${schemes[@]}"; do
  mkdir "$work/$scheme"
  compile "${code[@]}" -Xptxas -v --keep --keep-dir "$work/$scheme" -DBITNET_SCHEME="$scheme" "$model" -o "$work/model" 2>"$work/$scheme.ptxas" ||
    { grep -v '^ptxas info' "$work/$scheme.ptxas"; exit 1; }
  found=$(find "$work/$scheme" -name '*.ptx' | wc -l)
  if ((found != ${#architectures[@]})); then
    echo "nvcc left $found files of PTX, not ${#architectures[@]}"
    exit 1
  fi
  if grep -nE '^[[:space:]]*(@.* )?trap;' "$work/$scheme"/*.ptx; then
    echo "a kernel of Transformer<$scheme> has a trap: it calls a function that only the host has"
    exit 1
  fi
  compile -ptx -arch="sm_${architectures[0]}" -fmad=false -DBITNET_SCHEME="$scheme" "$model" -o "$work/unfused.ptx"
  ptx=("$work/$scheme"/*"_${architectures[0]}.ptx")
  [[ -e ${ptx[0]} ]] || ptx=("$work/$scheme"/*.ptx)  # (of the only one)
  products_of_floats "${ptx[0]}" >"$work/fused"
  products_of_floats "$work/unfused.ptx" >"$work/unfused"
  if ! diff "$work/unfused" "$work/fused"; then
    echo "kernels of Transformer<$scheme> fuse products of floats with sums: <, their fmaf() alone; >, what nvcc made"
    exit 1
  fi
  said=$("$work/model")
  if [[ $said != made && $said != "CUDA: "* ]]; then
    echo "a program that makes a backend says '$said'"
    exit 1
  fi
  echo "nvcc compiles Transformer<$scheme> for $(IFS=' '; echo "${architectures[*]/#/sm_}"):" \
    "$(cat "$work/$scheme"/*.ptx | grep -c '^.visible .entry\|^.weak .entry') kernels; it says: $said"
done
if [[ -n ${BITNET_CUDA_RESOURCES:-} ]] && command -v python3 >/dev/null; then
  python3 "$BITNET_CUDA_RESOURCES" --check "$work"/*.ptxas
fi
