#!/usr/bin/env bash
# Checks that the right uses compile that stand beside the wrong ones of must_not_compile, all in one program: the wrong
# uses then need no second run of the compiler each to show that nothing else is the matter with them.
#
#   may_compile.sh FOLDER SOURCE... -- COMPILER FLAG...
#
# Leaves FOLDER/headers.h, precompiled for must_not_compile.sh.
set -euo pipefail
folder=$1
shift
sources=()
while [[ $1 != -- ]]; do
  sources+=("$1")
  shift
done
shift

rm -rf "$folder"
mkdir -p "$folder"
# All headers that the sources include: each source is then a namespace of its own, in which #include does nothing.
includes=$(sed -n 's/^#include [<"]\(.*\)[>"]$/#include <\1>/p' "${sources[@]}" | sort -u)
# Not the training headers: what they instantiate is instantiated again wherever they are used, precompiled or not.
grep -v 'bitnet/train' <<<"$includes" >"$folder/headers.h"
grep 'bitnet/train' <<<"$includes" >"$folder/right_uses.cc"
for source in "${sources[@]}"; do
  name=$(basename "$source" .cc)
  printf 'namespace %s {\n#include "%s"\n}\n' "$name" "$source"
done >>"$folder/right_uses.cc"

"$@" -x c++-header "$folder/headers.h" -o "$folder/headers.h.gch"
"$@" -fsyntax-only -include "$folder/headers.h" "$folder/right_uses.cc"
echo "${#sources[@]} right uses compile"
