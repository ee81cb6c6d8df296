# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# Tests: `make check`, or check-DIR for one directory. A directory DIR adds its programs
# tests/DIR/test_*.c with one call of test_dir and its own include paths.

# $(1) directory, $(2) further sources linked to each program, $(3) include paths
define test_dir
TEST_$(1) := $$(patsubst %.c,$$(O)/%,$$(wildcard tests/$(1)/test_*.c))

$$(O)/tests/$(1)/%: tests/$(1)/%.c $(2) $$(LIB)
	@mkdir -p $$(@D)
	$$(CC) $$(CFLAGS) $$(KHO_CFLAGS) -Wframe-larger-than=65536 $(3) -MF $$@.d -MT $$@ \
		-o $$@ $$< $(2) $$(LIB) $$(KHO_LDFLAGS) $$(KHO_LDLIBS) -lcmocka

.PHONY: check-$(1)
check-$(1): $$(TEST_$(1))
	@tests/run.sh check-$(1) $$(TEST_$(1))
check: check-$(1)
endef

.PHONY: check
$(eval $(call test_dir,core,tests/core/image.c tests/core/shim.c,$(KHO_CORE_INC)))
