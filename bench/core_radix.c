/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The preserved-memory tree: nanoseconds per page of add, test, del and walk, one thread,
 * 4 KiB pages, an image of 64 GiB.
 *
 *	set/dense	the 32,768 pages of one leaf, one after the other
 *	set/rand24	pages picked at random among 2^24
 *	set/runs64	64 pages marked, 64 not, by ranges
 *
 * Walks are held against "per-bit": a walk of ours that calls a function for every bit.
 */
#include "env.h"
#include "rows.h"

#include <kho/kho.h>
#include <sys/mman.h>

#define SHIFT 12
#define IMAGE (1ULL << 36)
#define NODES_LO 0x10000ULL
#define NODES_HI (64ULL << 20)
#define NR_PICKS (1U << 20)

struct bench {
	struct khoc_mem_ops ops;
	struct khoc_mem mem;
	struct khoc_radix tree;
	u64 next;
	u64 sum;
	u64 *picks;
	struct rows rows;
};

static kho_pa_t node_alloc(void *ctx)
{
	struct bench *b = ctx;
	u64 pa = b->next;

	b->next += 4096;
	return pa < NODES_HI ? pa : 0;
}

static void node_free(void *ctx, kho_pa_t pa)
{
	struct bench *b = ctx;

	memset((char *)b->mem.linear + pa, 0, 4096);
}

/* A tree without a node but the root, all earlier ones forgotten. */
static void fresh(struct bench *b)
{
	if (b->tree.root)
		khoc_radix_destroy(&b->tree);
	b->next = NODES_LO;
	if (khoc_radix_init(&b->tree, &b->mem, SHIFT))
		abort();
}

static void must(int err)
{
	if (err)
		abort();
}

static int sum_run(void *ctx, const struct khoc_run *run)
{
	struct bench *b = ctx;

	b->sum += run->nr << run->order;
	return 0;
}

/* What a walk by bits does: one call for every block. */
static void bits_below(struct bench *b, const u64 *node, unsigned int level, u64 key,
		       int (*fn)(void *ctx, const struct khoc_run *run))
{
	for (u64 i = 0; i < 512; i++) {
		u64 word = node[i];

		if (level && word)
			bits_below(b, (u64 *)((char *)b->mem.linear + word), level - 1,
				   key + (i << (15 + 9 * (level - 1))), fn);
		while (!level && word) {
			struct khoc_block block;
			struct khoc_run run;

			khoc_key_decode(SHIFT, key + i * 64 + khoc_ctz64(word), &block);
			run = (struct khoc_run){block.pa, 1, block.order};
			if (fn(b, &run))
				return;
			word &= word - 1;
		}
	}
}

static void walk_both(struct bench *b, const char *name, u64 pages, unsigned int rounds)
{
	struct row *runs = row_new(&b->rows, name, "libkho", "walk_ns", "ns/page");
	struct row *bits = row_new(&b->rows, name, "per-bit", "walk_ns", "ns/page");

	for (unsigned int i = 0; i < rounds; i++) {
		double start = now_ns();

		b->sum = 0;
		must(khoc_radix_walk(&b->tree, 0, IMAGE, sum_run, b));
		row_add(runs, (now_ns() - start) / (double)pages);
		if (b->sum != pages)
			abort();
		start = now_ns();
		b->sum = 0;
		bits_below(b, b->tree.root, 5, 0, sum_run);
		row_add(bits, (now_ns() - start) / (double)pages);
		if (b->sum != pages)
			abort();
	}
}

