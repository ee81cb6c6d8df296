/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Inputs that are sequences of operations: bytes are taken from the front; at the end they are zeroes.
 * Small pages behind a seam that counts them, and an allocator that fails when the input says so.
 */
#ifndef FUZZ_OPS_H
#define FUZZ_OPS_H

#include "fuzz.h"

#include <errno.h>
#include <string.h>

struct ops_bytes {
	const uint8_t *data;
	size_t left;
};

static inline u8 take_byte(struct ops_bytes *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->data++;
}

static inline u64 take_number(struct ops_bytes *in, unsigned int bytes)
{
	u64 value = 0;

	while (bytes--)
		value = value << 8 | take_byte(in);
	return value;
}

/* Pages [first, OPS_PAGES) of an image; what lies below is the target's own. */
#define OPS_PAGES 1024ULL

struct ops_image {
	struct khoc_mem_ops ops;
	struct khoc_mem mem;
	unsigned int shift;
	u64 first;
	char *bytes;
	u8 used[OPS_PAGES];
	u64 nr_used;
	u64 fail; /* allocations until they fail; ~0: never */
};

static inline void *ops_map(void *ctx, kho_pa_t pa, size_t len)
{
	struct ops_image *image = ctx;

	FACT(len && pa <= OPS_PAGES << image->shift && len <= (OPS_PAGES << image->shift) - pa);
	return image->bytes + pa;
}

static inline kho_pa_t ops_alloc(void *ctx)
{
	struct ops_image *image = ctx;

	if (!image->fail || image->nr_used == OPS_PAGES - image->first)
		return 0;
	if (image->fail != ~0ULL)
		image->fail--;
	for (u64 i = image->first; i < OPS_PAGES; i++)
		if (!image->used[i]) {
			image->used[i] = 1;
			image->nr_used++;
			memset(image->bytes + (i << image->shift), 0, 1UL << image->shift);
			return i << image->shift;
		}
	return 0;
}

static inline void ops_free(void *ctx, kho_pa_t pa)
{
	struct ops_image *image = ctx;
	u64 page = pa >> image->shift;

	FACT(page >= image->first && page < OPS_PAGES && image->used[page]);
	FACT(!(pa & ((1ULL << image->shift) - 1)));
	image->used[page] = 0;
	image->nr_used--;
	/* Whoever reads it from now on reads nonsense. */
	memset(image->bytes + pa, 0xa5, 1UL << image->shift);
}

/* Publishing needs memory too: it fails together with allocating. */
static inline int ops_publish(void *ctx, __u64 *slot, __u64 value, kho_pa_t fresh, kho_pa_t stale)
{
	struct ops_image *image = ctx;

	FACT(*slot != value && (!fresh || fresh != stale));
	if (!image->fail)
		return -ENOMEM;
	*slot = value;
	if (stale)
		ops_free(ctx, stale);
	return 0;
}

static inline void ops_begin(struct ops_image *image, unsigned int shift, u64 first, bool linear)
{
	memset(image, 0, sizeof(*image));
	image->shift = shift;
	image->first = first;
	image->fail = ~0ULL;
	image->bytes = calloc(OPS_PAGES, 1UL << shift);
	FACT(image->bytes);
	image->ops = (struct khoc_mem_ops){ops_map,   ops_alloc, ops_free,
					   ops_alloc, ops_free,	 ops_publish};
	image->mem = (struct khoc_mem){.ops = &image->ops,
				       .ctx = image,
				       .linear = linear ? image->bytes : NULL,
				       .size = OPS_PAGES << shift};
}

static inline void ops_end(struct ops_image *image)
{
	free(image->bytes);
}

#endif
