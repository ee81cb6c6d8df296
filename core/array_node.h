/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Private: nodes of an array, and steps down to them.
 *
 *	rank	how many of the sorted keys are at most some key
 *	delta	a key as it is stored: less by the node's base
 *	place	a node, and what its parent says of it
 */
#ifndef KHO_CORE_ARRAY_NODE_H
#define KHO_CORE_ARRAY_NODE_H

#include "mem.h"

typedef struct kho_abi_array_node array_node;

#define ARRAY_WIDTH_INNER 8

khoc_inline u64 *array_values(const array_node *node)
{
	return (u64 *)(node + 1);
}

khoc_inline unsigned int array_cap(unsigned int width, unsigned int shift)
{
	return kho_abi_array_cap(shift, width);
}

khoc_inline void *array_keys(const array_node *node, unsigned int width, unsigned int shift)
{
	return array_values(node) + array_cap(width, shift);
}

/* The largest delta that a key of @width, which is not 0, can hold. */
khoc_inline u64 array_delta_max(unsigned int width)
{
	return ~0ULL >> (64 - 8 * width);
}

khoc_inline u64 array_key(const void *keys, unsigned int i, unsigned int width)
{
	switch (width) {
	case 2:
		return ((const u16 *)keys)[i];
	case 4:
		return ((const u32 *)keys)[i];
	default:
		return ((const u64 *)keys)[i];
	}
}

khoc_inline void array_key_store(void *keys, unsigned int i, unsigned int width, u64 delta)
{
	switch (width) {
	case 2:
		((u16 *)keys)[i] = (u16)delta;
		break;
	case 4:
		((u32 *)keys)[i] = (u32)delta;
		break;
	default:
		((u64 *)keys)[i] = delta;
	}
}

/* Without a branch that could be guessed wrong: half of them would be. */
khoc_inline unsigned int array_rank_of(const void *keys, unsigned int nr, u64 delta,
				       unsigned int width)
{
	unsigned int at = 0;

	if (!nr)
		return 0;
	while (nr > 1) {
		unsigned int half = nr / 2, mid = at + half;

		at = array_key(keys, mid, width) <= delta ? mid : at;
		nr -= half;
	}
	return at + (array_key(keys, at, width) <= delta);
}

/*
 * The same for many keys, cold: where it would be if they were evenly spaced is mostly near, and
 * fewer lines are touched. However they are spaced it takes about twice the steps at most.
 */
khoc_inline unsigned int array_rank_guess(const void *keys, unsigned int nr, u64 delta,
					  unsigned int width)
{
	unsigned int lo = 0, hi = nr, at, step = 16;
	u64 most;

	if (nr < 64)
		return array_rank_of(keys, nr, delta, width);
	most = array_key(keys, nr - 1, width);
	if (delta >= most)
		return nr;
	/* 2^13 keys at most in a node of 2^16 bytes: nothing wraps. */
	at = width == 8 ? (unsigned int)((delta >> 13) * (nr - 1) / ((most >> 13) + 1))
			: (unsigned int)(delta * (nr - 1) / most);
	if (array_key(keys, at, width) <= delta) {
		for (lo = at; at + step < nr && array_key(keys, at + step, width) <= delta;
		     step *= 2)
			lo = at + step;
		hi = at + step < nr ? at + step : nr;
	} else {
		for (hi = at; at > step && array_key(keys, at - step, width) > delta; step *= 2)
			hi = at - step;
		lo = at > step ? at - step : 0;
	}
	return lo + array_rank_of((const char *)keys + lo * width, hi - lo, delta, width);
}

khoc_inline unsigned int array_rank(const void *keys, unsigned int nr, u64 delta,
				    unsigned int width)
{
	switch (width) {
	case 2:
		return array_rank_guess(keys, nr, delta, 2);
	case 4:
		return array_rank_guess(keys, nr, delta, 4);
	default:
		return array_rank_guess(keys, nr, delta, 8);
	}
}

/*
 * The rank of a key in an inner node. Of leaves that are alike the separators are evenly spaced, so
 * node->base says where to look first: at (key - first) >> high 32 bits, times low 32 bits, >> 32.
 * It may say anything: what is found there is looked at.
 */
khoc_inline unsigned int array_rank_inner(const array_node *node, const u64 *keys, u64 key)
{
	unsigned int nr = node->nr_sorted;
	u64 hint = node->base, at;

	if (likely(nr && key >= keys[0])) {
		at = ((key - keys[0]) >> (hint >> 32 & 63)) * (hint & 0xffffffff) >> 32;
		at = at < nr ? at : nr - 1;
		if (keys[at] <= key && (at + 1 == nr || key < keys[at + 1]))
			return (unsigned int)at + 1;
	}
	return array_rank_of(keys, nr, key, ARRAY_WIDTH_INNER);
}

/* Are the head's numbers those of a node of this level? What is read below stays in the page then. */
khoc_inline bool array_head_ok(const array_node *node, unsigned int level, unsigned int shift)
{
	unsigned int used = node->nr_used, sorted = node->nr_sorted, width = node->width;

	if (unlikely(node->level != level))
		return false;
	if (!width)
		return !level && !used && !sorted;
	if (unlikely(width != 8 && (level || (width != 2 && width != 4))))
		return false;
	return sorted <= used && used <= array_cap(width, shift) &&
	       used - sorted <= KHO_ABI_ARRAY_TAIL;
}

