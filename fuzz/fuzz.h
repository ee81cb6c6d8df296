/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What fuzz targets, their replay and the maker of the corpus agree on. */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include "env.h"

#include <kho/kho.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A fact that must hold for every input. */
#define FACT(x)                                                                                    \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #x);            \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

#define FUZZ_ROOT_IMAGE (1ULL << 40)

/*
 * An input of fuzz_tree: log2 of the page size; the root's number; then the pages of
 * the node region, as many as there are, the rest zeroes. The image has 2^16 pages.
 */
#define FUZZ_TREE_HEADER 2
#define FUZZ_TREE_PAGES (1ULL << 16)
#define FUZZ_TREE_NODE_LO 16ULL /* page number */
#define FUZZ_TREE_NODES 128ULL
#define FUZZ_TREE_SHIFT_MAX 12

/*
 * An input of fuzz_vmalloc: log2 of the page size; the descriptor; then pages of an image
 * like that of fuzz_tree, from FUZZ_TREE_NODE_LO on.
 */
#define FUZZ_VMALLOC_HEADER 17
#define FUZZ_VMALLOC_CHUNKS 64ULL

/*
 * An input of fuzz_block: log2 of the page size; a record's size in two bytes; how many operations follow;
 * these; then the pages from the first on, which begins the chain. Of fuzz_luo: log2 of the page
 * size; which reader; the pages from the first on. Images have as many pages.
 */
#define FUZZ_BLOCK_HEADER 4
#define FUZZ_LUO_HEADER 2
#define FUZZ_BLOCK_PAGES 64ULL
#define FUZZ_BLOCK_SHIFT_MAX 12

/*
 * An input of fuzz_slab: log2 of the page size, less 6; order of the block; then the slab, the rest
 * zeroes; the same bytes are tried as a cache's record. A checksum of 0xffffffff stands for the right one.
 */
#define FUZZ_SLAB_HEADER 2

/*
 * An input of fuzz_array: log2 of the page size; flags (1: by the linear map; 2: updates, nine bytes each); then
 * the pages of the image from the first on, the descriptor at its start, or the updates.
 */
#define FUZZ_ARRAY_HEADER 2
#define FUZZ_ARRAY_PAGES 256ULL
#define FUZZ_ARRAY_OPS_MAX 1024

#endif
