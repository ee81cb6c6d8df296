# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# Golden images: make check-golden. Those of arenas are replayed by tests/host.
$(eval $(call test_dir,golden,tests/golden/golden.c tests/core/image.c tests/core/shim.c,\
	$(KHO_CORE_INC) -Ihost -Itests/core -Itests/host))

# Not run by anything: the images stay as they are.
$(O)/tests/golden/make_core: tests/golden/make_core.c
$(O)/tests/golden/make_structures: tests/golden/make_structures.c
$(O)/tests/golden/make_sessions: tests/golden/make_sessions.c

# The second reader finds the same in them.
check-golden: check-golden-reader
.PHONY: check-golden-reader
check-golden-reader:
	@tests/golden/check.py
$(TEST_golden) $(O)/tests/golden/make_core $(O)/tests/golden/make_structures $(O)/tests/golden/make_sessions: $(wildcard tests/golden/*.h)
