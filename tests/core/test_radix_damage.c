/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The tree with nodes that are damaged: operations say so, and everything ends. */
#include "radix_fixture.h"

static int count_node(void *ctx, kho_pa_t pa, int level)
{
	++*(u64 *)ctx;
	return 0;
}

/* A word of the way to one block is replaced: every operation says so and none goes there. */
TEST(damaged_child)
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
			EXPECT_EQ(khoc_radix_init(&tree, &image.mem, 12), 0);
			EXPECT_EQ(khoc_radix_add(&tree, 0x5000, 0), 0);
			root = pa = tree.root_pa;
			for (unsigned int l = 5; l >= level; l--) {
				word = image_word(&image, pa + (l == 5 ? 16 : 0));
				pa = *word;
			}
			*word = bad[i];
			EXPECT_EQ(khoc_radix_attach(&tree, &image.mem, 12, root), 0);
			EXPECT_EQ(khoc_radix_add(&tree, 0x6000, 0), want);
			EXPECT_EQ(khoc_radix_del(&tree, 0x5000, 0), want);
			EXPECT(!khoc_radix_test(&tree, 0x5000, 0));
			EXPECT_EQ(khoc_radix_add_range(&tree, 0x5000, 2, 0), want);
			EXPECT_EQ(khoc_radix_del_range(&tree, 0x5000, 2, 0), want);
			EXPECT_EQ(khoc_radix_add_pages(&tree, 0x5000, 1), want);
			EXPECT_EQ(khoc_radix_union(&tree, 0, 64, bitmap), want);
			EXPECT_EQ(khoc_radix_count(&tree, 0, ~0ULL, &counts), want);
			EXPECT_EQ(khoc_radix_nodes(&tree, count_node, &nodes), want);
			EXPECT(!khoc_radix_lookup(&tree, 0x5000, &block));
			EXPECT(!khoc_radix_next(&tree, 0, ~0ULL, &block));
			EXPECT_EQ(khoc_radix_walk(&tree, 0, ~0ULL, NULL, NULL), want);
			/* Nothing behind the damage is freed. */
			khoc_radix_destroy(&tree);
			EXPECT_EQ(image.live, level);
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
TEST(aliased_nodes_end)
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
	EXPECT_EQ(khoc_radix_attach(&tree, &image.mem, 12, pa[5]), 0);
	EXPECT_EQ(khoc_radix_walk(&tree, 0, ~0ULL, count_run, runs), 0);
	for (int order = 0; order < 64; order++)
		EXPECT_EQ(runs[order], order > 22 ? 0 : 1ULL << (22 - order));
	EXPECT(khoc_radix_next(&tree, 0x1234, ~0ULL, &block));
	EXPECT_EQ(block.pa, 0x2000);
	EXPECT_EQ(block.order, 1);
	/* Nodes are visited at most once per page of the region. */
	EXPECT_EQ(khoc_radix_nodes(&tree, count_node, &nodes), -KHO_E_CYCLE);
	EXPECT(nodes <= 64);
	/* A loop: the root below itself. */
	for (int j = 0; j < 512; j++)
		*image_word(&image, pa[5] + 8 * (u64)j) = pa[5];
	nodes = 0;
	EXPECT_EQ(khoc_radix_nodes(&tree, count_node, &nodes), -KHO_E_CYCLE);
	EXPECT(nodes <= 64);
	EXPECT_EQ(khoc_radix_prune(&tree), 0);
	image_destroy(&image);
}

TEST_SUITE(radix_damage, TEST_CASE(damaged_child), TEST_CASE(aliased_nodes_end));
