/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Scattered pages at one contiguous address: the arena's file mapped piece by piece.
 *
 * What is in the arena is Linux's: blocks, and a chain of pages that lists them (vmalloc-v1). Where an
 * area is mapped is private to the process.
 *
 * Glossary: area = what one call handed out; block = 2^order pages of it; run = blocks that
 * are neighbours in the file, one mapping; linear = one run, used where the arena is mapped anyway.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arena.h"
#include "life.h"
#include "page.h"
#include "preserve.h"
#include "proc.h"
#include "subtree.h"
#include "vmalloc.h"

#define PER_CHUNK kho_abi_vmalloc_per_chunk(KHO_PAGE_SHIFT)
#define HUGE_ORDER 9 /* 2 MiB: what a huge page maps */
/* Asked for in one piece at most: a search for more could look at the whole arena and find nothing. */
#define PIECE_PAGES 1024
#define DEFAULT_MAX_MAPS 65530
#define KEEP_PART 64 /* a 64th of the mappings is left to everybody else */
#define RECOUNT 256 /* mappings of ours after which all are counted anew */
#define UNCOUNTED 64 /* so few of ours are worth no counting */

_Static_assert(sizeof(struct kho_vmalloc) == sizeof(struct kho_abi_vmalloc), "one layout");

/**
 * struct area - one area
 * @addr: where it is
 * @blocks: @nr addresses in the file
 * @order: of each
 * @maps: mappings; 0: linear
 * @desc: what is preserved of it; desc.first 0: nothing
 * @chunks: @nr_chunks addresses: its chain
 */
struct area {
	char *addr;
	kho_pa_t *blocks;
	__u64 nr;
	unsigned int order;
	unsigned int flags;
	__u64 maps;
	struct kho_abi_vmalloc desc;
	kho_pa_t *chunks;
	__u64 nr_chunks;
};

