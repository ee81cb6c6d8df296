/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The preserved-memory tree: is one that somebody else wrote sound?
 *
 * Each node is read once: the bitmap of seen nodes turns a second way to one into
 * a fault, whether it is a loop or a node with two parents.
 *
 *	segment	the keys of one order in one leaf, or the keys that no order has
 */
#include "geom.h"

/*
 * struct table_frame - a table on the way from the root
 * @words: its words
 * @pa: its address
 * @next: index of the word to look at next
 */
struct table_frame {
	u64 *words;
	kho_pa_t pa;
	u64 next;
};

struct validation {
	const struct khoc_radix *tree;
	const struct khoc_radix_check *check;
	struct khoc_report *report;
	struct radix_view view;
	unsigned int shift;
	unsigned int top;
	struct table_frame stack[RADIX_MAX_DEPTH];
};

/* A fault of a word at @addr that should name a node. */
static int node_fault(struct validation *v, int level, u64 addr, kho_pa_t pa)
{
	int fault = -radix_node_fault(pa, v->shift);
	const struct khoc_mem *mem = v->tree->mem;
	u64 limit = geom_page(v->shift);

	if (fault == KHO_E_RANGE)
		limit = pa < v->view.lo ? v->view.lo : v->view.lo + (v->view.nr << v->shift);
	if (fault == KHO_E_RANGE && radix_node_ok(&v->view, pa, v->shift))
		limit = mem->size; /* the map refused it */
	return report_fault(v->report, fault, KHOC_S_RADIX_TABLE, level, addr, pa, limit,
			    level == (int)geom_depth(v->shift) ? "root" : "child");
}

/* Mark a node as seen. Return: false if it was. */
static bool node_see(struct validation *v, kho_pa_t pa)
{
	u64 nr = (pa - v->tree->mem->node_lo) >> v->shift;
	u64 bit = 1ULL << (nr & 63);

	if (v->check->seen[nr >> 6] & bit)
		return false;
	v->check->seen[nr >> 6] |= bit;
	return true;
}

/* First bit in [@lo, @hi) of a leaf that is set, or @hi. */
static u64 leaf_first(const u64 *leaf, u64 lo, u64 hi)
{
	while (lo < hi) {
		u64 bits = khoc_load(leaf + (lo >> 6)) & ~0ULL << (lo & 63);

		if (bits) {
			lo = (lo & ~63ULL) + khoc_ctz64(bits);
			return lo < hi ? lo : hi;
		}
		lo = (lo | 63) + 1;
	}
	return hi;
}

/* What is wrong with the marked @key? Its word is at @addr. */
static int key_fault(struct validation *v, u64 addr, u64 key)
{
	const struct khoc_radix_check *check = v->check;
	u64 size = v->tree->mem->size;
	struct khoc_block block;
	kho_pa_t end;

	if (khoc_key_decode(v->shift, key, &block) || block.order > geom_max_order(v->shift) ||
	    !mem_inside(size, block.pa, geom_block_size(v->shift, block.order)))
		return report_fault(v->report, KHO_E_KEY, KHOC_S_RADIX_LEAF, 0, addr, key, size,
				    "key");
	end = block.pa + geom_block_size(v->shift, block.order);
	if (block.pa < check->data_lo)
		return report_fault(v->report, KHO_E_OVERLAP, KHOC_S_RADIX_LEAF, 0, addr, block.pa,
				    check->data_lo, "block");
	return report_fault(v->report, KHO_E_OVERLAP, KHOC_S_RADIX_LEAF, 0, addr, end,
			    check->data_hi, "block");
}

/* The keys [@lo, @hi) of an order whose blocks lie whole in the data region and in the image. */
static void order_keys(struct validation *v, unsigned int order, u64 *lo, u64 *hi)
{
	unsigned int log2 = v->shift + order;
	u64 data_lo = v->check->data_lo, data_hi = v->check->data_hi;
	u64 order_bit = geom_order_bit(v->shift, order);

	if (data_hi > v->tree->mem->size)
		data_hi = v->tree->mem->size;
	*lo = order_bit + (data_lo >> log2) + !!(data_lo & (geom_block_size(v->shift, order) - 1));
	*hi = order_bit + (data_hi >> log2);
}

