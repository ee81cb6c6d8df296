/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The array: is it sound? Each page of it is read once: a page reached again is a fault. So time
 * is bounded by the pages that there are, whatever the bytes.
 */
#include "array_node.h"

/* A node on the way down: what of its range is still to be looked at. */
struct frame {
	const array_node *node;
	u64 next;
	u64 last;
};

struct check {
	const struct khoc_array *array;
	struct khoc_array_check *limits;
	struct khoc_report *report;
	bool doomed; /* nodes are being freed, from the left */
	u64 pages;
	u64 entries;
};

static int desc_fault(struct check *c, int fault, const char *field, u64 value, u64 limit)
{
	return report_fault(c->report, fault, KHOC_S_ARRAY, -1, c->array->desc_pa, value, limit,
			    field);
}

static int node_fault(struct check *c, int fault, unsigned int level, u64 addr, const char *field,
		      u64 value, u64 limit)
{
	return report_fault(c->report, fault, KHOC_S_ARRAY_NODE, (int)level, addr, value, limit,
			    field);
}

/* ---- one node ----------------------------------------------------------- */

/* A page inside the limits that was not seen before? */
static int check_page(struct check *c, kho_pa_t pa, unsigned int level)
{
	const struct khoc_array_check *limits = c->limits;
	unsigned int shift = c->array->shift;
	u64 page = 1ULL << shift, nr, bit;

	if (pa & (page - 1))
		return node_fault(c, KHO_E_ALIGN, level, pa, "address", pa, page);
	if (!pa || pa < limits->data_lo || !mem_inside(limits->data_hi, pa, page) ||
	    !mem_inside(khoc_load(&c->array->mem->size), pa, page))
		return node_fault(c, KHO_E_RANGE, level, pa, "address", pa, limits->data_hi);
	if (c->array->desc_pa - pa < page || pa - c->array->desc_pa < sizeof(struct kho_abi_array))
		return node_fault(c, KHO_E_OVERLAP, level, pa, "address", pa, c->array->desc_pa);
	nr = (pa - limits->data_lo) >> shift;
	bit = 1ULL << (nr & 63);
	if (limits->seen[nr / 64] & bit)
		return node_fault(c, KHO_E_CYCLE, level, pa, "address", pa, 0);
	limits->seen[nr / 64] |= bit;
	c->pages++;
	return 0;
}

static int check_sorted(struct check *c, const array_node *node, kho_pa_t pa, unsigned int level)
{
	unsigned int width = node->width;
	const void *keys = array_keys(node, width, c->array->shift);

	for (unsigned int i = 1; i < node->nr_sorted; i++)
		if (array_key(keys, i - 1, width) >= array_key(keys, i, width))
			return node_fault(c, KHO_E_FORMAT, level, pa, "key",
					  array_key(keys, i, width), i);
	return 0;
}

/* Map a node and check all of it that does not depend on its range. */
static int check_node(struct check *c, kho_pa_t pa, unsigned int level, const array_node **result)
{
	unsigned int shift = c->array->shift;
	const array_node *node;
	int rc = check_page(c, pa, level);

	if (rc)
		return rc;
	node = khoc_map(c->array->mem, pa, 1UL << shift);
	if (!node)
		return node_fault(c, KHO_E_RANGE, level, pa, "address", pa, 0);
	if (!array_head_ok(node, level, shift))
		return node_fault(c, KHO_E_STATE, level, pa, "head", ((const u64 *)node)[1], 0);
	if (!node->width && node->base > ~0ULL - (array_cap(0, shift) - 1))
		return node_fault(c, KHO_E_RANGE, level, pa, "base", node->base, ~0ULL);
	*result = node;
	return node->width ? check_sorted(c, node, pa, level) : 0;
}

