/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The tree, operation by operation: format against worked examples, errors, blocks, walks,
 * running out of nodes, images that grow.
 */
#include "radix_fixture.h"

struct example {
	unsigned int shift;
	kho_pa_t pa;
	unsigned int order;
	u64 key;
	unsigned int nr; /* of index[] */
	u64 index[5]; /* from the root down to level 1 */
	u64 bit;
};

/* Worked by hand from the format's definition. */
static const struct example examples[] = {
	{12, 0x0, 0, 0x10000000000000, 5, {2, 0, 0, 0, 0}, 0},
	{12, 0x1000, 0, 0x10000000000001, 5, {2, 0, 0, 0, 0}, 1},
	{12, 0x40000000, 0, 0x10000000040000, 5, {2, 0, 0, 0, 8}, 0},
	{12, 0x100000000, 0, 0x10000000100000, 5, {2, 0, 0, 0, 32}, 0},
	{12, 0x7fffffff000, 0, 0x1000007fffffff, 5, {2, 0, 0, 127, 511}, 32767},
	{12, 0x200000, 9, 0x80000000001, 5, {0, 2, 0, 0, 0}, 1},
	{12, 0x40000000, 9, 0x80000000200, 5, {0, 2, 0, 0, 0}, 512},
	{12, 0x400000, 10, 0x40000000001, 5, {0, 1, 0, 0, 0}, 1},
	{12, 0x40000000, 18, 0x400000001, 5, {0, 0, 2, 0, 0}, 1},
	{12, 0x10000000000, 18, 0x400000400, 5, {0, 0, 2, 0, 0}, 1024},
	{14, 0x40000000, 0, 0x4000000010000, 4, {1, 0, 0, 0}, 65536},
	{16, 0x4000000, 10, 0x4000000001, 3, {0, 64, 0}, 1},
};

TEST(levels_of_each_page_size)
{
	static const unsigned int want[][2] = {{6, 18}, {12, 6}, {14, 5}, {16, 4}};

	for (size_t i = 0; i < ARRAY_LEN(want); i++)
		EXPECT_EQ(depth_of(want[i][0]), want[i][1]);
	for (unsigned int shift = 6; shift <= 16; shift++) {
		EXPECT(depth_of(shift) <= 18);
		EXPECT_EQ(khoc_max_order(shift), 63 - shift);
	}
}

TEST(keys_as_worked_by_hand)
{
	for (size_t i = 0; i < ARRAY_LEN(examples); i++) {
		const struct example *e = &examples[i];
		struct khoc_block block;

		EXPECT_EQ(khoc_key(e->shift, e->pa, e->order), e->key);
		/* Bits below the block's size do not count. */
		EXPECT_EQ(khoc_key(e->shift, e->pa + (1ULL << e->shift) - 1, e->order), e->key);
		EXPECT_EQ(khoc_key_decode(e->shift, e->key, &block), 0);
		EXPECT_EQ(block.pa, e->pa);
		EXPECT_EQ(block.order, e->order);
	}
	/* An address below the block's size is that of block 0. */
	EXPECT_EQ(khoc_key(16, 0x400000, 10), 0x4000000000);
}

TEST(bits_lie_as_worked_by_hand)
{
	for (size_t i = 0; i < ARRAY_LEN(examples); i++) {
		const struct example *e = &examples[i];
		struct khoc_radix tree;
		struct image image;
		kho_pa_t pa;

		make(&image, &tree, e->shift, 1ULL << 46);
		EXPECT_EQ(khoc_radix_add(&tree, e->pa, e->order), 0);
		pa = tree.root_pa;
		EXPECT_EQ(e->nr, depth_of(e->shift) - 1);
		for (unsigned int l = 0; l < e->nr; l++)
			pa = *image_word(&image, pa + 8 * e->index[l]);
		EXPECT_EQ((u8)image.bytes[pa + e->bit / 8], 1 << e->bit % 8);
		/* The root and one node of each level below it. */
		EXPECT_EQ(image.live, depth_of(e->shift));
		unmake(&image, &tree);
	}
}

