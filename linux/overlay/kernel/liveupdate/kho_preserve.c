// SPDX-License-Identifier: GPL-2.0-only
/*
 * Preserving where sleeping is not allowed, and many blocks of one size at once; and what is
 * preserved, to be looked at. All of it by the core's functions, without a lock: what others
 * preserve meanwhile may or may not be seen.
 */
#include <linux/export.h>
#include <linux/io.h>
#include <linux/kho/preserve.h>
#include <linux/mm.h>

#include "kexec_handover_internal.h"

static_assert(sizeof(((struct kho_preload *)0)->core) >= 2 * sizeof(struct khoc_radix_reserve));
static_assert(sizeof(((struct kho_counts *)0)->blocks) ==
	      sizeof(((struct khoc_radix_counts *)0)->blocks));

static_assert(KHO_FOLIO == (int)KHO_ABI_TYPE_FOLIO && KHO_PAGES == (int)KHO_ABI_TYPE_PAGES);

/* ---- where sleeping is not allowed --------------------------------------- */

static struct khoc_radix_reserve *reserve_of(struct kho_preload *preload)
{
	return (struct khoc_radix_reserve *)preload->core;
}

/**
 * kho_preload() - set memory aside so that a block can be preserved without sleeping
 * @preload: zeroes at first. To preserve one block after the other, it is called again between
 * them:
 *	it replaces what was used
 *
 * Context: May sleep.
 * Return: 0; -ENOMEM (what was set aside stays); -EOPNOTSUPP: there is no KHO.
 */
int kho_preload(struct kho_preload *preload)
{
	return kho_mark_reserve(reserve_of(preload));
}
EXPORT_SYMBOL_GPL(kho_preload);

/**
 * kho_preload_end() - give back what was set aside and not used
 * @preload: is zeroes afterwards
 *
 * Context: Any but an NMI.
 */
void kho_preload_end(struct kho_preload *preload)
{
	kho_mark_drain(reserve_of(preload));
}
EXPORT_SYMBOL_GPL(kho_preload_end);

/**
 * kho_preserve_folio_atomic() - hand over a folio, without sleeping
 * @folio: as in kho_preserve_folio(), whose undoing, and restoring, are this one's as well
 * @preload: filled by kho_preload() since it was last used
 *
 * Context: Any. Takes no lock and allocates nothing.
 * Return: 0; -ENOMEM: @preload was not filled; or as kho_preserve_folio().
 */
int kho_preserve_folio_atomic(struct folio *folio, struct kho_preload *preload)
{
	return kho_errno(kho_mark(PFN_PHYS(folio_pfn(folio)), folio_order(folio),
				  KHO_ABI_TYPE_FOLIO, reserve_of(preload)));
}
EXPORT_SYMBOL_GPL(kho_preserve_folio_atomic);

/**
 * kho_preserve_block_atomic() - hand over pages that belong to no folio, without sleeping
 * @page: the first; aligned to the block
 * @order: log2 of their number
 * @preload: filled by kho_preload() since it was last used
 *
 * What kho_preserve_pages() does for such a block, if all of it is in one node:
 * kho_unpreserve_pages() undoes it, kho_restore_pages() restores it.
 *
 * Context: Any. Takes no lock and allocates nothing.
 * Return: 0; -ENOMEM: @preload was not filled; -EINVAL: not aligned; or as kho_preserve_folio().
 */
int kho_preserve_block_atomic(struct page *page, unsigned int order, struct kho_preload *preload)
{
	int err = kho_mark(page_to_phys(page), order, KHO_ABI_TYPE_PAGES, reserve_of(preload));

	return kho_errno(err);
}
EXPORT_SYMBOL_GPL(kho_preserve_block_atomic);

/* ---- many at once -------------------------------------------------------- */

