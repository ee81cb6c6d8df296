/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The preserved-memory tree: walking by runs, looking up, counting, freeing nodes.
 *
 * Walks over keys ascend: from the largest order to the smallest, each by address.
 * They visit only keys whose blocks lie in the image, so that their time is bounded by
 * the image's size however the tree is bent. Walks over nodes carry a budget of
 * one visit per page of the node region.
 */
#include "geom.h"

/* ---- scanning ----------------------------------------------------------- */

/* First key in [@key, @stop] of one leaf whose bit is set (clear, if @flip is all ones), or @stop + 1. */
khoc_inline u64 leaf_scan(const u64 *leaf, u64 key, u64 stop, u64 flip, unsigned int shift)
{
	const u64 mask = geom_leaf_bits(shift) - 1;
	const u64 *word = leaf + ((key & mask) >> 6);
	const u64 *end = leaf + ((stop & mask) >> 6);
	u64 bits = (khoc_load_acquire(word) ^ flip) & ~0ULL << (key & 63);

	key &= ~63ULL;
	while (!bits && word < end) {
		bits = khoc_load_acquire(++word) ^ flip;
		key += 64;
	}
	if (!bits)
		return stop + 1;
	key += khoc_ctz64(bits);
	return key <= stop ? key : stop + 1;
}

/* The first key at or behind the next word in use of the table where a way down stopped. */
khoc_inline u64 table_skip(const struct radix_miss *miss, u64 key, u64 last, unsigned int shift)
{
	unsigned int span = geom_span(shift, miss->level);
	u64 left = geom_table_words(shift) - 1 - geom_index(shift, miss->level, key);
	const u64 *slot = miss->slot;

	do
		key = ((key >> span) + 1) << span;
	while (left-- && key <= last && !khoc_load(++slot));
	return key;
}

/*
 * radix_run() - the first run of set keys in [@key, @last]
 * @one: do not look where it ends
 * @first, @end: the run is [@first, @end)
 *
 * Return: 1 if there is one, 0 if not, or the fault of a child on the way.
 */
khoc_inline int radix_run(const struct khoc_radix *tree, u64 key, u64 last, bool one, u64 *first,
			  u64 *end, unsigned int shift)
{
	const struct radix_view view = radix_view(tree->mem, shift);
	const u64 leaf_mask = geom_leaf_bits(shift) - 1;
	bool inside = false;
	struct radix_miss miss;

	while (key <= last) {
		u64 stop = (key | leaf_mask) < last ? key | leaf_mask : last;
		u64 *leaf;

		if (unlikely(!radix_descend(&view, tree->root, key, shift, &leaf, &miss))) {
			/* A run ends at a bad child; the next call starts there and says so. */
			if (inside)
				break;
			if (miss.child)
				return radix_node_fault(miss.child, shift);
			key = table_skip(&miss, key, last, shift);
			continue;
		}
		if (!inside) {
			key = leaf_scan(leaf, key, stop, 0, shift);
			if (key > stop)
				continue;
			*first = key;
			if (one)
				return 1;
			inside = true;
		}
		key = leaf_scan(leaf, key, stop, ~0ULL, shift);
		if (key <= stop)
			break;
	}
	*end = key;
	return inside;
}

khoc_noinline int radix_run_any(const struct khoc_radix *tree, u64 key, u64 last, bool one,
				u64 *first, u64 *end)
{
	return radix_run(tree, key, last, one, first, end, khoc_pin_shift(tree->shift));
}

khoc_inline int radix_next_run(const struct khoc_radix *tree, u64 key, u64 last, u64 *first,
			       u64 *end)
{
	if (geom_ordinary(tree->shift))
		return radix_run(tree, key, last, false, first, end, 12);
	return radix_run_any(tree, key, last, false, first, end);
}

static int radix_next_key(const struct khoc_radix *tree, u64 key, u64 last, u64 *first)
{
	u64 end;

	return radix_run_any(tree, key, last, true, first, &end);
}

/* ---- iterator ----------------------------------------------------------- */