TEST(decode_refuses_what_is_no_key)
{
	struct khoc_block block;

	for (unsigned int shift = 6; shift <= 16; shift++) {
		EXPECT_EQ(khoc_key_decode(shift, 0, &block), -KHO_E_KEY);
		for (unsigned int bit = 65 - shift; bit < 64; bit++) {
			EXPECT_EQ(khoc_key_decode(shift, 1ULL << bit, &block), -KHO_E_KEY);
			EXPECT_EQ(khoc_key_decode(shift, 1ULL << bit | 5, &block), -KHO_E_KEY);
		}
		EXPECT_EQ(khoc_key_decode(shift, 1, &block), 0);
		EXPECT_EQ(block.order, 64 - shift);
		EXPECT_EQ(block.pa, 0);
		EXPECT_EQ(khoc_key_decode(shift, (2ULL << (64 - shift)) - 1, &block), 0);
		EXPECT_EQ(block.order, 0);
		EXPECT_EQ(block.pa, ~0ULL << shift);
	}
}

TEST(init_and_attach_errors)
{
	struct khoc_radix tree;
	struct image image;

	image_make(&image, 12, 1ULL << 30, NODE_LO(12), 64, true);
	EXPECT_EQ(khoc_radix_init(&tree, &image.mem, 5), -EINVAL);
	EXPECT_EQ(khoc_radix_init(&tree, &image.mem, 17), -EINVAL);
	EXPECT_EQ(image.allocs, 0);
	image.fail_at = 1;
	EXPECT_EQ(khoc_radix_init(&tree, &image.mem, 12), -ENOMEM);
	EXPECT_EQ(khoc_radix_attach(&tree, &image.mem, 5, NODE_LO(12)), -EINVAL);
	EXPECT_EQ(khoc_radix_attach(&tree, &image.mem, 12, NODE_LO(12) + 8), -KHO_E_ALIGN);
	EXPECT_EQ(khoc_radix_attach(&tree, &image.mem, 12, NODE_LO(12) + 2048), -KHO_E_ALIGN);
	EXPECT_EQ(khoc_radix_attach(&tree, &image.mem, 12, 0), -KHO_E_RANGE);
	EXPECT_EQ(khoc_radix_attach(&tree, &image.mem, 12, NODE_LO(12) - 4096), -KHO_E_RANGE);
	EXPECT_EQ(khoc_radix_attach(&tree, &image.mem, 12, image.mem.node_hi), -KHO_E_RANGE);
	EXPECT_EQ(khoc_radix_attach(&tree, &image.mem, 12, ~4095ULL), -KHO_E_RANGE);
	EXPECT_EQ(khoc_radix_attach(&tree, &image.mem, 12, image.mem.node_hi - 4096), 0);
	/* The image's end counts as well as the node region's. */
	image.mem.size = image.mem.node_hi - 4096;
	EXPECT_EQ(khoc_radix_attach(&tree, &image.mem, 12, image.mem.node_hi - 4096), -KHO_E_RANGE);
	image_destroy(&image);
}

TEST(add_del_test_every_page_size)
{
	for (unsigned int shift = 6; shift <= 16; shift++) {
		for (int linear = 0; linear < 2; linear++) {
			u64 size = 1ULL << (shift + 24);
			struct khoc_radix tree;
			struct image image;

			image_make(&image, shift, size, NODE_LO(shift), 1024, linear);
			EXPECT_EQ(khoc_radix_init(&tree, &image.mem, shift), 0);
			for (unsigned int order = 0; order <= 24; order++) {
				kho_pa_t last = size - (1ULL << (shift + order));

				EXPECT(!khoc_radix_test(&tree, last, order));
				EXPECT_EQ(khoc_radix_del(&tree, last, order), 0);
				EXPECT_EQ(khoc_radix_add(&tree, last, order), 0);
				EXPECT_EQ(khoc_radix_add(&tree, last, order), 0);
				EXPECT(khoc_radix_test(&tree, last, order));
				EXPECT_EQ(count_blocks(&tree), order + 1);
			}
			for (unsigned int order = 0; order <= 24; order++) {
				kho_pa_t last = size - (1ULL << (shift + order));

				EXPECT_EQ(khoc_radix_del(&tree, last, order), 0);
				EXPECT(!khoc_radix_test(&tree, last, order));
				EXPECT_EQ(count_blocks(&tree), 24 - order);
			}
			unmake(&image, &tree);
		}
	}
}

