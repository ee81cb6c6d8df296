/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Images for tests: see image.h. */
#include "image.h"

/* Held for some instructions, by threads that allocate at the same time. */
static void image_lock(struct image *image)
{
	while (khoc_cmpxchg(&image->locked, 0, 1))
		shim_yield();
}

static void image_unlock(struct image *image)
{
	khoc_store_release(&image->locked, 0);
}

static void *image_map(void *ctx, kho_pa_t pa, size_t len)
{
	struct image *image = ctx;

	bool there = pa >= image->mem.node_lo && pa + len <= image->mem.node_hi;

	EXPECT_IN_THREAD(len && (there || image->anywhere));
	return there ? image->bytes + pa : NULL;
}

static kho_pa_t image_alloc(void *ctx)
{
	struct image *image = ctx;
	kho_pa_t pa = 0;
	u64 at;

	image_lock(image);
	image->allocs++;
	if (image->fail_at && (image->allocs == image->fail_at ||
			       (image->fail_all && image->allocs > image->fail_at)))
		goto out;
	if (image->live == image->nr_nodes)
		goto out;
	at = rng_below(&image->rng, image->nr_nodes);
	while (image->used[at])
		at = (at + 1) % image->nr_nodes;
	image->used[at] = IMAGE_RESERVED;
	image->live++;
	pa = image->mem.node_lo + (at << image->shift);
	memset(image->bytes + pa, 0, 1UL << image->shift);
out:
	image_unlock(image);
	return pa;
}

static void image_free(void *ctx, kho_pa_t pa)
{
	struct image *image = ctx;
	u64 at = (pa - image->mem.node_lo) >> image->shift;

	image_lock(image);
	EXPECT_IN_THREAD(pa >= image->mem.node_lo && at < image->nr_nodes);
	EXPECT_IN_THREAD(image->used[at] == IMAGE_RESERVED);
	image->used[at] = 0;
	image->live--;
	memset(image->bytes + pa, 0xdb, 1UL << image->shift);
	image_unlock(image);
}

/* Of a page in [node_lo, node_hi): published or not? */
static u8 *image_state(struct image *image, kho_pa_t pa)
{
	u64 at = (pa - image->mem.node_lo) >> image->shift;

	EXPECT_IN_THREAD(pa >= image->mem.node_lo && at < image->nr_nodes);
	EXPECT_IN_THREAD(!(pa & ((1UL << image->shift) - 1)));
	return &image->used[at];
}

static int image_publish(void *ctx, __u64 *slot, __u64 value, kho_pa_t fresh, kho_pa_t stale)
{
	struct image *image = ctx;

	EXPECT_IN_THREAD(*slot != value);
	if (image->fail_publish)
		return -ENOMEM;
	if (fresh) {
		EXPECT_IN_THREAD(*image_state(image, fresh) == IMAGE_RESERVED);
		*image_state(image, fresh) = IMAGE_PUBLISHED;
	}
	khoc_store_release(slot, value);
	if (stale) {
		EXPECT_IN_THREAD(*image_state(image, stale) == IMAGE_PUBLISHED);
		*image_state(image, stale) = IMAGE_RESERVED;
		image_free(image, stale);
	}
	return 0;
}

bool image_is_published(struct image *image, kho_pa_t pa)
{
	return *image_state(image, pa) == IMAGE_PUBLISHED;
}

void image_make(struct image *image, unsigned int shift, u64 size, kho_pa_t node_lo, u64 nr_nodes,
		bool linear)
{
	u64 node_hi = node_lo + (nr_nodes << shift);

	memset(image, 0, sizeof(*image));
	image->shift = shift;
	image->nr_nodes = nr_nodes;
	image->mapped = node_hi;
	image->bytes = shim_map(node_hi);
	image->used = shim_alloc(nr_nodes);
	EXPECT(node_lo && size >= node_hi);
	image->rng.state = 0x9e3779b97f4a7c15ULL;
	image->ops = (struct khoc_mem_ops){image_map,	image_alloc, image_free,
					   image_alloc, image_free,  image_publish};
	image->mem = (struct khoc_mem){&image->ops, image,   linear ? image->bytes : NULL,
				       size,	    node_lo, node_hi};
}

void image_destroy(struct image *image)
{
	shim_unmap(image->bytes, image->mapped);
	shim_free(image->used);
}

u64 *image_word(struct image *image, kho_pa_t pa)
{
	EXPECT_IN_THREAD(pa + 8 <= image->mem.node_hi);
	return (u64 *)(image->bytes + pa);
}

kho_pa_t image_node(struct image *image)
{
	kho_pa_t pa = image_alloc(image);

	EXPECT_IN_THREAD(pa);
	return pa;
}

void image_reset(struct image *image)
{
	memset(image->used, 0, image->nr_nodes);
	image->live = 0;
	image->allocs = 0;
	image->fail_at = 0;
	image->fail_all = false;
	image->fail_publish = false;
}
