/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Private: geometry of the preserved-memory tree, and one step down it.
 *
 *	key	what the tree stores; see <kho/abi/radix.h>
 *	span	log2 of the keys below one word of a table of some level
 *	view	what a step down has to be checked against, read once
 */
#ifndef KHO_CORE_GEOM_H
#define KHO_CORE_GEOM_H

#include "mem.h"

/* Levels of the deepest tree, that of KHO_ABI_PAGE_SHIFT_MIN. */
#define RADIX_MAX_DEPTH 18

/* The page size that code is specialised for: callers go on with a constant 12. */
khoc_inline bool geom_ordinary(unsigned int shift)
{
	return likely(khoc_pin_shift(shift) == 12);
}

khoc_inline unsigned int geom_order0(unsigned int shift)
{
	return kho_abi_radix_order0_log2(shift);
}

khoc_inline unsigned int geom_depth(unsigned int shift)
{
	return kho_abi_radix_depth(shift);
}

khoc_inline u64 geom_page(unsigned int shift)
{
	return 1ULL << shift;
}

khoc_inline u64 geom_table_words(unsigned int shift)
{
	return 1ULL << kho_abi_radix_table_log2(shift);
}

khoc_inline u64 geom_leaf_bits(unsigned int shift)
{
	return 1ULL << kho_abi_radix_bitmap_log2(shift);
}

/* @level is not 0 */
khoc_inline unsigned int geom_span(unsigned int shift, unsigned int level)
{
	return kho_abi_radix_bitmap_log2(shift) + (level - 1) * kho_abi_radix_table_log2(shift);
}

khoc_inline u64 geom_index(unsigned int shift, unsigned int level, u64 key)
{
	return key >> geom_span(shift, level) & (geom_table_words(shift) - 1);
}

khoc_inline unsigned int geom_max_order(unsigned int shift)
{
	return 63 - shift;
}

khoc_inline u64 geom_block_size(unsigned int shift, unsigned int order)
{
	return 1ULL << (shift + order);
}

/* The key of address 0 in an order. */
khoc_inline u64 geom_order_bit(unsigned int shift, unsigned int order)
{
	return 1ULL << (geom_order0(shift) - order);
}

/* @order is at most geom_max_order(), so that no shift reaches 64. */
khoc_inline u64 geom_key(unsigned int shift, kho_pa_t pa, unsigned int order)
{
	return geom_order_bit(shift, order) | pa >> (shift + order);
}

/* The order of a key from 1 to 2^(order0 + 1) - 1. */
khoc_inline unsigned int geom_key_order(unsigned int shift, u64 key)
{
	return geom_order0(shift) + 1 - khoc_fls64(key);
}

/* The address of a key of an order of at most geom_max_order(): the order bit leaves at the top. */
khoc_inline kho_pa_t geom_key_pa(unsigned int shift, u64 key, unsigned int order)
{
	return (key ^ geom_order_bit(shift, order)) << (shift + order);
}

/* The largest order of which a block fits in @size bytes; @size is at least a page. */
khoc_inline unsigned int geom_fit_order(unsigned int shift, u64 size)
{
	return khoc_fls64(size >> shift) - 1;
}

struct radix_view {
	const struct khoc_mem *mem;
	char *linear;
	u64 lo; /* the first address that a node can have: page 0 has none, 0 being "no child" */
	u64 nr; /* pages from there to the end of the node region */
};

khoc_inline struct radix_view radix_view(const struct khoc_mem *mem, unsigned int shift)
{
	u64 size = khoc_load(&mem->size);
	u64 hi = mem->node_hi < size ? mem->node_hi : size;
	u64 lo = mem->node_lo ? mem->node_lo : geom_page(shift);

	return (struct radix_view){mem, mem->linear, lo, hi > lo ? (hi - lo) >> shift : 0};
}

/* An aligned page inside the node region? Rotating brings misaligned bits to the top: one compare for both. */
khoc_inline bool radix_node_ok(const struct radix_view *view, kho_pa_t pa, unsigned int shift)
{
	return khoc_ror64(pa - view->lo, shift) < view->nr;
}

/* Why radix_node_ok() or the map said no. */
khoc_inline int radix_node_fault(kho_pa_t pa, unsigned int shift)
{
	return pa & (geom_page(shift) - 1) ? -KHO_E_ALIGN : -KHO_E_RANGE;
}

/* Pointer to a node. Return: NULL if it cannot be one. */
khoc_inline u64 *radix_node(const struct radix_view *view, kho_pa_t pa, unsigned int shift)
{
	if (unlikely(!radix_node_ok(view, pa, shift)))
		return NULL;
	if (likely(view->linear))
		return (u64 *)(view->linear + pa);
	return view->mem->ops->map(view->mem->ctx, pa, geom_page(shift));
}

/**
 * struct radix_miss - where a way down ended early
 * @slot: the word without a child, or with one that is no node
 * @level: of the table that it is in
 * @child: what it holds; 0 for no child
 */
struct radix_miss {
	u64 *slot;
	unsigned int level;
	kho_pa_t child;
};

/* One level down. Return: false, and @miss, if nothing is there. */
khoc_inline bool radix_step(const struct radix_view *view, u64 **node, u64 key, unsigned int level,
			    unsigned int shift, struct radix_miss *miss)
{
	u64 *slot = *node + geom_index(shift, level, key);
	kho_pa_t child = khoc_load_acquire(slot);

	*node = radix_node(view, child, shift);
	if (likely(*node))
		return true;
	*miss = (struct radix_miss){slot, level, child};
	return false;
}

/* Find the leaf of @key. Return: false, and @miss, if there is none. */
khoc_inline bool radix_descend(const struct radix_view *view, void *root, u64 key,
			       unsigned int shift, u64 **leaf, struct radix_miss *miss)
{
	*leaf = root;
	/* The six levels of 4 KiB pages in a row; compilers keep the loop of other depths. */
	if (shift == 12)
		return radix_step(view, leaf, key, 5, 12, miss) &&
		       radix_step(view, leaf, key, 4, 12, miss) &&
		       radix_step(view, leaf, key, 3, 12, miss) &&
		       radix_step(view, leaf, key, 2, 12, miss) &&
		       radix_step(view, leaf, key, 1, 12, miss);
	for (unsigned int level = geom_depth(shift) - 1; level; level--)
		if (!radix_step(view, leaf, key, level, shift, miss))
			return false;
	return true;
}

/* Look for all short cuts of a tree again. */
void radix_tops_renew_(struct khoc_radix *tree);

/* Bits [@lo, @hi) of a word; @lo < 64, @lo < @hi <= 64 */
khoc_inline u64 word_mask(unsigned int lo, unsigned int hi)
{
	return ~0ULL << lo & ~0ULL >> (64 - hi);
}

#endif
