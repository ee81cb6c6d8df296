/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The array: the way down to a node, what of a node is there, walks.
 *
 *	cursor	the keys of a node in order: the sorted ones merged with the tail
 */
#include "array_node.h"

/* The rank of a key in an inner node. Of one without a tail the guess was tried, and was wrong. */
static unsigned int rank_inner(const array_node *node, const u64 *keys, u64 key)
{
	unsigned int nr = node->nr_sorted;
	u64 at = nr && nr != node->nr_used ? array_guess(node, keys, nr, key) : nr;

	if (at != nr && array_guess_ok(keys, nr, at, key))
		return (unsigned int)at + 1;
	return array_rank_of(keys, nr, key, ARRAY_WIDTH_INNER);
}

int array_route_any_(const array_node *node, u64 key, unsigned int shift)
{
	const u64 *keys = array_keys(node, ARRAY_WIDTH_INNER, shift);
	const u64 *values = array_values(node);
	unsigned int sorted = node->nr_sorted, used = node->nr_used;
	int found = (int)rank_inner(node, keys, key) - 1;

	while (found >= 0 && unlikely(!values[found]))
		found--;
	for (unsigned int i = sorted; i < used; i++)
		if (values[i] && keys[i] <= key && (found < 0 || keys[i] > keys[found]))
			found = (int)i;
	return found;
}

u64 *array_leaf_find_(array_node *leaf, u64 index, unsigned int shift)
{
	unsigned int width = leaf->width, sorted = leaf->nr_sorted, used = leaf->nr_used, rank;
	const void *keys = array_keys(leaf, width, shift);
	u64 delta = index - leaf->base;
	u64 *values = array_values(leaf);

	if (unlikely(index < leaf->base || delta > array_delta_max(width)))
		return NULL;
	rank = array_rank(keys, sorted, delta, width);
	if (rank && array_key(keys, rank - 1, width) == delta)
		return values + rank - 1;
	for (unsigned int i = sorted; i < used; i++)
		if (array_key(keys, i, width) == delta)
			return values + i;
	return NULL;
}

int array_route_above_(const array_node *node, u64 key, unsigned int shift)
{
	const u64 *keys = array_keys(node, ARRAY_WIDTH_INNER, shift);
	const u64 *values = array_values(node);
	unsigned int sorted = node->nr_sorted, used = node->nr_used;
	unsigned int i = array_rank_of(keys, sorted, key, ARRAY_WIDTH_INNER);
	int found;

	while (i < sorted && !values[i])
		i++;
	found = i < sorted ? (int)i : -1;
	for (i = sorted; i < used; i++)
		if (values[i] && keys[i] > key && (found < 0 || keys[i] < keys[found]))
			found = (int)i;
	return found;
}

int array_place_root_(const struct khoc_array *array, struct array_place *place)
{
	u64 root = khoc_load_acquire(&array->desc->root);

	*place = (struct array_place){.pa = array_root_pa(root),
				      .last = ~0ULL,
				      .slot = &array->desc->root,
				      .level = array_root_level(root)};
	if (!root)
		return 0;
	if (place->level > KHO_ABI_ARRAY_LEVEL_MAX)
		return -KHO_E_STATE;
	place->node = array_node_at(array->mem, place->pa, place->level, array->shift);
	return place->node ? 1 : array_node_fault(array->mem, place->pa, array->shift);
}

int array_place_child_(const struct khoc_array *array, const struct array_place *parent, u64 key,
		       struct array_place *child)
{
	unsigned int shift = array->shift;
	u64 *keys = array_keys(parent->node, ARRAY_WIDTH_INNER, shift);
	u64 *values = array_values(parent->node);
	int at = array_route(parent->node, key, shift), next;

	if (at < 0)
		return -KHO_E_FORMAT;
	/* Mostly the next word is the next separator's. */
	next = at + 1;
	if (next >= parent->node->nr_sorted || !values[next] ||
	    parent->node->nr_used > parent->node->nr_sorted)
		next = array_route_above_(parent->node, key, shift);
	child->pa = khoc_load_acquire(values + at);
	child->level = parent->level - 1;
	child->lo = keys[at] > parent->lo ? keys[at] : parent->lo;
	child->last = parent->last;
	if (next >= 0 && keys[next] <= parent->last)
		child->last = keys[next] - 1;
	child->slot = values + at;
	child->sep = keys + at;
	child->node = array_node_at(array->mem, child->pa, child->level, shift);
	return child->node ? 0 : array_node_fault(array->mem, child->pa, shift);
}

int array_locate_(const struct khoc_array *array, u64 key, unsigned int level,
		  struct array_place *at, struct array_place *parent)
{
	int rc = array_place_root_(array, at);

	if (rc <= 0)
		return rc;
	while (at->level > level) {
		*parent = *at;
		rc = array_place_child_(array, parent, key, at);
		if (rc)
			return rc;
	}
	return 1;
}

/* ---- cursors ------------------------------------------------------------ */

/* Insert the tail's key number @i into the order. */
static void order_add(struct khoc_array_cursor *cursor, unsigned int i, u64 delta)
{
	unsigned int at = cursor->tail_end++;

	for (; at; at--) {
		unsigned int before = cursor->order[at - 1];

		if (array_key(cursor->keys, before, cursor->width) <= delta)
			break;
		cursor->order[at] = (u16)before;
	}
	cursor->order[at] = (u16)i;
}