TEST(operands_that_are_no_block)
{
	static const struct {
		kho_pa_t pa;
		unsigned int order;
	} bad[] = {
		{0x1001, 0},
		{0x1800, 0},
		{0x1000, 1},
		{0x200000, 10},
		{1ULL << 30, 0},
		{0, 19},
		{0, 51},
		{0, 52},
		{0, 64},
		{0, 4000000000U},
		{~0ULL, 0},
		{~4095ULL, 0},
		{(1ULL << 30) - 4096, 1},
		{1ULL << 63, 51},
	};
	struct khoc_radix_reserve reserve = {.nr = 0};
	struct khoc_radix tree;
	struct image image;

	make(&image, &tree, 12, 1ULL << 30);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		kho_pa_t pa = bad[i].pa;
		unsigned int order = bad[i].order;

		EXPECT_EQ(khoc_radix_add(&tree, pa, order), -EINVAL);
		EXPECT_EQ(khoc_radix_del(&tree, pa, order), -EINVAL);
		EXPECT(!khoc_radix_test(&tree, pa, order));
		EXPECT_EQ(khoc_radix_add_range(&tree, pa, 1, order), -EINVAL);
		EXPECT_EQ(khoc_radix_del_range(&tree, pa, 1, order), -EINVAL);
		EXPECT_EQ(khoc_radix_add_reserved(&tree, pa, order, &reserve), -EINVAL);
	}
	EXPECT_EQ(khoc_radix_add_range(&tree, 0, (1ULL << 18) + 1, 0), -EINVAL);
	EXPECT_EQ(khoc_radix_add_range(&tree, 4096, ~0ULL, 0), -EINVAL);
	EXPECT_EQ(khoc_radix_add_range(&tree, 4096, 1ULL << 52, 0), -EINVAL);
	EXPECT_EQ(khoc_radix_add_pages(&tree, 4096, 1ULL << 18), -EINVAL);
	EXPECT_EQ(khoc_radix_add_pages(&tree, 4095, 1), -EINVAL);
	EXPECT_EQ(khoc_radix_del_pages(&tree, 4095, 1), -EINVAL);
	EXPECT_EQ(khoc_radix_del_pages(&tree, 4096, ~0ULL), -EINVAL);
	EXPECT_EQ(khoc_radix_reorder(&tree, 0, 16, 4, 5), -EINVAL);
	EXPECT_EQ(khoc_radix_reorder(&tree, 0x10000, 32, 4, 5), -EINVAL);
	EXPECT_EQ(khoc_radix_reorder(&tree, 0, 32, 4, 52), -EINVAL);
	EXPECT_EQ(khoc_radix_reorder(&tree, 0, 1ULL << 19, 4, 5), -EINVAL);
	EXPECT_EQ(image.live, 1);
	unmake(&image, &tree);
}

/* Every allocation of one add fails once, from every state that this leaves. */
TEST(add_without_memory)
{
	for (unsigned int shift = 6; shift <= 16; shift += 2) {
		unsigned int need = depth_of(shift) - 1;

		for (unsigned int nth = 1; nth <= need; nth++) {
			struct khoc_radix tree;
			struct image image;

			make(&image, &tree, shift, 1ULL << 40);
			image.fail_at = 1 + nth;
			image.fail_all = true;
			EXPECT_EQ(khoc_radix_add(&tree, 1ULL << 30, 3), -ENOMEM);
			EXPECT_EQ(image.live, nth);
			EXPECT_EQ(count_blocks(&tree), 0);
			image.fail_at = 0;
			EXPECT_EQ(khoc_radix_add(&tree, 1ULL << 30, 3), 0);
			EXPECT_EQ(image.live, need + 1);
			EXPECT_EQ(count_blocks(&tree), 1);
			unmake(&image, &tree);
		}
	}
}

