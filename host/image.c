/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The arena as the core sees it: nodes for the tree, and pages for structures that the core writes
 * into data memory.
 */
#include <string.h>

#include "arena.h"
#include "heap.h"
#include "node.h"
#include "page.h"

static kho_pa_t alloc_page(void *ctx)
{
	kho_pa_t pa = kho_may_write_() ? kho_pages_alloc_(1, 0) : 0;

	if (!pa)
		return 0;
	kho_pages_set_kind_(pa, 1, PAGE_KIND_STRUCT);
	memset(kho_arena_.base + pa, 0, KHO_PAGE_SIZE);
	return pa;
}

static void free_page(void *ctx, kho_pa_t pa)
{
	kho_pages_free_(pa, 1);
}

static int publish_page(void *ctx, __u64 *slot, __u64 value, kho_pa_t fresh, kho_pa_t stale)
{
	return kho_page_publish_(slot, value, fresh, stale);
}

const struct khoc_mem_ops kho_mem_ops_ = {
	.alloc_node = kho_node_alloc_,
	.free_node = kho_node_free_,
	.alloc_page = alloc_page,
	.free_page = free_page,
	.publish_page = publish_page,
};
