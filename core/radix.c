/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The preserved-memory tree: making, marking, clearing, testing.
 *
 * Invariant: after every single store the tree is valid. A node is zeroed before
 * one compare-and-swap links it, and unlinked only under exclusion; bits change
 * by one atomic operation, or by one store of a word that changes whole.
 *
 *	view, miss, span	see geom.h
 *	reserve			where new nodes come from instead of the allocator
 */
#include "geom.h"

/* Blocks that khoc_radix_split() can make of one range: each order twice at most. */
#define SPLIT_MAX 128

u64 khoc_key(unsigned int shift, kho_pa_t pa, unsigned int order)
{
	return geom_key(shift, pa, order);
}

int khoc_key_decode(unsigned int shift, u64 key, struct khoc_block *block)
{
	if (!key || key >> (geom_order0(shift) + 1))
		return -KHO_E_KEY;
	block->order = geom_key_order(shift, key);
	/* Key 1 names a block of all 2^64 bytes: its address would take a shift by 64. */
	block->pa = key == 1 ? 0 : geom_key_pa(shift, key, block->order);
	return 0;
}

unsigned int khoc_max_order(unsigned int shift)
{
	return geom_max_order(shift);
}

/* ---- short cuts --------------------------------------------------------- */

/* The highest level of a table that a short cut leads to. */
#define TOP_LEVELS 2

/* Blocks of one order below one table of a level, if they begin at address 0. */
khoc_inline u64 top_covers(unsigned int level)
{
	return 1ULL << geom_span(12, level + 1);
}

/* The lowest table with all blocks of @order below it, plus its level; 0 if there is none yet. */
static u64 top_find(const struct khoc_radix *tree, const struct radix_view *view,
		    unsigned int order, u64 size)
{
	u64 nr = size >> (12 + order);
	u64 key = geom_key(12, 0, order);
	unsigned int lowest = 1;
	struct radix_miss miss;
	u64 *node = tree->root;
	kho_pa_t pa = 0;

	while (lowest <= TOP_LEVELS && nr > top_covers(lowest))
		lowest++;
	if (!nr || lowest > TOP_LEVELS)
		return 0;
	for (unsigned int level = 5; level > lowest; level--) {
		pa = khoc_load(node + geom_index(12, level, key));
		if (!radix_step(view, &node, key, level, 12, &miss))
			return 0;
	}
	return pa + lowest;
}

/* Stores only what changed: the line is shared by everybody who marks. */
static void top_store(u64 *word, u64 value)
{
	if (khoc_load(word) != value)
		khoc_store_release(word, value);
}

/* Look again for the short cut of orders @first to @last. Other threads may use the tree meanwhile. */
static void tops_renew(struct khoc_radix *tree, unsigned int first, unsigned int last)
{
	struct radix_view view = radix_view(tree->mem, tree->shift);
	u64 size = khoc_load(&tree->mem->size);

	if (!geom_ordinary(tree->shift) || !view.linear)
		return;
	top_store(&tree->node_nr, view.nr);
	top_store(&tree->size, size);
	for (unsigned int order = first; order <= last && order < KHOC_RADIX_NR_TOPS; order++)
		top_store(&tree->top[order], top_find(tree, &view, order, size));
}

void radix_tops_renew_(struct khoc_radix *tree)
{
	tops_renew(tree, 0, KHOC_RADIX_NR_TOPS - 1);
}

/*
 * The leaf of a block by way of tree->top. Return: NULL if that does not lead there, for
 * whatever reason: the long way round finds out which.
 */
khoc_inline u64 *radix_short(const struct khoc_radix *tree, kho_pa_t pa, unsigned int order,
			     u64 *key)
{
	struct radix_view view = {NULL, tree->linear, tree->node_lo, khoc_load(&tree->node_nr)};
	u64 nr, top, child;
	char *table;

	if (unlikely(order >= KHOC_RADIX_NR_TOPS))
		return NULL;
	nr = pa >> (12 + order);
	if (unlikely(nr << (12 + order) != pa || nr >= khoc_load(&tree->size) >> (12 + order)))
		return NULL;
	top = khoc_load_acquire(&tree->top[order]);
	*key = nr | geom_order_bit(12, order);
	table = view.linear + (top & ~4095ULL);
	if (likely((top & 3) == 1)) {
		if (unlikely(nr >= top_covers(1)))
			return NULL;
	} else {
		if (unlikely(!top || nr >= top_covers(2)))
			return NULL;
		child = khoc_load_acquire((u64 *)table + geom_index(12, 2, *key));
		if (unlikely(!radix_node_ok(&view, child, 12)))
			return NULL;
		table = view.linear + child;
	}
	child = khoc_load_acquire((u64 *)table + geom_index(12, 1, *key));
	if (unlikely(!radix_node_ok(&view, child, 12)))
		return NULL;
	return (u64 *)(view.linear + child);
}