/* An integer, or an aligned address in the image? */
static int entry_fault(const struct check *c, u64 entry)
{
	if (entry & KHO_ABI_ARRAY_INTEGER)
		return 0;
	if (entry & KHO_ABI_ARRAY_TAG_MASK)
		return KHO_E_FORMAT;
	return entry < khoc_load(&c->array->mem->size) ? 0 : KHO_E_RANGE;
}

/*
 * A key of the tail that is there before it? The walk down looks at the first, whether or not it is
 * dead; a walk through all would give the other.
 */
static int check_tail(struct check *c, const array_node *leaf, kho_pa_t pa, u64 lo, u64 last)
{
	unsigned int width = leaf->width, sorted = leaf->nr_sorted;
	const void *keys = array_keys(leaf, width, c->array->shift);

	for (unsigned int i = sorted; i < leaf->nr_used; i++) {
		u64 delta = array_key(keys, i, width);
		unsigned int rank = array_rank(keys, sorted, delta, width);
		bool twice = rank && array_key(keys, rank - 1, width) == delta;

		if (delta > last - leaf->base || last < leaf->base || delta + leaf->base < lo)
			continue; /* a ghost */
		for (unsigned int j = sorted; j < i; j++)
			twice |= array_key(keys, j, width) == delta;
		if (twice)
			return node_fault(c, KHO_E_DUPLICATE, 0, pa, "key", leaf->base + delta, i);
	}
	return 0;
}

/* The entries of a leaf of the range [@lo, @last]. */
static int check_leaf(struct check *c, const array_node *leaf, kho_pa_t pa, u64 lo, u64 last)
{
	struct khoc_array_cursor cursor;
	u64 index, entry, before = 0, nr = 0;

	array_cursor_init_(&cursor, leaf, lo, last, c->array->shift);
	while (array_cursor_next_(&cursor, &index, &entry)) {
		int fault = entry_fault(c, entry);

		if (nr++ && index <= before)
			return node_fault(c, KHO_E_DUPLICATE, 0, pa, "key", index, before);
		if (fault)
			return node_fault(c, fault, 0, pa, "entry", entry, c->array->mem->size);
		before = index;
	}
	if (!c->doomed)
		c->entries += nr;
	return leaf->width ? check_tail(c, leaf, pa, lo, last) : 0;
}

/* ---- a tree ------------------------------------------------------------- */

/* The first separator at @frame->next or above, and the end of its child's range. Return: its number, or -1. */
static int frame_child(const struct check *c, struct frame *frame, u64 *last)
{
	unsigned int shift = c->array->shift;
	const u64 *keys = array_keys(frame->node, ARRAY_WIDTH_INNER, shift);
	int at = array_route(frame->node, frame->next, shift), above;

	if (at < 0 || keys[at] < frame->next)
		at = array_route_above_(frame->node, frame->next, shift);
	if (at < 0 || keys[at] > frame->last)
		return -1;
	above = array_route_above_(frame->node, keys[at], shift);
	*last = above >= 0 && keys[above] <= frame->last ? keys[above] - 1 : frame->last;
	return at;
}

/* Two words with one separator, neither dead: of which the way down sees one or the other. */
static int check_twins(struct check *c, const array_node *node, int at, kho_pa_t pa,
		       unsigned int level)
{
	const u64 *keys = array_keys(node, ARRAY_WIDTH_INNER, c->array->shift);
	const u64 *values = array_values(node);

	for (unsigned int i = node->nr_sorted; i < node->nr_used; i++)
		if ((int)i != at && values[i] && keys[i] == keys[at])
			return node_fault(c, KHO_E_DUPLICATE, level, pa, "key", keys[i], 0);
	return 0;
}

