/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The tree: ranges of one order, pages split into blocks, and blocks that change their order. */
#include "radix_fixture.h"

TEST(ranges_across_leaves)
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
			EXPECT_EQ(khoc_radix_add_range(&tree, pa, nr, 0), 0);
			EXPECT_EQ(count_blocks(&tree), nr);
			EXPECT_EQ(khoc_radix_count(&tree, pa, pa + (nr << 12), &counts), 0);
			EXPECT_EQ(counts.blocks[0], nr);
			EXPECT(!khoc_radix_test(&tree, pa + (nr << 12), 0));
			EXPECT_EQ(khoc_radix_add_range(&tree, pa, nr, 0), 0);
			/* Punch out the middle, then all, holes included. */
			if (nr > 2) {
				EXPECT_EQ(khoc_radix_del_range(&tree, pa + 4096, nr - 2, 0), 0);
				EXPECT_EQ(count_blocks(&tree), 2);
				EXPECT(khoc_radix_test(&tree, pa, 0));
				EXPECT(khoc_radix_test(&tree, pa + ((nr - 1) << 12), 0));
			}
			EXPECT_EQ(khoc_radix_del_range(&tree, 0, 1ULL << 18, 0), 0);
			EXPECT_EQ(count_blocks(&tree), 0);
			unmake(&image, &tree);
		}
	}
}

TEST(range_without_memory)
{
	/* Three leaves: 5 tables and leaves for the first, one more for each other. */
	for (u64 nth = 1; nth <= 7; nth++) {
		u64 marked = nth <= 5 ? 0 : nth == 6 ? 1 : 32769;
		struct khoc_radix tree;
		struct image image;

		make(&image, &tree, 12, 1ULL << 30);
		image.fail_at = 1 + nth;
		EXPECT_EQ(khoc_radix_add_range(&tree, 32767 << 12, 32770, 0), -ENOMEM);
		EXPECT_EQ(count_blocks(&tree), marked);
		EXPECT_EQ(khoc_radix_del_range(&tree, 32767 << 12, 32770, 0), 0);
		EXPECT_EQ(count_blocks(&tree), 0);
		unmake(&image, &tree);
	}
}

TEST(split_takes_the_largest_aligned_order)
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
		EXPECT_EQ(khoc_radix_split(want[i].shift, want[i].pa, want[i].nr), want[i].order);
}

TEST(pages_are_marked_as_split)
{
	/* Pages 3 to 20: 3, 4-7, 8-15, 16-19, 20 */
	static const struct khoc_block want[] = {
		{8 << 12, 3}, {4 << 12, 2}, {16 << 12, 2}, {3 << 12, 0}, {20 << 12, 0}};
	struct khoc_radix_iter iter;
	struct khoc_radix tree;
	struct khoc_run run;
	struct image image;

	make(&image, &tree, 12, 1ULL << 30);
	EXPECT_EQ(khoc_radix_add_pages(&tree, 3 << 12, 18), 0);
	khoc_radix_iter_init(&iter, &tree, 0, ~0ULL, 0, 63);
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		EXPECT(khoc_radix_iter_next(&iter, &run));
		EXPECT_EQ(run.pa, want[i].pa);
		EXPECT_EQ(run.order, want[i].order);
		EXPECT_EQ(run.nr, 1);
	}
	EXPECT(!khoc_radix_iter_next(&iter, &run));
	EXPECT_EQ(khoc_radix_iter_error(&iter), 0);
	EXPECT_EQ(khoc_radix_del_pages(&tree, 3 << 12, 18), 0);
	EXPECT_EQ(count_blocks(&tree), 0);
	EXPECT_EQ(khoc_radix_add_pages(&tree, 0, 0), 0);
	unmake(&image, &tree);
}

TEST(pages_without_memory_leave_no_mark)
{
	bool done = false;

	for (u64 nth = 1; !done; nth++) {
		struct khoc_radix tree;
		struct image image;
		int err;

		make(&image, &tree, 12, 1ULL << 30);
		/* What was marked before stays marked. */
		EXPECT_EQ(khoc_radix_add(&tree, 4 << 12, 2), 0);
		image.fail_at = image.allocs + nth;
		err = khoc_radix_add_pages(&tree, 3 << 12, 100000);
		done = !err;
		if (err)
			EXPECT_EQ(err, -ENOMEM);
		if (err)
			EXPECT_EQ(count_blocks(&tree), 1);
		EXPECT(khoc_radix_test(&tree, 4 << 12, 2));
		EXPECT(nth < 100);
		unmake(&image, &tree);
	}
}

TEST(reorder_both_ways)
{
	struct khoc_radix_counts counts;
	struct khoc_radix tree;
	struct image image;

	make(&image, &tree, 12, 1ULL << 30);
	EXPECT_EQ(khoc_radix_add_range(&tree, 1 << 20, 1024, 0), 0);
	EXPECT_EQ(khoc_radix_reorder(&tree, 1 << 20, 1024, 0, 0), 0);
	EXPECT_EQ(count_blocks(&tree), 1024);
	EXPECT_EQ(khoc_radix_reorder(&tree, 1 << 20, 1024, 0, 5), 0);
	EXPECT_EQ(khoc_radix_count(&tree, 0, ~0ULL, &counts), 0);
	EXPECT_EQ(counts.blocks[5], 32);
	EXPECT_EQ(counts.pages, 1024);
	EXPECT_EQ(khoc_radix_reorder(&tree, 1 << 20, 512, 5, 1), 0);
	EXPECT_EQ(khoc_radix_count(&tree, 0, ~0ULL, &counts), 0);
	EXPECT_EQ(counts.blocks[5], 16);
	EXPECT_EQ(counts.blocks[1], 256);
	EXPECT_EQ(counts.pages, 1024);
	/* Without room for the new keys the old ones stay. */
	image.fail_at = image.allocs + 1;
	image.fail_all = true;
	EXPECT_EQ(khoc_radix_reorder(&tree, 1 << 20, 512, 1, 8), -ENOMEM);
	EXPECT_EQ(khoc_radix_count(&tree, 0, ~0ULL, &counts), 0);
	EXPECT_EQ(counts.blocks[1], 256);
	EXPECT_EQ(counts.blocks[8], 0);
	unmake(&image, &tree);
}

TEST_SUITE(radix_range, TEST_CASE(ranges_across_leaves), TEST_CASE(range_without_memory),
	   TEST_CASE(split_takes_the_largest_aligned_order), TEST_CASE(pages_are_marked_as_split),
	   TEST_CASE(pages_without_memory_leave_no_mark), TEST_CASE(reorder_both_ways));
