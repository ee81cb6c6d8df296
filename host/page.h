/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Pages of the arena that nobody uses. Private to the process: after an attach it is
 * empty and learns from the tree, a section at a time, what is free.
 */
#ifndef KHO_HOST_PAGE_H
#define KHO_HOST_PAGE_H

#include <kho/types.h>
#include <stdbool.h>
#include <stddef.h>

/* What pages were handed out as: one byte a page, private. 0 = not handed out, or not known. */
enum page_kind {
	PAGE_KIND_NONE = 0,
	PAGE_KIND_FOLIO = 1,
	PAGE_KIND_PAGES = 2,
	PAGE_KIND_SLAB = 3,
	PAGE_KIND_LARGE = 4,
	PAGE_KIND_TAIL = 5,
	PAGE_KIND_STRUCT = 6,
	PAGE_KIND_VMALLOC = 7,
};

int kho_pages_init_(void);
void kho_pages_destroy_(void);

/**
 * kho_pages_alloc_() - hand out neighbouring pages
 * @nr: how many, not 0
 * @align_order: aligned to 2^align_order pages
 *
 * Lowest address of the smallest block that fits. They are in the file: touching them cannot
 * fault for want of memory.
 *
 * Return: their pa, or 0 when the arena, or the machine, is full.
 */
kho_pa_t kho_pages_alloc_(__u64 nr, unsigned int align_order);

/* Take back pages of kho_pages_alloc_(), or pages that were just unpreserved. */
void kho_pages_free_(kho_pa_t pa, __u64 nr);

unsigned int kho_pages_kind_(kho_pa_t pa);
void kho_pages_set_kind_(kho_pa_t pa, __u64 nr, unsigned int kind);

/* Bytes handed out or preserved, in the sections looked at so far. */
__u64 kho_pages_used_(void);

/* Which sections have free pages: worth knowing before the grant. Reads the tree only. */
void kho_pages_survey_(void);

/**
 * kho_pages_know_() - look at the sections of a range now
 *
 * Comes before pages that came in leave the tree: what is in no key when a section is looked at counts
 * as nobody's, and these are the caller's until kho_pages_free_().
 */
void kho_pages_know_(kho_pa_t pa, __u64 nr);

/* Called without locks when nothing is free. Its result says whether it freed anything. */
void kho_pages_set_reclaim_(bool (*reclaim)(void));

/* Look at every section now. Return: 0, or the first fault. */
int kho_pages_discover_all_(void);

/* Is every page of the range free? For tests. */
bool kho_pages_are_free_(kho_pa_t pa, __u64 nr);

#endif
