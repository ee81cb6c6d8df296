// SPDX-License-Identifier: GPL-2.0-only
/* Sets of blocks, preserved. */
#include <linux/gfp.h>
#include <linux/log2.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

#include "kho_vm.h"
#ifdef KHO_VM_OURS
#include "ours.h"
#endif

/* A run of 1 million pages in 16,384: the first 576 have one page more. */
#define RUN_ORDER 6
#define RUNS 16384

/* xorshift64: the same numbers in every kernel. */
static u64 next_random(u64 *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void mark(const struct kho_vm_block *block)
{
	u64 pa;

	for (pa = block->pa; pa < block->pa + ((u64)block->nr << PAGE_SHIFT);
	     pa += (u64)block->step << PAGE_SHIFT)
		*(u64 *)phys_to_virt(pa) = kho_vm_mark(pa);
}

static int preserve(const struct kho_vm_block *block)
{
	struct page *page = pfn_to_page(block->pa >> PAGE_SHIFT);
	u32 i;
	int err;

	if (block->how == KHO_VM_FOLIO)
		return kho_preserve_folio(page_folio(page));
	if (block->how == KHO_VM_PAGES)
		return kho_preserve_pages(page, block->nr);
	for (i = 0; i < block->nr; i++) {
		err = kho_preserve_pages(page + i, 1);
		if (err)
			return err;
	}
	return 0;
}

static int add(struct kho_vm_blocks *blocks, u64 pa, u32 nr, u16 step, enum kho_vm_how how)
{
	struct kho_vm_block *block = &blocks->block[blocks->nr];
	int err;

	*block = (struct kho_vm_block){.pa = pa, .nr = nr, .step = step, .how = how};
	mark(block);
	err = preserve(block);
	if (err) {
		pr_err("kho_vm: %u pages at %#llx: %d\n", nr, pa, err);
		return err;
	}
	blocks->nr++;
	return 0;
}

/* The first half of a block of twice the size: its neighbours are never preserved. */
static int add_isolated(struct kho_vm_blocks *blocks, unsigned int order)
{
	struct page *page = alloc_pages(GFP_KERNEL, order + 1);

	return page ? add(blocks, page_to_phys(page), 1 << order, 1 << order, KHO_VM_PAGES)
		    : -ENOMEM;
}

static int make_isolated(struct kho_vm_blocks *blocks, const struct kho_vm_request *request)
{
	int err = 0;

	while (!err && blocks->nr < request->nr)
		err = add_isolated(blocks, 0);
	return err;
}

/* Orders 0 to 9, each half as often as the one before. */
static int make_mixed(struct kho_vm_blocks *blocks, const struct kho_vm_request *request)
{
	u64 state = request->seed;
	int err = 0;

	while (!err && blocks->nr < request->nr)
		err = add_isolated(blocks, __ffs((next_random(&state) >> 20) | 1 << 9));
	return err;
}

static int make_runs(struct kho_vm_blocks *blocks, const struct kho_vm_request *request)
{
	unsigned long left = request->nr;
	struct page *page;
	u32 nr;
	int err;

	while (blocks->nr < RUNS) {
		nr = DIV_ROUND_UP(left, RUNS - blocks->nr);
		if (nr >= 1 << RUN_ORDER)
			return -EINVAL;
		page = alloc_pages(GFP_KERNEL, RUN_ORDER);
		if (!page)
			return -ENOMEM;
		err = add(blocks, page_to_phys(page), nr, 1 << RUN_ORDER, KHO_VM_SINGLES);
		if (err)
			return err;
		left -= nr;
	}
	return 0;
}

/* As a run of pages; and, up to the allocator's largest order, as a folio, too. */
static int add_order(struct kho_vm_blocks *blocks, unsigned int order)
{
	struct folio *folio;
	struct page *page;
	int err;

	page = alloc_contig_pages(1UL << order, GFP_KERNEL, numa_node_id(), NULL);
	if (!page) {
		pr_err("kho_vm: no block of order %u\n", order);
		return -ENOMEM;
	}
	err = add(blocks, page_to_phys(page), 1U << order, 1, KHO_VM_PAGES);
	if (err || order > MAX_PAGE_ORDER)
		return err;
	folio = folio_alloc(GFP_KERNEL, order);
	if (!folio)
		return -ENOMEM;
	return add(blocks, PFN_PHYS(folio_pfn(folio)), 1U << order, 1, KHO_VM_FOLIO);
}

/* The largest first, while there is room for it. */
static int make_orders(struct kho_vm_blocks *blocks, const struct kho_vm_request *request)
{
	unsigned int left;
	int err = 0;

	for (left = request->orders + 1; left && !err; left--)
		err = add_order(blocks, left - 1);
	return err;
}

/* Folios, and pages, of each order up to 5, eight times. */
static int make_folios(struct kho_vm_blocks *blocks, const struct kho_vm_request *request)
{
	unsigned int order, i;
	int err = 0;

	for (i = 0; i < 48 && !err; i++) {
		struct folio *folio;

		order = i % 6;
		folio = folio_alloc(GFP_KERNEL, order);
		if (!folio)
			return -ENOMEM;
		err = add(blocks, PFN_PHYS(folio_pfn(folio)), 1U << order, 1, KHO_VM_FOLIO);
		if (!err)
			err = add_isolated(blocks, order);
	}
	return err;
}

/*
 * A range that the caller owns: reserved at boot, and all zeroes. Its ends must be on two nodes,
 * or the test shows nothing.
 */
static int make_range(struct kho_vm_blocks *blocks, const struct kho_vm_request *request)
{
	unsigned long pfn = request->pa >> PAGE_SHIFT, i;

	for (i = 0; i < request->pages; i++) {
		if (!pfn_valid(pfn + i) || !PageReserved(pfn_to_page(pfn + i)) ||
		    memchr_inv(phys_to_virt(request->pa + (i << PAGE_SHIFT)), 0, PAGE_SIZE)) {
			pr_err("kho_vm: page %#lx is not to be had\n", pfn + i);
			return -EBUSY;
		}
	}
	if (pfn_to_nid(pfn) == pfn_to_nid(pfn + request->pages - 1)) {
		pr_err("kho_vm: the range is on one node\n");
		return -EINVAL;
	}
	return add(blocks, request->pa, request->pages, 1, KHO_VM_PAGES);
}

static int hand_over(const struct kho_vm_blocks *blocks)
{
	struct kho_vm_record *record = kho_alloc_preserve(PAGE_SIZE);
	int err;

	if (IS_ERR(record))
		return PTR_ERR(record);
	record->magic = KHO_VM_MAGIC;
	record->nr = blocks->nr;
	err = kho_preserve_vmalloc(blocks->block, &record->list);
	return err ?: kho_add_subtree(KHO_VM_SUBTREE, record, PAGE_SIZE);
}

static const struct {
	const char *name;
	int (*make)(struct kho_vm_blocks *blocks, const struct kho_vm_request *request);
} kinds[] = {
	{"isolated", make_isolated},	{"mixed", make_mixed}, {"runs", make_runs},
	{"orders", make_orders},	{"range", make_range}, {"folios", make_folios},
#ifdef KHO_VM_OURS
	{"blocks", kho_vm_make_blocks},
#endif
};

int kho_vm_make(const char *what, const struct kho_vm_request *request)
{
	struct kho_vm_blocks blocks = {0};
	unsigned int i;
	int err;

	for (i = 0; i < ARRAY_SIZE(kinds) && strcmp(what, kinds[i].name); i++)
		;
	if (i == ARRAY_SIZE(kinds))
		return -EINVAL;
	blocks.block = vmalloc(array_size(max(request->nr, 512UL), sizeof(*blocks.block)));
	if (!blocks.block)
		return -ENOMEM;
	err = kinds[i].make(&blocks, request);
	return err ?: hand_over(&blocks);
}