void array_cursor_init_(struct khoc_array_cursor *cursor, const array_node *node, u64 from, u64 to,
			unsigned int shift)
{
	unsigned int width = node->width, sorted = node->nr_sorted, used = node->nr_used;
	u64 base = node->level ? 0 : node->base, lo = from > base ? from - base : 0, hi = to - base;
	u64 most = width ? array_delta_max(width) : array_cap(0, shift) - 1;

	cursor->values = array_values(node);
	cursor->keys = array_keys(node, width, shift);
	cursor->base = base;
	cursor->width = width;
	cursor->at = cursor->end = cursor->tail_at = cursor->tail_end = 0;
	if (to < base || from > to || lo > most)
		return;
	hi = hi < most ? hi : most;
	if (!width) {
		cursor->at = (unsigned int)lo;
		cursor->end = (unsigned int)hi + 1;
		return;
	}
	cursor->at = lo ? array_rank(cursor->keys, sorted, lo - 1, width) : 0;
	cursor->end = array_rank(cursor->keys, sorted, hi, width);
	for (unsigned int i = sorted; i < used && i < sorted + KHO_ABI_ARRAY_TAIL; i++) {
		u64 delta = array_key(cursor->keys, i, width);

		if (cursor->values[i] && delta >= lo && delta <= hi)
			order_add(cursor, i, delta);
	}
}

khoc_inline u64 cursor_key(const struct khoc_array_cursor *cursor, unsigned int i)
{
	return cursor->base + (cursor->width ? array_key(cursor->keys, i, cursor->width) : i);
}

bool array_cursor_next_(struct khoc_array_cursor *cursor, u64 *key, u64 *value)
{
	unsigned int i;

	while (cursor->at < cursor->end && !cursor->values[cursor->at])
		cursor->at++;
	if (likely(cursor->tail_at >= cursor->tail_end)) {
		if (cursor->at >= cursor->end)
			return false;
		i = cursor->at++;
		*key = cursor_key(cursor, i);
	} else {
		i = cursor->order[cursor->tail_at];
		*key = cursor_key(cursor, i);
		if (cursor->at < cursor->end && cursor_key(cursor, cursor->at) <= *key) {
			i = cursor->at++;
			*key = cursor_key(cursor, i);
		} else {
			cursor->tail_at++;
		}
	}
	*value = cursor->values[i];
	return true;
}

bool array_cursor_prev_(struct khoc_array_cursor *cursor, u64 *key, u64 *value)
{
	unsigned int i;

	while (cursor->at < cursor->end && !cursor->values[cursor->end - 1])
		cursor->end--;
	if (likely(cursor->tail_at >= cursor->tail_end)) {
		if (cursor->at >= cursor->end)
			return false;
		i = --cursor->end;
		*key = cursor_key(cursor, i);
	} else {
		i = cursor->order[cursor->tail_end - 1];
		*key = cursor_key(cursor, i);
		if (cursor->at < cursor->end && cursor_key(cursor, cursor->end - 1) >= *key) {
			i = --cursor->end;
			*key = cursor_key(cursor, i);
		} else {
			cursor->tail_end--;
		}
	}
	*value = cursor->values[i];
	return true;
}

/* ---- walks -------------------------------------------------------------- */

void khoc_array_iter_init(struct khoc_array_iter *iter, const struct khoc_array *array, u64 first,
			  u64 last)
{
	iter->array = array;
	iter->first = first;
	iter->last = last;
	/* No sound array has more leaves than the image has pages. */
	iter->budget = khoc_load(&array->mem->size) >> array->shift;
	iter->more = first <= last;
	iter->cursor.at = iter->cursor.end = 0;
	iter->cursor.tail_at = iter->cursor.tail_end = 0;
}

/* The leaf at one end of what is left, taken from there. Return: 1, 0, or a fault. */
static int iter_leaf(struct khoc_array_iter *iter, bool down)
{
	const struct khoc_array *array = iter->array;
	struct array_place at, parent;
	u64 from, to;
	int rc;

	if (!iter->more)
		return 0;
	iter->more = false;
	if (!iter->budget--)
		return -KHO_E_CYCLE;
	rc = array_locate_(array, down ? iter->last : iter->first, 0, &at, &parent);
	if (rc <= 0)
		return rc;
	from = at.lo > iter->first ? at.lo : iter->first;
	to = at.last < iter->last ? at.last : iter->last;
	array_cursor_init_(&iter->cursor, at.node, from, to, array->shift);
	iter->more = down ? from > iter->first : to < iter->last;
	if (down)
		iter->last = from - 1;
	else
		iter->first = to + 1;
	return 1;
}

int khoc_array_iter_next(struct khoc_array_iter *iter, u64 *index, u64 *entry)
{
	while (!array_cursor_next_(&iter->cursor, index, entry)) {
		int rc = iter_leaf(iter, false);

		if (rc <= 0)
			return rc;
	}
	return 1;
}

int khoc_array_iter_prev(struct khoc_array_iter *iter, u64 *index, u64 *entry)
{
	while (!array_cursor_prev_(&iter->cursor, index, entry)) {
		int rc = iter_leaf(iter, true);

		if (rc <= 0)
			return rc;
	}
	return 1;
}

int khoc_array_next(const struct khoc_array *array, u64 *index, u64 *entry)
{
	struct khoc_array_iter iter;

	khoc_array_iter_init(&iter, array, *index, ~0ULL);
	return khoc_array_iter_next(&iter, index, entry);
}

int khoc_array_prev(const struct khoc_array *array, u64 *index, u64 *entry)
{
	struct khoc_array_iter iter;

	khoc_array_iter_init(&iter, array, 0, *index);
	return khoc_array_iter_prev(&iter, index, entry);
}