/* A node's address: aligned, in the image, not page 0? */
khoc_inline int array_pa_fault(const struct khoc_mem *mem, kho_pa_t pa, unsigned int shift)
{
	u64 page = 1ULL << shift;

	if (unlikely(pa & (page - 1)))
		return KHO_E_ALIGN;
	return !pa || !mem_inside(khoc_load(&mem->size), pa, page) ? KHO_E_RANGE : 0;
}

/* Pointer to a node of this level. Return: NULL if it is none. */
khoc_inline array_node *array_node_at(const struct khoc_mem *mem, kho_pa_t pa, unsigned int level,
				      unsigned int shift)
{
	array_node *node;

	if (unlikely(array_pa_fault(mem, pa, shift)))
		return NULL;
	node = khoc_map(mem, pa, 1UL << shift);
	return likely(node && array_head_ok(node, level, shift)) ? node : NULL;
}

/* The fault of an address or node that array_node_at() refused, negative. */
khoc_inline int array_node_fault(const struct khoc_mem *mem, kho_pa_t pa, unsigned int shift)
{
	int fault = array_pa_fault(mem, pa, shift);

	return fault ? -fault : -KHO_E_STATE;
}

khoc_inline kho_pa_t array_root_pa(u64 root)
{
	return root & ~(u64)KHO_ABI_ARRAY_LEVEL_MASK;
}

khoc_inline unsigned int array_root_level(u64 root)
{
	return root & KHO_ABI_ARRAY_LEVEL_MASK;
}

/* The word of the greatest separator of at most @key that is not dead. Return: its number, or -1: none. */
khoc_inline int array_route(const array_node *node, u64 key, unsigned int shift)
{
	const u64 *keys = array_keys(node, ARRAY_WIDTH_INNER, shift);
	const u64 *values = array_values(node);
	unsigned int sorted = node->nr_sorted, used = node->nr_used;
	int found = (int)array_rank_inner(node, keys, key) - 1;

	while (found >= 0 && unlikely(!values[found]))
		found--;
	for (unsigned int i = sorted; i < used; i++)
		if (values[i] && keys[i] <= key && (found < 0 || keys[i] > keys[found]))
			found = (int)i;
	return found;
}

/* The first separator above @key that is not dead. Return: its number, or -1: none. */
int array_route_above_(const array_node *node, u64 key, unsigned int shift);

/* The word of an index in its leaf, dead or not. Return: NULL if it has none. */
khoc_inline u64 *array_leaf_word(array_node *leaf, u64 index, unsigned int shift)
{
	unsigned int width = leaf->width, sorted = leaf->nr_sorted, used = leaf->nr_used, rank;
	u64 delta = index - leaf->base;
	u64 *values = array_values(leaf);
	const void *keys;

	if (likely(!width))
		return delta < array_cap(0, shift) ? values + delta : NULL;
	if (unlikely(index < leaf->base || delta > array_delta_max(width)))
		return NULL;
	keys = array_keys(leaf, width, shift);
	rank = array_rank(keys, sorted, delta, width);
	if (rank && array_key(keys, rank - 1, width) == delta)
		return values + rank - 1;
	for (unsigned int i = sorted; i < used; i++)
		if (array_key(keys, i, width) == delta)
			return values + i;
	return NULL;
}

/**
 * struct array_place - a node and what its parent says of it
 * @pa, @node, @level: the node
 * @lo, @last: its range
 * @slot: the word that holds its address: of the parent, or of the descriptor
 * @sep: its separator; NULL for a root
 */
struct array_place {
	kho_pa_t pa;
	array_node *node;
	u64 lo;
	u64 last;
	u64 *slot;
	u64 *sep;
	unsigned int level;
};

/* The root, if there is one. Return: 1, 0, or a fault. */
int array_place_root_(const struct khoc_array *array, struct array_place *place);
/* The child whose range @key is in. Return: 0 or a fault. */
int array_place_child_(const struct khoc_array *array, const struct array_place *parent, u64 key,
		       struct array_place *child);
/* The node of a level whose range @key is in, and its parent (not if it is the root). Return: as above. */
int array_locate_(const struct khoc_array *array, u64 key, unsigned int level,
		  struct array_place *at, struct array_place *parent);

/* Start with the keys of @node in [@from, @to]. */
void array_cursor_init_(struct khoc_array_cursor *cursor, const array_node *node, u64 from, u64 to,
			unsigned int shift);
bool array_cursor_next_(struct khoc_array_cursor *cursor, u64 *key, u64 *value);
bool array_cursor_prev_(struct khoc_array_cursor *cursor, u64 *key, u64 *value);

/* Make room for @index in its leaf, or nearer to it: call again until it has a word. Return: 0 or an error. */
int array_make_room_(struct khoc_array *array, u64 index);
/* Merge nodes on the way to @index that have become too empty. For want of memory it does less. */
void array_shrink_(struct khoc_array *array, u64 index);
/* Free the nodes of desc->doomed. Return: 0 or a fault. */
int array_bury_(struct khoc_array *array);

/* A store that no later one overtakes and no earlier one follows, if all of them are this. */
khoc_inline void array_store(u64 *word, u64 value)
{
	khoc_store_release(word, value);
}

#endif
