#!/usr/bin/env bash
# Checks the stand-in for doctest (tests/testing/doctest_stub): what it says of cases that fail, and that a test of this
# repository runs with it.
#
#   check_doctest_stub.sh SOURCE_DIR COMPILER [FLAG...]
set -euo pipefail
source=$1
shift
tests=$source/tests
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

compile() { "${@:2}" -O0 -pthread -I "$tests/testing/doctest_stub" -I "$source" -I "$tests" -o "$work/$1"; }
wrong() {
  echo "$1"
  exit 1
}

compile failing "$@" "$tests/testing/doctest_stub/failing_cases.cc"
if "$work/failing" >"$work/output"; then wrong "the cases fail, and the program must"; fi
sed -E 's/^[^ ]*:[0-9]+: //' "$work/output" | diff - <(cat <<'TEXT'
a check: FAILED: seed == 8
  where seed is 7
  where of 3 rows
goes on after a check
a requirement: FAILED: 1 + 1 == 3
messages: FAILED: false: told once, true, {?}
messages: FAILED: by itself
messages: note: no failure
messages: FAILED: calls == 5: the last
exceptions: FAILED: throw std::runtime_error("other") throws std::bad_alloc
exceptions: FAILED: calls throws std::bad_alloc
exceptions: FAILED: an exception left the test case: nobody catches it
the opposite: FAILED: calls == 0
the opposite: FAILED: not calls == 1
an end: FAILED: here
a thread: FAILED: calls == 9
test cases: 8 | 1 passed | 7 failed
assertions: 17 | 12 failed
TEXT
) || wrong "the stand-in says something else of cases that fail"
if "$work/failing" '--test-case=an END,a req*' >"$work/output"; then wrong "these two cases fail"; fi
grep -q '^test cases: 2 | 0 passed | 2 failed$' "$work/output" || wrong "--test-case chooses other cases"
if "$work/failing" '--test-case-exclude=a*,exc*,mess*' >"$work/output"; then wrong "the opposite fails"; fi
grep -q '^test cases: 1 ' "$work/output" || wrong "--test-case-exclude leaves others out"
if "$work/failing" --bogus 2>"$work/output"; then wrong "an option that nobody knows must be refused"; fi
grep -q "does not know '--bogus'" "$work/output" || wrong "an option that nobody knows must be named"

test=$tests/base/bytes_test.cc
compile test "$@" "$test" "$tests/testing/main.cc"
cases=$(grep -c '^TEST_CASE' "$test")
"$work/test" >"$work/output" || wrong "$(cat "$work/output")"
grep -q "^test cases: $cases | $cases passed | 0 failed\$" "$work/output" ||
  wrong "$test has $cases cases, and the stand-in says: $(cat "$work/output")"
