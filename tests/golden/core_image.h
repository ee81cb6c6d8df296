/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The golden images of the core's formats, core-SHIFT.sparse: what lies where. What they contain is said by
 * core.txt, which make.py writes by rule; make_core.c made the images with the library.
 *
 *	page 1	words: the tree's root, first blocks of the sets
 *	page 2	descriptors of vmalloc areas
 *	page 4 and further	an array's descriptor each
 *	page 16 up to the end of what has memory	nodes of the tree, and pages of structures
 *	from ZONE on	no memory: blocks of areas, and others that are preserved
 */
#ifndef TESTS_GOLDEN_CORE_IMAGE_H
#define TESTS_GOLDEN_CORE_IMAGE_H

#include "image.h"

#define NR_ARRAYS 6
#define NR_SETS 2
#define NR_AREAS 3

#define AREAS_PAGE 2
#define ARRAYS_PAGE 4
#define FIRST_PAGE 16

static const unsigned int golden_shifts[] = {6, 12, 14, 16};
static const unsigned int set_sizes[NR_SETS] = {20, 8};

struct core_image {
	struct image image;
	struct khoc_mem_ops ops; /* of the image, without the tree */
	struct khoc_radix tree;
};

static inline kho_pa_t page_pa(const struct core_image *c, u64 page)
{
	return page << c->image.shift;
}

/* Where nothing has memory. */
static inline kho_pa_t zone_pa(const struct core_image *c)
{
	return page_pa(c, 4096);
}

static inline u64 *tree_word(struct core_image *c)
{
	return image_word(&c->image, page_pa(c, 1));
}

static inline u64 *set_word(struct core_image *c, unsigned int n)
{
	return tree_word(c) + 1 + n;
}

static inline struct kho_abi_vmalloc *area_desc(struct core_image *c, unsigned int n)
{
	return (struct kho_abi_vmalloc *)image_word(&c->image, page_pa(c, AREAS_PAGE)) + n;
}

static inline kho_pa_t array_pa(const struct core_image *c, unsigned int n)
{
	return page_pa(c, ARRAYS_PAGE + n);
}

/* Pages are preserved as they are published. */
static inline int core_image_publish(void *ctx, __u64 *slot, __u64 value, kho_pa_t fresh,
				     kho_pa_t stale)
{
	struct core_image *c = ctx; /* the image is its first member */
	int rc = fresh ? khoc_radix_add(&c->tree, fresh, 0) : 0;

	if (!rc)
		rc = c->ops.publish_page(&c->image, slot, value, fresh, stale);
	if (!rc && stale)
		EXPECT_EQ(khoc_radix_del(&c->tree, stale, 0), 0);
	return rc;
}

static inline void core_image_make(struct core_image *c, unsigned int shift)
{
	image_make(&c->image, shift, 65536ULL << shift, 1ULL << shift,
		   FIRST_PAGE - 1 + (shift == 6 ? 1024 : 112), false);
	memset(c->image.used, IMAGE_RESERVED, FIRST_PAGE - 1);
	c->image.live = FIRST_PAGE - 1;
	c->image.anywhere = true;
	c->ops = c->image.ops;
	c->image.ops.publish_page = core_image_publish;
}

#endif
