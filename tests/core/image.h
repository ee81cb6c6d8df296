/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Images for tests: any page size, nodes placed at random in a region of their own,
 * every allocation countable and breakable. Only the nodes have memory behind
 * them, so that an image can be as large as one likes.
 */
#ifndef TESTS_CORE_IMAGE_H
#define TESTS_CORE_IMAGE_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "env.h"

#include <kho/kho.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* A generator of 64-bit numbers: xorshift64*. */
struct rng {
	u64 state;
};

/* KHO_SEED if set, else the clock; printed, so that a failure can be repeated. */
u64 test_seed(void);
u64 rng_next(struct rng *rng);
/* 0 to @n - 1 */
u64 rng_below(struct rng *rng, u64 n);

/**
 * struct image - an image of a test
 * @mem: what the core sees
 * @bytes: backing of [0, mem.node_hi)
 * @used: per page of the node region: handed out?
 * @live: nodes handed out and not given back
 * @allocs: calls of alloc_node so far
 * @fail_at: the call, from 1, that fails; 0 for none
 * @fail_all: every call from @fail_at on fails
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
	struct rng rng;
	pthread_mutex_t lock;
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
/* Forget all nodes that were handed out. */
void image_reset(struct image *image);

#endif
