# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# kho inspect, map, diff, verify, check: make check-inspect; KHO_INSPECT_MUTATIONS=N, KHO_INSPECT_ARENAS=N for longer.
INSPECT_TESTS := $(wildcard tests/inspect/test_*.py)

.PHONY: check-inspect
check-inspect: $(O)/kho $(O)/cached-v1 $(O)/cached-v2 $(O)/tests/reader/arena_dump
	@KHO_BUILD=$(O) tests/run.sh check-inspect $(INSPECT_TESTS)