/**
 * kho_preserve_run() - hand over neighbouring blocks of one size
 * @page: the first; aligned to a block
 * @nr: how many blocks
 * @order: log2 of the pages of each; 0: pages
 *
 * 64 marks a step. kho_preserve_pages() makes larger blocks of a range where it can; here each
 * block stays one by itself, that can be undone, and restored, alone: by kho_unpreserve_run() and
 * kho_restore_pages() of it. kho_restore_pages() of more than one restores them all. A kernel
 * without this call, as Linux 7.2, restores them one by one.
 *
 * Context: May sleep, for memory. Takes no lock.
 * Return: As kho_preserve_folio(). On an error nothing of the run is preserved.
 */
int kho_preserve_run(struct page *page, unsigned long nr, unsigned int order)
{
	return kho_errno(kho_mark_run(page_to_phys(page), nr, order, KHO_ABI_TYPE_PAGES));
}
EXPORT_SYMBOL_GPL(kho_preserve_run);

/**
 * kho_unpreserve_run() - take back kho_preserve_run(), or a part of it
 * @page: the first
 * @nr: how many blocks
 * @order: as it was preserved
 *
 * Context: Any. Takes no lock.
 */
void kho_unpreserve_run(struct page *page, unsigned long nr, unsigned int order)
{
	kho_unmark_run(page_to_phys(page), nr, order, KHO_ABI_TYPE_PAGES);
}
EXPORT_SYMBOL_GPL(kho_unpreserve_run);

/* ---- looking ------------------------------------------------------------- */

/**
 * kho_preserved_lookup() - which block that we hand over has this address in it?
 * @phys: any address
 * @block: filled in with it, @nr being 1; of several, the largest
 *
 * Context: Any. Takes no lock.
 * Return: true if there is one.
 */
bool kho_preserved_lookup(phys_addr_t phys, struct kho_run *block)
{
	struct khoc_block found;

	if (!kho_tree.root || !khoc_radix_lookup(&kho_tree, phys, &found))
		return false;
	*block = (struct kho_run){found.pa, 1, found.order};
	return true;
}
EXPORT_SYMBOL_GPL(kho_preserved_lookup);

/* The caller's function, and what it returned. */
struct walk {
	int (*fn)(const struct kho_run *run, void *ctx);
	void *ctx;
};

static int walk_run(void *ctx, const struct khoc_run *run)
{
	const struct kho_run out = {run->pa, run->nr, run->order};
	const struct walk *walk = ctx;

	return walk->fn(&out, walk->ctx);
}

/**
 * kho_preserved_walk() - call a function for each run of blocks that we hand over
 * @start: where to start
 * @end: where to end; only blocks with a byte in [@start, @end) are seen
 * @fn: what to call; anything but 0 ends the walk
 * @ctx: passed to it
 *
 * Larger blocks come before smaller ones, those of one size by ascending address.
 *
 * Context: What @fn needs. Takes no lock.
 * Return: 0, what @fn returned, or -EOPNOTSUPP: there is no KHO.
 */
int kho_preserved_walk(phys_addr_t start, phys_addr_t end,
		       int (*fn)(const struct kho_run *run, void *ctx), void *ctx)
{
	struct walk walk = {fn, ctx};

	if (!kho_tree.root)
		return -EOPNOTSUPP;
	return kho_errno(khoc_radix_walk(&kho_tree, start, end, walk_run, &walk));
}
EXPORT_SYMBOL_GPL(kho_preserved_walk);

/**
 * kho_preserved_count() - how much of a range we hand over
 * @start: where to start
 * @end: where to end; blocks that begin in [@start, @end) are counted
 * @counts: filled in; @nodes are those of all memory
 *
 * Context: Any. Takes no lock.
 * Return: 0, or -EOPNOTSUPP: there is no KHO.
 */
int kho_preserved_count(phys_addr_t start, phys_addr_t end, struct kho_counts *counts)
{
	struct khoc_radix_counts core = {};
	int err;

	if (!kho_tree.root)
		return -EOPNOTSUPP;
	err = khoc_radix_count(&kho_tree, start, end, &core);
	counts->pages = core.pages;
	counts->nodes = core.tables + core.leaves;
	memcpy(counts->blocks, core.blocks, sizeof(counts->blocks));
	return kho_errno(err);
}
EXPORT_SYMBOL_GPL(kho_preserved_count);
