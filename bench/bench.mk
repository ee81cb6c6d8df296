# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# Benchmarks: `make bench-NAME` prints a table and writes $(O)/bench/NAME.json.

$(O)/bench/core_radix: bench/core_radix.c bench/rows.h $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(KHO_CFLAGS) -Wframe-larger-than=65536 $(KHO_CORE_INC) -MF $@.d -MT $@ \
		-o $@ $< $(LIB) $(KHO_LDFLAGS) $(KHO_LDLIBS)

.PHONY: bench-core
bench-core: $(O)/bench/core_radix
	@$< $(O)/bench/core.json