/* ---- making ------------------------------------------------------------- */

int khoc_radix_attach(struct khoc_radix *tree, const struct khoc_mem *mem, unsigned int shift,
		      kho_pa_t root_pa)
{
	struct radix_view view;
	u64 *root;

	if (shift < KHO_ABI_PAGE_SHIFT_MIN || shift > KHO_ABI_PAGE_SHIFT_MAX ||
	    mem->node_lo & (geom_page(shift) - 1))
		return -EINVAL;
	view = radix_view(mem, shift);
	root = radix_node(&view, root_pa, shift);
	if (!root)
		return radix_node_fault(root_pa, shift);
	*tree = (struct khoc_radix){.mem = mem,
				    .root_pa = root_pa,
				    .root = root,
				    .shift = shift,
				    .linear = view.linear,
				    .node_lo = view.lo};
	radix_tops_renew_(tree);
	return 0;
}

int khoc_radix_init(struct khoc_radix *tree, const struct khoc_mem *mem, unsigned int shift)
{
	kho_pa_t pa;
	int err;

	if (shift < KHO_ABI_PAGE_SHIFT_MIN || shift > KHO_ABI_PAGE_SHIFT_MAX)
		return -EINVAL;
	pa = mem->ops->alloc_node ? mem->ops->alloc_node(mem->ctx) : 0;
	if (!pa)
		return -ENOMEM;
	err = khoc_radix_attach(tree, mem, shift, pa);
	if (err)
		mem->ops->free_node(mem->ctx, pa);
	return err;
}

static kho_pa_t node_new(const struct khoc_mem *mem, struct khoc_radix_reserve *reserve)
{
	if (reserve)
		return reserve->nr ? reserve->pa[--reserve->nr] : 0;
	return mem->ops->alloc_node ? mem->ops->alloc_node(mem->ctx) : 0;
}

/* @pa was never linked, so that it is still zeroed. */
static void node_unused(const struct khoc_mem *mem, struct khoc_radix_reserve *reserve, kho_pa_t pa)
{
	if (reserve)
		reserve->pa[reserve->nr++] = pa;
	else
		mem->ops->free_node(mem->ctx, pa);
}

/*
 * Link a new node into an empty slot. Return: the child that is there afterwards, which
 * may be another thread's; 0 and @err if there is none.
 */
static kho_pa_t slot_fill(const struct khoc_mem *mem, u64 *slot, unsigned int shift,
			  struct khoc_radix_reserve *reserve, int *err)
{
	kho_pa_t pa = node_new(mem, reserve);
	struct radix_view view;
	kho_pa_t there;

	if (!pa) {
		*err = -ENOMEM;
		return 0;
	}
	/* Read after the allocation, which may have made the image larger. */
	view = radix_view(mem, shift);
	if (!radix_node(&view, pa, shift)) {
		node_unused(mem, reserve, pa);
		*err = radix_node_fault(pa, shift);
		return 0;
	}
	there = khoc_cmpxchg(slot, 0, pa);
	if (!there)
		return pa;
	node_unused(mem, reserve, pa);
	return there;
}

/* Go on from where radix_descend() stopped, making what is missing. */
khoc_noinline int radix_grow(struct khoc_radix *tree, u64 key, struct radix_miss miss,
			     struct khoc_radix_reserve *reserve, u64 **leaf)
{
	const struct khoc_mem *mem = tree->mem;
	unsigned int shift = khoc_pin_shift(tree->shift);
	kho_pa_t child = miss.child;
	unsigned int level = miss.level;
	u64 *slot = miss.slot;
	int err = 0;