/* Down the leftmost way from the node at @pa, of the range [@lo, @last], to a leaf. */
static int check_down(struct check *c, struct frame *stack, unsigned int level, kho_pa_t pa, u64 lo,
		      u64 last)
{
	for (;;) {
		struct frame *frame = stack + level;
		const u64 *keys;
		int at, rc = check_node(c, pa, level, &frame->node);

		if (rc)
			return rc;
		if (!level)
			return check_leaf(c, frame->node, pa, lo, last);
		frame->next = lo;
		frame->last = last;
		keys = array_keys(frame->node, ARRAY_WIDTH_INNER, c->array->shift);
		at = frame_child(c, frame, &last);
		if (!c->doomed && (at < 0 || keys[at] != lo))
			return node_fault(c, KHO_E_FORMAT, level, pa, "key", at < 0 ? 0 : keys[at],
					  lo);
		if (at < 0)
			return 0;
		rc = check_twins(c, frame->node, at, pa, level);
		if (rc)
			return rc;
		lo = keys[at];
		frame->next = last + 1; /* 0: none is left */
		pa = array_values(frame->node)[at];
		level--;
	}
}

static int check_tree(struct check *c, u64 root, const char *field)
{
	struct frame stack[KHO_ABI_ARRAY_LEVEL_MAX + 1] = {{NULL, 0, 0}};
	unsigned int top = array_root_level(root), level = 1;
	int rc;

	if (top > KHO_ABI_ARRAY_LEVEL_MAX)
		return desc_fault(c, KHO_E_RANGE, field, root, KHO_ABI_ARRAY_LEVEL_MAX);
	rc = check_down(c, stack, top, array_root_pa(root), 0, ~0ULL);
	while (!rc && level <= top) {
		struct frame *frame = stack + level;
		const u64 *keys;
		u64 last;
		int at = -1;

		if (frame->node && frame->next && frame->next <= frame->last)
			at = frame_child(c, frame, &last);
		if (at < 0) {
			frame->node = NULL;
			level++;
			continue;
		}
		keys = array_keys(frame->node, ARRAY_WIDTH_INNER, c->array->shift);
		rc = check_twins(c, frame->node, at, array_values(frame->node)[at], level);
		frame->next = last + 1;
		if (!rc)
			rc = check_down(c, stack, level - 1, array_values(frame->node)[at],
					keys[at], last);
		level = 1;
	}
	return rc;
}

static int check_desc(struct check *c)
{
	const struct kho_abi_array *desc = c->array->desc;
	u64 change = desc->next_count - desc->count;

	if (desc->reserved0 || desc->reserved[0] || desc->reserved[1])
		return desc_fault(c, KHO_E_FORMAT, "reserved", desc->reserved[0], 0);
	if (!change || !desc->root)
		return 0;
	if (change != 1 && change != ~0ULL)
		return desc_fault(c, KHO_E_RANGE, "next_count", desc->next_count, desc->count);
	if (desc->slot_pa & 7)
		return desc_fault(c, KHO_E_ALIGN, "slot_pa", desc->slot_pa, 8);
	if (desc->slot_pa < c->limits->data_lo || !desc->slot_pa ||
	    !mem_inside(c->limits->data_hi, desc->slot_pa, 8))
		return desc_fault(c, KHO_E_RANGE, "slot_pa", desc->slot_pa, c->limits->data_hi);
	return 0;
}

int khoc_array_validate(const struct khoc_array *array, struct khoc_array_check *limits,
			struct khoc_report *report)
{
	const struct kho_abi_array *desc = array->desc;
	struct check c = {.array = array, .limits = limits, .report = report};
	u64 count;
	int rc;

	report_clear(report);
	rc = check_desc(&c);
	if (!rc && desc->root)
		rc = check_tree(&c, desc->root, "root");
	c.doomed = true;
	if (!rc && desc->doomed && desc->doomed != desc->root)
		rc = check_tree(&c, desc->doomed, "doomed");
	if (rc)
		return rc;
	count = khoc_array_count(array);
	if (count != c.entries)
		return desc_fault(&c, KHO_E_RANGE, "count", count, c.entries);
	limits->pages = c.pages;
	limits->entries = c.entries;
	return 0;
}
