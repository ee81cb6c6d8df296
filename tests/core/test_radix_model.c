/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The tree against a model: one byte per block and order, asked by counting through it.
 * Random operations, at page sizes that give trees of 18, 6, 5 and 4 levels.
 */
#include "image.h"

#define MAX_ORDER 12
/* Not a power of two, and not a whole number of leaves or words. */
#define MAX_PAGES 40000

struct model {
	struct rng rng;
	struct khoc_radix tree;
	struct image image;
	unsigned int shift;
	u64 nr_pages;
	u8 *marked[MAX_ORDER + 1]; /* per order, per block */
};

static u64 nr_blocks(const struct model *m, unsigned int order)
{
	return m->nr_pages >> order;
}

static void mark(struct model *m, u64 page, u64 nr, unsigned int order, u8 value)
{
	memset(m->marked[order] + (page >> order), value, nr);
}

static kho_pa_t pa_of(const struct model *m, u64 page)
{
	return page << m->shift;
}

/* A random range of whole blocks of an order, more often short than long. */
static u64 random_range(struct model *m, unsigned int order, u64 *page)
{
	u64 blocks = nr_blocks(m, order), start = rng_below(&m->rng, blocks);
	u64 max = blocks - start;

	if (rng_below(&m->rng, 4) && max > 200)
		max = 200;
	*page = start << order;
	return 1 + rng_below(&m->rng, max);
}

static void op_single(struct model *m)
{
	unsigned int order = (unsigned int)rng_below(&m->rng, MAX_ORDER + 1);
	u64 block = rng_below(&m->rng, nr_blocks(m, order));
	kho_pa_t pa = pa_of(m, block << order);

	EXPECT_EQ(khoc_radix_test(&m->tree, pa, order), m->marked[order][block]);
	/* The other way round, and back. */
	for (int i = 0; i < 2; i++) {
		u8 now = !m->marked[order][block];

		EXPECT_EQ(now ? khoc_radix_add(&m->tree, pa, order)
			      : khoc_radix_del(&m->tree, pa, order),
			  0);
		m->marked[order][block] = now;
		EXPECT_EQ(khoc_radix_test(&m->tree, pa, order), now);
	}
}

static void op_add_del(struct model *m)
{
	unsigned int order = (unsigned int)rng_below(&m->rng, MAX_ORDER + 1);
	u64 block = rng_below(&m->rng, nr_blocks(m, order));
	kho_pa_t pa = pa_of(m, block << order);
	bool add = rng_below(&m->rng, 3);

	EXPECT_EQ(add ? khoc_radix_add(&m->tree, pa, order) : khoc_radix_del(&m->tree, pa, order),
		  0);
	m->marked[order][block] = add;
}

static void op_range(struct model *m)
{
	unsigned int order = (unsigned int)rng_below(&m->rng, MAX_ORDER + 1);
	bool add = rng_below(&m->rng, 2);
	u64 page, nr = random_range(m, order, &page);

	if (add)
		EXPECT_EQ(khoc_radix_add_range(&m->tree, pa_of(m, page), nr, order), 0);
	else
		EXPECT_EQ(khoc_radix_del_range(&m->tree, pa_of(m, page), nr, order), 0);
	mark(m, page, nr, order, add);
}

static void op_pages(struct model *m)
{
	bool add = rng_below(&m->rng, 2);
	u64 page, nr = random_range(m, 0, &page);

	/* Blocks of orders that the model does not have. */
	if (nr >= 2ULL << MAX_ORDER)
		nr = 1000;
	if (add)
		EXPECT_EQ(khoc_radix_add_pages(&m->tree, pa_of(m, page), nr), 0);
	else
		EXPECT_EQ(khoc_radix_del_pages(&m->tree, pa_of(m, page), nr), 0);
	while (nr) {
		unsigned int order = 0;

		/* The definition: grow the block while it is aligned and fits. */
		while (order < MAX_ORDER && !(page & ((2ULL << order) - 1)) && nr >= 2ULL << order)
			order++;
		mark(m, page, 1, order, add);
		page += 1ULL << order;
		nr -= 1ULL << order;
	}
}

static void op_reorder(struct model *m)
{
	unsigned int a = (unsigned int)rng_below(&m->rng, MAX_ORDER + 1);
	unsigned int b = (unsigned int)rng_below(&m->rng, MAX_ORDER + 1);
	u64 page, nr = random_range(m, a > b ? a : b, &page) << (a > b ? a : b);

	EXPECT_EQ(khoc_radix_reorder(&m->tree, pa_of(m, page), nr, a, b), 0);
	if (a == b)
		return;
	mark(m, page, nr >> b, b, 1);
	mark(m, page, nr >> a, a, 0);
}

