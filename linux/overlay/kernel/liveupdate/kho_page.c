// SPDX-License-Identifier: GPL-2.0-only
/*
 * Struct pages of what was handed to us: made at boot, one range after the other, and given back to
 * their users one block after the other.
 *
 * Between the two the first struct page of each block holds a stamp: that the block was preserved,
 * its order, and its type if the previous kernel said what types are. Whoever restores a block
 * takes the stamp away in one atomic step; so a block that was never preserved, one that was
 * restored before, and one of another type or order are refused.
 *
 * All restoring is one step, claim(): a block of that order and type becomes the caller's.
 */
#define pr_fmt(fmt) "KHO: " fmt

#include <linux/io.h>
#include <linux/kho/preserve.h>
#include <linux/memblock.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/page-isolation.h>
#include <linux/pgalloc_tag.h>

#include "../../mm/internal.h"
#include "kexec_handover_internal.h"

/* The upper half of a stamp; no pointer, nor anything that the allocators keep there. */
#define STAMP_MAGIC (0x6c6b686fUL << 32)
#define STAMP_MAGIC_MASK (~0UL << 32)
#define STAMP_ORDER 0xffUL
#define STAMP_TYPE_SHIFT 8
static_assert(KHO_ABI_TYPES <= 1 << STAMP_TYPE_SHIFT);

/* Did the previous kernel say what types blocks have? Then one without a type is a folio. */
static bool have_types __ro_after_init;

static unsigned long stamp_of(unsigned int order, unsigned int type)
{
	return STAMP_MAGIC | type << STAMP_TYPE_SHIFT | order;
}

/* Return: the order that a stamp tells, or -1 if it is none. */
static int stamp_order(unsigned long stamp)
{
	return (stamp & STAMP_MAGIC_MASK) == STAMP_MAGIC ? (int)(stamp & STAMP_ORDER) : -1;
}

/* Return: the type that it tells; 0: nobody said. */
static unsigned int stamp_type(unsigned long stamp)
{
	unsigned int type = (u32)stamp >> STAMP_TYPE_SHIFT;

	return type || !have_types ? type : KHO_ABI_TYPE_FOLIO;
}

static bool stamp_fits(unsigned long stamp, unsigned int type)
{
	unsigned int is = stamp_type(stamp);

	return !is || is == type;
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
		set_page_private(pfn_to_page(pfn), stamp_of(run->order, 0));
}

/* One of the blocks above is of a type. */
void __init kho_stamp_type(phys_addr_t phys, unsigned int order, unsigned int type)
{
	set_page_private(phys_to_page(phys), stamp_of(order, type));
}

/* All that have one were told so. */
void __init kho_stamps_have_types(void)
{
	have_types = true;
}

/* ---- restoring ----------------------------------------------------------- */

/* What is in the struct page at @pfn; 0: there is none. */
static unsigned long stamp_at(unsigned long pfn)
{
	struct page *page = pfn_to_online_page(pfn);

	return page ? READ_ONCE(page->private) : 0;
}

/* Does a block begin at @phys that nobody has restored yet, and has @size bytes? */
bool kho_is_stamped(phys_addr_t phys, size_t size)
{
	int order = stamp_order(stamp_at(PHYS_PFN(phys)));
	size_t offset = offset_in_page(phys);

	return order >= 0 && offset < PAGE_SIZE << order && size <= (PAGE_SIZE << order) - offset;
}

/* The order of a type's block at @pfn, which must be aligned to its size; -1: there is none. */
static int order_at(unsigned long pfn, unsigned int type)
{
	unsigned long stamp = stamp_at(pfn);
	int order = stamp_order(stamp);

	return order >= 0 && IS_ALIGNED(pfn, 1UL << order) && stamp_fits(stamp, type) ? order : -1;
}

/* The same, of an address. */
int kho_claimable_order(phys_addr_t phys, unsigned int type)
{
	return PAGE_ALIGNED(phys) ? order_at(PHYS_PFN(phys), type) : -1;
}

/* Is there such a block? */
bool kho_can_claim(phys_addr_t phys, unsigned int order, unsigned int type)
{
	return kho_claimable_order(phys, type) == (int)order;
}

/*
 * From here on the block is the caller's alone: one reference to the first page, @tails to each of
 * the others. Return: false if it is not of this order and type, or another was faster.
 *
 * The pages were reserved and never allocated, so no tag accounts for them.
 */
static bool claim(unsigned long pfn, unsigned int order, unsigned int type, int tails)
{
	struct page *page = pfn_to_page(pfn);
	unsigned long stamp = READ_ONCE(page->private), i;

	if (stamp_order(stamp) != (int)order || !stamp_fits(stamp, type) ||
	    cmpxchg(&page->private, stamp, 0) != stamp)
		return false;
	for (i = 0; i < 1UL << order; i++) {
		set_page_count(page + i, i ? tails : 1);
		clear_page_tag_ref(page + i);
	}
	adjust_managed_page_count(page, 1L << order);
	return true;
}

