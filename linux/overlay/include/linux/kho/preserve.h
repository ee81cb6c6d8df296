/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Preserving beyond the calls of linux/kexec_handover.h: where sleeping is not allowed, many
 * blocks of one size at once; and what is preserved, to be looked at.
 */
#ifndef _LINUX_KHO_PRESERVE_H
#define _LINUX_KHO_PRESERVE_H

#include <linux/errno.h>
#include <linux/types.h>

struct folio;
struct page;

/**
 * struct kho_preload - memory set aside to preserve one block
 * @core: private, a struct khoc_radix_reserve for the block and one for its type
 *
 * Begins as zeroes. Belongs to one user at a time.
 */
struct kho_preload {
	u64 core[2][19];
};

/**
 * enum kho_block_type - as what a block was preserved
 * @KHO_FOLIO: by kho_preserve_folio() and the like
 * @KHO_PAGES: by kho_preserve_pages() and the like
 */
enum kho_block_type {
	KHO_FOLIO = 1,
	KHO_PAGES = 2,
};

/**
 * struct kho_run - neighbouring blocks of one size
 * @phys: address of the first
 * @nr: how many
 * @order: log2 of the pages of each
 */
struct kho_run {
	phys_addr_t phys;
	u64 nr;
	unsigned int order;
};

/* As many orders as a block can have, and more. */
#define KHO_COUNTED_ORDERS 64

/**
 * struct kho_counts - what is preserved
 * @pages: pages of all blocks
 * @nodes: pages that the list of them takes
 * @blocks: blocks of each order
 */
struct kho_counts {
	u64 pages;
	u64 nodes;
	u64 blocks[KHO_COUNTED_ORDERS];
};

#ifdef CONFIG_KEXEC_HANDOVER

int kho_preload(struct kho_preload *preload);
void kho_preload_end(struct kho_preload *preload);
int kho_preserve_folio_atomic(struct folio *folio, struct kho_preload *preload);
int kho_preserve_block_atomic(struct page *page, unsigned int order, struct kho_preload *preload);

int kho_preserve_run(struct page *page, unsigned long nr, unsigned int order);
void kho_unpreserve_run(struct page *page, unsigned long nr, unsigned int order);

struct page *kho_restore_block(phys_addr_t phys, unsigned int order, enum kho_block_type type);

bool kho_preserved_lookup(phys_addr_t phys, struct kho_run *block);
int kho_preserved_walk(phys_addr_t start, phys_addr_t end,
		       int (*fn)(const struct kho_run *run, void *ctx), void *ctx);
int kho_preserved_count(phys_addr_t start, phys_addr_t end, struct kho_counts *counts);

#else

static inline int kho_preload(struct kho_preload *preload)
{
	return -EOPNOTSUPP;
}

static inline void kho_preload_end(struct kho_preload *preload)
{
}

static inline int kho_preserve_folio_atomic(struct folio *folio, struct kho_preload *preload)
{
	return -EOPNOTSUPP;
}

static inline int kho_preserve_block_atomic(struct page *page, unsigned int order,
					    struct kho_preload *preload)
{
	return -EOPNOTSUPP;
}

static inline int kho_preserve_run(struct page *page, unsigned long nr, unsigned int order)
{
	return -EOPNOTSUPP;
}

static inline void kho_unpreserve_run(struct page *page, unsigned long nr, unsigned int order)
{
}

static inline struct page *kho_restore_block(phys_addr_t phys, unsigned int order,
					     enum kho_block_type type)
{
	return NULL;
}

static inline bool kho_preserved_lookup(phys_addr_t phys, struct kho_run *block)
{
	return false;
}

static inline int kho_preserved_walk(phys_addr_t start, phys_addr_t end,
				     int (*fn)(const struct kho_run *run, void *ctx), void *ctx)
{
	return -EOPNOTSUPP;
}

static inline int kho_preserved_count(phys_addr_t start, phys_addr_t end, struct kho_counts *counts)
{
	return -EOPNOTSUPP;
}

#endif /* CONFIG_KEXEC_HANDOVER */

#endif /* _LINUX_KHO_PRESERVE_H */
