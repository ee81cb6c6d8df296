/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The tree, operation by operation: format against worked examples, errors, ranges,
 * splitting, running out of nodes, damaged nodes, images that grow.
 */
#include "image.h"

#include <errno.h>

#define NODE_LO(shift) (16ULL << (shift))

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

static unsigned int depth_of(unsigned int shift)
{
	return kho_abi_radix_depth(shift);
}

static void *make(struct image *image, struct khoc_radix *tree, unsigned int shift, u64 size)
{
	image_make(image, shift, size, NODE_LO(shift), 4096, true);
	assert_int_equal(khoc_radix_init(tree, &image->mem, shift), 0);
	return image;
}

/* Destroy, and see that every node came back. */
static void unmake(struct image *image, struct khoc_radix *tree)
{
	khoc_radix_destroy(tree);
	assert_int_equal(image->live, 0);
	image_destroy(image);
}

static u64 count_blocks(const struct khoc_radix *tree)
{
	struct khoc_radix_counts counts;
	u64 sum = 0;

	assert_int_equal(khoc_radix_count(tree, 0, ~0ULL, &counts), 0);
	for (int i = 0; i < 64; i++)
		sum += counts.blocks[i];
	return sum;
}

static void levels_of_each_page_size(void **state)
{
	static const unsigned int want[][2] = {{6, 18}, {12, 6}, {14, 5}, {16, 4}};

	for (size_t i = 0; i < ARRAY_LEN(want); i++)
		assert_int_equal(depth_of(want[i][0]), want[i][1]);
	for (unsigned int shift = 6; shift <= 16; shift++) {
		assert_true(depth_of(shift) <= 18);
		assert_int_equal(khoc_max_order(shift), 63 - shift);
	}
}

static void keys_as_worked_by_hand(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(examples); i++) {
		const struct example *e = &examples[i];
		struct khoc_block block;

		assert_int_equal(khoc_key(e->shift, e->pa, e->order), e->key);
		/* Bits below the block's size do not count. */
		assert_int_equal(khoc_key(e->shift, e->pa + (1ULL << e->shift) - 1, e->order),
				 e->key);
		assert_int_equal(khoc_key_decode(e->shift, e->key, &block), 0);
		assert_int_equal(block.pa, e->pa);
		assert_int_equal(block.order, e->order);
	}
	/* An address below the block's size is that of block 0. */
	assert_int_equal(khoc_key(16, 0x400000, 10), 0x4000000000);
}

static void bits_lie_as_worked_by_hand(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(examples); i++) {
		const struct example *e = &examples[i];
		struct khoc_radix tree;
		struct image image;
		kho_pa_t pa;

		make(&image, &tree, e->shift, 1ULL << 46);
		assert_int_equal(khoc_radix_add(&tree, e->pa, e->order), 0);
		pa = tree.root_pa;
		assert_int_equal(e->nr, depth_of(e->shift) - 1);
		for (unsigned int l = 0; l < e->nr; l++)
			pa = *image_word(&image, pa + 8 * e->index[l]);
		assert_int_equal((u8)image.bytes[pa + e->bit / 8], 1 << e->bit % 8);
		/* The root and one node of each level below it. */
		assert_int_equal(image.live, depth_of(e->shift));
		unmake(&image, &tree);
	}
}

static void decode_refuses_what_is_no_key(void **state)
{
	struct khoc_block block;

	for (unsigned int shift = 6; shift <= 16; shift++) {
		assert_int_equal(khoc_key_decode(shift, 0, &block), -KHO_E_KEY);
		for (unsigned int bit = 65 - shift; bit < 64; bit++) {
			assert_int_equal(khoc_key_decode(shift, 1ULL << bit, &block), -KHO_E_KEY);
			assert_int_equal(khoc_key_decode(shift, 1ULL << bit | 5, &block),
					 -KHO_E_KEY);
		}
		assert_int_equal(khoc_key_decode(shift, 1, &block), 0);
		assert_int_equal(block.order, 64 - shift);
		assert_int_equal(block.pa, 0);
		assert_int_equal(khoc_key_decode(shift, (2ULL << (64 - shift)) - 1, &block), 0);
		assert_int_equal(block.order, 0);
		assert_int_equal(block.pa, ~0ULL << shift);
	}
}