	for (;;) {
		struct radix_view view;
		u64 *node;

		if (!child)
			child = slot_fill(mem, slot, shift, reserve, &err);
		if (err)
			return err;
		view = radix_view(mem, shift);
		node = radix_node(&view, child, shift);
		if (!node)
			return radix_node_fault(child, shift);
		if (!--level) {
			*leaf = node;
			return 0;
		}
		slot = node + geom_index(shift, level, key);
		child = khoc_load_acquire(slot);
	}
}

/* ---- single blocks ------------------------------------------------------ */

/* Are @nr blocks from @pa on aligned, of an order that there is, and all in the image? */
khoc_inline bool blocks_ok(const struct khoc_mem *mem, kho_pa_t pa, u64 nr, unsigned int order,
			   unsigned int shift)
{
	u64 size = khoc_load(&mem->size);

	if (unlikely(order > geom_max_order(shift)))
		return false;
	if (unlikely(pa & (geom_block_size(shift, order) - 1) || pa >= size))
		return false;
	return likely(nr <= (size - pa) >> (shift + order));
}

khoc_inline u64 *leaf_word(u64 *leaf, u64 key, unsigned int shift)
{
	return leaf + ((key & (geom_leaf_bits(shift) - 1)) >> 6);
}

/* A locked operation costs more than the way down to here: what is so already is left. */
khoc_inline void bit_change(u64 *leaf, u64 key, bool set, unsigned int shift)
{
	u64 *word = leaf_word(leaf, key, shift);
	u64 bit = 1ULL << (key & 63);

	if (!(khoc_load(word) & bit) != set)
		return;
	if (set)
		khoc_atomic_or(word, bit);
	else
		khoc_atomic_andnot(word, bit);
}

/**
 * struct radix_way - the way to a block's bit
 * @leaf: where it ends; else @miss says how far it goes
 */
struct radix_way {
	u64 key;
	u64 *leaf;
	struct radix_miss miss;
};

/* All page sizes, all images, and every reason to refuse. Return: 1: there is a leaf, 0: none, -EINVAL. */
khoc_inline int radix_long(const struct khoc_radix *tree, kho_pa_t pa, unsigned int order,
			   unsigned int shift, struct radix_way *way)
{
	struct radix_view view = radix_view(tree->mem, shift);

	if (!blocks_ok(tree->mem, pa, 1, order, shift))
		return -EINVAL;
	way->key = geom_key(shift, pa, order);
	return radix_descend(&view, tree->root, way->key, shift, &way->leaf, &way->miss);
}

khoc_noinline int radix_add_long(struct khoc_radix *tree, kho_pa_t pa, unsigned int order,
				 struct khoc_radix_reserve *reserve)
{
	unsigned int shift = khoc_pin_shift(tree->shift);
	struct radix_way way;
	int r = radix_long(tree, pa, order, shift, &way);

	if (!r)
		r = radix_grow(tree, way.key, way.miss, reserve, &way.leaf);
	if (r < 0)
		return r;
	bit_change(way.leaf, way.key, true, shift);
	tops_renew(tree, order, order);
	return 0;
}

khoc_noinline int radix_del_long(struct khoc_radix *tree, kho_pa_t pa, unsigned int order)
{
	unsigned int shift = khoc_pin_shift(tree->shift);
	struct radix_way way;
	int r = radix_long(tree, pa, order, shift, &way);

	if (!r && way.miss.child)
		return radix_node_fault(way.miss.child, shift);
	if (r > 0)
		bit_change(way.leaf, way.key, false, shift);
	return r < 0 ? r : 0;
}

khoc_noinline bool radix_test_long(const struct khoc_radix *tree, kho_pa_t pa, unsigned int order)
{
	unsigned int shift = khoc_pin_shift(tree->shift);
	struct radix_way way;

	if (radix_long(tree, pa, order, shift, &way) <= 0)
		return false;
	return khoc_load_acquire(leaf_word(way.leaf, way.key, shift)) >> (way.key & 63) & 1;
}

int khoc_radix_add(struct khoc_radix *tree, kho_pa_t pa, unsigned int order)
{
	u64 key;
	u64 *leaf = radix_short(tree, pa, order, &key);

	if (unlikely(!leaf))
		return radix_add_long(tree, pa, order, NULL);
	bit_change(leaf, key, true, 12);
	return 0;
}

