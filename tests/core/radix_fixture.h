/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Trees of tests: an image for one tree, all of whose nodes must come back. */
#ifndef TESTS_CORE_RADIX_FIXTURE_H
#define TESTS_CORE_RADIX_FIXTURE_H

#include "image.h"

#define NODE_LO(shift) (16ULL << (shift))

static inline unsigned int depth_of(unsigned int shift)
{
	return kho_abi_radix_depth(shift);
}

static inline void *make(struct image *image, struct khoc_radix *tree, unsigned int shift, u64 size)
{
	image_make(image, shift, size, NODE_LO(shift), 4096, true);
	EXPECT_EQ(khoc_radix_init(tree, &image->mem, shift), 0);
	return image;
}

/* Destroy, and see that every node came back. */
static inline void unmake(struct image *image, struct khoc_radix *tree)
{
	khoc_radix_destroy(tree);
	EXPECT_EQ(image->live, 0);
	image_destroy(image);
}

static inline u64 count_blocks(const struct khoc_radix *tree)
{
	struct khoc_radix_counts counts;
	u64 sum = 0;

	EXPECT_EQ(khoc_radix_count(tree, 0, ~0ULL, &counts), 0);
	for (int i = 0; i < 64; i++)
		sum += counts.blocks[i];
	return sum;
}

#endif
