#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# run.sh NAME PROGRAM...: run test programs, print what failed and one summary line.
# Each program's output is kept beside it in PROGRAM.log.
name=$1
shift
failed=0
passed=0
for program; do
	if "$program" >"$program.log" 2>&1; then
		n=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$program.log" | tail -n 1)
		passed=$((passed + ${n:-1}))
	else
		failed=$((failed + 1))
		echo "FAILED: $program"
		cat "$program.log"
	fi
done
echo "$name: $# programs, $passed tests passed, $failed programs failed"
[ "$failed" -eq 0 ]