static void op_lookup(struct model *m)
{
	kho_pa_t pa = rng_below(&m->rng, pa_of(m, m->nr_pages));
	struct khoc_block block;
	int want = -1;

	for (int order = 0; order <= MAX_ORDER; order++) {
		u64 nr = pa >> m->shift >> order;

		if (nr < nr_blocks(m, (unsigned int)order) && m->marked[order][nr])
			want = order;
	}
	EXPECT_EQ(khoc_radix_lookup(&m->tree, pa, &block), want >= 0);
	if (want < 0)
		return;
	EXPECT_EQ(block.order, want);
	EXPECT_EQ(block.pa, pa >> m->shift >> want << want << m->shift);
}

static void op_next(struct model *m)
{
	kho_pa_t pa = rng_below(&m->rng, pa_of(m, m->nr_pages));
	kho_pa_t end = pa + rng_below(&m->rng, pa_of(m, 2000));
	u64 page = (pa >> m->shift) + !!(pa & ((1ULL << m->shift) - 1));
	struct khoc_block block;
	int want = -1;

	for (; want < 0 && pa_of(m, page) < end && page < m->nr_pages; page++) {
		for (unsigned int order = 0; order <= MAX_ORDER; order++)
			if (!(page & ((1ULL << order) - 1)) &&
			    page >> order < nr_blocks(m, order) && m->marked[order][page >> order])
				want = (int)order;
		if (want >= 0)
			break;
	}
	EXPECT_EQ(khoc_radix_next(&m->tree, pa, end, &block), want >= 0);
	if (want < 0)
		return;
	EXPECT_EQ(block.pa, pa_of(m, page));
	EXPECT_EQ(block.order, want);
}

/* The runs of one order that share bytes with [@lo, @hi), in turn, against the iterator's. */
static void expect_runs(struct model *m, struct khoc_radix_iter *iter, kho_pa_t lo, kho_pa_t hi,
			unsigned int order)
{
	unsigned int log2 = m->shift + order;
	u64 end = nr_blocks(m, order);
	u64 block = lo >> log2;

	if ((hi - 1) >> log2 < end)
		end = ((hi - 1) >> log2) + 1;
	while (block < end) {
		struct khoc_run run;
		u64 first;

		if (!m->marked[order][block]) {
			block++;
			continue;
		}
		for (first = block; block < end && m->marked[order][block];)
			block++;
		/* Resumable: a copy goes on from the same place. */
		if (block & 1) {
			struct khoc_radix_iter copy = *iter;

			EXPECT(khoc_radix_iter_next(&copy, &run));
			EXPECT_EQ(run.pa, first << log2);
		}
		EXPECT(khoc_radix_iter_next(iter, &run));
		EXPECT_EQ(run.order, order);
		EXPECT_EQ(run.pa, first << log2);
		EXPECT_EQ(run.nr, block - first);
	}
}

static void op_walk(struct model *m)
{
	kho_pa_t lo = rng_below(&m->rng, pa_of(m, m->nr_pages));
	kho_pa_t hi = lo + 1 + rng_below(&m->rng, pa_of(m, m->nr_pages));
	unsigned int order_min = (unsigned int)rng_below(&m->rng, 3);
	unsigned int order_max = order_min + (unsigned int)rng_below(&m->rng, 15);
	struct khoc_radix_iter iter;
	struct khoc_run run;

	khoc_radix_iter_init(&iter, &m->tree, lo, hi, order_min, order_max);
	for (int order = MAX_ORDER; order >= (int)order_min; order--)
		if (order <= (int)order_max)
			expect_runs(m, &iter, lo, hi, (unsigned int)order);
	EXPECT(!khoc_radix_iter_next(&iter, &run));
	EXPECT_EQ(khoc_radix_iter_error(&iter), 0);
}

static void op_union(struct model *m)
{
	u64 page = rng_below(&m->rng, m->nr_pages + 100) & ~63ULL;
	u64 nr = (1 + rng_below(&m->rng, 100)) * 64;
	u64 bitmap[101];

	memset(bitmap, 0x5a, sizeof(bitmap));
	EXPECT_EQ(khoc_radix_union(&m->tree, pa_of(m, page), nr, bitmap), 0);
	for (u64 i = 0; i < nr; i++) {
		u8 want = 0;

		for (unsigned int order = 0; order <= MAX_ORDER; order++)
			if ((page + i) >> order < nr_blocks(m, order))
				want |= m->marked[order][(page + i) >> order];
		EXPECT_EQ(bitmap[i / 64] >> (i % 64) & 1, want);
	}
	EXPECT_EQ(bitmap[nr / 64], 0x5a5a5a5a5a5a5a5a);
}

