// SPDX-License-Identifier: GPL-2.0-only
/* What arrived. */
#include <linux/vmalloc.h>

#include "kho_vm.h"

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

static void check_block(const struct kho_vm_block *block)
{
	u32 i;

	check_marks(block);
	if (block->how == KHO_VM_FOLIO)
		restore_folio(block);
	else if (block->how == KHO_VM_PAGES)
		restore_pages(block->pa, block->nr);
	else
		for (i = 0; i < block->nr; i++)
			restore_pages(block->pa + ((u64)i << PAGE_SHIFT), 1);
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
		check_block(&block[i]);
	pr_info("kho_vm: %llu blocks checked, %lu faults\n", nr, faults);
	vfree(block);
	kho_restore_free((void *)record);
	return faults ? -EBADMSG : 0;
}
