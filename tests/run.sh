#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# run.sh NAME PROGRAM...: scripts/run-tests, with a name for whoever reads the output.
printf '%s: ' "$1"
shift
exec scripts/run-tests "$@"