static void init_and_attach_errors(void **state)
{
	struct khoc_radix tree;
	struct image image;

	image_make(&image, 12, 1ULL << 30, NODE_LO(12), 64, true);
	assert_int_equal(khoc_radix_init(&tree, &image.mem, 5), -EINVAL);
	assert_int_equal(khoc_radix_init(&tree, &image.mem, 17), -EINVAL);
	assert_int_equal(image.allocs, 0);
	image.fail_at = 1;
	assert_int_equal(khoc_radix_init(&tree, &image.mem, 12), -ENOMEM);
	assert_int_equal(khoc_radix_attach(&tree, &image.mem, 5, NODE_LO(12)), -EINVAL);
	assert_int_equal(khoc_radix_attach(&tree, &image.mem, 12, NODE_LO(12) + 8), -KHO_E_ALIGN);
	assert_int_equal(khoc_radix_attach(&tree, &image.mem, 12, NODE_LO(12) + 2048),
			 -KHO_E_ALIGN);
	assert_int_equal(khoc_radix_attach(&tree, &image.mem, 12, 0), -KHO_E_RANGE);
	assert_int_equal(khoc_radix_attach(&tree, &image.mem, 12, NODE_LO(12) - 4096),
			 -KHO_E_RANGE);
	assert_int_equal(khoc_radix_attach(&tree, &image.mem, 12, image.mem.node_hi), -KHO_E_RANGE);
	assert_int_equal(khoc_radix_attach(&tree, &image.mem, 12, ~4095ULL), -KHO_E_RANGE);
	assert_int_equal(khoc_radix_attach(&tree, &image.mem, 12, image.mem.node_hi - 4096), 0);
	/* The image's end counts as well as the node region's. */
	image.mem.size = image.mem.node_hi - 4096;
	assert_int_equal(khoc_radix_attach(&tree, &image.mem, 12, image.mem.node_hi - 4096),
			 -KHO_E_RANGE);
	image_destroy(&image);
}

static void add_del_test_every_page_size(void **state)
{
	for (unsigned int shift = 6; shift <= 16; shift++) {
		for (int linear = 0; linear < 2; linear++) {
			u64 size = 1ULL << (shift + 24);
			struct khoc_radix tree;
			struct image image;

			image_make(&image, shift, size, NODE_LO(shift), 1024, linear);
			assert_int_equal(khoc_radix_init(&tree, &image.mem, shift), 0);
			for (unsigned int order = 0; order <= 24; order++) {
				kho_pa_t last = size - (1ULL << (shift + order));

				assert_false(khoc_radix_test(&tree, last, order));
				assert_int_equal(khoc_radix_del(&tree, last, order), 0);
				assert_int_equal(khoc_radix_add(&tree, last, order), 0);
				assert_int_equal(khoc_radix_add(&tree, last, order), 0);
				assert_true(khoc_radix_test(&tree, last, order));
				assert_int_equal(count_blocks(&tree), order + 1);
			}
			for (unsigned int order = 0; order <= 24; order++) {
				kho_pa_t last = size - (1ULL << (shift + order));

				assert_int_equal(khoc_radix_del(&tree, last, order), 0);
				assert_false(khoc_radix_test(&tree, last, order));
				assert_int_equal(count_blocks(&tree), 24 - order);
			}
			unmake(&image, &tree);
		}
	}
}

static void operands_that_are_no_block(void **state)
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

		assert_int_equal(khoc_radix_add(&tree, pa, order), -EINVAL);
		assert_int_equal(khoc_radix_del(&tree, pa, order), -EINVAL);
		assert_false(khoc_radix_test(&tree, pa, order));
		assert_int_equal(khoc_radix_add_range(&tree, pa, 1, order), -EINVAL);
		assert_int_equal(khoc_radix_del_range(&tree, pa, 1, order), -EINVAL);
		assert_int_equal(khoc_radix_add_reserved(&tree, pa, order, &reserve), -EINVAL);
	}
	assert_int_equal(khoc_radix_add_range(&tree, 0, (1ULL << 18) + 1, 0), -EINVAL);
	assert_int_equal(khoc_radix_add_range(&tree, 4096, ~0ULL, 0), -EINVAL);
	assert_int_equal(khoc_radix_add_range(&tree, 4096, 1ULL << 52, 0), -EINVAL);
	assert_int_equal(khoc_radix_add_pages(&tree, 4096, 1ULL << 18), -EINVAL);
	assert_int_equal(khoc_radix_add_pages(&tree, 4095, 1), -EINVAL);
	assert_int_equal(khoc_radix_del_pages(&tree, 4095, 1), -EINVAL);
	assert_int_equal(khoc_radix_del_pages(&tree, 4096, ~0ULL), -EINVAL);
	assert_int_equal(khoc_radix_reorder(&tree, 0, 16, 4, 5), -EINVAL);
	assert_int_equal(khoc_radix_reorder(&tree, 0x10000, 32, 4, 5), -EINVAL);
	assert_int_equal(khoc_radix_reorder(&tree, 0, 32, 4, 52), -EINVAL);
	assert_int_equal(khoc_radix_reorder(&tree, 0, 1ULL << 19, 4, 5), -EINVAL);
	assert_int_equal(image.live, 1);
	unmake(&image, &tree);
}

