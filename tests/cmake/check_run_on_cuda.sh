#!/usr/bin/env bash
# Builds examples/run with CUDA, as docs/checkpoints.md says, its part for GPUs for one of them: nvcc compiles models of
# whatever formats files have, without a trap and without a product of floats that is fused with a sum (see nvcc.sh), and
# one program has both parts. Where there is no GPU, --device cuda says so, and CPUs run the model all the same. Exits
# with 77 where there is no nvcc.
#
#   check_run_on_cuda.sh SOURCE_DIR DEPS_PREFIX,... CMAKE GENERATOR COMPILER
set -euo pipefail
source=$1 prefixes=$2 cmake=$3 generator=$4 compiler=$5
export PATH=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin
command -v nvcc >/dev/null || { echo "skipped: there is no nvcc here"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TMPDIR=$work

wrong() {
  echo "$1"
  exit 1
}
# (Kernels are optimised whatever the host's code is.)
"$cmake" -S "$source" -B "$work/build" -G "$generator" -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_BUILD_TYPE=None \
  -DCMAKE_PREFIX_PATH="${prefixes//,/;}" -DBITNET_FETCH_DEPS=OFF -DBITNET_BUILD_TESTS=OFF -DBITNET_BUILD_BENCHMARKS=OFF \
  -DBITNET_ENABLE_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=80 "-DCMAKE_CUDA_FLAGS=-Werror all-warnings" \
  >"$work/log" 2>&1 || wrong "$(cat "$work/log")"
"$cmake" --build "$work/build" --target example_run >"$work/log" 2>&1 || wrong "$(cat "$work/log")"

run() { "$work/build/examples/run" --quick "$@" 2>"$work/said" || code=$?; }
code=0
on_cpu=$(run)
[[ $on_cpu == "Two bits "* ]] || wrong "on a CPU: $on_cpu; $(cat "$work/said")"
on_gpu=$(run --device cuda; exit "$code") || code=$?
if ((code == 0)); then
  [[ $on_gpu == "$on_cpu" ]] || wrong "on a GPU: $on_gpu; on a CPU: $on_cpu"
  echo "run --device cuda: the text of a CPU"
else
  [[ $code == 1 && -z $on_gpu && $(cat "$work/said") == "CUDA: "* ]] ||
    wrong "run --device cuda ends with $code, and says: $on_gpu; $(cat "$work/said")"
  echo "run --device cuda: $(cat "$work/said")"
fi
[[ -z $(find "$work" -name 'bitnet_run_quick*') ]] || wrong "run leaves its file behind"

# shellcheck source=tests/cmake/ptx.sh
source "$(dirname "$0")/ptx.sh"
includes=(-I "$source/include")
while IFS= read -r prefix; do includes+=(-isystem "$prefix/include"); done < <(tr , '\n' <<<"$prefixes" | sed '/^$/d')
ptx() { nvcc -std=c++20 -ptx -arch=sm_80 "${includes[@]}" "$source/examples/run.cu" -o "$work/$1.ptx" "${@:2}"; }
ptx fused
ptx unfused -fmad=false
if grep -nE '^[[:space:]]*(@.* )?trap;' "$work/fused.ptx"; then
  wrong "a kernel of run has a trap: it calls a function that only the host has"
fi
# (SiLU adds 1 to exp(-x), whose last product is by a power of two, and exact.)
for which in fused unfused; do
  products_of_floats "$work/$which.ptx" | sed '/Silu.* may fuse: add.* 0f3F800000 *$/d' >"$work/$which"
done
diff "$work/unfused" "$work/fused" ||
  wrong "kernels of run fuse products of floats with sums: <, their fmaf() alone; >, what nvcc made"
echo "$(grep -c '^.visible .entry\|^.weak .entry' "$work/fused.ptx") kernels of run: no trap, no product fused with a sum"