TEST(reserve_is_enough_for_any_key)
{
	for (unsigned int shift = 6; shift <= 16; shift++) {
		unsigned int need = depth_of(shift) - 1;
		struct khoc_radix_reserve reserve = {.nr = 0};
		struct khoc_radix tree;
		struct image image;

		make(&image, &tree, shift, 1ULL << 40);
		image.fail_at = image.allocs + need;
		EXPECT_EQ(khoc_radix_reserve_fill(&tree, &reserve), -ENOMEM);
		EXPECT_EQ(reserve.nr, need - 1);
		EXPECT_EQ(khoc_radix_reserve_fill(&tree, &reserve), 0);
		EXPECT_EQ(reserve.nr, need);
		image.fail_at = image.allocs + 1;
		image.fail_all = true;
		EXPECT_EQ(khoc_radix_add_reserved(&tree, 1ULL << 30, 0, &reserve), 0);
		EXPECT_EQ(reserve.nr, 0);
		EXPECT(khoc_radix_test(&tree, 1ULL << 30, 0));
		/* Beside it nothing is missing; elsewhere there is nothing left to take. */
		EXPECT_EQ(khoc_radix_add_reserved(&tree, (1ULL << 30) + (1ULL << shift), 0,
						  &reserve),
			  0);
		EXPECT_EQ(khoc_radix_add_reserved(&tree, 1ULL << 39, 2, &reserve), -ENOMEM);
		image.fail_at = 0;
		EXPECT_EQ(khoc_radix_reserve_fill(&tree, &reserve), 0);
		khoc_radix_reserve_drain(&tree, &reserve);
		EXPECT_EQ(reserve.nr, 0);
		unmake(&image, &tree);
	}
}

TEST(lookup_and_next)
{
	struct khoc_radix tree;
	struct khoc_block b;
	struct image image;

	make(&image, &tree, 12, 1ULL << 30);
	EXPECT(!khoc_radix_lookup(&tree, 0x5000, &b));
	EXPECT(!khoc_radix_next(&tree, 0, ~0ULL, &b));
	EXPECT_EQ(khoc_radix_add(&tree, 0x200000, 9), 0);
	EXPECT_EQ(khoc_radix_add(&tree, 0x200000, 0), 0);
	EXPECT_EQ(khoc_radix_add(&tree, 0x5000, 0), 0);
	EXPECT_EQ(khoc_radix_add(&tree, (1ULL << 30) - 4096, 0), 0);
	EXPECT(khoc_radix_lookup(&tree, 0x200fff, &b));
	EXPECT_EQ(b.pa, 0x200000);
	EXPECT_EQ(b.order, 9);
	EXPECT(khoc_radix_lookup(&tree, 0x3fffff, &b));
	EXPECT_EQ(b.order, 9);
	EXPECT(!khoc_radix_lookup(&tree, 0x400000, &b));
	EXPECT(khoc_radix_lookup(&tree, 0x5fff, &b));
	EXPECT_EQ(b.pa, 0x5000);
	EXPECT_EQ(b.order, 0);
	EXPECT(!khoc_radix_lookup(&tree, 1ULL << 30, &b));
	EXPECT(!khoc_radix_lookup(&tree, ~0ULL, &b));
	EXPECT(khoc_radix_next(&tree, 0, ~0ULL, &b));
	EXPECT_EQ(b.pa, 0x5000);
	/* A block that begins before does not count; of two the largest does. */
	EXPECT(khoc_radix_next(&tree, 0x5001, ~0ULL, &b));
	EXPECT_EQ(b.pa, 0x200000);
	EXPECT_EQ(b.order, 9);
	EXPECT(!khoc_radix_next(&tree, 0x5001, 0x200000, &b));
	EXPECT(khoc_radix_next(&tree, 0x5001, 0x200001, &b));
	EXPECT(khoc_radix_next(&tree, 0x200001, ~0ULL, &b));
	EXPECT_EQ(b.pa, (1ULL << 30) - 4096);
	EXPECT(!khoc_radix_next(&tree, ~0ULL, ~0ULL, &b));
	unmake(&image, &tree);
}

