/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Walks against the iterator, which finds its way another way: the same runs, in the same order,
 * with the same end, over random trees and ranges, and where a tree is damaged. And allocators
 * that break their promise.
 */
#include "image.h"

#define NODE_LO(shift) (16ULL << (shift))

/*
 * struct pair - a walk and an iterator beside it
 * @left: runs until the walk is to be stopped
 */
struct pair {
	struct khoc_radix_iter iter;
	u64 runs;
	u64 left;
};

static int same_as_iterator(void *ctx, const struct khoc_run *run)
{
	struct pair *pair = ctx;
	struct khoc_run want;

	EXPECT(khoc_radix_iter_next(&pair->iter, &want));
	EXPECT_EQ(run->pa, want.pa);
	EXPECT_EQ(run->nr, want.nr);
	EXPECT_EQ(run->order, want.order);
	pair->runs++;
	return --pair->left ? 0 : 77;
}

/* Return: what the walk returned, which the iterator returned, too. */
static int walk_both(const struct khoc_radix *tree, kho_pa_t lo, kho_pa_t hi, u64 stop, u64 *runs)
{
	struct pair pair = {.left = stop};
	struct khoc_run run;
	int ret;

	khoc_radix_iter_init(&pair.iter, tree, lo, hi, 0, 63);
	ret = khoc_radix_walk(tree, lo, hi, same_as_iterator, &pair);
	if (runs)
		*runs = pair.runs;
	if (ret == 77)
		return ret;
	EXPECT(!khoc_radix_iter_next(&pair.iter, &run));
	EXPECT_EQ(khoc_radix_iter_error(&pair.iter), ret);
	return ret;
}

/* Lengths that end in, at and behind words and leaves. */
static u64 random_length(struct rng *rng, unsigned int shift)
{
	static const u64 lengths[] = {1, 2, 3, 63, 64, 65, 127, 128, 129};
	u64 leaf = 1ULL << kho_abi_radix_bitmap_log2(shift);

	switch (rng_below(rng, 4)) {
	case 0:
		return leaf - 1 + rng_below(rng, 3);
	case 1:
		return 1 + rng_below(rng, 2 * leaf);
	default:
		return lengths[rng_below(rng, ARRAY_LEN(lengths))];
	}
}

static void random_tree(struct rng *rng, unsigned int shift, bool linear)
{
	u64 leaf = 1ULL << kho_abi_radix_bitmap_log2(shift);
	u64 nr_pages = 6 * leaf + rng_below(rng, leaf);
	struct khoc_radix tree;
	struct image image;
	u64 runs;

	image_make(&image, shift, nr_pages << shift, NODE_LO(shift), 2048, linear);
	EXPECT_EQ(khoc_radix_init(&tree, &image.mem, shift), 0);
	for (int i = 0; i < 60; i++) {
		unsigned int order = rng_below(rng, 3) ? 0 : (unsigned int)rng_below(rng, 4);
		u64 blocks = nr_pages >> order;
		u64 at = rng_below(rng, 2) ? rng_below(rng, blocks)
					   : rng_below(rng, blocks >> 6) << 6;
		u64 nr = random_length(rng, shift);

		if (nr > blocks - at)
			nr = blocks - at;
		if (rng_below(rng, 4))
			EXPECT_EQ(khoc_radix_add_range(&tree, at << (shift + order), nr, order), 0);
		else
			EXPECT_EQ(khoc_radix_del_range(&tree, at << (shift + order), nr, order), 0);
		at = rng_below(rng, nr_pages << shift);
		EXPECT_EQ(walk_both(&tree, at, at + (random_length(rng, shift) << shift), 0, NULL),
			  0);
	}
	EXPECT_EQ(walk_both(&tree, 0, ~0ULL, 0, &runs), 0);
	for (u64 stop = 1; stop <= runs; stop += 1 + rng_below(rng, 3))
		EXPECT_EQ(walk_both(&tree, 0, ~0ULL, stop, NULL), 77);
	khoc_radix_destroy(&tree);
	EXPECT_EQ(image.live, 0);
	image_destroy(&image);
}

TEST(walk_and_iterator_agree)
{
	static const unsigned int shifts[] = {6, 7, 9, 12, 12, 14, 16};
	struct rng rng = {test_seed()};

	for (int round = 0; round < 12; round++)
		for (size_t i = 0; i < ARRAY_LEN(shifts); i++)
			random_tree(&rng, shifts[i], round & 1);
}