/* Every allocation of one add fails once, from every state that this leaves. */
static void add_without_memory(void **state)
{
	for (unsigned int shift = 6; shift <= 16; shift += 2) {
		unsigned int need = depth_of(shift) - 1;

		for (unsigned int nth = 1; nth <= need; nth++) {
			struct khoc_radix tree;
			struct image image;

			make(&image, &tree, shift, 1ULL << 40);
			image.fail_at = 1 + nth;
			image.fail_all = true;
			assert_int_equal(khoc_radix_add(&tree, 1ULL << 30, 3), -ENOMEM);
			assert_int_equal(image.live, nth);
			assert_int_equal(count_blocks(&tree), 0);
			image.fail_at = 0;
			assert_int_equal(khoc_radix_add(&tree, 1ULL << 30, 3), 0);
			assert_int_equal(image.live, need + 1);
			assert_int_equal(count_blocks(&tree), 1);
			unmake(&image, &tree);
		}
	}
}

static void reserve_is_enough_for_any_key(void **state)
{
	for (unsigned int shift = 6; shift <= 16; shift++) {
		unsigned int need = depth_of(shift) - 1;
		struct khoc_radix_reserve reserve = {.nr = 0};
		struct khoc_radix tree;
		struct image image;

		make(&image, &tree, shift, 1ULL << 40);
		image.fail_at = image.allocs + need;
		assert_int_equal(khoc_radix_reserve_fill(&tree, &reserve), -ENOMEM);
		assert_int_equal(reserve.nr, need - 1);
		assert_int_equal(khoc_radix_reserve_fill(&tree, &reserve), 0);
		assert_int_equal(reserve.nr, need);
		image.fail_at = image.allocs + 1;
		image.fail_all = true;
		assert_int_equal(khoc_radix_add_reserved(&tree, 1ULL << 30, 0, &reserve), 0);
		assert_int_equal(reserve.nr, 0);
		assert_true(khoc_radix_test(&tree, 1ULL << 30, 0));
		/* Beside it nothing is missing; elsewhere there is nothing left to take. */
		assert_int_equal(khoc_radix_add_reserved(&tree, (1ULL << 30) + (1ULL << shift), 0,
							 &reserve),
				 0);
		assert_int_equal(khoc_radix_add_reserved(&tree, 1ULL << 39, 2, &reserve), -ENOMEM);
		image.fail_at = 0;
		assert_int_equal(khoc_radix_reserve_fill(&tree, &reserve), 0);
		khoc_radix_reserve_drain(&tree, &reserve);
		assert_int_equal(reserve.nr, 0);
		unmake(&image, &tree);
	}
}

static void ranges_across_leaves(void **state)
{
	static const u64 starts[] = {0, 1, 63, 64, 65, 32704, 32767, 32768};
	static const u64 lengths[] = {0, 1, 2, 63, 64, 65, 128, 32767, 32768, 32769, 70000};

	for (size_t i = 0; i < ARRAY_LEN(starts); i++) {
		for (size_t j = 0; j < ARRAY_LEN(lengths); j++) {
			kho_pa_t pa = starts[i] << 12;
			u64 nr = lengths[j];
			struct khoc_radix_counts counts;
			struct khoc_radix tree;
			struct image image;

			make(&image, &tree, 12, 1ULL << 30);
			assert_int_equal(khoc_radix_add_range(&tree, pa, nr, 0), 0);
			assert_int_equal(count_blocks(&tree), nr);
			assert_int_equal(khoc_radix_count(&tree, pa, pa + (nr << 12), &counts), 0);
			assert_int_equal(counts.blocks[0], nr);
			assert_false(khoc_radix_test(&tree, pa + (nr << 12), 0));
			assert_int_equal(khoc_radix_add_range(&tree, pa, nr, 0), 0);
			/* Punch out the middle, then all, holes included. */
			if (nr > 2) {
				assert_int_equal(khoc_radix_del_range(&tree, pa + 4096, nr - 2, 0),
						 0);
				assert_int_equal(count_blocks(&tree), 2);
				assert_true(khoc_radix_test(&tree, pa, 0));
				assert_true(khoc_radix_test(&tree, pa + ((nr - 1) << 12), 0));
			}
			assert_int_equal(khoc_radix_del_range(&tree, 0, 1ULL << 18, 0), 0);
			assert_int_equal(count_blocks(&tree), 0);
			unmake(&image, &tree);
		}
	}
}