static int stop_at_third(void *ctx, const struct khoc_run *run)
{
	return ++*(int *)ctx == 3 ? 77 : 0;
}

TEST(walk_yields_runs)
{
	struct khoc_radix_iter iter, copy;
	struct khoc_radix tree;
	struct khoc_run run, again;
	struct image image;
	int calls = 0;

	make(&image, &tree, 12, 1ULL << 30);
	/* A run of several leaves is one run. */
	EXPECT_EQ(khoc_radix_add_range(&tree, 100 << 12, 100000, 0), 0);
	EXPECT_EQ(khoc_radix_add_range(&tree, 200000ULL << 12, 1, 0), 0);
	EXPECT_EQ(khoc_radix_add_range(&tree, 2 << 21, 7, 9), 0);
	khoc_radix_iter_init(&iter, &tree, 0, ~0ULL, 0, 63);
	EXPECT(khoc_radix_iter_next(&iter, &run));
	EXPECT(run.pa == 2 << 21 && run.nr == 7 && run.order == 9);
	copy = iter;
	for (int i = 0; i < 2; i++) {
		EXPECT(khoc_radix_iter_next(&iter, &run));
		EXPECT(khoc_radix_iter_next(&copy, &again));
		EXPECT(run.pa == again.pa && run.nr == again.nr && run.order == again.order);
		EXPECT_EQ(run.pa, i ? 200000ULL << 12 : 100 << 12);
		EXPECT_EQ(run.nr, i ? 1 : 100000);
	}
	EXPECT(!khoc_radix_iter_next(&iter, &run));
	EXPECT(!khoc_radix_iter_next(&iter, &run));
	/* Bounded by range: blocks that share bytes with it, and no others. */
	khoc_radix_iter_init(&iter, &tree, (2 << 21) + 4097, (2 << 21) + 4098, 0, 63);
	EXPECT(khoc_radix_iter_next(&iter, &run));
	EXPECT(run.pa == 2 << 21 && run.nr == 1 && run.order == 9);
	EXPECT(khoc_radix_iter_next(&iter, &run));
	EXPECT(run.pa == (2 << 21) + 4096 && run.nr == 1 && run.order == 0);
	EXPECT(!khoc_radix_iter_next(&iter, &run));
	/* Bounded by order. */
	khoc_radix_iter_init(&iter, &tree, 0, ~0ULL, 1, 8);
	EXPECT(!khoc_radix_iter_next(&iter, &run));
	khoc_radix_iter_init(&iter, &tree, 0, ~0ULL, 9, 9);
	EXPECT(khoc_radix_iter_next(&iter, &run));
	EXPECT(!khoc_radix_iter_next(&iter, &run));
	khoc_radix_iter_init(&iter, &tree, 5, 5, 0, 63);
	EXPECT(!khoc_radix_iter_next(&iter, &run));
	EXPECT_EQ(khoc_radix_walk(&tree, 0, ~0ULL, stop_at_third, &calls), 77);
	EXPECT_EQ(calls, 3);
	unmake(&image, &tree);
}

