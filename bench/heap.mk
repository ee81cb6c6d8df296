# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# The peers are loaded when it runs, and left out if they are not there (Debian: libmimalloc2.0,
# libjemalloc2, libpmemobj1).

HEAP_BENCH_SRCS := bench/heap.c bench/heap_worker.c
$(O)/bench/heap: $(HEAP_BENCH_SRCS) bench/rows.h bench/heap_work.h $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(KHO_CFLAGS) -Wframe-larger-than=65536 $(KHO_CORE_INC) -Ihost -MF $@.d -MT $@ \
		-o $@ $(HEAP_BENCH_SRCS) $(LIB) $(KHO_LDFLAGS) $(KHO_LDLIBS)

.PHONY: bench-heap
bench-heap: $(O)/bench/heap
	@$< $(O)/bench/heap.json
