/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Touching what is there before it is needed: a successor maps the arena with empty page
 * tables, and a fault costs a microsecond each. Only what is in the file is touched: a touch
 * of a hole would allocate it.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "arena.h"

#define CHUNK (4ULL << 20) /* between looks at the stop flag */

static void prefault_data(__u64 lo, __u64 hi, const volatile bool *stop)
{
	for (; lo < hi && !__atomic_load_n(stop, __ATOMIC_RELAXED); lo += CHUNK)
		madvise(kho_arena_.base + lo, hi - lo < CHUNK ? hi - lo : CHUNK,
			MADV_POPULATE_READ);
}

/* The parts of [@lo, @hi) that are in the file. */
static void prefault_range(__u64 lo, __u64 hi, const volatile bool *stop)
{
	while (lo < hi && !__atomic_load_n(stop, __ATOMIC_RELAXED)) {
		off_t data = lseek(kho_arena_.fd, (off_t)lo, SEEK_DATA);
		off_t hole;

		if (data < 0 || (__u64)data >= hi)
			return;
		hole = lseek(kho_arena_.fd, data, SEEK_HOLE);
		if (hole <= data)
			return;
		prefault_data((__u64)data, (__u64)hole < hi ? (__u64)hole : hi, stop);
		lo = (__u64)hole;
	}
}

void kho_arena_prefault_(const volatile bool *stop)
{
	struct kho_arena *a = &kho_arena_;
	struct khoc_radix_iter iter;
	struct khoc_run run;

	prefault_range(0, a->header->data_pa, stop);
	khoc_radix_iter_init(&iter, &a->tree, a->header->data_pa, kho_file_size_(), 0,
			     khoc_max_order(KHO_PAGE_SHIFT));
	while (!__atomic_load_n(stop, __ATOMIC_RELAXED) && khoc_radix_iter_next(&iter, &run)) {
		__u64 end = run.pa + (run.nr << (run.order + KHO_PAGE_SHIFT));

		if (run.pa < kho_file_size_())
			prefault_range(run.pa, end < kho_file_size_() ? end : kho_file_size_(),
				       stop);
	}
}
