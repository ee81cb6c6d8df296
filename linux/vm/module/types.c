// SPDX-License-Identifier: GPL-2.0-only
/*
 * Restoring by type: what was preserved as one thing is not restored as another, nor with another
 * order, nor where nothing was preserved, nor twice; and is restored as what it is after all that
 * was tried.
 */
#include <linux/gfp.h>
#include <linux/kho/array.h>
#include <linux/kho/preserve.h>
#include <linux/vmalloc.h>

#include "ours.h"

#define ORDER 2

struct record {
	struct kho_abi_array array;
	struct kho_vmalloc area;
	u64 folio;
	u64 pages;
	u64 area_page; /* one of its pages */
};

static int make(struct record *record)
{
	struct folio *folio = folio_alloc(GFP_KERNEL, ORDER);
	struct page *pages = alloc_pages(GFP_KERNEL, ORDER);
	void *area = vmalloc(4 * PAGE_SIZE);
	struct kho_array array;
	int err;

	if (!folio || !pages || !area)
		return -ENOMEM;
	record->folio = PFN_PHYS(folio_pfn(folio));
	record->pages = page_to_phys(pages);
	record->area_page = page_to_phys(vmalloc_to_page(area));
	*(u64 *)area = kho_vm_mark(record->folio);
	err = kho_preserve_folio(folio);
	if (!err)
		err = kho_preserve_pages(pages, 1 << ORDER);
	if (!err)
		err = kho_preserve_vmalloc(area, &record->area);
	if (!err)
		err = kho_array_init(&array, &record->array);
	if (!err)
		err = kho_array_set(&array, 5, kho_array_mk_value(7));
	return err;
}

static void wrong_type(const struct record *record, struct kho_vm_tally *tally)
{
	u64 node = record->array.root & PAGE_MASK;

	kho_vm_expect(tally, !kho_restore_folio(record->pages), "pages as a folio");
	kho_vm_expect(tally, !kho_restore_block(record->pages, ORDER, KHO_FOLIO),
		      "pages as a folio of their order");
	kho_vm_expect(tally, !kho_restore_pages(record->folio, 1 << ORDER), "a folio as pages");
	kho_vm_expect(tally, !kho_restore_folio(record->area_page), "a page of an area as a folio");
	kho_vm_expect(tally, !kho_restore_pages(record->area_page, 1),
		      "a page of an area as pages");
	kho_vm_expect(tally, !kho_restore_folio(record->area.first.phys), "a chunk as a folio");
	kho_vm_expect(tally, !kho_restore_pages(record->area.first.phys, 1), "a chunk as pages");
	kho_vm_expect(tally, !kho_restore_folio(node), "an array's node as a folio");
	kho_vm_expect(tally, !kho_restore_pages(node, 1), "an array's node as pages");
	kho_vm_expect(tally, !kho_restore_block(record->folio, ORDER, (enum kho_block_type)0),
		      "as no type");
}

static void wrong_order(const struct record *record, struct kho_vm_tally *tally)
{
	kho_vm_expect(tally, !kho_restore_block(record->folio, ORDER - 1, KHO_FOLIO),
		      "half of a folio");
	kho_vm_expect(tally, !kho_restore_block(record->folio, ORDER + 1, KHO_FOLIO),
		      "a folio and more");
	kho_vm_expect(tally, !kho_restore_folio(record->folio + PAGE_SIZE),
		      "from a folio's middle");
	kho_vm_expect(tally, !kho_restore_folio(record->folio + 8), "from within a page");
	kho_vm_expect(tally, !kho_restore_pages(record->pages, 1), "one page of four");
	kho_vm_expect(tally, !kho_restore_pages(record->pages, 5), "five pages of four");
	kho_vm_expect(tally, !kho_restore_pages(record->pages + PAGE_SIZE, 3), "the last three");
}

static void right(struct record *record, struct kho_vm_tally *tally)
{
	struct page *page = kho_restore_block(record->folio, ORDER, KHO_FOLIO);
	u64 *area = kho_restore_vmalloc(&record->area);
	struct kho_array array;

	if (kho_vm_expect(tally, page && folio_order(page_folio(page)) == ORDER, "no folio"))
		folio_put(page_folio(page));
	page = kho_restore_block(record->pages, ORDER, KHO_PAGES);
	for (int i = 0; kho_vm_expect(tally, page, "no pages") && i < 1 << ORDER; i++)
		__free_page(page + i);
	if (kho_vm_expect(tally, area && *area == kho_vm_mark(record->folio), "no area"))
		vfree(area);
	if (kho_vm_expect(tally, !kho_array_restore(&array, &record->array), "no array")) {
		kho_vm_expect(tally, kho_array_get(&array, 5) == kho_array_mk_value(7), "no entry");
		kho_vm_expect(tally, !kho_array_destroy(&array), "not destroyed");
	}
}

/* What has been freed may be anything by now, but nothing that is to be restored. */
static void twice_and_never(const struct record *record, struct kho_vm_tally *tally)
{
	struct page *page = alloc_page(GFP_KERNEL);

	kho_vm_expect(tally, !kho_restore_folio(record->folio), "a folio twice");
	kho_vm_expect(tally, !kho_restore_pages(record->pages, 1 << ORDER), "pages twice");
	kho_vm_expect(tally, !kho_restore_vmalloc(&record->area), "an area twice");
	if (!kho_vm_expect(tally, page, "no memory"))
		return;
	kho_vm_expect(tally, !kho_restore_folio(page_to_phys(page)), "a folio never preserved");
	kho_vm_expect(tally, !kho_restore_pages(page_to_phys(page), 1), "a page never preserved");
	__free_page(page);
}

int kho_vm_types(const struct kho_vm_request *request, struct kho_vm_tally *tally)
{
	struct record *record = kho_vm_record("kho_vm_types");
	struct kho_run found;

	if (IS_ERR(record))
		return PTR_ERR(record);
	if (!request->hop) {
		int err = make(record);

		kho_vm_expect(tally, err || kho_preserved_lookup(record->pages, &found), "pages");
		return err;
	}
	wrong_type(record, tally);
	wrong_order(record, tally);
	right(record, tally);
	twice_and_never(record, tally);
	kho_vm_record_free(record);
	return 0;
}