static void range_without_memory(void **state)
{
	/* Three leaves: 5 tables and leaves for the first, one more for each other. */
	for (u64 nth = 1; nth <= 7; nth++) {
		u64 marked = nth <= 5 ? 0 : nth == 6 ? 1 : 32769;
		struct khoc_radix tree;
		struct image image;

		make(&image, &tree, 12, 1ULL << 30);
		image.fail_at = 1 + nth;
		assert_int_equal(khoc_radix_add_range(&tree, 32767 << 12, 32770, 0), -ENOMEM);
		assert_int_equal(count_blocks(&tree), marked);
		assert_int_equal(khoc_radix_del_range(&tree, 32767 << 12, 32770, 0), 0);
		assert_int_equal(count_blocks(&tree), 0);
		unmake(&image, &tree);
	}
}

static void split_takes_the_largest_aligned_order(void **state)
{
	static const struct {
		unsigned int shift;
		kho_pa_t pa;
		u64 nr;
		unsigned int order;
	} want[] = {
		{12, 0x1000, 1, 0},	{12, 0x1000, 100, 0},
		{12, 0x2000, 1, 0},	{12, 0x2000, 2, 1},
		{12, 0x2000, 3, 1},	{12, 0x4000, 3, 1},
		{12, 0x4000, 4, 2},	{12, 0x200000, 511, 8},
		{12, 0x200000, 512, 9}, {12, 0, 1, 0},
		{12, 0, 1023, 9},	{12, 0, 1ULL << 40, 40},
		{12, 0, ~0ULL, 51},	{12, 1ULL << 63, ~0ULL, 51},
		{16, 0x30000, 100, 0},	{16, 0x40000, 100, 2},
		{6, 0x40, 7, 0},	{6, 0x200, 8, 3},
	};

	for (size_t i = 0; i < ARRAY_LEN(want); i++)
		assert_int_equal(khoc_radix_split(want[i].shift, want[i].pa, want[i].nr),
				 want[i].order);
}

static void pages_are_marked_as_split(void **state)
{
	/* Pages 3 to 20: 3, 4-7, 8-15, 16-19, 20 */
	static const struct khoc_block want[] = {
		{8 << 12, 3}, {4 << 12, 2}, {16 << 12, 2}, {3 << 12, 0}, {20 << 12, 0}};
	struct khoc_radix_iter iter;
	struct khoc_radix tree;
	struct khoc_run run;
	struct image image;

	make(&image, &tree, 12, 1ULL << 30);
	assert_int_equal(khoc_radix_add_pages(&tree, 3 << 12, 18), 0);
	khoc_radix_iter_init(&iter, &tree, 0, ~0ULL, 0, 63);
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		assert_true(khoc_radix_iter_next(&iter, &run));
		assert_int_equal(run.pa, want[i].pa);
		assert_int_equal(run.order, want[i].order);
		assert_int_equal(run.nr, 1);
	}
	assert_false(khoc_radix_iter_next(&iter, &run));
	assert_int_equal(khoc_radix_iter_error(&iter), 0);
	assert_int_equal(khoc_radix_del_pages(&tree, 3 << 12, 18), 0);
	assert_int_equal(count_blocks(&tree), 0);
	assert_int_equal(khoc_radix_add_pages(&tree, 0, 0), 0);
	unmake(&image, &tree);
}

static void pages_without_memory_leave_no_mark(void **state)
{
	bool done = false;

	for (u64 nth = 1; !done; nth++) {
		struct khoc_radix tree;
		struct image image;
		int err;

		make(&image, &tree, 12, 1ULL << 30);
		/* What was marked before stays marked. */
		assert_int_equal(khoc_radix_add(&tree, 4 << 12, 2), 0);
		image.fail_at = image.allocs + nth;
		err = khoc_radix_add_pages(&tree, 3 << 12, 100000);
		done = !err;
		if (err)
			assert_int_equal(err, -ENOMEM);
		if (err)
			assert_int_equal(count_blocks(&tree), 1);
		assert_true(khoc_radix_test(&tree, 4 << 12, 2));
		assert_true(nth < 100);
		unmake(&image, &tree);
	}
}

