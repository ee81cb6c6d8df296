// SPDX-License-Identifier: GPL-2.0-only
/*
 * Struct pages of what was handed to us: made at boot, one range after the other, and given back to
 * their users one block after the other.
 *
 * Between the two the first struct page of each block holds a stamp: that the block was preserved,
 * and its order. Whoever restores a block takes the stamp away in one atomic step; so a block that
 * was never preserved, and one that was restored before, are refused.
 */
#define pr_fmt(fmt) "KHO: " fmt

#include <linux/io.h>
#include <linux/memblock.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/page-isolation.h>
#include <linux/pgalloc_tag.h>

#include "../../mm/internal.h"
#include "kexec_handover_internal.h"

/* The upper half of a stamp; no pointer, nor anything that the allocators keep there. */
#define STAMP_MAGIC (0x6c6b686fUL << 32)
#define STAMP_ORDER 0xffUL

static unsigned long stamp_of(unsigned int order)
{
	return STAMP_MAGIC | order;
}

/* Return: the order that a stamp tells, or -1 if it is none. */
static int stamp_order(unsigned long stamp)
{
	return (stamp & ~STAMP_ORDER) == STAMP_MAGIC ? (int)(stamp & STAMP_ORDER) : -1;
}

/* ---- boot ---------------------------------------------------------------- */

#ifdef CONFIG_DEFERRED_STRUCT_PAGE_INIT

/* Where the zone that @pfn is in ends. @zid: set to that zone. */
static unsigned long __init zone_end_of(unsigned long pfn, pg_data_t *pgdat, int *zid)
{
	for (*zid = 0; *zid < MAX_NR_ZONES - 1; (*zid)++)
		if (zone_spans_pfn(&pgdat->node_zones[*zid], pfn))
			break;
	return max(zone_end_pfn(&pgdat->node_zones[*zid]), pfn + 1);
}

/* Pages of one node. */
static void __init init_node_range(unsigned long pfn, unsigned long end, int nid)
{
	pg_data_t *pgdat = NODE_DATA(nid);
	unsigned long stop;
	int zid;

	for (pfn = max(pfn, pgdat->first_deferred_pfn); pfn < end;) {
		stop = min(zone_end_of(pfn, pgdat, &zid), end);
		for (; pfn < stop; pfn++) {
			__init_single_page(pfn_to_page(pfn), pfn, zid, nid);
			if (pageblock_aligned(pfn))
				init_pageblock_migratetype(pfn_to_page(pfn), MIGRATE_MOVABLE,
							   false);
		}
	}
}

/*
 * The threads that initialise what was deferred pass over reserved memory, so that it has to be
 * done here. Most of it is done before: each node's first part is not deferred.
 */
static void __init init_range(unsigned long pfn, unsigned long end)
{
	unsigned long start, stop;
	int nid;

	while (pfn < end) {
		nid = memblock_search_pfn_nid(pfn, &start, &stop);
		if (!numa_valid_node(nid))
			nid = early_pfn_to_nid(pfn);
		stop = clamp(stop, pfn + 1, end);
		init_node_range(pfn, stop, nid);
		pfn = stop;
	}
}

#else

static void __init init_range(unsigned long pfn, unsigned long end)
{
}

#endif /* CONFIG_DEFERRED_STRUCT_PAGE_INIT */

/* Make the struct pages of a run of blocks, and stamp each block. */
void __init kho_stamp_run(const struct khoc_run *run)
{
	unsigned long pfn = PHYS_PFN(run->pa);
	unsigned long end = pfn + (run->nr << run->order);

	init_range(pfn, end);
	for (; pfn < end; pfn += 1UL << run->order)
		set_page_private(pfn_to_page(pfn), stamp_of(run->order));
}

/* ---- restoring ----------------------------------------------------------- */

/* Does a block begin at @phys that nobody has restored yet, and has @size bytes? */
bool kho_is_stamped(phys_addr_t phys, size_t size)
{
	struct page *page = pfn_to_online_page(PHYS_PFN(phys));
	int order = page ? stamp_order(READ_ONCE(page->private)) : -1;
	size_t offset = offset_in_page(phys);

	return order >= 0 && offset < PAGE_SIZE << order && size <= (PAGE_SIZE << order) - offset;
}

/* The stamp of the block at @pfn, which must be aligned to its size. Return: its order, or -1. */
static int stamped_order(unsigned long pfn)
{
	struct page *page = pfn_to_online_page(pfn);
	int order = page ? stamp_order(READ_ONCE(page->private)) : -1;

	return order >= 0 && IS_ALIGNED(pfn, 1UL << order) ? order : -1;
}