void khoc_radix_iter_init(struct khoc_radix_iter *iter, const struct khoc_radix *tree, kho_pa_t lo,
			  kho_pa_t hi, unsigned int order_min, unsigned int order_max)
{
	unsigned int shift = khoc_pin_shift(tree->shift);
	u64 size = khoc_load(&tree->mem->size);

	*iter = (struct khoc_radix_iter){
		.tree = tree, .lo = lo, .hi = hi, .order_min = order_min, .done = true};
	if (hi > size)
		hi = size;
	if (size < geom_page(shift) || lo >= hi)
		return;
	if (order_max > geom_fit_order(shift, size))
		order_max = geom_fit_order(shift, size);
	if (order_min > order_max)
		return;
	iter->order_max = order_max;
	iter->key = geom_key(shift, lo, order_max);
	iter->done = false;
}

/*
 * The last key of an order that the walk may see; 0 if there is none. The block has to
 * be whole in the image, so that this is never the last key that the order has.
 */
static u64 iter_last(const struct khoc_radix_iter *iter, unsigned int order)
{
	unsigned int shift = khoc_pin_shift(iter->tree->shift);
	u64 nr = khoc_load(&iter->tree->mem->size) >> (shift + order);
	u64 last = (iter->hi - 1) >> (shift + order);

	if (!nr)
		return 0;
	return geom_order_bit(shift, order) | (last < nr ? last : nr - 1);
}

bool khoc_radix_iter_next(struct khoc_radix_iter *iter, struct khoc_run *run)
{
	unsigned int shift = khoc_pin_shift(iter->tree->shift);

	while (!iter->done) {
		unsigned int order = geom_key_order(shift, iter->key);
		u64 last = iter_last(iter, order);
		u64 first, end;
		int found = 0;

		if (iter->key <= last)
			found = radix_next_run(iter->tree, iter->key, last, &first, &end);
		if (found > 0) {
			iter->key = end;
			run->pa = geom_key_pa(shift, first, order);
			run->nr = end - first;
			run->order = order;
			return true;
		}
		if (found < 0)
			iter->error = found;
		if (found < 0 || order == iter->order_min)
			iter->done = true;
		else
			iter->key = geom_key(shift, iter->lo, order - 1);
	}
	return false;
}

/* ---- walking ------------------------------------------------------------ */

/*
 * The iterator finds its way anew for every run, because anything may have happened between two
 * calls. A walk goes down once per leaf and takes the runs out of words that it has in hand.
 */

/*
 * struct run_sink - who is told of the runs of one order
 * @order_bit: its key of address 0
 * @log2: of the size of its blocks
 */
struct run_sink {
	int (*fn)(void *ctx, const struct khoc_run *run);
	void *ctx;
	u64 order_bit;
	unsigned int order;
	unsigned int log2;
};

khoc_inline int sink_put(const struct run_sink *sink, u64 first, u64 end)
{
	struct khoc_run run = {(first ^ sink->order_bit) << sink->log2, end - first, sink->order};

	return sink->fn(sink->ctx, &run);
}

/*
 * The runs that end in [@key, @stop] of a leaf. @open is the first key of a run that
 * goes on at @key, afterwards of one that reaches @stop; 0, which is no key, for none.
 */
khoc_inline int leaf_runs(const u64 *leaf, u64 key, u64 stop, u64 *open,
			  const struct run_sink *sink, unsigned int shift)
{
	const u64 mask = geom_leaf_bits(shift) - 1;
	const u64 *word = leaf + ((key & mask) >> 6);
	const u64 *end = leaf + ((stop & mask) >> 6);
	u64 bits = khoc_load_acquire(word) & ~0ULL << (key & 63);
	int ret;

	for (key &= ~63ULL;; bits = khoc_load_acquire(++word), key += 64) {
		u64 same = *open ? ~0ULL : 0;

		for (; bits == same && word < end; key += 64)
			bits = khoc_load_acquire(++word);
		if (word == end)
			bits &= word_mask(0, (stop & 63) + 1);
		if (*open && ~bits) {
			ret = sink_put(sink, *open, key + khoc_ctz64(~bits));
			if (ret)
				return ret;
			*open = 0;
			bits &= bits + 1;
		}
		while (bits && !*open) {
			/* Adding 1 where a run starts carries to the bit behind its end, or out of the word. */
			u64 first = key + khoc_ctz64(bits), behind = bits + (bits & -bits);

			if (!behind) {
				*open = first;
				break;
			}
			ret = sink_put(sink, first, key + khoc_ctz64(behind));
			if (ret)
				return ret;
			bits &= behind;
		}
		if (word == end)
			return 0;
	}
}