static void reorder_both_ways(void **state)
{
	struct khoc_radix_counts counts;
	struct khoc_radix tree;
	struct image image;

	make(&image, &tree, 12, 1ULL << 30);
	assert_int_equal(khoc_radix_add_range(&tree, 1 << 20, 1024, 0), 0);
	assert_int_equal(khoc_radix_reorder(&tree, 1 << 20, 1024, 0, 0), 0);
	assert_int_equal(count_blocks(&tree), 1024);
	assert_int_equal(khoc_radix_reorder(&tree, 1 << 20, 1024, 0, 5), 0);
	assert_int_equal(khoc_radix_count(&tree, 0, ~0ULL, &counts), 0);
	assert_int_equal(counts.blocks[5], 32);
	assert_int_equal(counts.pages, 1024);
	assert_int_equal(khoc_radix_reorder(&tree, 1 << 20, 512, 5, 1), 0);
	assert_int_equal(khoc_radix_count(&tree, 0, ~0ULL, &counts), 0);
	assert_int_equal(counts.blocks[5], 16);
	assert_int_equal(counts.blocks[1], 256);
	assert_int_equal(counts.pages, 1024);
	/* Without room for the new keys the old ones stay. */
	image.fail_at = image.allocs + 1;
	image.fail_all = true;
	assert_int_equal(khoc_radix_reorder(&tree, 1 << 20, 512, 1, 8), -ENOMEM);
	assert_int_equal(khoc_radix_count(&tree, 0, ~0ULL, &counts), 0);
	assert_int_equal(counts.blocks[1], 256);
	assert_int_equal(counts.blocks[8], 0);
	unmake(&image, &tree);
}

static void lookup_and_next(void **state)
{
	struct khoc_radix tree;
	struct khoc_block b;
	struct image image;

	make(&image, &tree, 12, 1ULL << 30);
	assert_false(khoc_radix_lookup(&tree, 0x5000, &b));
	assert_false(khoc_radix_next(&tree, 0, ~0ULL, &b));
	assert_int_equal(khoc_radix_add(&tree, 0x200000, 9), 0);
	assert_int_equal(khoc_radix_add(&tree, 0x200000, 0), 0);
	assert_int_equal(khoc_radix_add(&tree, 0x5000, 0), 0);
	assert_int_equal(khoc_radix_add(&tree, (1ULL << 30) - 4096, 0), 0);
	assert_true(khoc_radix_lookup(&tree, 0x200fff, &b));
	assert_int_equal(b.pa, 0x200000);
	assert_int_equal(b.order, 9);
	assert_true(khoc_radix_lookup(&tree, 0x3fffff, &b));
	assert_int_equal(b.order, 9);
	assert_false(khoc_radix_lookup(&tree, 0x400000, &b));
	assert_true(khoc_radix_lookup(&tree, 0x5fff, &b));
	assert_int_equal(b.pa, 0x5000);
	assert_int_equal(b.order, 0);
	assert_false(khoc_radix_lookup(&tree, 1ULL << 30, &b));
	assert_false(khoc_radix_lookup(&tree, ~0ULL, &b));
	assert_true(khoc_radix_next(&tree, 0, ~0ULL, &b));
	assert_int_equal(b.pa, 0x5000);
	/* A block that begins before does not count; of two the largest does. */
	assert_true(khoc_radix_next(&tree, 0x5001, ~0ULL, &b));
	assert_int_equal(b.pa, 0x200000);
	assert_int_equal(b.order, 9);
	assert_false(khoc_radix_next(&tree, 0x5001, 0x200000, &b));
	assert_true(khoc_radix_next(&tree, 0x5001, 0x200001, &b));
	assert_true(khoc_radix_next(&tree, 0x200001, ~0ULL, &b));
	assert_int_equal(b.pa, (1ULL << 30) - 4096);
	assert_false(khoc_radix_next(&tree, ~0ULL, ~0ULL, &b));
	unmake(&image, &tree);
}

static int stop_at_third(void *ctx, const struct khoc_run *run)
{
	return ++*(int *)ctx == 3 ? 77 : 0;
}

static void walk_yields_runs(void **state)
{
	struct khoc_radix_iter iter, copy;
	struct khoc_radix tree;
	struct khoc_run run, again;
	struct image image;
	int calls = 0;

	make(&image, &tree, 12, 1ULL << 30);
	/* A run of several leaves is one run. */
	assert_int_equal(khoc_radix_add_range(&tree, 100 << 12, 100000, 0), 0);
	assert_int_equal(khoc_radix_add_range(&tree, 200000ULL << 12, 1, 0), 0);
	assert_int_equal(khoc_radix_add_range(&tree, 2 << 21, 7, 9), 0);
	khoc_radix_iter_init(&iter, &tree, 0, ~0ULL, 0, 63);
	assert_true(khoc_radix_iter_next(&iter, &run));
	assert_true(run.pa == 2 << 21 && run.nr == 7 && run.order == 9);
	copy = iter;
	for (int i = 0; i < 2; i++) {
		assert_true(khoc_radix_iter_next(&iter, &run));
		assert_true(khoc_radix_iter_next(&copy, &again));
		assert_true(run.pa == again.pa && run.nr == again.nr && run.order == again.order);
		assert_int_equal(run.pa, i ? 200000ULL << 12 : 100 << 12);
		assert_int_equal(run.nr, i ? 1 : 100000);
	}
	assert_false(khoc_radix_iter_next(&iter, &run));
	assert_false(khoc_radix_iter_next(&iter, &run));
	/* Bounded by range: blocks that share bytes with it, and no others. */
	khoc_radix_iter_init(&iter, &tree, (2 << 21) + 4097, (2 << 21) + 4098, 0, 63);
	assert_true(khoc_radix_iter_next(&iter, &run));
	assert_true(run.pa == 2 << 21 && run.nr == 1 && run.order == 9);
	assert_true(khoc_radix_iter_next(&iter, &run));
	assert_true(run.pa == (2 << 21) + 4096 && run.nr == 1 && run.order == 0);
	assert_false(khoc_radix_iter_next(&iter, &run));
	/* Bounded by order. */
	khoc_radix_iter_init(&iter, &tree, 0, ~0ULL, 1, 8);
	assert_false(khoc_radix_iter_next(&iter, &run));
	khoc_radix_iter_init(&iter, &tree, 0, ~0ULL, 9, 9);
	assert_true(khoc_radix_iter_next(&iter, &run));
	assert_false(khoc_radix_iter_next(&iter, &run));
	khoc_radix_iter_init(&iter, &tree, 5, 5, 0, 63);
	assert_false(khoc_radix_iter_next(&iter, &run));
	assert_int_equal(khoc_radix_walk(&tree, 0, ~0ULL, stop_at_third, &calls), 77);
	assert_int_equal(calls, 3);
	unmake(&image, &tree);
}

