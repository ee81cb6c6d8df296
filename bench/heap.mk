# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# Needs libmimalloc.so.2 (Debian: libmimalloc2.0) when it runs.

HEAP_BENCH_SRCS := bench/heap.c
$(O)/bench/heap: $(HEAP_BENCH_SRCS) bench/rows.h $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(KHO_CFLAGS) -Wframe-larger-than=65536 $(KHO_CORE_INC) -Ihost -MF $@.d -MT $@ \
		-o $@ $(HEAP_BENCH_SRCS) $(LIB) $(KHO_LDFLAGS) $(KHO_LDLIBS)

.PHONY: bench-heap
bench-heap: $(O)/bench/heap
	@$< $(O)/bench/heap.json