TEST(prune_frees_what_is_empty)
{
	for (unsigned int shift = 6; shift <= 16; shift++) {
		struct khoc_radix tree;
		struct image image;
		u64 before, freed;

		make(&image, &tree, shift, 1ULL << 40);
		EXPECT_EQ(khoc_radix_prune(&tree), 0);
		EXPECT_EQ(khoc_radix_add(&tree, 1ULL << 30, 0), 0);
		before = image.live;
		EXPECT_EQ(khoc_radix_add(&tree, 1ULL << 39, 2), 0);
		EXPECT_EQ(khoc_radix_del(&tree, 1ULL << 39, 2), 0);
		freed = image.live - before;
		EXPECT(freed > 0);
		EXPECT_EQ(khoc_radix_prune(&tree), freed);
		EXPECT_EQ(image.live, before);
		EXPECT(khoc_radix_test(&tree, 1ULL << 30, 0));
		EXPECT_EQ(khoc_radix_del(&tree, 1ULL << 30, 0), 0);
		EXPECT_EQ(khoc_radix_prune(&tree), before - 1);
		/* Usable afterwards: no short cut leads to what was freed. */
		EXPECT(!khoc_radix_test(&tree, 1ULL << 30, 0));
		EXPECT_EQ(khoc_radix_add(&tree, 1ULL << 30, 0), 0);
		EXPECT(khoc_radix_test(&tree, 1ULL << 30, 0));
		unmake(&image, &tree);
	}
}

/* An add that loses the race for a slot: another thread's node is there when it comes to link its own. */
struct racer {
	struct khoc_mem_ops ops;
	struct image *image;
	struct khoc_radix *tree;
	int nested;
};

static kho_pa_t racing_alloc(void *ctx)
{
	struct racer *racer = ctx;

	if (!racer->nested++)
		EXPECT_EQ(khoc_radix_add(racer->tree, 0x5000, 0), 0);
	return racer->image->ops.alloc_node(racer->image);
}

static void racing_free(void *ctx, kho_pa_t pa)
{
	struct racer *racer = ctx;

	racer->image->ops.free_node(racer->image, pa);
}

TEST(loser_frees_its_node)
{
	struct khoc_radix tree;
	struct racer racer;
	struct image image;

	make(&image, &tree, 12, 1ULL << 30);
	racer = (struct racer){
		{.alloc_node = racing_alloc, .free_node = racing_free}, &image, &tree, 0};
	image.mem.ops = &racer.ops;
	image.mem.ctx = &racer;
	EXPECT_EQ(khoc_radix_add(&tree, 0x6000, 0), 0);
	EXPECT_EQ(image.live, 6);
	EXPECT(khoc_radix_test(&tree, 0x5000, 0) && khoc_radix_test(&tree, 0x6000, 0));
	unmake(&image, &tree);
}

TEST(a_growing_image)
{
	/* Each step moves the lowest table that covers order 0 up, or past the short cuts. */
	static const u64 sizes[] = {1ULL << 30, 1ULL << 36, 1ULL << 37, 1ULL << 45, 1ULL << 47};
	struct khoc_radix tree;
	struct image image;

	make(&image, &tree, 12, sizes[0]);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		image.mem.size = sizes[i];
		EXPECT_EQ(khoc_radix_add(&tree, sizes[i], 0), -EINVAL);
		for (unsigned int order = 0; order < 18; order++) {
			kho_pa_t last = sizes[i] - (4096ULL << order);

			EXPECT(!khoc_radix_test(&tree, last, order));
			EXPECT_EQ(khoc_radix_add(&tree, last, order), 0);
		}
		for (size_t j = 0; j <= i; j++) {
			for (unsigned int order = 0; order < 18; order++) {
				kho_pa_t last = sizes[j] - (4096ULL << order);

				EXPECT(khoc_radix_test(&tree, last, order));
				EXPECT(!khoc_radix_test(&tree, last - (4096ULL << order), order));
			}
		}
		EXPECT_EQ(count_blocks(&tree), 18 * (i + 1));
	}
	unmake(&image, &tree);
}

