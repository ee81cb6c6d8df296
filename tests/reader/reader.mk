# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# docs/abi.md's own reader against the library's: make check-reader; ARENAS, CORE_IMAGES, LUO_IMAGES
# and DAMAGES (of each) for longer.
ARENAS ?= 6
CORE_IMAGES ?= 12
LUO_IMAGES ?= 40
DAMAGES ?= 40

$(O)/tests/reader/arena_dump: tests/reader/arena_dump.c $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(KHO_CFLAGS) -Wframe-larger-than=65536 $(KHO_CORE_INC) -Ihost \
		-MF $@.d -MT $@ -o $@ $< $(LIB) $(KHO_LDFLAGS) $(KHO_LDLIBS)

$(O)/tests/reader/%_dump: tests/reader/%_dump.c $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(KHO_CFLAGS) -Wframe-larger-than=65536 $(KHO_INC) -MF $@.d -MT $@ -o $@ $< $(LIB) \
		$(KHO_LDFLAGS) $(KHO_LDLIBS)

$(O)/tests/reader/pool_dump: tests/reader/pool_dump.c $(POOLS_OBJ) $(LIB)
	@mkdir -p $(@D)
	$(POOLS_CC)

.PHONY: check-reader
check-reader: $(O)/tests/reader/arena_dump $(O)/tests/reader/core_dump $(O)/tests/reader/luo_dump $(O)/tests/reader/pool_dump
	@tests/reader/agree.py $< $(ARENAS) $(DAMAGES)
	@tests/reader/core_agree.py $(O)/tests/reader/core_dump $(CORE_IMAGES) $(DAMAGES)
	@tests/reader/luo_agree.py $(O)/tests/reader/luo_dump $(LUO_IMAGES) $(DAMAGES)
	@tests/reader/pool_agree.py $(O)/tests/reader/pool_dump $(ARENAS) $(DAMAGES)
	@echo "run-tests: 4 passed, 0 failed"
