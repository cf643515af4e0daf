#!/usr/bin/env bash
# Checks that a shared library offers each function that the header of the C interface declares, and beside them nothing
# but what every program has of the C++ library.
#
#   check_c_exports.sh HEADER LIBRARY
set -euo pipefail
declared=$(sed -nE 's/^BITNET_C_API .*(bitnet_[a-z_]+)\(.*/\1/p' "$1" | sort)
exported=$(nm -D --defined-only "$2" | awk '{ print $NF }' | grep -vE '^_Z(T[ISV]|GV|Z)?N?K?(St|9__gnu_cxx)' | sort)
if [[ -z $declared || $declared != "$exported" ]]; then
  diff <(echo "$declared") <(echo "$exported") || true
  echo "(<: declared by the header; >: offered by the library)"
  exit 1
fi
echo "$(wc -l <<<"$declared") functions"