static void prune_frees_what_is_empty(void **state)
{
	for (unsigned int shift = 6; shift <= 16; shift++) {
		struct khoc_radix tree;
		struct image image;
		u64 before, freed;

		make(&image, &tree, shift, 1ULL << 40);
		assert_int_equal(khoc_radix_prune(&tree), 0);
		assert_int_equal(khoc_radix_add(&tree, 1ULL << 30, 0), 0);
		before = image.live;
		assert_int_equal(khoc_radix_add(&tree, 1ULL << 39, 2), 0);
		assert_int_equal(khoc_radix_del(&tree, 1ULL << 39, 2), 0);
		freed = image.live - before;
		assert_true(freed > 0);
		assert_int_equal(khoc_radix_prune(&tree), freed);
		assert_int_equal(image.live, before);
		assert_true(khoc_radix_test(&tree, 1ULL << 30, 0));
		assert_int_equal(khoc_radix_del(&tree, 1ULL << 30, 0), 0);
		assert_int_equal(khoc_radix_prune(&tree), before - 1);
		/* Usable afterwards: no short cut leads to what was freed. */
		assert_false(khoc_radix_test(&tree, 1ULL << 30, 0));
		assert_int_equal(khoc_radix_add(&tree, 1ULL << 30, 0), 0);
		assert_true(khoc_radix_test(&tree, 1ULL << 30, 0));
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
		assert_int_equal(khoc_radix_add(racer->tree, 0x5000, 0), 0);
	return racer->image->ops.alloc_node(racer->image);
}

static void racing_free(void *ctx, kho_pa_t pa)
{
	struct racer *racer = ctx;

	racer->image->ops.free_node(racer->image, pa);
}

static void loser_frees_its_node(void **state)
{
	struct khoc_radix tree;
	struct racer racer;
	struct image image;

	make(&image, &tree, 12, 1ULL << 30);
	racer = (struct racer){
		{.alloc_node = racing_alloc, .free_node = racing_free}, &image, &tree, 0};
	image.mem.ops = &racer.ops;
	image.mem.ctx = &racer;
	assert_int_equal(khoc_radix_add(&tree, 0x6000, 0), 0);
	assert_int_equal(image.live, 6);
	assert_true(khoc_radix_test(&tree, 0x5000, 0) && khoc_radix_test(&tree, 0x6000, 0));
	unmake(&image, &tree);
}

static int count_node(void *ctx, kho_pa_t pa, int level)
{
	++*(u64 *)ctx;
	return 0;
}

/* A word of the way to one block is replaced: every operation says so and none goes there. */
static void damaged_child(void **state)
{
	static const u64 bad[] = {1, 8, 0x10008, 0xffff000, 0x7fffffffffff0000, ~0ULL, ~4095ULL};

	for (unsigned int level = 1; level <= 5; level++) {
		for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
			int want = bad[i] & 4095 ? -KHO_E_ALIGN : -KHO_E_RANGE;
			struct khoc_radix_counts counts;
			struct khoc_radix tree;
			struct khoc_block block;
			struct image image;
			u64 bitmap[1], nodes = 0;
			kho_pa_t pa, root;
			u64 *word = NULL;

			image_make(&image, 12, 1ULL << 28, NODE_LO(12), 64, true);
			assert_int_equal(khoc_radix_init(&tree, &image.mem, 12), 0);
			assert_int_equal(khoc_radix_add(&tree, 0x5000, 0), 0);
			root = pa = tree.root_pa;
			for (unsigned int l = 5; l >= level; l--) {
				word = image_word(&image, pa + (l == 5 ? 16 : 0));
				pa = *word;
			}
			*word = bad[i];
			assert_int_equal(khoc_radix_attach(&tree, &image.mem, 12, root), 0);
			assert_int_equal(khoc_radix_add(&tree, 0x6000, 0), want);
			assert_int_equal(khoc_radix_del(&tree, 0x5000, 0), want);
			assert_false(khoc_radix_test(&tree, 0x5000, 0));
			assert_int_equal(khoc_radix_add_range(&tree, 0x5000, 2, 0), want);
			assert_int_equal(khoc_radix_del_range(&tree, 0x5000, 2, 0), want);
			assert_int_equal(khoc_radix_add_pages(&tree, 0x5000, 1), want);
			assert_int_equal(khoc_radix_union(&tree, 0, 64, bitmap), want);
			assert_int_equal(khoc_radix_count(&tree, 0, ~0ULL, &counts), want);
			assert_int_equal(khoc_radix_nodes(&tree, count_node, &nodes), want);
			assert_false(khoc_radix_lookup(&tree, 0x5000, &block));
			assert_false(khoc_radix_next(&tree, 0, ~0ULL, &block));
			assert_int_equal(khoc_radix_walk(&tree, 0, ~0ULL, NULL, NULL), want);
			/* Nothing behind the damage is freed. */
			khoc_radix_destroy(&tree);
			assert_int_equal(image.live, level);
			image_destroy(&image);
		}
	}
}