/* The image's end in the middle of a leaf that is there: by the short way as by the long. */
TEST(the_end_inside_a_leaf)
{
	u64 size = (1ULL << 30) + 5 * 4096;
	struct khoc_radix tree;
	struct image image;

	make(&image, &tree, 12, size);
	EXPECT_EQ(khoc_radix_add(&tree, 1ULL << 30, 0), 0);
	EXPECT_EQ(khoc_radix_add(&tree, size - 4096, 0), 0);
	EXPECT_EQ(khoc_radix_add(&tree, size, 0), -EINVAL);
	EXPECT_EQ(khoc_radix_del(&tree, size, 0), -EINVAL);
	EXPECT_EQ(khoc_radix_add(&tree, 1ULL << 30, 1), 0);
	EXPECT_EQ(khoc_radix_add(&tree, (1ULL << 30) + 2 * 4096, 1), 0);
	EXPECT_EQ(khoc_radix_add(&tree, (1ULL << 30) + 4 * 4096, 1), -EINVAL);
	EXPECT_EQ(khoc_radix_add(&tree, 1ULL << 63, 0), -EINVAL);
	EXPECT_EQ(count_blocks(&tree), 4);
	unmake(&image, &tree);
}

/* A table that pruning freed serves somebody else afterwards: no short cut leads there. */
TEST(pruned_tables_are_forgotten)
{
	struct khoc_radix tree;
	struct image image;
	kho_pa_t table, leaf;

	make(&image, &tree, 12, 1ULL << 30);
	EXPECT_EQ(khoc_radix_add(&tree, 0x5000, 0), 0);
	table = *image_word(&image, tree.root_pa + 16);
	for (int level = 4; level > 1; level--)
		table = *image_word(&image, table);
	EXPECT(khoc_radix_test(&tree, 0x5000, 0));
	EXPECT_EQ(khoc_radix_del(&tree, 0x5000, 0), 0);
	EXPECT_EQ(khoc_radix_prune(&tree), 5);
	leaf = image_node(&image);
	if (leaf == table)
		leaf = image_node(&image);
	*image_word(&image, leaf) = ~0ULL;
	*image_word(&image, table) = leaf;
	EXPECT(!khoc_radix_test(&tree, 0x5000, 0));
	EXPECT_EQ(khoc_radix_add(&tree, 0x6000, 0), 0);
	EXPECT(!khoc_radix_test(&tree, 0x5000, 0));
	khoc_radix_destroy(&tree);
	image_destroy(&image);
}

TEST(two_images_at_once)
{
	struct khoc_radix a, b;
	struct image ia, ib;

	make(&ia, &a, 12, 1ULL << 30);
	make(&ib, &b, 16, 1ULL << 40);
	EXPECT_EQ(khoc_radix_add(&a, 0x10000, 0), 0);
	EXPECT(!khoc_radix_test(&b, 0x10000, 0));
	EXPECT_EQ(khoc_radix_add(&b, 0x20000, 1), 0);
	EXPECT(!khoc_radix_test(&a, 0x20000, 1));
	unmake(&ia, &a);
	EXPECT(khoc_radix_test(&b, 0x20000, 1));
	unmake(&ib, &b);
}

TEST_SUITE(radix, TEST_CASE(levels_of_each_page_size), TEST_CASE(keys_as_worked_by_hand),
	   TEST_CASE(bits_lie_as_worked_by_hand), TEST_CASE(decode_refuses_what_is_no_key),
	   TEST_CASE(init_and_attach_errors), TEST_CASE(add_del_test_every_page_size),
	   TEST_CASE(operands_that_are_no_block), TEST_CASE(add_without_memory),
	   TEST_CASE(reserve_is_enough_for_any_key), TEST_CASE(lookup_and_next),
	   TEST_CASE(walk_yields_runs), TEST_CASE(prune_frees_what_is_empty),
	   TEST_CASE(loser_frees_its_node), TEST_CASE(a_growing_image),
	   TEST_CASE(the_end_inside_a_leaf), TEST_CASE(pruned_tables_are_forgotten),
	   TEST_CASE(two_images_at_once));
