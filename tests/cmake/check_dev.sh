#!/usr/bin/env bash
# Checks what ./dev refuses, on a copy of it in an empty folder, with stand-ins for cmake, compilers and clang-format; and
# what ./dev cuda does, with stand-ins for nvcc and for what it makes.
#
#   check_dev.sh DEV
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$1" "$work/dev"
mkdir -p "$work/tests/cuda"
cp -r "$(dirname "$1")/tests/cuda/device" "$work/tests/cuda/device"
cd "$work"
mkdir -p bin include tests benchmarks examples build/release/CMakeFiles

# stand_in NAME SCRIPT: a program that comes first on the path.
stand_in() {
  printf '#!/bin/sh\n%s\n' "$2" >"bin/$1"
  chmod +x "bin/$1"
}
export PATH=$work/bin:$PATH
unset CXX
stand_in cmake 'echo "cmake version 3.25.1"'
stand_in ninja ''
stand_in first++ ''
stand_in second++ ''
stand_in old++ 'exit 1'
stand_in clang-format-14 'echo "clang-format version 14.0.6"; echo "$@" >>formatted'

failures=0
wrong() {
  echo "$1"
  failures=$((failures + 1))
}
# refused SENTENCE COMMAND...: fails, with this in what it prints.
refused() {
  local sentence=$1 output
  shift
  if output=$("$@" 2>&1); then wrong "'$*' must fail"; fi
  [[ $output == *"$sentence"* ]] || wrong "'$*' must say '$sentence', and says '$output'"
}
accepted() {
  local output
  output=$("$@" 2>&1) || wrong "'$*' fails: $output"
}

touch include/a.h
refused "does not know '--chekc'" ./dev format --chekc
refused "does not know 'more'" ./dev format --check more
[[ ! -e formatted ]] || wrong "refused, and yet clang-format ran"
accepted ./dev format --check
grep -q -- '--dry-run' formatted || wrong "format --check must change nothing"

refused "does not know '--bogus'" ./dev clean --bogus --help
refused "does not know '--bogus'" ./dev clean --bogus --all
[[ -d build/release ]] || wrong "refused, and yet build/release is gone"
refused "does not know 'x'" ./dev docs x
refused "does not know 'x'" ./dev setup x
refused "does not know 'x'" ./dev test-all x
refused "does not know 'x'" ./dev test-32 x
refused "takes a number of seconds, not 'x'" ./dev fuzz x
refused "takes a number of seconds, not '0'" ./dev fuzz 0
refused "does not know '2'" ./dev fuzz 1 2
refused "does not know 'b'" ./dev test a b c

stand_in clang-format-14 'echo "clang-format version 18.1.8"'
stand_in clang-format 'echo "Debian clang-format version 15.0.1"'
refused "clang-format is version 15 here; the sources are formatted by version 14" ./dev format --check
stand_in clang-format 'echo "Debian clang-format version 14.0.6"; echo "$@" >>formatted'
accepted ./dev format

refused "CXX is 'nosuch++', and there is no such program here" env CXX=nosuch++ ./dev setup
refused "CXX is 'old++', which is not g++ 12, clang 14 or newer" env CXX=old++ ./dev setup
# The compiler of a configured folder stays where nobody names another one.
cache=build/release/CMakeCache.txt
echo "CMAKE_CXX_COMPILER:FILEPATH=$work/bin/first++" >$cache
accepted ./dev setup
accepted env CXX=first++ ./dev setup
accepted env CXX="first++ -O1" ./dev setup
[[ -e $cache ]] || wrong "the same compiler must not begin anew"
accepted env CXX=second++ ./dev setup
[[ ! -e $cache && ! -e build/release/CMakeFiles ]] || wrong "another compiler must begin anew"

refused "does not know 'x'" ./dev cuda x
refused "does not know 'more'" ./dev cuda --build more
if ! PATH=/usr/bin:/bin CUDA_HOME=/nowhere command -v nvcc >/dev/null; then
  refused "There is no nvcc here" env PATH=/usr/bin:/bin CUDA_HOME=/nowhere ./dev cuda
fi
# A GPU of shell scripts: nvcc makes them, and notes its arguments. What is in `fails` fails.
mkdir -p benchmarks/cuda
touch benchmarks/cuda/main.cu
stand_in nvcc 'echo "$*" >>compiled
while [ $# -gt 1 ]; do [ "$1" != -o ] || target=$2; shift; done
cat >"${target:-/dev/null}" <<TEXT
#!/bin/sh
echo "\${0##*/} \$*" >>ran
grep -qx "\${0##*/}" fails && echo "a.cu:7: FAILED: a == b" && exit 1
case \$0 in
  *which_gpu) cat gpu 2>/dev/null || { echo "CUDA: there is no GPU" >&2; exit 77; } ;;
  *cuda_bench) echo "  this at least 1.0: 0.5  MISSED"; echo "{}" >"\$2" ;;
esac
TEXT
[ -z "$target" ] || chmod +x "$target"'
stand_in compute-sanitizer 'echo "$*" >>ran'
touch fails
refused "CUDA: there is no GPU" ./dev cuda
accepted ./dev cuda --build
grep -q -- "-arch=sm_90a" compiled || wrong "without a GPU ./dev cuda --build builds for sm_90a"
[[ $(cat ran) == "which_gpu $(printf '\nwhich_gpu ')" ]] || wrong "built, and run too: $(cat ran)"
rm compiled ran
echo sm_86 >gpu
output=$(./dev cuda 2>&1) || wrong "./dev cuda fails: $output"
[[ $output == *"at least 1.0: 0.5  MISSED"*"All is well; the numbers are in docs/data/cuda.json."* ]] || wrong "$output"
[[ -s docs/data/cuda.json ]] || wrong "./dev cuda must write docs/data/cuda.json"
grep -q -- "-arch=sm_86.* build/cuda/model_A48_unfused .*-fmad=false" compiled || wrong "A48 without fused multiply-adds"
for line in "device " "conformance_TestFewProducts " "model_Mixed " "lost " "fast_math " \
  "--tool memcheck .* build/cuda/model_A48 --test-case=" "--tool racecheck .* build/cuda/device"; do
  grep -q -- "^$line" ran || wrong "./dev cuda must run '$line', and runs: $(cat ran)"
done
rm ran docs/data/cuda.json
echo model_Mixed >fails
refused "Failed: tests." ./dev cuda
refused "a.cu:7: FAILED: a == b" ./dev cuda
[[ -s docs/data/cuda.json ]] || wrong "where a test fails all else must run"
echo cuda_bench >fails
refused "Failed: benchmarks." ./dev cuda
: >fails
stand_in compute-sanitizer 'echo "========= Error: Race reported"; exit 9'
refused "Failed: memcheck racecheck." ./dev cuda
refused "========= Error: Race reported" ./dev cuda

accepted ./dev clean --all
[[ ! -d build ]] || wrong "clean --all must remove build/"
echo "dev: $failures wrong"
[[ $failures -eq 0 ]]
