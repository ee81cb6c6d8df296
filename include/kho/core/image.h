/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The image that the core works on, as each host reaches it. */
#ifndef KHO_CORE_IMAGE_H
#define KHO_CORE_IMAGE_H

#include <stddef.h>

#include <kho/types.h>

/**
 * struct khoc_mem_ops - how the core reaches an image
 * @map: address of @len bytes at @pa, or NULL when they are not all in the image.
 *	The result stays valid until the image goes away. Never called with @len 0.
 * @alloc_node: a zeroed page for a tree node, as its pa, or 0 when there is none.
 *	May be called from several threads at once.
 * @free_node: gives a page of @alloc_node back.
 * @alloc_page: a zeroed page for a structure that lies in data memory (array, block set, chunk
 *	of a vmalloc list), as its pa, or 0 when there is none. It is only reserved: if we die
 *	before @publish_page it is gone without a leak.
 * @free_page: gives back a page of @alloc_page that was never published.
 * @publish_page: stores @value to @slot, which makes the page at @fresh reachable and the page at
 *	@stale unreachable, preserves @fresh and frees @stale, as one step to any crash. Each
 *	may be 0: none. The store is a release. @value is never what @slot holds.
 *	Return: 0, or -ENOMEM: nothing changed, @fresh is still reserved.
 *
 * Pages are of the image's page size, aligned to it, and belong to whoever writes the structure:
 * these three are called under whatever excludes other writers of it. All but @map may be NULL for
 * an image that is only read.
 */
struct khoc_mem_ops {
	void *(*map)(void *ctx, kho_pa_t pa, size_t len);
	kho_pa_t (*alloc_node)(void *ctx);
	void (*free_node)(void *ctx, kho_pa_t pa);
	kho_pa_t (*alloc_page)(void *ctx);
	void (*free_page)(void *ctx, kho_pa_t pa);
	int (*publish_page)(void *ctx, __u64 *slot, __u64 value, kho_pa_t fresh, kho_pa_t stale);
};

/**
 * struct khoc_mem - an image
 * @ops, @ctx: the seam; @ctx is passed back to every call
 * @linear: if not NULL, address of pa 0 of an image that lies in one piece; then @ops->map
 *	is not called
 * @size: bytes in the image; no valid pa is this or larger
 * @node_lo, @node_hi: where tree nodes may lie: [lo, hi), page aligned; [0, @size) if
 *	they may lie anywhere
 */
struct khoc_mem {
	const struct khoc_mem_ops *ops;
	void *ctx;
	void *linear;
	__u64 size;
	kho_pa_t node_lo;
	kho_pa_t node_hi;
};

#endif
