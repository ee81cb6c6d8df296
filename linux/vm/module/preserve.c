// SPDX-License-Identifier: GPL-2.0-only
/*
 * do=blocks: folios and a block preserved where sleeping is not allowed, and runs of blocks, as a
 * kernel of ours alone can; what it says of them meanwhile. Any kernel restores them (check.c).
 */
#include <linux/gfp.h>
#include <linux/kho/preserve.h>
#include <linux/spinlock.h>

#include "ours.h"

/* Pages of a block that ends before the next larger one, so that its neighbours are not preserved. */
#define RUN_BLOCK 9
#define RUN_FIRST 3
#define RUN_NR 500
/* Blocks of this size nobody else in the guest has: the first needs nodes of its own. */
#define RARE_ORDER 11

static DEFINE_SPINLOCK(no_sleep);

static int note(struct kho_vm_blocks *blocks, u64 pa, u32 nr, enum kho_vm_how how)
{
	u64 page;

	blocks->block[blocks->nr++] =
		(struct kho_vm_block){.pa = pa, .nr = nr, .step = 1, .how = how};
	for (page = pa; page < pa + ((u64)nr << PAGE_SHIFT); page += PAGE_SIZE)
		*(u64 *)phys_to_virt(page) = kho_vm_mark(page);
	return 0;
}

static int folio_atomic(struct kho_vm_blocks *blocks, struct kho_preload *preload,
			unsigned int order, struct kho_vm_tally *tally)
{
	struct folio *folio = folio_alloc(GFP_KERNEL, order);
	struct kho_run found = {};
	unsigned long flags;
	phys_addr_t pa;
	int err;

	if (!folio)
		return -ENOMEM;
	err = kho_preload(preload);
	if (err)
		return err;
	spin_lock_irqsave(&no_sleep, flags);
	err = kho_preserve_folio_atomic(folio, preload);
	spin_unlock_irqrestore(&no_sleep, flags);
	if (err)
		return err;
	pa = PFN_PHYS(folio_pfn(folio));
	kho_vm_expect(tally,
		      kho_preserved_lookup(pa + (PAGE_SIZE << order) - 1, &found) &&
			      found.phys == pa && found.order == order && found.nr == 1,
		      "folio of order %u at %pa: found %#llx of order %u", order, &pa, found.phys,
		      found.order);
	return note(blocks, pa, 1U << order, KHO_VM_FOLIO);
}

/* Without memory set aside it fails, and leaves nothing; with it, it does not. */
static int rare_atomic(struct kho_vm_blocks *blocks, struct kho_vm_tally *tally)
{
	struct page *page = alloc_contig_pages(1UL << RARE_ORDER, GFP_KERNEL, numa_node_id(), NULL);
	struct kho_preload preload = {};
	struct kho_run found;
	unsigned long flags;
	int err, empty;

	if (!page)
		return -ENOMEM;
	spin_lock_irqsave(&no_sleep, flags);
	empty = kho_preserve_block_atomic(page, RARE_ORDER, &preload);
	spin_unlock_irqrestore(&no_sleep, flags);
	kho_vm_expect(tally, empty == -ENOMEM && !kho_preserved_lookup(page_to_phys(page), &found),
		      "a block with nothing set aside: %d", empty);
	err = kho_preload(&preload);
	if (err)
		return err;
	spin_lock_irqsave(&no_sleep, flags);
	err = kho_preserve_block_atomic(page, RARE_ORDER, &preload);
	spin_unlock_irqrestore(&no_sleep, flags);
	kho_preload_end(&preload);
	kho_preload_end(&preload);
	kho_vm_expect(tally, !err && kho_preserved_lookup(page_to_phys(page), &found),
		      "a block with nodes set aside: %d", err);
	return err ?: note(blocks, page_to_phys(page), 1U << RARE_ORDER, KHO_VM_PAGES);
}

/* What a walk over a range has seen, of one order. */
struct seen {
	unsigned int order;
	unsigned int runs;
	u64 blocks;
	u64 first;
};

