#!/usr/bin/env bash
# Checks the documents: every link to a file of the repository leads to one, and every block marked
#
#   ```cpp compile
#
# is a whole translation unit that compiles.
#
#   check_docs.sh REPOSITORY [COMPILER FLAG...]        (without a compiler: links only)
set -euo pipefail
cd "$1"
shift

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
links=0 blocks=0 failures=0

while IFS= read -r document; do
  # Links: [text](target), outside fenced blocks. Web addresses and anchors within the page are left alone.
  while IFS= read -r target; do
    case $target in '' | '#'* | *://* | mailto:*) continue ;; esac
    links=$((links + 1))
    if [[ ! -e $(dirname "$document")/${target%%#*} ]]; then
      echo "$document: the link to $target leads nowhere"
      failures=$((failures + 1))
    fi
  done < <(awk '/^ *```/ { fenced = !fenced; next } !fenced { gsub(/`[^`]*`/, ""); print }' "$document" |
    grep -oE '\]\([^)]+\)' | sed -E 's/^\]\(<?([^) >]*).*/\1/')

  [[ $# -gt 0 ]] || continue
  rm -f "$work"/*.cc
  awk -v work="$work" '
    /^```cpp compile/ { file = work "/line_" NR ".cc"; printf "" > file; next }
    /^```/ { file = "" }
    file { print > file }' "$document"
  for block in "$work"/*.cc; do
    [[ -e $block ]] || continue
    blocks=$((blocks + 1))
    if ! "$@" -Wall -Wextra -fsyntax-only "$block"; then
      line=${block##*line_}
      echo "$document:${line%.cc}: the program does not compile"
      failures=$((failures + 1))
    fi
  done
done < <(find . -name '*.md' -not -path './build/*' -not -path './.git/*' | sort)

echo "documents: $links links and $blocks programs checked, $failures wrong"
[[ $failures -eq 0 ]]