/* All runs in [@key, @last]. */
khoc_inline int order_runs(const struct khoc_radix *tree, u64 key, u64 last,
			   const struct run_sink *sink, unsigned int shift)
{
	const u64 leaf_mask = geom_leaf_bits(shift) - 1;
	u64 open = 0;
	int ret;

	while (key <= last) {
		struct radix_view view = radix_view(tree->mem, shift);
		u64 stop = (key | leaf_mask) < last ? key | leaf_mask : last;
		struct radix_miss miss;
		u64 *leaf;

		if (radix_descend(&view, tree->root, key, shift, &leaf, &miss)) {
			ret = leaf_runs(leaf, key, stop, &open, sink, shift);
			if (ret)
				return ret;
			key = stop + 1;
			continue;
		}
		if (open) {
			ret = sink_put(sink, open, key);
			if (ret)
				return ret;
			open = 0;
		}
		if (miss.child)
			return radix_node_fault(miss.child, shift);
		key = table_skip(&miss, key, last, shift);
	}
	return open ? sink_put(sink, open, last + 1) : 0;
}

khoc_noinline int order_runs_any(const struct khoc_radix *tree, u64 key, u64 last,
				 const struct run_sink *sink)
{
	return order_runs(tree, key, last, sink, khoc_pin_shift(tree->shift));
}

/* Orders of at least @order_min. */
static int walk_from(const struct khoc_radix *tree, kho_pa_t lo, kho_pa_t hi,
		     unsigned int order_min, int (*fn)(void *ctx, const struct khoc_run *run),
		     void *ctx)
{
	unsigned int shift = khoc_pin_shift(tree->shift);
	struct khoc_radix_iter iter;
	int ret = 0;

	khoc_radix_iter_init(&iter, tree, lo, hi, order_min, geom_max_order(shift));
	if (iter.done)
		return 0;
	for (unsigned int order = iter.order_max + 1; !ret && order-- > order_min;) {
		u64 key = geom_key(shift, lo, order), last = iter_last(&iter, order);
		struct run_sink sink = {fn, ctx, geom_order_bit(shift, order), order,
					shift + order};

		if (key > last)
			continue;
		if (geom_ordinary(shift))
			ret = order_runs(tree, key, last, &sink, 12);
		else
			ret = order_runs_any(tree, key, last, &sink);
	}
	return ret;
}

int khoc_radix_walk(const struct khoc_radix *tree, kho_pa_t lo, kho_pa_t hi,
		    int (*fn)(void *ctx, const struct khoc_run *run), void *ctx)
{
	return walk_from(tree, lo, hi, 0, fn, ctx);
}

/* ---- questions ---------------------------------------------------------- */

bool khoc_radix_lookup(const struct khoc_radix *tree, kho_pa_t pa, struct khoc_block *block)
{
	unsigned int shift = khoc_pin_shift(tree->shift);
	u64 size = khoc_load(&tree->mem->size);

	if (pa >= size || size < geom_page(shift))
		return false;
	for (unsigned int order = geom_fit_order(shift, size) + 1; order--;) {
		kho_pa_t start = pa & ~(geom_block_size(shift, order) - 1);

		if (!khoc_radix_test(tree, start, order))
			continue;
		*block = (struct khoc_block){start, order};
		return true;
	}
	return false;
}

bool khoc_radix_next(const struct khoc_radix *tree, kho_pa_t pa, kho_pa_t end,
		     struct khoc_block *block)
{
	unsigned int shift = khoc_pin_shift(tree->shift);
	u64 size = khoc_load(&tree->mem->size);
	bool any = false;

	if (end > size)
		end = size;
	if (size < geom_page(shift))
		return false;
	/* From large to small, and each nearer than the last: of several at one address the largest stays. */
	for (unsigned int order = geom_fit_order(shift, size) + 1; order-- && pa < end;) {
		unsigned int log2 = shift + order;
		u64 lo = (pa >> log2) + !!(pa & (geom_block_size(shift, order) - 1));
		u64 hi = (end - 1) >> log2;
		u64 order_bit = geom_order_bit(shift, order);
		u64 key;

		if (hi >= size >> log2)
			hi = (size >> log2) - 1;
		if (lo > hi || radix_next_key(tree, order_bit | lo, order_bit | hi, &key) <= 0)
			continue;
		end = geom_key_pa(shift, key, order);
		*block = (struct khoc_block){end, order};
		any = true;
	}
	return any;
}