static void bench_dense(struct bench *b)
{
	const u64 pages = 32768, base = 1ULL << 27;
	struct row *add = row_new(&b->rows, "set/dense", "libkho", "insert_ns", "ns/page");
	struct row *test = row_new(&b->rows, "set/dense", "libkho", "lookup_ns", "ns/page");
	struct row *del = row_new(&b->rows, "set/dense", "libkho", "delete_ns", "ns/page");

	fresh(b);
	must(khoc_radix_add(&b->tree, base, 0));
	must(khoc_radix_del(&b->tree, base, 0));
	for (unsigned int round = 0; round < 200; round++) {
		double t0 = now_ns(), t1, t2, t3;
		u64 found = 0;

		for (u64 i = 0; i < pages; i++)
			must(khoc_radix_add(&b->tree, base + (i << SHIFT), 0));
		t1 = now_ns();
		for (u64 i = 0; i < pages; i++)
			found += khoc_radix_test(&b->tree, base + (i << SHIFT), 0);
		t2 = now_ns();
		for (u64 i = 0; i < pages; i++)
			must(khoc_radix_del(&b->tree, base + (i << SHIFT), 0));
		t3 = now_ns();
		if (found != pages)
			abort();
		row_add(add, (t1 - t0) / (double)pages);
		row_add(test, (t2 - t1) / (double)pages);
		row_add(del, (t3 - t2) / (double)pages);
	}
	must(khoc_radix_add_range(&b->tree, 0, 32 * pages, 0));
	walk_both(b, "set/dense", 32 * pages, 50);
}

static void bench_random(struct bench *b)
{
	struct row *add = row_new(&b->rows, "set/rand24", "libkho", "insert_ns", "ns/page");
	struct row *test = row_new(&b->rows, "set/rand24", "libkho", "lookup_ns", "ns/page");
	struct row *del = row_new(&b->rows, "set/rand24", "libkho", "delete_ns", "ns/page");
	u64 seed = 88172645463325252ULL, pages = 0;

	for (unsigned int i = 0; i < NR_PICKS; i++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		b->picks[i] = (seed >> 20 & 0xffffff) << SHIFT;
	}
	for (unsigned int round = 0; round < 10; round++) {
		double t0, t1, t2, t3;
		u64 found = 0;

		fresh(b);
		t0 = now_ns();
		for (u64 i = 0; i < NR_PICKS; i++)
			must(khoc_radix_add(&b->tree, b->picks[i], 0));
		t1 = now_ns();
		for (u64 i = 0; i < NR_PICKS; i++)
			found += khoc_radix_test(&b->tree, b->picks[i], 0);
		t2 = now_ns();
		if (!round) {
			struct khoc_radix_counts counts;

			must(khoc_radix_count(&b->tree, 0, IMAGE, &counts));
			pages = counts.pages;
		}
		if (round == 9)
			walk_both(b, "set/rand24", pages, 10);
		t3 = now_ns();
		for (u64 i = 0; i < NR_PICKS; i++)
			must(khoc_radix_del(&b->tree, b->picks[i], 0));
		row_add(del, (now_ns() - t3) / NR_PICKS);
		row_add(add, (t1 - t0) / NR_PICKS);
		row_add(test, (t2 - t1) / NR_PICKS);
		if (found != NR_PICKS)
			abort();
	}
}

static void bench_runs(struct bench *b)
{
	struct row *add = row_new(&b->rows, "set/runs64", "libkho", "insert_ns", "ns/page");
	struct row *del = row_new(&b->rows, "set/runs64", "libkho", "delete_ns", "ns/page");
	const u64 pages = 1 << 20;

	fresh(b);
	for (unsigned int round = 0; round < 50; round++) {
		double t0 = now_ns(), t1;

		for (u64 i = 0; i < pages; i += 64)
			must(khoc_radix_add_range(&b->tree, 2 * i << SHIFT, 64, 0));
		t1 = now_ns();
		if (round == 49)
			break;
		for (u64 i = 0; i < pages; i += 64)
			must(khoc_radix_del_range(&b->tree, 2 * i << SHIFT, 64, 0));
		row_add(del, (now_ns() - t1) / (double)pages);
		row_add(add, (t1 - t0) / (double)pages);
	}
	walk_both(b, "set/runs64", pages, 50);
}

int main(int argc, char **argv)
{
	struct bench *b = calloc(1, sizeof(*b));
	void *nodes = mmap(NULL, NODES_HI, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (!b || nodes == MAP_FAILED || argc != 2) {
		fprintf(stderr, "usage: core_radix FILE.json\n");
		return 2;
	}
	b->picks = malloc(NR_PICKS * sizeof(u64));
	b->ops = (struct khoc_mem_ops){.alloc_node = node_alloc, .free_node = node_free};
	b->mem = (struct khoc_mem){&b->ops, b, nodes, IMAGE, NODES_LO, NODES_HI};
	bench_dense(b);
	bench_random(b);
	bench_runs(b);
	return rows_write(&b->rows, argv[1]);
}