static struct {
	pthread_mutex_t lock;
	struct area **areas; /* by ascending address */
	size_t nr, room;
	__u64 maps; /* of all areas */
	__u64 counted, counted_at; /* mappings of the process when @maps was counted_at; 0: never */
	__u64 max;
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

static __u64 block_size(const struct area *area)
{
	return KHO_PAGE_SIZE << area->order;
}

static __u64 area_len(const struct area *area)
{
	return area->nr * block_size(area);
}

/* Of the first @nr blocks, those from @i on that are neighbours in the file. */
static __u64 run_of(const struct area *area, __u64 i, __u64 nr)
{
	__u64 n = 1;

	while (i + n < nr && area->blocks[i + n] == area->blocks[i] + n * block_size(area))
		n++;
	return n;
}

/* ---- the table of areas ---- */

/* Index of the first area at or above @addr. */
static size_t table_find(const void *addr)
{
	size_t lo = 0, hi = table.nr;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (table.areas[mid]->addr < (const char *)addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int table_add(struct area *area)
{
	size_t at, room = table.room ? 2 * table.room : 16;

	if (table.nr == table.room) {
		struct area **more = malloc(room * sizeof(*more));

		if (!more)
			return kho_fail_(-ENOMEM, "vmalloc: no private memory");
		if (table.nr)
			memcpy(more, table.areas, table.nr * sizeof(*more));
		free(table.areas);
		table.areas = more;
		table.room = room;
	}
	at = table_find(area->addr);
	memmove(table.areas + at + 1, table.areas + at, (table.nr - at) * sizeof(*table.areas));
	table.areas[at] = area;
	table.nr++;
	table.maps += area->maps;
	return 0;
}

static void table_remove(size_t at)
{
	table.maps -= table.areas[at]->maps;
	table.nr--;
	memmove(table.areas + at, table.areas + at + 1, (table.nr - at) * sizeof(*table.areas));
}

/* The area that starts at @ptr; @take: out of the table. NULL, with words, if there is none. */
static struct area *area_at(const void *ptr, bool take)
{
	struct area *area = NULL;
	size_t at;

	pthread_mutex_lock(&table.lock);
	at = table_find(ptr);
	if (at < table.nr && table.areas[at]->addr == ptr)
		area = table.areas[at];
	if (area && take)
		table_remove(at);
	pthread_mutex_unlock(&table.lock);
	if (!area)
		kho_fail_(-EINVAL, "%p: not the start of a vmalloc area of this program", ptr);
	return area;
}

/* The only field of an area that others than its user look at. */
static kho_pa_t first_of(const struct area *area)
{
	return __atomic_load_n(&area->desc.first, __ATOMIC_RELAXED);
}

static void set_first(struct area *area, kho_pa_t first)
{
	__atomic_store_n(&area->desc.first, first, __ATOMIC_RELAXED);
}

/* The area whose chain starts at @first. */
static struct area *area_preserved_at(kho_pa_t first)
{
	struct area *area = NULL;

	pthread_mutex_lock(&table.lock);
	for (size_t i = 0; first && !area && i < table.nr; i++)
		if (first_of(table.areas[i]) == first)
			area = table.areas[i];
	pthread_mutex_unlock(&table.lock);
	if (!area)
		kho_fail_(-EINVAL,
			  "vmalloc: chunk %#llx: no area of this program is preserved there",
			  (unsigned long long)first);
	return area;
}

static struct area *area_new(__u64 nr, unsigned int order, unsigned int flags)
{
	struct area *area = calloc(1, sizeof(*area));

	/* Blocks, and behind them the chunks of the longest chain that lists them. */
	if (area)
		area->blocks = malloc((nr + nr / PER_CHUNK + 1) * sizeof(*area->blocks));
	if (!area || !area->blocks) {
		free(area);
		kho_fail_(-ENOMEM, "vmalloc: no private memory for a list of %llu blocks",
			  (unsigned long long)nr);
		return NULL;
	}
	area->nr = nr;
	area->chunks = area->blocks + nr;
	area->order = order;
	area->flags = flags;
	return area;
}

static void area_destroy(struct area *area)
{
	free(area->blocks);
	free(area);
}

/* ---- the budget of mappings ---- */

static __u64 read_number(const char *path, __u64 otherwise)
{
	char text[32];

	return kho_proc_text_(AT_FDCWD, path, text, sizeof(text)) > 0 ? strtoull(text, NULL, 10)
								      : otherwise;
}

static __u64 count_lines(const char *path)
{
	char text[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	__u64 lines = 0;
	ssize_t n;

	while (fd >= 0 && (n = read(fd, text, sizeof(text))) > 0)
		for (const char *at = text; (at = memchr(at, '\n', (size_t)(text + n - at))); at++)
			lines++;
	if (fd >= 0)
		close(fd);
	return lines;
}

/* Counting costs as much as there are mappings: between two counts, ours are added. */
static void recount(void)
{
	table.max = read_number("/proc/sys/vm/max_map_count", DEFAULT_MAX_MAPS);
	table.counted = count_lines("/proc/self/maps") ?: 1;
	table.counted_at = table.maps;
}

static __u64 maps_in_use(void)
{
	__u64 since = table.maps - table.counted_at;

	return table.maps < table.counted_at ? table.counted : table.counted + since;
}

static bool within_budget(__u64 need)
{
	return maps_in_use() + need + table.max / KEEP_PART <= table.max;
}

/* May an area take @need mappings more? @count: now that some could not be had. */
static int check_budget(__u64 need, bool count)
{
	__u64 in_use, max;
	bool ok;

	pthread_mutex_lock(&table.lock);
	ok = !count && table.maps + need <= UNCOUNTED;
	if (!ok && (count || !table.counted || table.maps - table.counted_at > RECOUNT ||
		    !within_budget(need)))
		recount();
	ok = ok || within_budget(need);
	in_use = maps_in_use();
	max = table.max;
	pthread_mutex_unlock(&table.lock);
	if (ok)
		return 0;
	return kho_fail_(
		-EDQUOT,
		"vmalloc: %llu mappings needed, %llu in use, vm.max_map_count is %llu (of which "
		"%llu are kept for others): raise it (sysctl vm.max_map_count), free areas, or "
		"use kho_vmalloc_huge()",
		(unsigned long long)need, (unsigned long long)in_use, (unsigned long long)max,
		(unsigned long long)(max / KEEP_PART));
}

/* ---- addresses ---- */

/* Address space for an area and its guard page, aligned. NULL: none. */
static char *reserve(__u64 len, __u64 align)
{
	__u64 slack = align - KHO_PAGE_SIZE, all = len + KHO_PAGE_SIZE + slack;
	char *got = mmap(NULL, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	__u64 head;

	if (got == MAP_FAILED)
		return NULL;
	head = -(uintptr_t)got & (align - 1);
	if (head)
		munmap(got, head);
	if (slack - head)
		munmap(got + head + len + KHO_PAGE_SIZE, slack - head);
	return got + head;
}

static int map_failed(const struct area *area)
{
	return kho_fail_(-ENOMEM, "vmalloc: %llu bytes in %llu mappings: mmap: %s",
			 (unsigned long long)area_len(area), (unsigned long long)area->maps,
			 strerror(errno));
}

static int map_runs(struct area *area)
{
	int fd = kho_arena_.fd;

	for (__u64 i = 0, n; i < area->nr; i += n) {
		n = run_of(area, i, area->nr);
		if (mmap(area->addr + i * block_size(area), n * block_size(area),
			 PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd,
			 (off_t)area->blocks[i]) == MAP_FAILED)
			return map_failed(area);
	}
	madvise(area->addr, area_len(area), MADV_DONTFORK);
	if (!(kho_life_.config.flags & KHO_START_DUMPABLE))
		madvise(area->addr, area_len(area), MADV_DONTDUMP);
	if (area->order >= HUGE_ORDER)
		madvise(area->addr, area_len(area), MADV_HUGEPAGE);
	return 0;
}

/* The guard page may have grown together with its neighbour, and then cannot be cut off at the limit: apart. */
static void unmap(struct area *area)
{
	if (!area->maps)
		return;
	munmap(area->addr, area_len(area));
	munmap(area->addr + area_len(area), KHO_PAGE_SIZE);
}

/* Give the area an address. */
static int map_area(struct area *area)
{
	__u64 maps = 1; /* the guard page's */
	int rc;

	for (__u64 i = 0; i < area->nr; i += run_of(area, i, area->nr))
		maps++;
	/* One more while the reservation is being replaced. */
	rc = check_budget(maps + 1, false);
	if (rc)
		return rc;
	area->maps = maps;
	area->addr = reserve(area_len(area), area->order < HUGE_ORDER
						     ? block_size(area)
						     : KHO_PAGE_SIZE << HUGE_ORDER);
	rc = area->addr ? map_runs(area) : map_failed(area);
	if (rc && area->addr)
		unmap(area);
	if (!rc)
		return 0;
	/* Others may have used up what was left since it was counted. */
	return check_budget(maps + 1, true) ?: rc;
}

static int enlist(struct area *area)
{
	int rc;

	pthread_mutex_lock(&table.lock);
	rc = table_add(area);
	pthread_mutex_unlock(&table.lock);
	if (rc)
		unmap(area);
	return rc;
}

/* ---- pages ---- */

static void for_each_run(const struct area *area, __u64 nr, void (*fn)(kho_pa_t pa, __u64 pages))
{
	for (__u64 i = 0, n; i < nr; i += n) {
		n = run_of(area, i, nr);
		fn(area->blocks[i], n << area->order);
	}
}

static void mark_pages(kho_pa_t pa, __u64 pages)
{
	kho_pages_set_kind_(pa, pages, PAGE_KIND_VMALLOC);
}

/* As few pieces as the arena has room for: large ones first, then half as much each time. */
static int alloc_blocks(struct area *area)
{
	__u64 piece = PIECE_PAGES >> area->order;

	for (__u64 done = 0; done < area->nr;) {
		__u64 n = piece < area->nr - done ? piece : area->nr - done;
		kho_pa_t pa = kho_pages_alloc_(n << area->order, area->order);

		if (!pa && n == 1) {
			for_each_run(area, done, kho_pages_free_);
			return -ENOMEM;
		}
		if (!pa)
			piece = n / 2;
		for (__u64 i = 0; pa && i < n; i++)
			area->blocks[done++] = pa + i * block_size(area);
	}
	for_each_run(area, area->nr, mark_pages);
	return 0;
}

/* ---- handing out ---- */

static void *refused(int rc)
{
	errno = rc <= -KHO_E_TRUNCATED ? EINVAL : -rc;
	return NULL;
}

static __u64 pages_of(size_t size)
{
	return size / KHO_PAGE_SIZE + (size % KHO_PAGE_SIZE != 0);
}

static int check_size(size_t size)
{
	int rc = kho_writer_error_();

	if (!rc && !size)
		rc = kho_fail_(-EINVAL, "vmalloc: of nothing");
	if (!rc && (size > kho_arena_.size || pages_of(size) >= 1ULL << 32))
		rc = kho_fail_(-ENOMEM, "vmalloc: %zu bytes: the arena's limit is %llu", size,
			       (unsigned long long)kho_arena_.size);
	return rc;
}

static int alloc_area(__u64 pages, unsigned int order, unsigned int flags, void **ptr)
{
	__u64 nr = (pages + (1ULL << order) - 1) >> order;
	struct area *area = area_new(nr, order, flags);
	int rc = area ? alloc_blocks(area) : -ENOMEM;

	if (!rc) {
		rc = map_area(area) ?: enlist(area);
		if (rc)
			for_each_run(area, nr, kho_pages_free_);
	}
	if (rc && area)
		area_destroy(area);
	if (!rc)
		*ptr = area->addr;
	return rc;
}

void *kho_vmalloc(size_t size)
{
	void *ptr = NULL;
	int rc = check_size(size) ?: alloc_area(pages_of(size), 0, KHO_ABI_VMALLOC_ALLOC, &ptr);

	return rc ? refused(rc) : ptr;
}

/* The largest order that wastes no more than an eighth. */
static unsigned int huge_order(__u64 pages)
{
	unsigned int order = HUGE_ORDER;

	while (order && ((-pages & ((1ULL << order) - 1)) > pages / 8 || pages >> order == 0))
		order--;
	return order;
}

void *kho_vmalloc_huge(size_t size)
{
	unsigned int order = huge_order(pages_of(size));
	void *ptr = NULL;
	int rc = check_size(size);

	/* What fails for want of mappings would need more of them with smaller blocks. */
	for (bool first = true; !rc && !ptr; first = false) {
		if (!first)
			order = order > 3 ? order - 3 : 0;
		rc = alloc_area(pages_of(size), order, KHO_ABI_VMALLOC_FLAGS, &ptr);
		if (rc == -ENOMEM && order)
			rc = 0;
	}
	return rc ? refused(rc) : ptr;
}

/* One run, used where it is. The fewest blocks that say so: of the largest order that fits. */
static int alloc_linear(__u64 pages, void **ptr)
{
	kho_pa_t pa = kho_pages_alloc_(pages, 0);
	__u64 bits = pa >> KHO_PAGE_SHIFT | pages | 1ULL << HUGE_ORDER;
	unsigned int order = (unsigned int)__builtin_ctzll(bits);
	struct area *area = pa ? area_new(pages >> order, order, KHO_ABI_VMALLOC_ALLOC) : NULL;
	int rc = area ? 0 : -ENOMEM;

	for (__u64 i = 0; area && i < area->nr; i++)
		area->blocks[i] = pa + i * block_size(area);
	if (area) {
		area->addr = kho_phys_to_virt(pa);
		kho_pages_set_kind_(pa, pages, PAGE_KIND_VMALLOC);
		rc = enlist(area);
		*ptr = area->addr;
	}
	if (rc && pa)
		kho_pages_free_(pa, pages);
	if (rc && area)
		area_destroy(area);
	return rc;
}

void *kho_kvmalloc(size_t size)
{
	void *ptr = NULL;
	int rc = check_size(size);

	if (!rc && alloc_linear(pages_of(size), &ptr))
		rc = alloc_area(pages_of(size), 0, KHO_ABI_VMALLOC_ALLOC, &ptr);
	return rc ? refused(rc) : ptr;
}

/* ---- preserving ---- */

/* What lies in the arena is not read again to find the chunks: they are noted here. */
static void list_parts(struct area *area, const struct khoc_vmalloc_part *part, __u64 *blocks)
{
	if (part->chunk)
		area->chunks[area->nr_chunks++] = part->pa;
	else
		area->blocks[(*blocks)++] = part->pa;
}

/* Take marks back: those of the first chunks first, so that no chain leads to what is gone. */
static void unmark(const struct area *area, __u64 chunks, __u64 blocks)
{
	for (__u64 i = 0; i < chunks; i++)
		kho_block_unpreserve_(area->chunks[i], 0);
	for (__u64 i = 0; i < blocks; i++)
		kho_block_unpreserve_(area->blocks[i], area->order);
}

static int mark(const struct area *area)
{
	__u64 blocks = 0, chunks = 0;
	int rc = 0;

	for (; !rc && blocks < area->nr; blocks += !rc)
		rc = kho_block_preserve_(area->blocks[blocks], area->order, KHO_ABI_DESC_VMALLOC);
	for (; !rc && chunks < area->nr_chunks; chunks += !rc)
		rc = kho_block_preserve_(area->chunks[chunks], 0, KHO_ABI_DESC_VMALLOC_CHUNK);
	if (rc)
		unmark(area, chunks, blocks);
	return rc;
}

/* @first is forgotten before: the page may be the first of another's chain at once. */
static void free_chunks(struct area *area)
{
	set_first(area, 0);
	for (__u64 i = 0; i < area->nr_chunks; i++)
		kho_pages_free_(area->chunks[i], 1);
	area->nr_chunks = 0;
}

static void drop_marks(struct area *area)
{
	if (!area->nr_chunks)
		return;
	unmark(area, area->nr_chunks, area->nr);
	free_chunks(area);
}

/* Write the chain and mark everything. Return: 0, or -ENOMEM: nothing changed. */
static int make_chain(struct area *area)
{
	struct khoc_vmalloc_iter iter;
	struct khoc_vmalloc_part part;
	struct kho_abi_vmalloc desc;
	__u64 blocks = 0;
	int rc = khoc_vmalloc_build(&kho_arena_.mem, KHO_PAGE_SHIFT, area->order, area->flags,
				    area->blocks, area->nr, &desc);

	if (rc)
		return rc;
	khoc_vmalloc_iter_init(&iter, &kho_arena_.mem, KHO_PAGE_SHIFT, &desc, NULL);
	while (khoc_vmalloc_iter_next(&iter, &part))
		list_parts(area, &part, &blocks);
	rc = mark(area);
	if (rc) {
		free_chunks(area);
		return rc;
	}
	area->desc.total_pages = desc.total_pages;
	area->desc.flags = desc.flags;
	area->desc.order = desc.order;
	set_first(area, desc.first);
	return 0;
}

/* The word with the address last: until then, and from when it is 0, nothing is there. */
static void store_desc(struct kho_vmalloc *to, const struct kho_abi_vmalloc *desc)
{
	to->total_pages = desc->total_pages;
	to->flags = desc->flags;
	to->order = desc->order;
	__atomic_store_n(&to->first, desc->first, __ATOMIC_RELEASE);
}

int kho_preserve_vmalloc(void *ptr, struct kho_vmalloc *preservation)
{
	int rc = kho_writer_error_();
	struct area *area = rc ? NULL : area_at(ptr, false);

	if (!area)
		return rc ?: -EINVAL;
	rc = area->desc.first ? 0 : kho_part_use_(KHO_PART_VMALLOC) ?: make_chain(area);
	if (!rc)
		store_desc(preservation, &area->desc);
	return rc;
}

void kho_unpreserve_vmalloc(struct kho_vmalloc *preservation)
{
	struct kho_abi_vmalloc nothing = {0};
	struct area *area = kho_writer_error_() ? NULL : area_preserved_at(preservation->first);

	if (!area)
		return;
	__atomic_store_n(&preservation->first, 0, __ATOMIC_RELEASE);
	store_desc(preservation, &nothing);
	drop_marks(area);
}

void kho_vfree(void *ptr)
{
	struct area *area = !ptr || kho_writer_error_() ? NULL : area_at(ptr, true);

	if (!area)
		return;
	unmap(area);
	drop_marks(area);
	for_each_run(area, area->nr, kho_pages_free_);
	area_destroy(area);
}

void kho_kvfree(void *ptr)
{
	kho_vfree(ptr);
}

/* ---- restoring ---- */

static int check_incoming(const struct kho_abi_vmalloc *desc)
{
	const struct khoc_vmalloc_check check = {
		.data_lo = kho_arena_.header->data_pa,
		.data_hi = kho_file_size_(),
		.tree = &kho_arena_.tree,
	};
	struct khoc_report report;

	if (!desc->first)
		return kho_fail_(-KHO_E_NOT_PRESERVED, "vmalloc descriptor: nothing preserved");
	if (!khoc_vmalloc_validate(&kho_arena_.mem, KHO_PAGE_SHIFT, desc, &check, &report))
		return 0;
	return kho_fail_report_(&report);
}

static void unclaim(const struct area *area, __u64 chunks, __u64 blocks)
{
	for (__u64 i = 0; i < chunks; i++)
		kho_block_unclaim_(area->chunks[i]);
	for (__u64 i = 0; i < blocks; i++)
		kho_block_unclaim_(area->blocks[i]);
}

/* Claim chunks and blocks, and list them; or, if one cannot be had, none. Return: 0 or negative. */
static int claim_all(struct area *area)
{
	struct khoc_vmalloc_iter iter;
	struct khoc_vmalloc_part part;
	__u64 blocks = 0;
	int rc = khoc_vmalloc_iter_init(&iter, &kho_arena_.mem, KHO_PAGE_SHIFT, &area->desc, NULL);

	while (!rc && khoc_vmalloc_iter_next(&iter, &part)) {
		rc = kho_block_restore_(part.pa, part.order,
					part.chunk ? KHO_ABI_DESC_VMALLOC_CHUNK
						   : KHO_ABI_DESC_VMALLOC);
		if (!rc)
			list_parts(area, &part, &blocks);
	}
	rc = rc ?: khoc_vmalloc_iter_error(&iter);
	if (rc)
		unclaim(area, area->nr_chunks, blocks);
	return rc;
}

static int restore(const struct kho_abi_vmalloc *desc, void **ptr)
{
	struct area *area = area_new(desc->total_pages >> desc->order, desc->order, desc->flags);
	int rc = -ENOMEM;

	if (!area)
		return rc;
	area->desc = *desc;
	rc = claim_all(area);
	if (!rc) {
		rc = map_area(area) ?: enlist(area);
		if (rc)
			unclaim(area, area->nr_chunks, area->nr);
	}
	if (rc) {
		area_destroy(area);
		return rc;
	}
	for_each_run(area, area->nr, mark_pages);
	*ptr = area->addr;
	return 0;
}

void *kho_restore_vmalloc(const struct kho_vmalloc *preservation)
{
	struct kho_abi_vmalloc desc;
	void *ptr = NULL;
	int rc;

	memcpy(&desc, preservation, sizeof(desc));
	rc = kho_writer_error_() ?: check_incoming(&desc) ?: restore(&desc, &ptr);
	return rc ? refused(rc) : ptr;
}

/* ---- the rest of the host ---- */

void kho_vmalloc_forget_(void)
{
	pthread_mutex_lock(&table.lock);
	for (size_t i = 0; i < table.nr; i++) {
		unmap(table.areas[i]);
		area_destroy(table.areas[i]);
	}
	free(table.areas);
	table.areas = NULL;
	table.nr = table.room = 0;
	table.maps = table.counted = table.counted_at = 0;
	pthread_mutex_unlock(&table.lock);
}

void kho_vmalloc_protect_(bool on)
{
	pthread_mutex_lock(&table.lock);
	for (size_t i = 0; i < table.nr; i++)
		if (table.areas[i]->maps)
			mprotect(table.areas[i]->addr, area_len(table.areas[i]),
				 on ? PROT_READ : PROT_READ | PROT_WRITE);
	pthread_mutex_unlock(&table.lock);
}

__u64 kho_vmalloc_mappings_(void)
{
	__u64 maps;

	pthread_mutex_lock(&table.lock);
	maps = table.maps;
	pthread_mutex_unlock(&table.lock);
	return maps;
}