/* Bits [@lo, @hi) of a bitmap; @lo < @hi */
static void union_set(u64 *bitmap, u64 lo, u64 hi)
{
	u64 word = lo >> 6, end = (hi - 1) >> 6;

	if (word == end) {
		bitmap[word] |= word_mask(lo & 63, ((hi - 1) & 63) + 1);
		return;
	}
	bitmap[word++] |= word_mask(lo & 63, 64);
	while (word < end)
		bitmap[word++] = ~0ULL;
	bitmap[end] |= word_mask(0, ((hi - 1) & 63) + 1);
}

/* Blocks of one page, by words; a leaf has a whole number of words of the bitmap. */
khoc_inline int union_pages(const struct khoc_radix *tree, kho_pa_t pa, u64 nr_pages, u64 *bitmap,
			    unsigned int shift)
{
	const struct radix_view view = radix_view(tree->mem, shift);
	const u64 leaf_mask = geom_leaf_bits(shift) - 1;
	u64 base = geom_key(shift, pa, 0);
	u64 key = base, last = base + nr_pages - 1;

	while (key <= last) {
		struct radix_miss miss;
		u64 stop = (key | leaf_mask) < last ? key | leaf_mask : last;
		u64 *leaf;

		if (!radix_descend(&view, tree->root, key, shift, &leaf, &miss)) {
			if (miss.child)
				return radix_node_fault(miss.child, shift);
			key = table_skip(&miss, key, last, shift);
			continue;
		}
		for (; key <= stop; key += 64)
			bitmap[(key - base) >> 6] =
				khoc_load_acquire(leaf + ((key & leaf_mask) >> 6));
	}
	if (nr_pages & 63)
		bitmap[nr_pages >> 6] &= word_mask(0, nr_pages & 63);
	return 0;
}

/* A range of pages, and a bit for each: set for those in a block. */
struct union_part {
	u64 *bitmap;
	u64 from, to;
	unsigned int shift;
};

static int union_run(void *ctx, const struct khoc_run *run)
{
	const struct union_part *part = ctx;
	u64 lo = run->pa >> part->shift, hi = lo + (run->nr << run->order);

	union_set(part->bitmap, (lo > part->from ? lo : part->from) - part->from,
		  (hi < part->to ? hi : part->to) - part->from);
	return 0;
}

int khoc_radix_union(const struct khoc_radix *tree, kho_pa_t pa, u64 nr_pages, u64 *bitmap)
{
	unsigned int shift = khoc_pin_shift(tree->shift);
	u64 size = khoc_load(&tree->mem->size);
	struct union_part part = {bitmap, pa >> shift, 0, shift};
	int err;

	if (pa & ((64ULL << shift) - 1) || nr_pages & 63)
		return -EINVAL;
	memset(bitmap, 0, nr_pages / 8);
	if (pa >= size)
		return 0;
	if (nr_pages > (size - pa) >> shift)
		nr_pages = (size - pa) >> shift;
	if (!nr_pages)
		return 0;
	err = union_pages(tree, pa, nr_pages, bitmap, khoc_pin_shift(shift));
	if (err)
		return err;
	part.to = part.from + nr_pages;
	return walk_from(tree, pa, pa + (nr_pages << shift), 1, union_run, &part);
}

static int count_node(void *ctx, kho_pa_t pa, int level)
{
	struct khoc_radix_counts *counts = ctx;

	if (level)
		counts->tables++;
	else
		counts->leaves++;
	return 0;
}

struct count_part {
	struct khoc_radix_counts *counts;
	kho_pa_t lo;
};

static int count_run(void *ctx, const struct khoc_run *run)
{
	const struct count_part *part = ctx;
	/* Only the first block of a run can reach in from below. */
	u64 nr = run->nr - (run->pa < part->lo);

	part->counts->blocks[run->order] += nr;
	part->counts->pages += nr << run->order;
	return 0;
}

