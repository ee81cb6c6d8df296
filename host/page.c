/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Free pages: a buddy allocator that hands out the lowest address first.
 *
 * Free blocks of each order are bits of a bitmap that finds its lowest bit. What is
 * free is not stored anywhere: a page in no key of the tree is. That is found out
 * a section (128 MiB, one order-0 leaf) at a time, when somebody wants memory, and only after
 * the section's descriptors agree with the tree; a section where they do not is never
 * used.
 *
 * Glossary: pfn = pa >> 12; backed = known to be allocated in the file.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arena.h"
#include "hbitmap.h"
#include "page.h"
#include "preserve.h"

#define MAX_ORDERS 31
#define SECTION_PAGES (KHO_SECTION_SIZE >> KHO_PAGE_SHIFT)
#define GROW_STEP (4ULL << 20)
#define POPULATE_MAX (1ULL << 20) /* above, pages are allocated without being mapped */
#define KEEP_BACKED                                                                                \
	(64ULL << 20 >> KHO_PAGE_SHIFT) /* free pages left in the file before holes are punched */
#define PUNCH_MIN 16
#define FALLOCATE_STEP (4ULL << 20)

enum section_state { SECTION_UNKNOWN, SECTION_KNOWN, SECTION_FAULTY };

static struct {
	pthread_mutex_t lock;
	struct hbitmap free[MAX_ORDERS];
	struct hbitmap backed; /* free pages that are in the file */
	struct hbitmap descs_backed; /* pages of the descriptor table that are */
	unsigned int nr_orders;
	__u64 nr_pages;
	__u64 first; /* lowest pfn that is handed out */
	__u64 nr_free;
	__u64 nr_known; /* pages in known sections */
	__u64 nr_free_backed;
	unsigned char *section;
	unsigned int *survey; /* free pages when last looked at, without owning the arena */
	__u64 nr_sections;
	unsigned char *kind;
	bool (*reclaim)(void);
	int fault;
} pages = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *reserve(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static __u64 section_lo(__u64 s)
{
	__u64 pfn = s * SECTION_PAGES;

	return pfn < pages.first ? pages.first : pfn;
}

static __u64 section_hi(__u64 s)
{
	__u64 pfn = (s + 1) * SECTION_PAGES;

	return pfn > pages.nr_pages ? pages.nr_pages : pfn;
}

int kho_pages_init_(void)
{
	struct kho_arena *a = &kho_arena_;
	int rc = 0;

	pages.nr_pages = a->size >> KHO_PAGE_SHIFT;
	pages.first = a->header->data_pa >> KHO_PAGE_SHIFT;
	pages.nr_sections = (pages.nr_pages + SECTION_PAGES - 1) / SECTION_PAGES;
	pages.nr_orders = 64 - (unsigned int)__builtin_clzll(pages.nr_pages);
	if (pages.nr_orders > MAX_ORDERS)
		pages.nr_orders = MAX_ORDERS;
	for (unsigned int o = 0; o < pages.nr_orders && !rc; o++)
		rc = hbitmap_init_(&pages.free[o], (pages.nr_pages >> o) + 1);
	rc = rc ?: hbitmap_init_(&pages.backed, pages.nr_pages);
	rc = rc ?: hbitmap_init_(&pages.descs_backed, pages.nr_pages * 2 / KHO_PAGE_SIZE + 1);
	pages.section = reserve(pages.nr_sections);
	pages.survey = pages.survey ?: reserve(pages.nr_sections * sizeof(*pages.survey));
	pages.kind = reserve(pages.nr_pages);
	if (rc || !pages.section || !pages.survey || !pages.kind) {
		kho_pages_destroy_();
		return kho_fail_(-ENOMEM,
				 "page allocator: no address space for its tables; the process "
				 "limit of virtual memory (ulimit -v) may be too small");
	}
	return 0;
}

static void release(void *p, size_t bytes)
{
	if (p)
		munmap(p, bytes);
}

void kho_pages_destroy_(void)
{
	for (unsigned int o = 0; o < MAX_ORDERS; o++)
		hbitmap_destroy_(&pages.free[o]);
	hbitmap_destroy_(&pages.backed);
	hbitmap_destroy_(&pages.descs_backed);
	release(pages.section, pages.nr_sections);
	release(pages.survey, pages.nr_sections * sizeof(*pages.survey));
	release(pages.kind, pages.nr_pages);
	pages.section = NULL;
	pages.survey = NULL;
	pages.kind = NULL;
	pages.nr_free = pages.nr_known = pages.nr_free_backed = 0;
	pages.nr_orders = 0;
	pages.fault = 0;
}

/* ---- free blocks ---- */

static void put_block(__u64 pfn, unsigned int order)
{
	while (order + 1 < pages.nr_orders) {
		__u64 buddy = pfn ^ 1ULL << order;

		if (!hbitmap_test_(&pages.free[order], buddy >> order))
			break;
		hbitmap_clear_(&pages.free[order], buddy >> order);
		pfn &= ~(1ULL << order);
		order++;
	}
	hbitmap_set_(&pages.free[order], pfn >> order);
}

static void put_range(__u64 pfn, __u64 nr)
{
	pages.nr_free += nr;
	while (nr) {
		unsigned int order = khoc_radix_split(KHO_PAGE_SHIFT, pfn << KHO_PAGE_SHIFT, nr);

		if (order >= pages.nr_orders)
			order = pages.nr_orders - 1;
		put_block(pfn, order);
		pfn += 1ULL << order;
		nr -= 1ULL << order;
	}
}

/* The order of the free block that covers @pfn, or -1. */
static int free_order(__u64 pfn)
{
	for (unsigned int o = 0; o < pages.nr_orders; o++)
		if (hbitmap_test_(&pages.free[o], pfn >> o))
			return (int)o;
	return -1;
}

/* Take [@pfn, @pfn + @nr), all of it free, out of the free blocks. */
static void carve(__u64 pfn, __u64 nr)
{
	__u64 end = pfn + nr;

	while (pfn < end) {
		unsigned int order = (unsigned int)free_order(pfn);
		__u64 lo = pfn >> order << order;
		__u64 hi = lo + (1ULL << order);

		hbitmap_clear_(&pages.free[order], lo >> order);
		pages.nr_free -= hi - lo;
		if (lo < pfn)
			put_range(lo, pfn - lo);
		if (hi > end)
			put_range(end, hi - end);
		pfn = hi;
	}
}

/* Lowest block of the smallest order that @order fits in. */
static __u64 find_block(unsigned int order)
{
	for (unsigned int o = order; o < pages.nr_orders; o++) {
		__u64 bit = hbitmap_next_(&pages.free[o], 0);

		if (bit != HBITMAP_NONE)
			return bit << o;
	}
	return HBITMAP_NONE;
}

static __u64 next_free(__u64 pfn)
{
	__u64 best = HBITMAP_NONE;

	for (unsigned int o = 0; o < pages.nr_orders; o++) {
		__u64 bit = hbitmap_next_(&pages.free[o], pfn >> o);
		__u64 at = bit == HBITMAP_NONE ? bit : bit << o;

		if (at < pfn) /* the block that @pfn is in the middle of */
			at = pfn;
		if (at < best)
			best = at;
	}
	return best;
}

/* Any free run of @nr pages, aligned, that no single block holds: block by block from the start. */
static __u64 find_run(__u64 nr, unsigned int align_order)
{
	__u64 mask = (1ULL << align_order) - 1;
	__u64 start = next_free(pages.first);

	while (start != HBITMAP_NONE) {
		__u64 at = (start + mask) & ~mask;
		__u64 end = start;
		int order;

		while ((order = end < pages.nr_pages ? free_order(end) : -1) >= 0) {
			end = ((end >> order) + 1) << order;
			if (end >= at + nr)
				return at;
		}
		start = next_free(end);
	}
	return HBITMAP_NONE;
}

static __u64 find(__u64 nr, unsigned int align_order)
{
	unsigned int order = nr > 1 ? 64 - (unsigned int)__builtin_clzll(nr - 1) : 0;
	__u64 pfn;

	if (order < align_order)
		order = align_order;
	pfn = find_block(order);
	if (pfn == HBITMAP_NONE && nr != 1ULL << align_order)
		pfn = find_run(nr, align_order);
	return pfn;
}

/* ---- discovery ---- */

/* Free pages of section @s into @bitmap of pages that are in no key. */
static int section_bitmap(__u64 s, __u64 *bitmap)
{
	__u64 nr = (section_hi(s) - s * SECTION_PAGES + 63) & ~63ULL;

	return khoc_radix_union(&kho_arena_.tree, s << 27, nr, bitmap);
}

/* Call @fn for every stretch of clear bits that belongs to the section. */
static void for_each_free(__u64 s, const __u64 *bitmap, void (*fn)(__u64 pfn, __u64 nr))
{
	__u64 base = s * SECTION_PAGES;
	__u64 pfn = section_lo(s), hi = section_hi(s);

	while (pfn < hi) {
		__u64 word = bitmap[(pfn - base) / 64] >> (pfn % 64);
		__u64 left = 64 - pfn % 64;
		__u64 start = pfn;

		if (word & 1) {
			__u64 used = ~word ? (__u64)__builtin_ctzll(~word) : 64;

			pfn += used < left ? used : left;
			continue;
		}
		while (pfn < hi && !(bitmap[(pfn - base) / 64] >> (pfn % 64) & 1)) {
			if (!(pfn % 64) && !bitmap[(pfn - base) / 64])
				pfn += 64;
			else
				pfn++;
		}
		if (pfn > hi)
			pfn = hi;
		fn(start, pfn - start);
	}
}

static __u64 section_bits[SECTION_PAGES / 64]; /* under pages.lock */
static __u64 survey_free;

static void survey_count(__u64 pfn, __u64 nr)
{
	survey_free += nr;
}

void kho_pages_survey_(void)
{
	struct kho_arena *a = &kho_arena_;
	__u64 nr = (a->size + KHO_SECTION_SIZE - 1) / KHO_SECTION_SIZE;

	pthread_mutex_lock(&pages.lock);
	pages.nr_pages = a->size >> KHO_PAGE_SHIFT;
	pages.first = a->header->data_pa >> KHO_PAGE_SHIFT;
	pages.nr_sections = nr;
	pages.survey = pages.survey ?: reserve(nr * sizeof(*pages.survey));
	for (__u64 s = 0; pages.survey && s < nr; s++) {
		survey_free = 0;
		if (!section_bitmap(s, section_bits))
			for_each_free(s, section_bits, survey_count);
		pages.survey[s] = (unsigned int)survey_free + 1; /* 0 = not surveyed */
	}
	pthread_mutex_unlock(&pages.lock);
}

static int discover(__u64 s)
{
	int rc = kho_preserve_check_section_(s << 27);

	rc = rc ?: section_bitmap(s, section_bits);
	if (rc) {
		__atomic_store_n(&pages.section[s], SECTION_FAULTY, __ATOMIC_RELEASE);
		pages.fault = pages.fault ?: rc;
		return rc;
	}
	__atomic_store_n(&pages.section[s], SECTION_KNOWN, __ATOMIC_RELEASE);
	pages.nr_known += section_hi(s) - section_lo(s);
	for_each_free(s, section_bits, put_range);
	return 0;
}

/* The next section worth looking at: first those that had free pages when surveyed. */
static __u64 next_section(void)
{
	__u64 any = HBITMAP_NONE;

	for (__u64 s = 0; s < pages.nr_sections; s++) {
		if (pages.section[s] != SECTION_UNKNOWN)
			continue;
		if (pages.survey[s] != 1)
			return s;
		if (any == HBITMAP_NONE)
			any = s;
	}
	return any;
}

void kho_pages_know_(kho_pa_t pa, __u64 nr)
{
	__u64 s = pa >> KHO_PAGE_SHIFT, last = (s + nr - 1) / SECTION_PAGES;

	for (s /= SECTION_PAGES; s <= last && s < pages.nr_sections; s++) {
		if (__atomic_load_n(&pages.section[s], __ATOMIC_ACQUIRE) != SECTION_UNKNOWN)
			continue;
		pthread_mutex_lock(&pages.lock);
		if (pages.section[s] == SECTION_UNKNOWN)
			discover(s);
		pthread_mutex_unlock(&pages.lock);
	}
}

int kho_pages_discover_all_(void)
{
	int rc = 0;
	__u64 s;

	pthread_mutex_lock(&pages.lock);
	while ((s = next_section()) != HBITMAP_NONE)
		rc = discover(s) ?: rc;
	rc = rc ?: pages.fault;
	pthread_mutex_unlock(&pages.lock);
	return rc;
}

/* ---- the file ---- */

static int grow(__u64 end)
{
	struct kho_arena *a = &kho_arena_;
	__u64 step = kho_file_size_() / 8 > GROW_STEP ? kho_file_size_() / 8 : GROW_STEP;
	__u64 size;
	int r;

	if (end <= kho_file_size_())
		return 0;
	size = (end + step - 1) / (2 << 20) * (2 << 20);
	if (size < end)
		size = end;
	if (size > a->size)
		size = a->size;
	r = kho_arena_lengthen_(a->fd, size);
	if (r) {
		size = end;
		r = kho_arena_lengthen_(a->fd, size);
	}
	if (r)
		return r;
	kho_set_file_size_(size);
	return 0;
}

/* Allocate [@pa, @pa + @len) in the file, so that no touch of it can fail. */
static int back(kho_pa_t pa, __u64 len)
{
	struct kho_arena *a = &kho_arena_;

	if (len <= POPULATE_MAX && !madvise(a->base + pa, len, MADV_POPULATE_WRITE))
		return 0;
	/* A signal interrupts it and undoes the piece at hand: small pieces come through in the end. */
	for (__u64 step; len; pa += step, len -= step) {
		step = len < FALLOCATE_STEP ? len : FALLOCATE_STEP;
		while (fallocate(a->fd, 0, (off_t)pa, (off_t)step)) {
			/* Preserved for a live update: nothing is allocated by the call, but by a touch. */
			if (errno == EPERM && !madvise(a->base + pa, step, MADV_POPULATE_WRITE))
				break;
			if (errno != EINTR)
				return -errno;
		}
	}
	return 0;
}

static int back_descs(__u64 pfn, __u64 nr)
{
	__u64 page = pfn * 2 / KHO_PAGE_SIZE;
	__u64 last = ((pfn + nr) * 2 - 1) / KHO_PAGE_SIZE;

	for (; page <= last; page++) {
		int rc;

		if (hbitmap_test_(&pages.descs_backed, page))
			continue;
		rc = back(kho_arena_.header->descs_pa + page * KHO_PAGE_SIZE, KHO_PAGE_SIZE);
		if (rc)
			return rc;
		hbitmap_set_(&pages.descs_backed, page);
	}
	return 0;
}

static int back_pages(__u64 pfn, __u64 nr)
{
	__u64 had = 0;
	int rc;

	for (__u64 p = pfn; p < pfn + nr; p++)
		had += hbitmap_test_(&pages.backed, p);
	rc = grow((pfn + nr) << KHO_PAGE_SHIFT) ?: back_descs(pfn, nr);
	if (!rc && had != nr)
		rc = back(pfn << KHO_PAGE_SHIFT, nr << KHO_PAGE_SHIFT);
	if (rc)
		return rc;
	for (__u64 p = pfn; had && p < pfn + nr; p++)
		hbitmap_clear_(&pages.backed, p);
	pages.nr_free_backed -= had;
	return 0;
}

/* Give memory back to the machine when enough of it is at hand already. */
static void unback_pages(__u64 pfn, __u64 nr)
{
	struct kho_arena *a = &kho_arena_;

	if (nr >= PUNCH_MIN && pages.nr_free_backed + nr > KEEP_BACKED &&
	    !fallocate(a->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		       (off_t)(pfn << KHO_PAGE_SHIFT), (off_t)(nr << KHO_PAGE_SHIFT)))
		return;
	for (__u64 p = pfn; p < pfn + nr; p++)
		hbitmap_set_(&pages.backed, p);
	pages.nr_free_backed += nr;
}

/* ---- the interface ---- */

void kho_pages_set_reclaim_(bool (*reclaim)(void))
{
	pages.reclaim = reclaim;
}

/* Return: 0 and @pfn; -ENOSPC: the arena is full; another error: the machine is. */
static int alloc(__u64 nr, unsigned int align_order, __u64 *pfn)
{
	int rc = -ENOSPC;

	pthread_mutex_lock(&pages.lock);
	while ((*pfn = find(nr, align_order)) == HBITMAP_NONE) {
		__u64 s = next_section();

		if (s == HBITMAP_NONE)
			break;
		discover(s);
	}
	if (*pfn != HBITMAP_NONE) {
		carve(*pfn, nr);
		rc = back_pages(*pfn, nr);
		if (rc)
			put_range(*pfn, nr);
	}
	pthread_mutex_unlock(&pages.lock);
	return rc;
}

kho_pa_t kho_pages_alloc_(__u64 nr, unsigned int align_order)
{
	__u64 pfn = HBITMAP_NONE;
	int rc;

	if (!nr || nr > pages.nr_pages || align_order >= pages.nr_orders)
		return 0;
	rc = alloc(nr, align_order, &pfn);
	if (rc && pages.reclaim && pages.reclaim())
		rc = alloc(nr, align_order, &pfn);
	if (!rc)
		return pfn << KHO_PAGE_SHIFT;
	if (rc == -EPERM) {
		kho_fail_(rc,
			  "arena: full for now: its file is preserved for a live update of the "
			  "kernel, and cannot grow until that is done or cancelled (kho preserve "
			  "--cancel)");
		return 0;
	}
	kho_fail_(-ENOMEM,
		  "arena: no %llu free pages (limit %llu bytes%s%s%s%s): raise --arena-max or free "
		  "memory",
		  (unsigned long long)nr, (unsigned long long)kho_arena_.size,
		  pfn != HBITMAP_NONE ? ", " : "", pfn != HBITMAP_NONE ? strerror(-rc) : "",
		  pages.fault ? "; a part of it is not used: " : "",
		  pages.fault ? khoc_fault_text(-pages.fault) : "");
	return 0;
}

/* The first page's kind is read by whoever has the folio before it: one store, and nothing in between. */
static void set_kind(__u64 pfn, __u64 nr, unsigned int kind, unsigned int tail)
{
	memset(pages.kind + pfn + 1, (int)tail, nr - 1);
	__atomic_store_n(&pages.kind[pfn], (unsigned char)kind, __ATOMIC_RELAXED);
}

void kho_pages_free_(kho_pa_t pa, __u64 nr)
{
	__u64 pfn = pa >> KHO_PAGE_SHIFT, end = pfn + nr;

	pthread_mutex_lock(&pages.lock);
	while (pfn < end) {
		__u64 s = pfn / SECTION_PAGES;
		__u64 hi = section_hi(s) < end ? section_hi(s) : end;

		set_kind(pfn, hi - pfn, PAGE_KIND_NONE, PAGE_KIND_NONE);
		/* Pages of a section not yet looked at will be found to be in no key. */
		if (pages.section[s] == SECTION_KNOWN) {
			unback_pages(pfn, hi - pfn);
			put_range(pfn, hi - pfn);
		}
		pfn = hi;
	}
	pthread_mutex_unlock(&pages.lock);
}

unsigned int kho_pages_kind_(kho_pa_t pa)
{
	if (!pages.kind || pa >= kho_arena_.size)
		return PAGE_KIND_NONE;
	return __atomic_load_n(&pages.kind[pa >> KHO_PAGE_SHIFT], __ATOMIC_RELAXED);
}

void kho_pages_set_kind_(kho_pa_t pa, __u64 nr, unsigned int kind)
{
	set_kind(pa >> KHO_PAGE_SHIFT, nr, kind, kind == PAGE_KIND_PAGES ? kind : PAGE_KIND_TAIL);
}

__u64 kho_pages_used_(void)
{
	__u64 used;

	pthread_mutex_lock(&pages.lock);
	used = (pages.nr_known - pages.nr_free) << KHO_PAGE_SHIFT;
	pthread_mutex_unlock(&pages.lock);
	return used;
}

bool kho_pages_are_free_(kho_pa_t pa, __u64 nr)
{
	bool all = true;

	pthread_mutex_lock(&pages.lock);
	for (__u64 p = pa >> KHO_PAGE_SHIFT; all && nr--; p++)
		all = free_order(p) >= 0;
	pthread_mutex_unlock(&pages.lock);
	return all;
}
