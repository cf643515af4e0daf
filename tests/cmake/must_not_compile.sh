#!/usr/bin/env bash
# Checks that a wrong use of the library is refused with the sentence that says why.
#
#   must_not_compile.sh HEADERS SOURCE COMPILER FLAG...
#
# The first line of SOURCE is `// expect: SENTENCE`. As it stands the file compiles (may_compile.sh checks that, and
# precompiles HEADERS, which has most that it includes); with BITNET_MUST_NOT_COMPILE defined it does not, and the compiler
# prints the sentence; with `// expect only: SENTENCE` as its one error.
set -euo pipefail
headers=$1
source=$2
shift 2

first_line=$(head -n 1 "$source")
sentence=${first_line#// expect: }
sentence=${sentence#// expect only: }
if [[ $sentence == "$first_line" || -z $sentence ]]; then
  echo "$source: its first line must be '// expect: SENTENCE' or '// expect only: SENTENCE'"
  exit 1
fi

# Small headers are read faster than those that are precompiled, which have everything.
if grep -qE '^#include [<"]bitnet/((bitnet|train)\.h|backend/|layer/|model/)' "$source"; then
  set -- "$@" -include "$headers"
fi
if output=$("$@" -fsyntax-only -DBITNET_MUST_NOT_COMPILE "$source" 2>&1); then
  echo "$source: compiles with BITNET_MUST_NOT_COMPILE, and must not"
  exit 1
fi
if ! grep -qF -- "$sentence" <<<"$output"; then
  echo "$source: is refused, but not with the sentence: $sentence"
  echo "$output"
  exit 1
fi
if [[ $first_line == "// expect only: "* && $(grep -c 'error:' <<<"$output") -ne 1 ]]; then
  echo "$source: other errors follow the sentence"
  echo "$output"
  exit 1
fi
echo "refused with: $sentence"