int khoc_radix_add_reserved(struct khoc_radix *tree, kho_pa_t pa, unsigned int order,
			    struct khoc_radix_reserve *reserve)
{
	u64 key;
	u64 *leaf = radix_short(tree, pa, order, &key);

	if (unlikely(!leaf))
		return radix_add_long(tree, pa, order, reserve);
	bit_change(leaf, key, true, 12);
	return 0;
}

int khoc_radix_del(struct khoc_radix *tree, kho_pa_t pa, unsigned int order)
{
	u64 key;
	u64 *leaf = radix_short(tree, pa, order, &key);

	if (unlikely(!leaf))
		return radix_del_long(tree, pa, order);
	bit_change(leaf, key, false, 12);
	return 0;
}

bool khoc_radix_test(const struct khoc_radix *tree, kho_pa_t pa, unsigned int order)
{
	u64 key;
	u64 *leaf = radix_short(tree, pa, order, &key);

	if (unlikely(!leaf))
		return radix_test_long(tree, pa, order);
	return khoc_load_acquire(leaf_word(leaf, key, 12)) >> (key & 63) & 1;
}

/* ---- reserve ------------------------------------------------------------ */

int khoc_radix_reserve_fill(struct khoc_radix *tree, struct khoc_radix_reserve *reserve)
{
	/* The root is there; every other level may be missing. */
	unsigned int need = geom_depth(tree->shift) - 1;

	while (reserve->nr < need) {
		kho_pa_t pa = node_new(tree->mem, NULL);

		if (!pa)
			return -ENOMEM;
		reserve->pa[reserve->nr++] = pa;
	}
	return 0;
}

void khoc_radix_reserve_drain(struct khoc_radix *tree, struct khoc_radix_reserve *reserve)
{
	while (reserve->nr)
		node_unused(tree->mem, NULL, reserve->pa[--reserve->nr]);
}

/* ---- ranges of one order ------------------------------------------------ */

khoc_inline void word_change(u64 *word, u64 bits, bool set)
{
	u64 old = khoc_load(word);

	/* What is so already is not written: a write would dirty a line, or fill a hole. */
	if (set ? (old & bits) == bits : !(old & bits))
		return;
	if (bits == ~0ULL)
		khoc_store_release(word, set ? ~0ULL : 0);
	else if (set)
		khoc_atomic_or(word, bits);
	else
		khoc_atomic_andnot(word, bits);
}

/* Change bits @first to @last of a leaf, both included. */
khoc_inline void leaf_change(u64 *leaf, u64 first, u64 last, bool set)
{
	u64 *word = leaf + (first >> 6);
	u64 *end = leaf + (last >> 6);
	u64 lo_mask = word_mask(first & 63, 64);
	u64 hi_mask = word_mask(0, (last & 63) + 1);

	if (word == end) {
		word_change(word, lo_mask & hi_mask, set);
		return;
	}
	word_change(word++, lo_mask, set);
	while (word < end)
		word_change(word++, ~0ULL, set);
	word_change(end, hi_mask, set);
}

/* The first key behind the empty word of a table that a way down stopped at. */
khoc_inline u64 key_behind(u64 key, unsigned int level, unsigned int shift)
{
	unsigned int span = geom_span(shift, level);

	return ((key >> span) + 1) << span;
}

khoc_inline int radix_range(struct khoc_radix *tree, kho_pa_t pa, u64 nr, unsigned int order,
			    bool set, unsigned int shift)
{
	const u64 leaf_mask = geom_leaf_bits(shift) - 1;
	struct radix_miss miss;
	u64 key, last;

	if (!blocks_ok(tree->mem, pa, nr, order, shift))
		return -EINVAL;
	if (!nr)
		return 0;
	key = geom_key(shift, pa, order);
	last = key + nr - 1;
	while (key <= last) {
		struct radix_view view = radix_view(tree->mem, shift);
		u64 stop = (key | leaf_mask) < last ? key | leaf_mask : last;
		u64 *leaf;

		if (!radix_descend(&view, tree->root, key, shift, &leaf, &miss)) {
			int err;

			if (miss.child)
				return radix_node_fault(miss.child, shift);
			if (!set) {
				key = key_behind(key, miss.level, shift);
				continue;
			}
			err = radix_grow(tree, key, miss, NULL, &leaf);
			if (err)
				return err;
		}
		leaf_change(leaf, key & leaf_mask, stop & leaf_mask, set);
		key = stop + 1;
	}
	return 0;
}