/* The leaf of the keys from @base on: one or more whole segments, in which all marks are in one interval. */
static int check_leaf(struct validation *v, const u64 *leaf, kho_pa_t pa, u64 base)
{
	u64 end = base + geom_leaf_bits(v->shift);
	u64 key = base;

	while (key < end) {
		/* Orders change at powers of two; key 0 has none, and a whole leaf without one never gets here. */
		u64 stop = key ? 1ULL << khoc_fls64(key) : 1;
		u64 lo = stop, hi = stop, bad;

		if (stop > end)
			stop = end;
		if (key > 1)
			order_keys(v, geom_key_order(v->shift, key), &lo, &hi);
		lo = lo < key ? key : lo < stop ? lo : stop;
		hi = hi < lo ? lo : hi < stop ? hi : stop;
		bad = leaf_first(leaf, key - base, lo - base);
		if (bad == lo - base)
			bad = leaf_first(leaf, hi - base, stop - base);
		if (bad != stop - base)
			return key_fault(v, pa + (bad >> 6) * 8, base + bad);
		key = stop;
	}
	return 0;
}

/* The first key below the word of the top table that was looked at last: all indices on the way. */
static u64 way_key(const struct validation *v)
{
	unsigned int level = geom_depth(v->shift) - 1;
	u64 key = 0;

	for (unsigned int i = 0; i <= v->top; i++)
		key += (v->stack[i].next - 1) << geom_span(v->shift, level - i);
	return key;
}

/* One word of a table that is not 0. */
static int check_child(struct validation *v, struct table_frame *frame, u64 index)
{
	unsigned int level = geom_depth(v->shift) - 1 - v->top;
	u64 addr = frame->pa + index * 8;
	u64 key = way_key(v);
	kho_pa_t pa = khoc_load(frame->words + index);
	u64 *node;

	if (key >> (geom_order0(v->shift) + 1))
		return report_fault(v->report, KHO_E_KEY, KHOC_S_RADIX_TABLE, (int)level, addr, key,
				    1ULL << (geom_order0(v->shift) + 1), "index");
	node = radix_node(&v->view, pa, v->shift);
	if (!node)
		return node_fault(v, (int)level, addr, pa);
	if (!node_see(v, pa))
		return report_fault(v->report, KHO_E_CYCLE, KHOC_S_RADIX_TABLE, (int)level, addr,
				    pa, 0, "child");
	if (level == 1)
		return check_leaf(v, node, pa, key);
	v->stack[++v->top] = (struct table_frame){node, pa, 0};
	return 0;
}

int khoc_radix_validate(const struct khoc_radix *tree, const struct khoc_radix_check *check,
			struct khoc_report *report)
{
	struct validation v = {.tree = tree,
			       .check = check,
			       .report = report,
			       .shift = khoc_pin_shift(tree->shift)};
	u64 words = geom_table_words(tree->shift);

	report_clear(report);
	v.view = radix_view(tree->mem, tree->shift);
	if (!radix_node(&v.view, tree->root_pa, v.shift))
		return node_fault(&v, (int)geom_depth(v.shift), tree->root_pa, tree->root_pa);
	node_see(&v, tree->root_pa);
	v.stack[0] = (struct table_frame){.words = tree->root, .pa = tree->root_pa};
	for (;;) {
		struct table_frame *frame = &v.stack[v.top];
		int err;

		while (frame->next < words && !khoc_load(frame->words + frame->next))
			frame->next++;
		if (frame->next < words) {
			frame->next++;
			err = check_child(&v, frame, frame->next - 1);
			if (err)
				return err;
		} else if (!v.top--) {
			return 0;
		}
	}
}