int khoc_radix_count(const struct khoc_radix *tree, kho_pa_t lo, kho_pa_t hi,
		     struct khoc_radix_counts *counts)
{
	struct count_part part = {counts, lo};
	int err;

	memset(counts, 0, sizeof(*counts));
	err = khoc_radix_nodes(tree, count_node, counts);
	return err ? err : walk_from(tree, lo, hi, 0, count_run, &part);
}

/* ---- nodes -------------------------------------------------------------- */

/* The way from the root to a table: one frame per level. */
struct table_frame {
	u64 *words;
	kho_pa_t pa;
	u64 next; /* index of the word to look at next */
};

/* The next word in use of a table, or NULL. */
static u64 *frame_next(struct table_frame *frame, unsigned int shift)
{
	while (frame->next < geom_table_words(shift)) {
		u64 *slot = frame->words + frame->next++;

		if (khoc_load(slot))
			return slot;
	}
	return NULL;
}

int khoc_radix_nodes(const struct khoc_radix *tree, int (*fn)(void *ctx, kho_pa_t pa, int level),
		     void *ctx)
{
	unsigned int shift = khoc_pin_shift(tree->shift);
	struct radix_view view = radix_view(tree->mem, shift);
	struct table_frame stack[RADIX_MAX_DEPTH];
	unsigned int depth = geom_depth(shift), top = 0;
	u64 budget = view.nr;
	int ret = fn(ctx, tree->root_pa, (int)depth - 1);

	if (ret)
		return ret;
	stack[0] = (struct table_frame){.words = tree->root, .pa = tree->root_pa};
	for (;;) {
		u64 *slot = frame_next(&stack[top], shift);
		unsigned int level = depth - 2 - top; /* of the child */
		kho_pa_t child;
		u64 *node;

		if (!slot && !top)
			return 0;
		if (!slot) {
			top--;
			continue;
		}
		child = khoc_load_acquire(slot);
		node = radix_node(&view, child, shift);
		if (!node)
			return radix_node_fault(child, shift);
		if (!--budget)
			return -KHO_E_CYCLE;
		ret = fn(ctx, child, (int)level);
		if (ret)
			return ret;
		if (level)
			stack[++top] = (struct table_frame){.words = node, .pa = child};
	}
}

static bool node_empty(const u64 *node, unsigned int shift)
{
	for (u64 i = 0; i < geom_table_words(shift); i++)
		if (khoc_load(node + i))
			return false;
	return true;
}

/*
 * Free all nodes below the root, or those without a mark, children before parents.
 * Return: how many. A bad child is left where it is; so is what is beyond the budget.
 */
static u64 radix_reap(struct khoc_radix *tree, bool all)
{
	unsigned int shift = khoc_pin_shift(tree->shift);
	struct radix_view view = radix_view(tree->mem, shift);
	struct table_frame stack[RADIX_MAX_DEPTH];
	unsigned int depth = geom_depth(shift), top = 0;
	u64 budget = view.nr, freed = 0;

	stack[0] = (struct table_frame){.words = tree->root, .pa = tree->root_pa};
	for (;;) {
		u64 *slot = frame_next(&stack[top], shift);
		u64 *node;

		if (slot) {
			kho_pa_t pa = khoc_load(slot);

			node = radix_node(&view, pa, shift);
			if (!node)
				continue;
			if (!--budget)
				return freed;
			stack[++top] = (struct table_frame){.words = node, .pa = pa};
			if (top < depth - 1)
				continue;
		}
		if (!top)
			return freed;
		node = stack[top].words;
		if (all || node_empty(node, shift)) {
			struct table_frame *up = &stack[top - 1];

			khoc_store_release(up->words + up->next - 1, 0);
			tree->mem->ops->free_node(tree->mem->ctx, stack[top].pa);
			freed++;
		}
		top--;
	}
}

u64 khoc_radix_prune(struct khoc_radix *tree)
{
	u64 freed = radix_reap(tree, false);

	radix_tops_renew_(tree);
	return freed;
}

void khoc_radix_destroy(struct khoc_radix *tree)
{
	radix_reap(tree, true);
	tree->mem->ops->free_node(tree->mem->ctx, tree->root_pa);
	tree->root = NULL;
	tree->root_pa = 0;
}