khoc_noinline int radix_range_any(struct khoc_radix *tree, kho_pa_t pa, u64 nr, unsigned int order,
				  bool set)
{
	return radix_range(tree, pa, nr, order, set, khoc_pin_shift(tree->shift));
}

int khoc_radix_add_range(struct khoc_radix *tree, kho_pa_t pa, u64 nr, unsigned int order)
{
	if (geom_ordinary(tree->shift))
		return radix_range(tree, pa, nr, order, true, 12);
	return radix_range_any(tree, pa, nr, order, true);
}

int khoc_radix_del_range(struct khoc_radix *tree, kho_pa_t pa, u64 nr, unsigned int order)
{
	if (geom_ordinary(tree->shift))
		return radix_range(tree, pa, nr, order, false, 12);
	return radix_range_any(tree, pa, nr, order, false);
}

/* ---- ranges of pages ---------------------------------------------------- */

unsigned int khoc_radix_split(unsigned int shift, kho_pa_t pa, u64 nr_pages)
{
	unsigned int fits = khoc_fls64(nr_pages) - 1;
	unsigned int max = geom_max_order(shift);
	unsigned int aligned = pa >> shift ? khoc_ctz64(pa >> shift) : max;
	unsigned int order = aligned < fits ? aligned : fits;

	return order < max ? order : max;
}

int khoc_radix_add_pages(struct khoc_radix *tree, kho_pa_t pa, u64 nr_pages)
{
	unsigned int shift = khoc_pin_shift(tree->shift);
	u64 ours[SPLIT_MAX / 64] = {0};
	kho_pa_t at = pa;
	u64 left = nr_pages;
	int err = 0;

	if (!blocks_ok(tree->mem, pa, nr_pages, 0, shift))
		return -EINVAL;
	for (unsigned int i = 0; left && !err; i++) {
		unsigned int order = khoc_radix_split(shift, at, left);

		khoc_assert(i < SPLIT_MAX);
		if (!khoc_radix_test(tree, at, order)) {
			ours[i / 64] |= 1ULL << (i % 64);
			err = khoc_radix_add(tree, at, order);
		}
		at += geom_block_size(shift, order);
		left -= 1ULL << order;
	}
	/* Only what was not marked before is cleared, again in the order in which it was made. */
	for (unsigned int i = 0; err && nr_pages > left; i++) {
		unsigned int order = khoc_radix_split(shift, pa, nr_pages);

		if (ours[i / 64] >> (i % 64) & 1)
			khoc_radix_del(tree, pa, order);
		pa += geom_block_size(shift, order);
		nr_pages -= 1ULL << order;
	}
	return err;
}

int khoc_radix_del_pages(struct khoc_radix *tree, kho_pa_t pa, u64 nr_pages)
{
	unsigned int shift = khoc_pin_shift(tree->shift);

	if (!blocks_ok(tree->mem, pa, nr_pages, 0, shift))
		return -EINVAL;
	while (nr_pages) {
		unsigned int order = khoc_radix_split(shift, pa, nr_pages);
		int err = khoc_radix_del(tree, pa, order);

		if (err)
			return err;
		pa += geom_block_size(shift, order);
		nr_pages -= 1ULL << order;
	}
	return 0;
}

int khoc_radix_reorder(struct khoc_radix *tree, kho_pa_t pa, u64 nr_pages, unsigned int from,
		       unsigned int to)
{
	unsigned int max = geom_max_order(tree->shift);
	unsigned int large = from > to ? from : to;
	int err;

	if (from > max || to > max || nr_pages & ((1ULL << large) - 1))
		return -EINVAL;
	if (!blocks_ok(tree->mem, pa, nr_pages >> large, large, tree->shift))
		return -EINVAL;
	if (from == to)
		return 0;
	err = khoc_radix_add_range(tree, pa, nr_pages >> to, to);
	if (err) {
		khoc_radix_del_range(tree, pa, nr_pages >> to, to);
		return err;
	}
	return khoc_radix_del_range(tree, pa, nr_pages >> from, from);
}