static int count_run(void *ctx, const struct khoc_run *run)
{
	((u64 *)ctx)[run->order] += run->nr;
	return 0;
}

/*
 * One table whose words all name the next, down to one full leaf: 2^45 keys and more. The
 * walk sees no more than the image can hold.
 */
static void aliased_nodes_end(void **state)
{
	struct khoc_radix tree;
	u64 runs[64] = {0}, nodes = 0;
	struct khoc_block block;
	struct image image;
	kho_pa_t pa[6];

	image_make(&image, 12, 1ULL << 34, NODE_LO(12), 64, true);
	for (int i = 0; i < 6; i++)
		pa[i] = image_node(&image);
	memset(image.bytes + pa[0], 0xff, 4096);
	for (int i = 1; i < 6; i++)
		for (int j = 0; j < 512; j++)
			*image_word(&image, pa[i] + 8 * (u64)j) = pa[i - 1];
	assert_int_equal(khoc_radix_attach(&tree, &image.mem, 12, pa[5]), 0);
	assert_int_equal(khoc_radix_walk(&tree, 0, ~0ULL, count_run, runs), 0);
	for (int order = 0; order < 64; order++)
		assert_int_equal(runs[order], order > 22 ? 0 : 1ULL << (22 - order));
	assert_true(khoc_radix_next(&tree, 0x1234, ~0ULL, &block));
	assert_int_equal(block.pa, 0x2000);
	assert_int_equal(block.order, 1);
	/* Nodes are visited at most once per page of the region. */
	assert_int_equal(khoc_radix_nodes(&tree, count_node, &nodes), -KHO_E_CYCLE);
	assert_true(nodes <= 64);
	/* A loop: the root below itself. */
	for (int j = 0; j < 512; j++)
		*image_word(&image, pa[5] + 8 * (u64)j) = pa[5];
	nodes = 0;
	assert_int_equal(khoc_radix_nodes(&tree, count_node, &nodes), -KHO_E_CYCLE);
	assert_true(nodes <= 64);
	assert_int_equal(khoc_radix_prune(&tree), 0);
	image_destroy(&image);
}

static void a_growing_image(void **state)
{
	/* Each step moves the lowest table that covers order 0 up, or past the short cuts. */
	static const u64 sizes[] = {1ULL << 30, 1ULL << 36, 1ULL << 37, 1ULL << 45, 1ULL << 47};
	struct khoc_radix tree;
	struct image image;

	make(&image, &tree, 12, sizes[0]);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		image.mem.size = sizes[i];
		assert_int_equal(khoc_radix_add(&tree, sizes[i], 0), -EINVAL);
		for (unsigned int order = 0; order < 18; order++) {
			kho_pa_t last = sizes[i] - (4096ULL << order);

			assert_false(khoc_radix_test(&tree, last, order));
			assert_int_equal(khoc_radix_add(&tree, last, order), 0);
		}
		for (size_t j = 0; j <= i; j++) {
			for (unsigned int order = 0; order < 18; order++) {
				kho_pa_t last = sizes[j] - (4096ULL << order);

				assert_true(khoc_radix_test(&tree, last, order));
				assert_false(
					khoc_radix_test(&tree, last - (4096ULL << order), order));
			}
		}
		assert_int_equal(count_blocks(&tree), 18 * (i + 1));
	}
	unmake(&image, &tree);
}

