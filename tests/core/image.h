/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Images for tests: any page size, nodes placed at random in a region of their own,
 * every allocation countable and breakable. Only the nodes have memory behind
 * them, so that an image can be as large as one likes.
 */
#ifndef TESTS_CORE_IMAGE_H
#define TESTS_CORE_IMAGE_H

#include "shim.h"

#include "env.h"

#include <kho/kho.h>

/* What a page of the node region is; 0: free. */
enum image_page {
	IMAGE_RESERVED = 1, /* a node, or a page that is not published */
	IMAGE_PUBLISHED = 2,
};

/**
 * struct image - an image of a test
 * @mem: what the core sees
 * @bytes: backing of [0, mem.node_hi)
 * @used: per page of the node region: 0, or enum image_page
 * @live: nodes handed out and not given back
 * @allocs: calls of alloc_node so far
 * @fail_at: the call, from 1, that fails; 0 for none
 * @fail_all: every call from @fail_at on fails
 * @anywhere: the core may ask for other addresses than nodes', and gets NULL; else the test fails
 * @fail_publish: publish_page fails
 *
 * Nodes and pages come from the same region; @live and @allocs count both.
 */
struct image {
	struct khoc_mem mem;
	struct khoc_mem_ops ops;
	unsigned int shift;
	char *bytes;
	size_t mapped;
	u64 nr_nodes;
	u8 *used;
	u64 live;
	u64 allocs;
	u64 fail_at;
	bool fail_all;
	bool fail_publish;
	bool anywhere;
	struct rng rng;
	u64 locked;
};

/**
 * image_make() - make an image
 * @size: its size in bytes
 * @node_lo: where the node region starts, page aligned, not 0
 * @nr_nodes: how many pages it has
 * @linear: give the core the address, or make it call map()
 */
void image_make(struct image *image, unsigned int shift, u64 size, kho_pa_t node_lo, u64 nr_nodes,
		bool linear);
void image_destroy(struct image *image);
/* The word at an address of the node region. */
u64 *image_word(struct image *image, kho_pa_t pa);
/* A node of the region, as the tree would get it. */
kho_pa_t image_node(struct image *image);
/* Was this page published, and not freed since? */
bool image_is_published(struct image *image, kho_pa_t pa);
/* Forget all nodes that were handed out. */
void image_reset(struct image *image);

#endif
