/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Any bytes as an image with a memory file with holes. Input: where the file is described, in words; blocks
 * that are preserved, a byte each: page and, in the upper two bits, order; a byte 0 ends them; then the
 * image's pages of 4 KiB from the first on. Reading ends; folios of what is sound are preserved, inside
 * the file, and none over another.
 */
#include "fuzz.h"

#define SHIFT 12
#define NODE_LO (FUZZ_BLOCK_PAGES << SHIFT)
#define NODES 64ULL

static char bytes[(FUZZ_BLOCK_PAGES + NODES) << SHIFT] __attribute__((aligned(4096)));

static void *input_map(void *ctx, kho_pa_t pa, size_t len)
{
	FACT(len && pa < sizeof(bytes) && len <= sizeof(bytes) - pa);
	return bytes + pa;
}

static kho_pa_t input_node(void *ctx)
{
	u64 *used = ctx;

	return *used < NODES ? NODE_LO + ((*used)++ << SHIFT) : 0;
}

static const struct khoc_mem_ops input_ops = {.map = input_map, .alloc_node = input_node};

static void walk(const struct khoc_sparse_memfd *file, const struct khoc_radix *tree, u64 entries)
{
	struct khoc_array_iter iter;
	struct khoc_block block;
	u64 index, entry, end = 0, nr = 0;

	khoc_array_iter_init(&iter, &file->folios, 0, ~0ULL);
	while (khoc_array_iter_next(&iter, &index, &entry) > 0) {
		u64 pa = khoc_array_to_integer(entry);

		FACT(khoc_array_is_integer(entry) && index >= end && index << SHIFT < file->size);
		FACT(khoc_radix_lookup(tree, pa, &block) && block.pa == pa);
		end = index + (1ULL << block.order);
		nr++;
	}
	FACT(nr == entries);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	u64 used = 0, seen[FUZZ_BLOCK_PAGES / 64] = {0};
	struct khoc_array_check check = {1 << SHIFT, NODE_LO, seen, 0, 0};
	struct khoc_mem mem = {.ops = &input_ops,
			       .ctx = &used,
			       .size = sizeof(bytes),
			       .node_lo = NODE_LO,
			       .node_hi = sizeof(bytes)};
	struct khoc_sparse_memfd file;
	struct khoc_report report;
	struct khoc_radix tree;
	size_t at = 1, room;
	int rc;

	if (!size)
		return 0;
	memset(bytes, 0, sizeof(bytes));
	FACT(!khoc_radix_init(&tree, &mem, SHIFT));
	for (; at < size && data[at]; at++)
		khoc_radix_add(&tree, (u64)(data[at] & 63) << SHIFT, data[at] >> 6);
	at += at < size;
	room = size - at < NODE_LO ? size - at : NODE_LO;
	memcpy(bytes, data + at, room);
	rc = khoc_sparse_memfd_open(&file, &mem, SHIFT, data[0] * 8, &report);
	if (!rc)
		rc = khoc_sparse_memfd_validate(&file, &check, &tree, &report);
	FACT(rc == -report.fault);
	if (!rc)
		walk(&file, &tree, check.entries);
	return 0;
}