/* The image's end in the middle of a leaf that is there: by the short way as by the long. */
static void the_end_inside_a_leaf(void **state)
{
	u64 size = (1ULL << 30) + 5 * 4096;
	struct khoc_radix tree;
	struct image image;

	make(&image, &tree, 12, size);
	assert_int_equal(khoc_radix_add(&tree, 1ULL << 30, 0), 0);
	assert_int_equal(khoc_radix_add(&tree, size - 4096, 0), 0);
	assert_int_equal(khoc_radix_add(&tree, size, 0), -EINVAL);
	assert_int_equal(khoc_radix_del(&tree, size, 0), -EINVAL);
	assert_int_equal(khoc_radix_add(&tree, 1ULL << 30, 1), 0);
	assert_int_equal(khoc_radix_add(&tree, (1ULL << 30) + 2 * 4096, 1), 0);
	assert_int_equal(khoc_radix_add(&tree, (1ULL << 30) + 4 * 4096, 1), -EINVAL);
	assert_int_equal(khoc_radix_add(&tree, 1ULL << 63, 0), -EINVAL);
	assert_int_equal(count_blocks(&tree), 4);
	unmake(&image, &tree);
}

/* A table that pruning freed serves somebody else afterwards: no short cut leads there. */
static void pruned_tables_are_forgotten(void **state)
{
	struct khoc_radix tree;
	struct image image;
	kho_pa_t table, leaf;

	make(&image, &tree, 12, 1ULL << 30);
	assert_int_equal(khoc_radix_add(&tree, 0x5000, 0), 0);
	table = *image_word(&image, tree.root_pa + 16);
	for (int level = 4; level > 1; level--)
		table = *image_word(&image, table);
	assert_true(khoc_radix_test(&tree, 0x5000, 0));
	assert_int_equal(khoc_radix_del(&tree, 0x5000, 0), 0);
	assert_int_equal(khoc_radix_prune(&tree), 5);
	leaf = image_node(&image);
	if (leaf == table)
		leaf = image_node(&image);
	*image_word(&image, leaf) = ~0ULL;
	*image_word(&image, table) = leaf;
	assert_false(khoc_radix_test(&tree, 0x5000, 0));
	assert_int_equal(khoc_radix_add(&tree, 0x6000, 0), 0);
	assert_false(khoc_radix_test(&tree, 0x5000, 0));
	khoc_radix_destroy(&tree);
	image_destroy(&image);
}

static void two_images_at_once(void **state)
{
	struct khoc_radix a, b;
	struct image ia, ib;

	make(&ia, &a, 12, 1ULL << 30);
	make(&ib, &b, 16, 1ULL << 40);
	assert_int_equal(khoc_radix_add(&a, 0x10000, 0), 0);
	assert_false(khoc_radix_test(&b, 0x10000, 0));
	assert_int_equal(khoc_radix_add(&b, 0x20000, 1), 0);
	assert_false(khoc_radix_test(&a, 0x20000, 1));
	unmake(&ia, &a);
	assert_true(khoc_radix_test(&b, 0x20000, 1));
	unmake(&ib, &b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(levels_of_each_page_size),
		cmocka_unit_test(keys_as_worked_by_hand),
		cmocka_unit_test(bits_lie_as_worked_by_hand),
		cmocka_unit_test(decode_refuses_what_is_no_key),
		cmocka_unit_test(init_and_attach_errors),
		cmocka_unit_test(add_del_test_every_page_size),
		cmocka_unit_test(operands_that_are_no_block),
		cmocka_unit_test(add_without_memory),
		cmocka_unit_test(reserve_is_enough_for_any_key),
		cmocka_unit_test(ranges_across_leaves),
		cmocka_unit_test(range_without_memory),
		cmocka_unit_test(split_takes_the_largest_aligned_order),
		cmocka_unit_test(pages_are_marked_as_split),
		cmocka_unit_test(pages_without_memory_leave_no_mark),
		cmocka_unit_test(reorder_both_ways),
		cmocka_unit_test(lookup_and_next),
		cmocka_unit_test(walk_yields_runs),
		cmocka_unit_test(prune_frees_what_is_empty),
		cmocka_unit_test(loser_frees_its_node),
		cmocka_unit_test(damaged_child),
		cmocka_unit_test(aliased_nodes_end),
		cmocka_unit_test(a_growing_image),
		cmocka_unit_test(the_end_inside_a_leaf),
		cmocka_unit_test(pruned_tables_are_forgotten),
		cmocka_unit_test(two_images_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
