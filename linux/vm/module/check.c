// SPDX-License-Identifier: GPL-2.0-only
/* What arrived. */
#include <linux/vmalloc.h>

#include "kho_vm.h"
#ifdef KHO_VM_OURS
#include <linux/kho/preserve.h>
#include <linux/log2.h>
#endif

/* Blocks with which all that is to be refused is tried: each try may be a line in the log. */
#define REFUSALS 200

/* One line for the first fault is enough; the others are counted. */
static unsigned long faults;

#define fault(fmt, ...)                                                    \
	do {                                                               \
		if (!faults++)                                             \
			pr_err("kho_vm: fault: " fmt "\n", ##__VA_ARGS__); \
	} while (0)

static void check_marks(const struct kho_vm_block *block)
{
	u64 pa;

	for (pa = block->pa; pa < block->pa + ((u64)block->nr << PAGE_SHIFT);
	     pa += (u64)block->step << PAGE_SHIFT)
		if (*(u64 *)phys_to_virt(pa) != kho_vm_mark(pa))
			fault("%#llx was changed", pa);
}

static void restore_folio(const struct kho_vm_block *block)
{
	struct folio *folio = kho_restore_folio(block->pa);

	if (!folio) {
		fault("no folio at %#llx", block->pa);
		return;
	}
	if (folio_nr_pages(folio) != block->nr || folio_ref_count(folio) != 1)
		fault("folio at %#llx: %ld pages, %d references", block->pa, folio_nr_pages(folio),
		      folio_ref_count(folio));
	else
		folio_put(folio);
}

/*
 * Restored pages have one reference each, and are counted as memory that is in use; the allocator
 * takes them back. A page that was passed over looks the same, but was not counted.
 */
static void restore_pages(u64 pa, unsigned long nr)
{
	unsigned long before = totalram_pages(), i;
	struct page *page = kho_restore_pages(pa, nr);

	if (!page) {
		fault("%lu pages at %#llx: not restored", nr, pa);
		return;
	}
	if (totalram_pages() - before != nr) {
		fault("of %lu pages at %#llx %ld were skipped", nr, pa,
		      (long)(nr - (totalram_pages() - before)));
		return;
	}
	for (i = 0; i < nr; i++) {
		if (page_count(page + i) != 1)
			fault("%#llx, of %lu pages at %#llx: %d references",
			      pa + ((u64)i << PAGE_SHIFT), nr, pa, page_count(page + i));
		else
			__free_page(page + i);
	}
}

#ifdef KHO_VM_OURS

static int page_nid(u64 pa)
{
	return page_to_nid(phys_to_page(pa));
}

/* Whoever preserved it: another order, an address in its middle, or what comes before it, is nothing. */
static void refuse_wrong(const struct kho_vm_block *block)
{
	enum kho_block_type type = block->how == KHO_VM_FOLIO ? KHO_FOLIO : KHO_PAGES;
	unsigned int order = ilog2(block->nr);

	/* A range over nodes is more blocks than one. */
	if (block->how == KHO_VM_SINGLES || !is_power_of_2(block->nr) ||
	    page_nid(block->pa) != page_nid(block->pa + ((u64)(block->nr - 1) << PAGE_SHIFT)))
		return;
	if (kho_restore_block(block->pa, order + 1, type) ||
	    (order && kho_restore_block(block->pa, order - 1, type)))
		fault("%#llx: a block of order %u restored with another", block->pa, order);
	if (order && kho_restore_folio(block->pa + PAGE_SIZE))
		fault("%#llx: the second page restored as a folio", block->pa);
	if (order && kho_restore_pages(block->pa, block->nr / 2))
		fault("%#llx: a half restored", block->pa);
}

static void refuse_again(const struct kho_vm_block *block)
{
	if (kho_restore_folio(block->pa) || kho_restore_pages(block->pa, block->nr))
		fault("%#llx: restored twice", block->pa);
}

#else

static void refuse_wrong(const struct kho_vm_block *block)
{
}

static void refuse_again(const struct kho_vm_block *block)
{
}

#endif

/* @wrong: try what must be refused, too */
static void check_block(const struct kho_vm_block *block, bool wrong)
{
	u32 i;

	check_marks(block);
	if (wrong)
		refuse_wrong(block);
	if (block->how == KHO_VM_FOLIO)
		restore_folio(block);
	else if (block->how == KHO_VM_PAGES)
		restore_pages(block->pa, block->nr);
	else
		for (i = 0; i < block->nr; i++)
			restore_pages(block->pa + ((u64)i << PAGE_SHIFT), 1);
	if (wrong)
		refuse_again(block);
}

int kho_vm_check(void)
{
	const struct kho_vm_record *record;
	const struct kho_vm_block *block;
	phys_addr_t pa;
	size_t size;
	u64 i, nr;
	int err;

	err = kho_retrieve_subtree(KHO_VM_SUBTREE, &pa, &size);
	if (err)
		return err;
	record = phys_to_virt(pa);
	if (size != PAGE_SIZE || record->magic != KHO_VM_MAGIC)
		return -EBADMSG;
	nr = record->nr;
	block = kho_restore_vmalloc(&record->list);
	if (!block)
		return -EBADMSG;
	for (i = 0; i < nr; i++)
		check_block(&block[i], i < REFUSALS);
	pr_info("kho_vm: %llu blocks checked, %lu faults\n", nr, faults);
	vfree(block);
	kho_restore_free((void *)record);
	return faults ? -EBADMSG : 0;
}
