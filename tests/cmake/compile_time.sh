#!/usr/bin/env bash
# Compiles a program and fails if that takes longer than LIMIT seconds of processor time.
#
#   compile_time.sh LIMIT COMPILER ARGUMENT...
set -euo pipefail
limit=$1
shift
TIMEFORMAT='%U %S'
{ times=$( { time "$@" >&3 2>&3; } 2>&1 ); } 3>&2
read -r user system <<<"$times"
seconds=$(awk -v a="$user" -v b="$system" 'BEGIN { printf "%.1f", a + b }')
echo "compile time: $seconds s (limit $limit s)"
awk -v s="$seconds" -v l="$limit" 'BEGIN { exit !(s <= l) }'
