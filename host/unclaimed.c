/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Blocks that came in and that nobody restored: reported, and released on request.
 *
 * Folios, pages and the parts of vmalloc areas: slabs and large objects are the heap's, which
 * knows by their state bytes what of them is in use, and a structure's pages are whose they are
 * reached from. A block that a subtree's blob lies in is not unclaimed: its
 * name is how a later program finds it.
 */
#include <errno.h>

#include "life.h"
#include "page.h"
#include "preserve.h"
#include "subtree.h"

typedef int (*block_fn)(void *ctx, kho_pa_t pa, unsigned int order, unsigned int type);

static bool can_be_unclaimed(unsigned int type)
{
	return type == KHO_ABI_DESC_FOLIO || type == KHO_ABI_DESC_PAGES ||
	       type == KHO_ABI_DESC_VMALLOC || type == KHO_ABI_DESC_VMALLOC_CHUNK;
}

static int visit(const struct khoc_run *run, block_fn fn, void *ctx)
{
	for (__u64 i = 0; i < run->nr; i++) {
		__u64 len = KHO_PAGE_SIZE << run->order;
		kho_pa_t pa = run->pa + i * len;
		unsigned int type, order;
		int rc;

		if (pa >= kho_arena_.size || kho_block_desc_(pa, &type, &order) ||
		    order != run->order || !can_be_unclaimed(type))
			continue; /* not ours, or damaged: never used, and left as it is */
		if (kho_block_is_claimed_(pa) || kho_subtree_within_(pa, len))
			continue;
		rc = fn(ctx, pa, order, type);
		if (rc)
			return rc;
	}
	return 0;
}

static int for_each(block_fn fn, void *ctx)
{
	struct khoc_radix_iter iter;
	struct khoc_run run;
	int rc = 0;

	khoc_radix_iter_init(&iter, &kho_arena_.tree, kho_arena_.header->data_pa, kho_arena_.size,
			     0, khoc_max_order(KHO_PAGE_SHIFT));
	while (!rc && khoc_radix_iter_next(&iter, &run))
		rc = visit(&run, fn, ctx);
	return rc ?: khoc_radix_iter_error(&iter);
}

struct report {
	int (*fn)(void *ctx, kho_pa_t pa, unsigned int order, const char *what);
	void *ctx;
};

static int tell(void *ctx, kho_pa_t pa, unsigned int order, unsigned int type)
{
	struct report *report = ctx;

	return report->fn(report->ctx, pa, order, kho_block_type_text_(type));
}

int kho_for_each_unclaimed(int (*fn)(void *ctx, kho_pa_t pa, unsigned int order, const char *what),
			   void *ctx)
{
	struct report report = {fn, ctx};
	int rc = kho_writer_error_();

	return rc ?: for_each(tell, &report);
}

static int release(void *ctx, kho_pa_t pa, unsigned int order, unsigned int type)
{
	__u64 *bytes = ctx;

	if (kho_block_restore_(pa, order, type))
		return 0; /* somebody was faster */
	kho_block_unpreserve_(pa, order);
	kho_pages_free_(pa, 1ULL << order);
	*bytes += KHO_PAGE_SIZE << order;
	return 0;
}

__u64 kho_release_unclaimed(void)
{
	__u64 bytes = 0;
	int rc = kho_writer_error_();

	rc = rc ?: kho_life_retired_() ?: for_each(release, &bytes);
	if (rc)
		errno = -rc;
	return bytes;
}