static int see(const struct kho_run *run, void *ctx)
{
	struct seen *seen = ctx;

	if (run->order != seen->order)
		return -ERANGE;
	if (!seen->runs++)
		seen->first = run->phys;
	seen->blocks += run->nr;
	return 0;
}

static int stop(const struct kho_run *run, void *ctx)
{
	return 7;
}

/* A walk, a count and two questions agree: @nr blocks of an order in @runs runs. */
static void look(u64 pa, u64 size, unsigned int order, u64 nr, unsigned int runs,
		 struct kho_vm_tally *tally)
{
	struct seen seen = {.order = order};
	static struct kho_counts counts;
	int err = kho_preserved_walk(pa, pa + size, see, &seen);

	kho_vm_expect(tally, !err && seen.runs == runs && seen.blocks == nr,
		      "walk: %d, %u runs of %llu blocks, not %u of %llu", err, seen.runs,
		      seen.blocks, runs, nr);
	err = kho_preserved_count(pa, pa + size, &counts);
	kho_vm_expect(tally,
		      !err && counts.blocks[order] == nr && counts.pages == nr << order &&
			      counts.nodes >= 6,
		      "count: %d, %llu blocks, %llu pages, %llu nodes", err, counts.blocks[order],
		      counts.pages, counts.nodes);
}

static int run_of(struct kho_vm_blocks *blocks, unsigned int order, unsigned long nr,
		  struct kho_vm_tally *tally)
{
	struct page *block = alloc_pages(GFP_KERNEL, RUN_BLOCK + order);
	struct page *page = block + ((unsigned long)RUN_FIRST << order);
	u64 pa, all = PAGE_SIZE << (RUN_BLOCK + order);
	struct kho_run found;
	int err;

	if (!block)
		return -ENOMEM;
	pa = page_to_phys(block);
	look(pa, all, order, 0, 0, tally);
	err = kho_preserve_run(page, nr, order);
	if (err)
		return err;
	look(pa, all, order, nr, 1, tally);
	kho_vm_expect(tally, kho_preserved_walk(pa, pa + all, stop, NULL) == 7, "walk: no stop");
	kho_vm_expect(tally, !kho_preserved_lookup(pa, &found), "a block before the first");
	/* Over a word's border, and back again. */
	kho_unpreserve_run(page + (100UL << order), 77, order);
	look(pa, all, order, nr - 77, 2, tally);
	kho_vm_expect(tally,
		      !kho_preserved_lookup(page_to_phys(page + (176UL << order)), &found) &&
			      kho_preserved_lookup(page_to_phys(page + (177UL << order)), &found) &&
			      found.order == order,
		      "the border of what was unpreserved");
	err = kho_preserve_run(page + (100UL << order), 77, order);
	if (err)
		return err;
	look(pa, all, order, nr, 1, tally);
	for (unsigned long i = 0; order && i < nr; i++)
		note(blocks, page_to_phys(page + (i << order)), 1U << order, KHO_VM_PAGES);
	return order ? 0 : note(blocks, page_to_phys(page), nr, KHO_VM_SINGLES);
}

int kho_vm_make_blocks(struct kho_vm_blocks *blocks, const struct kho_vm_request *request)
{
	struct kho_preload preload = {};
	struct kho_vm_tally tally = {};
	unsigned int i;
	int err = 0;

	for (i = 0; i < 64 && !err; i++)
		err = folio_atomic(blocks, &preload, i % 6, &tally);
	kho_preload_end(&preload);
	if (!err)
		err = rare_atomic(blocks, &tally);
	if (!err)
		err = run_of(blocks, 0, RUN_NR, &tally);
	if (!err)
		err = run_of(blocks, 1, 200, &tally);
	pr_info("kho_vm: blocks: %lu checked, %lu faults\n", tally.checks, tally.faults);
	return err ?: tally.faults ? -EBADMSG : 0;
}
