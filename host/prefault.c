/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Touching what is there before it is needed: a successor maps the arena with empty page
 * tables, and a fault costs a microsecond each. Only what is in memory is touched: a touch
 * of a hole would allocate it. So are the pages of its own data, which are copied or cleared
 * when they are written to first.
 */
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arena.h"

/*
 * At a time: between looks at the stop flag, and for a kernel that is not preempted inside a system
 * call. (To be asked by SEEK_HOLE how far the data go, it looked at millions of pages in one go: 20 ms
 * for 4 GiB, in which nobody else had the processor.)
 */
#define CHUNK (2ULL << 20)
#define CHUNK_PAGES (CHUNK >> KHO_PAGE_SHIFT)

static bool stopped(const volatile bool *stop)
{
	return __atomic_load_n(stop, __ATOMIC_RELAXED);
}

/* Pages [@from, @to) of the chunk at @pa. */
static void populate(__u64 pa, __u64 from, __u64 to)
{
	madvise(kho_arena_.base + pa + (from << KHO_PAGE_SHIFT), (to - from) << KHO_PAGE_SHIFT,
		MADV_POPULATE_READ);
}

/* Of at most CHUNK bytes, those pages that are in memory. */
static void prefault_chunk(__u64 lo, __u64 len)
{
	unsigned char there[CHUNK_PAGES];
	__u64 nr = len >> KHO_PAGE_SHIFT, from = 0;

	if (mincore(kho_arena_.base + lo, len, there))
		return;
	for (__u64 i = 0; i < nr; i++) {
		if (there[i] & 1)
			continue;
		if (from < i)
			populate(lo, from, i);
		from = i + 1;
	}
	if (from < nr)
		populate(lo, from, nr);
}

static void prefault_range(__u64 lo, __u64 hi, const volatile bool *stop)
{
	for (; lo < hi && !stopped(stop); lo += CHUNK)
		prefault_chunk(lo, hi - lo < CHUNK ? hi - lo : CHUNK);
}

void kho_arena_prefault_(const volatile bool *stop)
{
	struct kho_arena *a = &kho_arena_;
	struct khoc_radix_iter iter;
	struct khoc_run run;

	prefault_range(0, a->header->data_pa, stop);
	khoc_radix_iter_init(&iter, &a->tree, a->header->data_pa, kho_file_size_(), 0,
			     khoc_max_order(KHO_PAGE_SHIFT));
	while (!stopped(stop) && khoc_radix_iter_next(&iter, &run)) {
		__u64 end = run.pa + (run.nr << (run.order + KHO_PAGE_SHIFT));

		if (run.pa < kho_file_size_())
			prefault_range(run.pa, end < kho_file_size_() ? end : kho_file_size_(),
				       stop);
	}
}

/*
 * The reverse, before an exit: that frees all page tables at once, and the kernel gives them back behind the next
 * grace period, in one go, when nobody else has the processor (3 ms for 12 GiB). A thread that still runs may touch
 * the arena as before.
 */
#define UNFAULT_PIECE (32ULL << 20)

void kho_arena_unfault_(void)
{
	__u64 size = kho_file_size_();

	for (__u64 at = 0; at < size; at += UNFAULT_PIECE)
		madvise(kho_arena_.base + at, size - at < UNFAULT_PIECE ? size - at : UNFAULT_PIECE,
			MADV_DONTNEED);
}

/* ---- the program's own ---- */

/* A program with gigabytes of zeros for data pays for what it touches, as ever. */
#define DATA_MAX (1UL << 20)

static uintptr_t page_down(uintptr_t at)
{
	return at & -(uintptr_t)KHO_PAGE_SIZE;
}

/* Data and zeros of one object: what may be written to, but for what was closed after relocation. */
static int prefault_object(struct dl_phdr_info *info, size_t size, void *ctx)
{
	uintptr_t relro_end = 0, from, to;

	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_GNU_RELRO)
			relro_end = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr +
				    info->dlpi_phdr[i].p_memsz;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];

		if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_W))
			continue;
		from = page_down(info->dlpi_addr + segment->p_vaddr);
		to = page_down(info->dlpi_addr + segment->p_vaddr + segment->p_memsz +
			       KHO_PAGE_SIZE - 1);
		if (from < relro_end && relro_end <= to)
			from = page_down(relro_end);
		if (from < to && to - from <= DATA_MAX)
			madvise((void *)from, to - from, MADV_POPULATE_WRITE);
	}
	return 0;
}

void kho_own_prefault_(void)
{
	dl_iterate_phdr(prefault_object, NULL);
}