/* Say why there is no such block. */
static void refuse(phys_addr_t phys, unsigned int type)
{
	unsigned long stamp = stamp_at(PHYS_PFN(phys));
	const char *what = khoc_type_text(type);

	if (stamp_order(stamp) < 0)
		pr_warn_ratelimited("%s at %pa: nothing preserved, or restored before\n", what,
				    &phys);
	else if (!stamp_fits(stamp, type))
		pr_warn_ratelimited("%s at %pa: preserved as %s\n", what, &phys,
				    khoc_type_text(stamp_type(stamp)));
	else
		pr_warn_ratelimited("%s at %pa: preserved as a block of order %d\n", what, &phys,
				    stamp_order(stamp));
}

static struct folio *restore_folio(phys_addr_t phys, int order)
{
	unsigned long pfn = PHYS_PFN(phys);

	if (order < 0 || order > MAX_PAGE_ORDER || !claim(pfn, order, KHO_ABI_TYPE_FOLIO, 0)) {
		refuse(phys, KHO_ABI_TYPE_FOLIO);
		return NULL;
	}
	if (order)
		prep_compound_page(pfn_to_page(pfn), order);
	return page_folio(pfn_to_page(pfn));
}

/**
 * kho_restore_folio() - take over a block as a folio
 * @phys: address that kho_preserve_folio() or kho_alloc_preserve() was called for
 *
 * The folio has the order that it had when it was preserved, one reference, and the contents that
 * it had at the jump. folio_put() frees it.
 *
 * Context: Any, once memory is initialised. One of several callers for the same address succeeds.
 * Return: The folio, or NULL if nothing was preserved at @phys, or not as a folio (which a previous
 * kernel that is Linux 7.2 does not say), or it was restored before.
 */
struct folio *kho_restore_folio(phys_addr_t phys)
{
	return restore_folio(phys, kho_claimable_order(phys, KHO_ABI_TYPE_FOLIO));
}
EXPORT_SYMBOL_GPL(kho_restore_folio);

/* Are there blocks of a type, one after the other, from @pfn to @end exactly? */
static bool blocks_tile(unsigned long pfn, unsigned long end, unsigned int type)
{
	while (pfn < end) {
		int order = order_at(pfn, type);

		if (order < 0 || 1UL << order > end - pfn)
			return false;
		pfn += 1UL << order;
	}
	return true;
}

/* Take over pages of a type, each with one reference; all or none. Return: the first, or NULL. */
struct page *kho_claim(phys_addr_t phys, unsigned long nr_pages, unsigned int type)
{
	unsigned long pfn = PHYS_PFN(phys), end = pfn + nr_pages;
	int order;

	if (!PAGE_ALIGNED(phys) || !nr_pages || end < pfn || !blocks_tile(pfn, end, type)) {
		refuse(phys, type);
		return NULL;
	}
	while (pfn < end) {
		order = order_at(pfn, type);
		if (order < 0 || !claim(pfn, order, type, 1)) {
			refuse(PFN_PHYS(pfn), type);
			return NULL;
		}
		pfn += 1UL << order;
	}
	return phys_to_page(phys);
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
	return kho_claim(phys, nr_pages, KHO_ABI_TYPE_PAGES);
}
EXPORT_SYMBOL_GPL(kho_restore_pages);

/**
 * kho_restore_block() - take over one block, as a type and of an order
 * @phys: its address
 * @order: log2 of its pages
 * @type: KHO_FOLIO: the page of a folio, with one reference; KHO_PAGES: pages with one reference
 * each
 *
 * What kho_restore_folio() and kho_restore_pages() do, for who knows what must be there.
 *
 * Context: As kho_restore_folio().
 * Return: Its first page, or NULL if there is no such block, or it was restored before; the log
 * says what there is instead. That the type is wrong is not known if the previous kernel was a
 * Linux 7.2.
 */
struct page *kho_restore_block(phys_addr_t phys, unsigned int order, enum kho_block_type type)
{
	struct folio *folio;

	if ((type != KHO_FOLIO && type != KHO_PAGES) || !kho_can_claim(phys, order, type)) {
		refuse(phys, type);
		return NULL;
	}
	if (type == KHO_PAGES)
		return kho_claim(phys, 1UL << order, type);
	folio = restore_folio(phys, order);
	return folio ? folio_page(folio, 0) : NULL;
}
EXPORT_SYMBOL_GPL(kho_restore_block);

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
