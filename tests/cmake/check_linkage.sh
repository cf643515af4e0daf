#!/usr/bin/env bash
# Checks that a program runs and needs nothing but the C++ runtime.
#
#   check_linkage.sh PROGRAM
set -euo pipefail
program=$1

symbols=$(nm -u -C "$program" | grep -E 'hwy|Eigen|omp_|GOMP|tbb::' || true)
if [[ -n $symbols ]]; then
  echo "undefined symbols that the C++ runtime does not have:"
  echo "$symbols"
  exit 1
fi

others=$(ldd "$program" | awk '{ print $1 }' |
  grep -vE '(^|/)(linux-vdso|linux-gate|ld-linux[^/]*|libstdc\+\+|libc\+\+|libc\+\+abi|libm|libgcc_s|libc|libpthread)\.so' || true)
if [[ -n $others ]]; then
  echo "libraries that are not of the C++ runtime:"
  echo "$others"
  exit 1
fi
"$program" >/dev/null
echo "needs nothing but the C++ runtime"