/* Three full leaves; the child behind the first is no node. */
TEST(a_run_ends_at_a_bad_child)
{
	static const unsigned int shifts[] = {6, 12, 14, 16};

	for (size_t i = 0; i < ARRAY_LEN(shifts); i++) {
		unsigned int shift = shifts[i];
		u64 leaf = 1ULL << kho_abi_radix_bitmap_log2(shift), runs;
		struct khoc_radix_counts counts;
		struct khoc_radix tree;
		struct image image;
		kho_pa_t pa;
		u64 *word;

		image_make(&image, shift, 3 * leaf << shift, NODE_LO(shift), 64, true);
		EXPECT_EQ(khoc_radix_init(&tree, &image.mem, shift), 0);
		EXPECT_EQ(khoc_radix_add_range(&tree, 0, 3 * leaf, 0), 0);
		EXPECT_EQ(walk_both(&tree, 0, ~0ULL, 0, &runs), 0);
		EXPECT_EQ(runs, 1);
		pa = tree.root_pa;
		for (unsigned int level = kho_abi_radix_depth(shift) - 1; level > 1; level--) {
			u64 span = kho_abi_radix_bitmap_log2(shift) +
				   (level - 1) * kho_abi_radix_table_log2(shift);
			u64 words = 1ULL << kho_abi_radix_table_log2(shift);

			pa = *image_word(&image,
					 pa + 8 * (khoc_key(shift, 0, 0) >> span & (words - 1)));
		}
		word = image_word(&image, pa + 8);
		EXPECT_NE(*word, 0);
		*word += 8;
		EXPECT_EQ(walk_both(&tree, 0, ~0ULL, 0, &runs), -KHO_E_ALIGN);
		EXPECT_EQ(runs, 1);
		EXPECT_EQ(walk_both(&tree, 0, ~0ULL, 1, &runs), 77);
		/* The run in front of the damage is whole, and where nothing is damaged nothing is said. */
		EXPECT_EQ(walk_both(&tree, 0, leaf << shift, 0, &runs), 0);
		EXPECT_EQ(runs, 1);
		EXPECT_EQ(khoc_radix_count(&tree, 0, leaf << shift, &counts), -KHO_E_ALIGN);
		*word -= 8;
		khoc_radix_destroy(&tree);
		image_destroy(&image);
	}
}

/* Hands out what is no node, once. */
struct liar {
	struct khoc_mem_ops ops;
	struct image *image;
	kho_pa_t lie;
	kho_pa_t freed;
	struct khoc_radix *tree;
	kho_pa_t racer;
};

static kho_pa_t lying_alloc(void *ctx)
{
	struct liar *liar = ctx;
	kho_pa_t lie = liar->lie;

	liar->lie = 0;
	return lie ? lie : liar->image->ops.alloc_node(liar->image);
}

static void lying_free(void *ctx, kho_pa_t pa)
{
	struct liar *liar = ctx;

	liar->freed = pa;
}

TEST(an_allocator_that_lies)
{
	static const struct {
		kho_pa_t lie;
		int want;
	} lies[] = {{0x10008, -KHO_E_ALIGN}, {0x1000, -KHO_E_RANGE}, {1ULL << 40, -KHO_E_RANGE}};

	for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
		struct khoc_radix_reserve reserve = {.pa = {lies[i].lie}, .nr = 1};
		struct khoc_radix tree;
		struct image image;
		struct liar liar;

		image_make(&image, 12, 1ULL << 30, NODE_LO(12), 64, true);
		liar = (struct liar){.ops = {.alloc_node = lying_alloc, .free_node = lying_free},
				     .image = &image,
				     .lie = lies[i].lie};
		image.mem.ops = &liar.ops;
		image.mem.ctx = &liar;
		EXPECT_EQ(khoc_radix_init(&tree, &image.mem, 12), lies[i].want);
		EXPECT_EQ(liar.freed, lies[i].lie);
		EXPECT_EQ(khoc_radix_init(&tree, &image.mem, 12), 0);
		liar.lie = lies[i].lie;
		liar.freed = 0;
		EXPECT_EQ(khoc_radix_add(&tree, 0x5000, 0), lies[i].want);
		EXPECT_EQ(liar.freed, lies[i].lie);
		EXPECT(!khoc_radix_test(&tree, 0x5000, 0));
		/* From a reserve it goes back there. */
		EXPECT_EQ(khoc_radix_add_reserved(&tree, 0x5000, 0, &reserve), lies[i].want);
		EXPECT_EQ(reserve.nr, 1);
		EXPECT_EQ(reserve.pa[0], lies[i].lie);
		EXPECT_EQ(khoc_radix_add(&tree, 0x5000, 0), 0);
		image_destroy(&image);
	}
}

/* While the first node is allocated somebody links one that is no node. */
static kho_pa_t overtaken_alloc(void *ctx)
{
	struct liar *liar = ctx;

	*image_word(liar->image, liar->tree->root_pa + 16) = liar->racer;
	return liar->image->ops.alloc_node(liar->image);
}

TEST(what_another_thread_linked_is_no_node)
{
	struct khoc_radix tree;
	struct image image;
	struct liar liar;

	image_make(&image, 12, 1ULL << 30, NODE_LO(12), 64, true);
	EXPECT_EQ(khoc_radix_init(&tree, &image.mem, 12), 0);
	liar = (struct liar){.ops = {.alloc_node = overtaken_alloc, .free_node = lying_free},
			     .image = &image,
			     .tree = &tree,
			     .racer = 0x10010};
	image.mem.ops = &liar.ops;
	image.mem.ctx = &liar;
	EXPECT_EQ(khoc_radix_add(&tree, 0x5000, 0), -KHO_E_ALIGN);
	EXPECT(liar.freed >= NODE_LO(12) && liar.freed < image.mem.node_hi);
	image_destroy(&image);
}

TEST_SUITE(radix_walk, TEST_CASE(walk_and_iterator_agree), TEST_CASE(a_run_ends_at_a_bad_child),
	   TEST_CASE(an_allocator_that_lies), TEST_CASE(what_another_thread_linked_is_no_node));
