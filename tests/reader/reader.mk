# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# docs/abi.md's own reader against the library's: make check-reader; ARENAS and DAMAGES for longer.
ARENAS ?= 8
DAMAGES ?= 60
LUO_IMAGES ?= 40

$(O)/tests/reader/arena_dump: tests/reader/arena_dump.c $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(KHO_CFLAGS) -Wframe-larger-than=65536 $(KHO_CORE_INC) -Ihost \
		-MF $@.d -MT $@ -o $@ $< $(LIB) $(KHO_LDFLAGS) $(KHO_LDLIBS)

$(O)/tests/reader/luo_dump: tests/reader/luo_dump.c $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(KHO_CFLAGS) $(KHO_INC) -MF $@.d -MT $@ -o $@ $< $(LIB) $(KHO_LDFLAGS) \
		$(KHO_LDLIBS)

.PHONY: check-reader
check-reader: $(O)/tests/reader/arena_dump $(O)/tests/reader/luo_dump
	@tests/reader/agree.py $< $(ARENAS) $(DAMAGES)
	@tests/reader/luo_agree.py $(O)/tests/reader/luo_dump $(LUO_IMAGES) $(DAMAGES)
	@echo "run-tests: 2 passed, 0 failed"
