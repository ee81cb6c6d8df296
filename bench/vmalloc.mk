# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
VMALLOC_BENCH_SRCS := bench/vmalloc.c
$(O)/bench/vmalloc: $(VMALLOC_BENCH_SRCS) bench/rows.h $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(KHO_CFLAGS) -Wframe-larger-than=65536 $(KHO_CORE_INC) -Ihost -MF $@.d -MT $@ \
		-o $@ $(VMALLOC_BENCH_SRCS) $(LIB) $(KHO_LDFLAGS) $(KHO_LDLIBS)

.PHONY: bench-vmalloc
bench-vmalloc: $(O)/bench/vmalloc
	@$< $(O)/bench/vmalloc.json
