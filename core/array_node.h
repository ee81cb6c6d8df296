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
 * Which of an inner node's sorted separators, of which there is one at least, a key is likely to belong to.
 * Of leaves that are alike they are evenly spaced, so node->base says where to look first: at
 * (key - first) >> high 32 bits, times low 32 bits, >> 32. It may say anything: what is found is looked at.
 */
khoc_inline u64 array_guess(const array_node *node, const u64 *keys, u64 nr, u64 key)
{
	u64 hint = node->base, last = nr - 1;
	u64 at = ((key - keys[0]) >> (hint >> 32 & 63)) * (hint & 0xffffffff) >> 32;

	return at < last ? at : last;
}

khoc_inline bool array_guess_ok(const u64 *keys, u64 nr, u64 at, u64 key)
{
	return keys[at] <= key && (at + 1 == nr || key < keys[at + 1]);
}

/* Are the head's numbers those of a node of this level? What is read below stays in the page then. */
khoc_inline bool array_head_ok(const array_node *node, unsigned int level, unsigned int shift)
{
	unsigned int used = node->nr_used, sorted = node->nr_sorted, width = node->width;

	if (unlikely(node->level != level))
		return false;
	if (level) {
		if (unlikely(width != ARRAY_WIDTH_INNER))
			return false;
	} else if (!width) {
		return !(used | sorted);
	} else if (unlikely(width != 2 && width != 4 && width != 8)) {
		return false;
	}
	/* If fewer are used than sorted, the difference is a large number. */
	return used - sorted <= KHO_ABI_ARRAY_TAIL && used <= array_cap(width, shift);
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
	u64 page = 1ULL << shift;
	array_node *node;

	if (unlikely(pa & (page - 1) || !pa || pa >= (khoc_load(&mem->size) & -page)))
		return NULL;
	node = mem->linear ? (array_node *)((char *)mem->linear + pa)
			   : mem->ops->map(mem->ctx, pa, page);
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

/* As array_route(), of any node. */
int array_route_any_(const array_node *node, u64 key, unsigned int shift);

/*
 * The word of the greatest separator of at most @key that is not dead. Return: its number, or -1: none.
 * Of most nodes all separators are sorted, and the hint says which it is.
 */
khoc_inline int array_route(const array_node *node, u64 key, unsigned int shift)
{
	const u64 *keys = array_keys(node, ARRAY_WIDTH_INNER, shift);
	u64 nr = node->nr_sorted, at;

	if (likely(nr && nr == node->nr_used)) {
		at = array_guess(node, keys, nr, key);
		if (likely(array_guess_ok(keys, nr, at, key) && array_values(node)[at]))
			return (int)at;
	}
	return array_route_any_(node, key, shift);
}

/* The first separator above @key that is not dead. Return: its number, or -1: none. */
int array_route_above_(const array_node *node, u64 key, unsigned int shift);

/* As array_leaf_word(), of a leaf with keys. */
u64 *array_leaf_find_(array_node *leaf, u64 index, unsigned int shift);

/* The word of an index in its leaf, dead or not. Return: NULL if it has none. */
khoc_inline u64 *array_leaf_word(array_node *leaf, u64 index, unsigned int shift)
{
	u64 delta = index - leaf->base;

	if (unlikely(leaf->width))
		return array_leaf_find_(leaf, index, shift);
	return delta < array_cap(0, shift) ? array_values(leaf) + delta : NULL;
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
