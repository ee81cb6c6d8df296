# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# make coverage: which lines of core/ and host/ the tests run, in $(O)/coverage/index.html and
# coverage.txt. Fails below these shares of lines, in percent; docs/coverage.md explains the others.
# Needs gcc and gcovr: scripts/coverage installs what is missing first.
COVERAGE_CORE := 95
COVERAGE_HOST := 85
COVERAGE_CHECKS := check-core check-host check-life check-fuzz check-cached

COVERAGE_O := $(O)/coverage
COVERAGE_DUMP := $(abspath $(COVERAGE_O))/dump.o
# Counters that threads share; little optimisation, or lines vanish into each other.
COVERAGE_CFLAGS := -Og -g --coverage -DTEST_SECONDS=900 -Wno-maybe-uninitialized -fprofile-abs-path -fprofile-update=atomic \
	-Wl,--wrap=_exit -Wl,--wrap=syscall -Wl,$(COVERAGE_DUMP)
# Tests that step through each instruction run nothing that others do not, and counters make it long.
COVERAGE_SKIP := HOST_TEST_SKIP="$(wildcard tests/host/test_step_*.c)" TEST_core="$(patsubst %.c,$(COVERAGE_O)/%,\
	$(filter-out %/test_array_step.c,$(wildcard tests/core/test_*.c)))"
GCOVR := gcovr --root . --object-directory $(COVERAGE_O)

.PHONY: coverage
coverage:
	@command -v gcovr >/dev/null || { echo "coverage: no gcovr: see scripts/packages"; exit 1; }
	@mkdir -p $(COVERAGE_O)
	gcc -O2 -fPIC -c -o $(COVERAGE_DUMP) tests/coverage/dump.c
	@find $(COVERAGE_O) -name '*.gcda' -delete
	@KHO_TEST_SECONDS=900 $(MAKE) -s O=$(COVERAGE_O) CC=gcc CFLAGS="$(COVERAGE_CFLAGS)" $(COVERAGE_SKIP) \
		$(COVERAGE_CHECKS)
	@$(GCOVR) --filter core/ --filter host/ --html-details $(COVERAGE_O)/index.html \
		--txt $(COVERAGE_O)/coverage.txt
	@cat $(COVERAGE_O)/coverage.txt
	@for part in core=$(COVERAGE_CORE) host=$(COVERAGE_HOST); do \
		$(GCOVR) --filter $${part%=*}/ --print-summary --fail-under-line $${part#*=} --txt /dev/null | \
			sed -n "s|^lines: |$${part%=*}/: |p"; \
		$(GCOVR) --filter $${part%=*}/ --fail-under-line $${part#*=} --txt /dev/null || exit 1; \
	done