static void op_count(struct model *m)
{
	kho_pa_t lo = rng_below(&m->rng, pa_of(m, m->nr_pages));
	kho_pa_t hi = lo + rng_below(&m->rng, pa_of(m, m->nr_pages));
	struct khoc_radix_counts counts;
	u64 pages = 0;

	EXPECT_EQ(khoc_radix_count(&m->tree, lo, hi, &counts), 0);
	for (unsigned int order = 0; order <= MAX_ORDER; order++) {
		u64 want = 0;

		for (u64 i = 0; i < nr_blocks(m, order); i++)
			if (i << (m->shift + order) >= lo && i << (m->shift + order) < hi)
				want += m->marked[order][i];
		EXPECT_EQ(counts.blocks[order], want);
		pages += want << order;
	}
	EXPECT_EQ(counts.pages, pages);
	EXPECT_EQ(counts.tables + counts.leaves, m->image.live);
}

static void op_validate(struct model *m)
{
	u64 *seen = shim_alloc((m->image.nr_nodes / 64 + 1) * 8);
	struct khoc_radix_check check = {0, pa_of(m, m->nr_pages), seen};
	u64 nodes = 0;

	EXPECT_EQ(khoc_radix_validate(&m->tree, &check, NULL), 0);
	for (u64 i = 0; i < m->image.nr_nodes / 64 + 1; i++)
		nodes += khoc_popcount64(seen[i]);
	EXPECT_EQ(nodes, m->image.live);
	shim_free(seen);
}

static void op_prune(struct model *m)
{
	u64 live = m->image.live;
	u64 freed = khoc_radix_prune(&m->tree);

	EXPECT_EQ(freed, live - m->image.live);
	EXPECT_EQ(khoc_radix_prune(&m->tree), 0);
}

/* Another handle on the same tree sees the same. */
static void op_attach(struct model *m)
{
	EXPECT_EQ(khoc_radix_attach(&m->tree, &m->image.mem, m->shift, m->tree.root_pa), 0);
}

static const struct {
	void (*fn)(struct model *m);
	unsigned int weight;
} ops[] = {
	{op_single, 20},  {op_add_del, 30}, {op_range, 20}, {op_pages, 20}, {op_reorder, 5},
	{op_lookup, 30},  {op_next, 20},    {op_walk, 5},   {op_union, 5},  {op_count, 1},
	{op_validate, 2}, {op_prune, 1},    {op_attach, 1},
};

static void run_model(unsigned int shift, bool linear, u64 seed)
{
	struct model m = {.rng = {seed}, .shift = shift};
	unsigned int weights = 0;

	m.nr_pages = 12345 + rng_below(&m.rng, MAX_PAGES - 12345);
	image_make(&m.image, shift, m.nr_pages << shift, 16ULL << shift, 4000, linear);
	EXPECT_EQ(khoc_radix_init(&m.tree, &m.image.mem, shift), 0);
	for (unsigned int order = 0; order <= MAX_ORDER; order++)
		m.marked[order] = shim_alloc(MAX_PAGES);
	for (size_t i = 0; i < ARRAY_LEN(ops); i++)
		weights += ops[i].weight;
	for (int i = 0; i < 4000; i++) {
		u64 dice = rng_below(&m.rng, weights);
		size_t op = 0;

		while (dice >= ops[op].weight)
			dice -= ops[op++].weight;
		ops[op].fn(&m);
	}
	op_count(&m);
	op_validate(&m);
	khoc_radix_destroy(&m.tree);
	EXPECT_EQ(m.image.live, 0);
	image_destroy(&m.image);
	for (unsigned int order = 0; order <= MAX_ORDER; order++)
		shim_free(m.marked[order]);
}

TEST(tree_and_model_agree)
{
	static const unsigned int shifts[] = {6, 7, 12, 14, 16};
	u64 seed = test_seed();

	for (size_t i = 0; i < ARRAY_LEN(shifts); i++) {
		run_model(shifts[i], true, seed + 2 * i);
		run_model(shifts[i], false, seed + 2 * i + 1);
	}
}

TEST_SUITE(radix_model, TEST_CASE(tree_and_model_agree));