/*
 * From here on the block is the caller's alone: one reference to the first page, @tails to each of
 * the others. Return: false if another was faster.
 *
 * The pages were reserved and never allocated, so no tag accounts for them.
 */
static bool claim(unsigned long pfn, unsigned int order, int tails)
{
	struct page *page = pfn_to_page(pfn);
	unsigned long i;

	if (cmpxchg(&page->private, stamp_of(order), 0) != stamp_of(order))
		return false;
	for (i = 0; i < 1UL << order; i++) {
		set_page_count(page + i, i ? tails : 1);
		clear_page_tag_ref(page + i);
	}
	adjust_managed_page_count(page, 1L << order);
	return true;
}

/* Is a page, by itself, to be restored at @phys? */
bool kho_can_claim_page(phys_addr_t phys)
{
	return stamped_order(PHYS_PFN(phys)) == 0;
}

/* Take it over, with one reference. Return: false if there is none, or another was faster. */
bool kho_claim_page(phys_addr_t phys)
{
	return kho_can_claim_page(phys) && claim(PHYS_PFN(phys), 0, 0);
}

static void refuse(phys_addr_t phys, const char *what)
{
	pr_warn_ratelimited("%s at %pa: nothing preserved, or restored before\n", what, &phys);
}

/**
 * kho_restore_folio() - take over a block as a folio
 * @phys: address that kho_preserve_folio() or kho_alloc_preserve() was called for
 *
 * The folio has the order that it had when it was preserved, one reference, and the contents that
 * it had at the jump. folio_put() frees it.
 *
 * Context: Any, once memory is initialised. One of several callers for the same address succeeds.
 * Return: The folio, or NULL if nothing was preserved at @phys, or it was restored before.
 */
struct folio *kho_restore_folio(phys_addr_t phys)
{
	unsigned long pfn = PHYS_PFN(phys);
	struct page *page;
	int order;

	order = PAGE_ALIGNED(phys) ? stamped_order(pfn) : -1;
	if (order < 0 || order > MAX_PAGE_ORDER || !claim(pfn, order, 0)) {
		refuse(phys, "folio");
		return NULL;
	}
	page = pfn_to_page(pfn);
	if (order)
		prep_compound_page(page, order);
	return page_folio(page);
}
EXPORT_SYMBOL_GPL(kho_restore_folio);

/* Are there blocks, one after the other, from @pfn to @end exactly? */
static bool blocks_tile(unsigned long pfn, unsigned long end)
{
	while (pfn < end) {
		int order = stamped_order(pfn);

		if (order < 0 || 1UL << order > end - pfn)
			return false;
		pfn += 1UL << order;
	}
	return true;
}

/**
 * kho_restore_pages() - take over pages, each by itself
 * @phys: address of the first
 * @nr_pages: how many; with @phys, what kho_preserve_pages() was called with
 *
 * The steps are those in which the range was stored, whatever this kernel's nodes are. All of the
 * range is restored, or nothing. Each page has one reference; __free_page() frees it.
 *
 * Context: As kho_restore_folio().
 * Return: The first page, or NULL if the range was not preserved as such, or restored before.
 */
struct page *kho_restore_pages(phys_addr_t phys, unsigned long nr_pages)
{
	unsigned long pfn = PHYS_PFN(phys), end = pfn + nr_pages;
	int order;

	if (!PAGE_ALIGNED(phys) || !nr_pages || end < pfn || !blocks_tile(pfn, end)) {
		refuse(phys, "pages");
		return NULL;
	}
	while (pfn < end) {
		order = stamped_order(pfn);
		if (order < 0 || !claim(pfn, order, 1)) {
			refuse(PFN_PHYS(pfn), "pages");
			return NULL;
		}
		pfn += 1UL << order;
	}
	return phys_to_page(phys);
}
EXPORT_SYMBOL_GPL(kho_restore_pages);

/**
 * kho_restore_free() - free what kho_alloc_preserve() gave in the previous kernel
 * @mem: its address here, phys_to_virt() of what was handed over; may be NULL
 *
 * Context: As kho_restore_folio().
 */
void kho_restore_free(void *mem)
{
	struct folio *folio = mem ? kho_restore_folio(virt_to_phys(mem)) : NULL;

	if (folio)
		folio_put(folio);
}
EXPORT_SYMBOL_GPL(kho_restore_free);
