# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# kho inspect, map, diff, verify, check: make check-inspect; KHO_INSPECT_MUTATIONS=N, KHO_INSPECT_ARENAS=N for longer.
INSPECT_TESTS := $(wildcard tests/inspect/test_*.py)

$(O)/tests/inspect/make_sessions: tests/inspect/make_sessions.c $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(KHO_CFLAGS) $(KHO_CORE_INC) -Ihost -MF $@.d -MT $@ -o $@ $< $(LIB) $(KHO_LDFLAGS) $(KHO_LDLIBS)

.PHONY: check-inspect
check-inspect: $(O)/kho $(O)/cached-v1 $(O)/cached-v2 $(O)/tests/reader/arena_dump $(O)/tests/inspect/make_sessions
	@KHO_BUILD=$(O) tests/run.sh check-inspect $(INSPECT_TESTS)
