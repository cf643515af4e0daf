#!/usr/bin/env bash
# Checks a program that is compiled for many SIMD targets: what does not belong to one of the AVX targets (whose
# namespaces, N_AVX2 and so on, are in the names of their functions) must hold no instruction of AVX or later, because
# every CPU runs it.
#
#   check_shared_code.sh PROGRAM
set -euo pipefail
objdump -d --no-show-raw-insn "$1" | awk '
  /^[0-9a-f]+ <.*>:$/ { name = $2; of_avx = name ~ /N_AVX/; ++functions; next }
  # The mnemonics of AVX, FMA and AVX-512 begin with v, those of masks with k; then BMI, which comes with AVX2.
  $2 ~ /^v|^k[a-z]+[bwdq]$|^(andn|bextr|bzhi|mulx|pdep|pext|rorx|sarx|shlx|shrx)[lq]?$/ {
    if (of_avx) ++wide
    else if (!(name in seen)) { seen[name] = 1; ++failures; print "compiled for every CPU, and uses " $2 ": " name }
  }
  END {
    printf "%d functions, %d instructions of AVX and later, %d functions hold them and must not\n", functions, wide,
           failures
    if (wide == 0) print "There must be some: this finds nothing."
    exit failures != 0 || wide == 0
  }' | if command -v c++filt >/dev/null; then c++filt; else cat; fi
