/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Any bytes as the nodes of a tree. Every function ends, stays inside the nodes and gives
 * blocks of the image alone; what validates can be walked without a fault, and its
 * nodes are those that the validation saw.
 */
#include "fuzz.h"

struct input {
	struct khoc_mem mem;
	char *nodes;
	u64 lo;
	u64 hi;
	u64 visits;
	u64 used;
};

static void *input_map(void *ctx, kho_pa_t pa, size_t len)
{
	struct input *in = ctx;

	FACT(len && pa >= in->lo && pa + len <= in->hi);
	return in->nodes + (pa - in->lo);
}

/* Nodes from the end of the region, which the input does not fill. */
static kho_pa_t input_alloc(void *ctx)
{
	return 0;
}

static void input_free(void *ctx, kho_pa_t pa)
{
}

static int visit(void *ctx, kho_pa_t pa, int level)
{
	struct input *in = ctx;

	FACT(pa >= in->lo && pa < in->hi && level >= 0 && level < 18);
	in->visits++;
	return 0;
}

static int walk(const struct khoc_radix *tree, u64 *pages)
{
	u64 size = tree->mem->size;
	struct khoc_radix_iter iter;
	unsigned int order = 64;
	struct khoc_run run;
	kho_pa_t next = 0;

	*pages = 0;
	khoc_radix_iter_init(&iter, tree, 0, ~0ULL, 0, 63);
	while (khoc_radix_iter_next(&iter, &run)) {
		u64 bytes = run.nr << (run.order + tree->shift);

		FACT(run.nr && run.order <= order);
		if (run.order < order)
			next = 0;
		/* Ascending, and never two runs where one would do. */
		FACT(run.pa >= next && (!next || run.pa > next));
		FACT(bytes <= size && run.pa <= size - bytes);
		FACT(khoc_radix_test(tree, run.pa, run.order));
		next = run.pa + bytes;
		order = run.order;
		*pages += run.nr << run.order;
	}
	return khoc_radix_iter_error(&iter);
}

/* A walk yields what the iterator yields, and ends as it ends. */
static int same_run(void *ctx, const struct khoc_run *run)
{
	struct khoc_run want;

	FACT(khoc_radix_iter_next(ctx, &want));
	FACT(run->pa == want.pa && run->nr == want.nr && run->order == want.order);
	return 0;
}

static void walk_as_iterator(const struct khoc_radix *tree, kho_pa_t lo)
{
	struct khoc_radix_iter iter;
	struct khoc_run run;
	int ret;

	khoc_radix_iter_init(&iter, tree, lo, ~0ULL, 0, 63);
	ret = khoc_radix_walk(tree, lo, ~0ULL, same_run, &iter);
	FACT(!khoc_radix_iter_next(&iter, &run) && khoc_radix_iter_error(&iter) == ret);
}

static void probe(struct khoc_radix *tree, struct input *in)
{
	unsigned int shift = tree->shift;
	struct khoc_block block;
	kho_pa_t pa = 0;
	u64 bitmap[4];

	walk_as_iterator(tree, 0);
	walk_as_iterator(tree, 37ULL << shift);
	khoc_radix_union(tree, 0, 256, bitmap);
	for (int i = 0; i < 64 && khoc_radix_next(tree, pa, in->mem.size, &block); i++) {
		struct khoc_block cover;

		FACT(block.pa >= pa && khoc_radix_test(tree, block.pa, block.order));
		FACT(khoc_radix_lookup(tree, block.pa, &cover) && cover.order >= block.order);
		pa = block.pa + 1;
	}
	khoc_radix_add_pages(tree, 3ULL << shift, 1000);
	khoc_radix_del_range(tree, 0, FUZZ_TREE_PAGES, 0);
	khoc_radix_add(tree, 1ULL << shift, 0);
	khoc_radix_prune(tree);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct khoc_mem_ops ops = {
		.map = input_map, .alloc_node = input_alloc, .free_node = input_free};
	u64 seen[FUZZ_TREE_NODES / 64] = {0}, pages, nodes = 0;
	unsigned int shift = size < FUZZ_TREE_HEADER ? 0 : data[0];
	struct khoc_radix_check check;
	struct khoc_radix_counts counts;
	struct khoc_report report;
	struct khoc_radix tree;
	struct input in = {.visits = 0};
	int err;

	if (shift < KHO_ABI_PAGE_SHIFT_MIN || shift > FUZZ_TREE_SHIFT_MAX)
		return 0;
	in.lo = FUZZ_TREE_NODE_LO << shift;
	in.hi = in.lo + (FUZZ_TREE_NODES << shift);
	in.nodes = calloc(FUZZ_TREE_NODES, 1UL << shift);
	size -= FUZZ_TREE_HEADER;
	if (size > in.hi - in.lo)
		size = in.hi - in.lo;
	memcpy(in.nodes, data + FUZZ_TREE_HEADER, size);
	in.mem = (struct khoc_mem){&ops, &in, NULL, FUZZ_TREE_PAGES << shift, in.lo, in.hi};
	if (data[1] & 1) /* the same nodes by way of the linear map */
		in.mem.linear = in.nodes - in.lo;
	if (khoc_radix_attach(&tree, &in.mem, shift, in.lo + ((u64)data[1] >> 1 << shift)))
		goto out;
	check = (struct khoc_radix_check){in.hi, in.mem.size, seen};
	err = khoc_radix_validate(&tree, &check, &report);
	FACT(report.fault == -err && report.field);
	for (u64 i = 0; i < FUZZ_TREE_NODES / 64; i++)
		nodes += khoc_popcount64(seen[i]);
	if (!err) {
		FACT(!walk(&tree, &pages));
		FACT(!khoc_radix_count(&tree, 0, ~0ULL, &counts));
		FACT(counts.pages == pages && counts.tables + counts.leaves == nodes);
		FACT(!khoc_radix_nodes(&tree, visit, &in) && in.visits == nodes);
	} else {
		walk(&tree, &pages);
		khoc_radix_nodes(&tree, visit, &in);
		FACT(in.visits <= FUZZ_TREE_NODES);
	}
	probe(&tree, &in);
out:
	free(in.nodes);
	return 0;
}
