/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Many threads on one tree: no mark is lost or made up, no node leaks, readers never see a
 * fault. Meant for a run with SAN=thread as well.
 */
#include "image.h"

#define NR_THREADS 4
#define SHIFT 12
#define SIZE (1ULL << 32)
#define NR_PAGES (SIZE >> SHIFT)
#define ROUNDS 20000

struct worker {
	struct shim_thread *thread;
	struct khoc_radix *tree;
	unsigned int id;
	u64 seed;
	u64 ops;
};

static bool stop;

/* Pages of one thread interleave with those of the others in every word. */
static void mark_own_pages(void *arg)
{
	struct worker *w = arg;
	struct rng rng = {w->seed};

	for (u64 i = 0; i < ROUNDS; i++) {
		u64 page = rng_below(&rng, NR_PAGES / NR_THREADS) * NR_THREADS + w->id;
		kho_pa_t pa = page << SHIFT;

		EXPECT_IN_THREAD(!khoc_radix_add(w->tree, pa, 0));
		EXPECT_IN_THREAD(khoc_radix_test(w->tree, pa, 0));
		EXPECT_IN_THREAD(!khoc_radix_del(w->tree, pa, 0));
		EXPECT_IN_THREAD(!khoc_radix_test(w->tree, pa, 0));
		EXPECT_IN_THREAD(!khoc_radix_add(w->tree, pa, 0));
	}
}

static void read_all(void *arg)
{
	struct worker *w = arg;
	struct khoc_radix_counts counts;
	struct rng rng = {w->seed};
	struct khoc_block block;
	u64 bitmap[8];

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		kho_pa_t pa = rng_below(&rng, NR_PAGES / 512) << (SHIFT + 9);

		EXPECT_IN_THREAD(!khoc_radix_count(w->tree, pa, pa + (1 << 24), &counts));
		EXPECT_IN_THREAD(!khoc_radix_union(w->tree, pa, 512, bitmap));
		if (khoc_radix_next(w->tree, pa, SIZE, &block))
			EXPECT_IN_THREAD(block.pa >= pa && block.pa < SIZE);
		khoc_radix_lookup(w->tree, pa, &block);
		w->ops++;
	}
}

TEST(marks_of_all_threads_are_there)
{
	struct worker w[NR_THREADS + 1];
	u64 *want = shim_alloc((NR_PAGES / 64) * 8), *got = shim_alloc((NR_PAGES / 64) * 8);
	struct khoc_radix tree;
	struct image image;
	u64 seed = test_seed();

	image_make(&image, SHIFT, SIZE, 0x10000, 1024, true);
	EXPECT_EQ(khoc_radix_init(&tree, &image.mem, SHIFT), 0);
	stop = false;
	for (unsigned int i = 0; i <= NR_THREADS; i++) {
		w[i] = (struct worker){.tree = &tree, .id = i, .seed = seed + i};
		w[i].thread = shim_thread_start(i < NR_THREADS ? mark_own_pages : read_all, &w[i]);
	}
	for (unsigned int i = 0; i < NR_THREADS; i++) {
		struct rng rng = {seed + i};

		shim_thread_join(w[i].thread);
		for (u64 j = 0; j < ROUNDS; j++) {
			u64 page = rng_below(&rng, NR_PAGES / NR_THREADS) * NR_THREADS + i;

			want[page / 64] |= 1ULL << page % 64;
		}
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	shim_thread_join(w[NR_THREADS].thread);
	EXPECT_EQ(khoc_radix_union(&tree, 0, NR_PAGES, got), 0);
	EXPECT_MEM_EQ(want, got, NR_PAGES / 8);
	khoc_radix_destroy(&tree);
	EXPECT_EQ(image.live, 0);
	image_destroy(&image);
	shim_free(want);
	shim_free(got);
}

/* Ranges that share words at both ends, each thread's own: whole words are stored, edges are not. */
static void mark_own_ranges(void *arg)
{
	struct worker *w = arg;
	struct rng rng = {w->seed};
	u64 base = NR_PAGES / NR_THREADS * w->id + (w->id ? 37 : 0);
	u64 end = w->id == NR_THREADS - 1 ? NR_PAGES : NR_PAGES / NR_THREADS * (w->id + 1) + 37;

	for (u64 i = 0; i < 200; i++) {
		u64 from = base + rng_below(&rng, end - base);
		u64 nr = rng_below(&rng, end - from) + 1;

		if (i % 2)
			EXPECT_IN_THREAD(!khoc_radix_add_range(w->tree, from << SHIFT, nr, 0));
		else
			EXPECT_IN_THREAD(!khoc_radix_del_range(w->tree, from << SHIFT, nr, 0));
	}
	EXPECT_IN_THREAD(!khoc_radix_add_range(w->tree, base << SHIFT, end - base, 0));
	EXPECT_IN_THREAD(!khoc_radix_del_range(w->tree, (base + 1) << SHIFT, end - base - 2, 0));
}

TEST(ranges_of_all_threads_are_there)
{
	struct worker w[NR_THREADS];
	struct khoc_radix_counts counts;
	struct khoc_radix tree;
	struct image image;
	u64 seed = test_seed();

	image_make(&image, SHIFT, SIZE, 0x10000, 1024, true);
	EXPECT_EQ(khoc_radix_init(&tree, &image.mem, SHIFT), 0);
	for (unsigned int i = 0; i < NR_THREADS; i++) {
		w[i] = (struct worker){.tree = &tree, .id = i, .seed = seed + i};
		w[i].thread = shim_thread_start(mark_own_ranges, &w[i]);
	}
	for (unsigned int i = 0; i < NR_THREADS; i++)
		shim_thread_join(w[i].thread);
	EXPECT_EQ(khoc_radix_count(&tree, 0, SIZE, &counts), 0);
	EXPECT_EQ(counts.blocks[0], 2 * NR_THREADS);
	for (unsigned int i = 1; i < NR_THREADS; i++) {
		kho_pa_t edge = (NR_PAGES / NR_THREADS * i + 37) << SHIFT;

		EXPECT(khoc_radix_test(&tree, edge, 0));
		EXPECT(khoc_radix_test(&tree, edge - 4096, 0));
	}
	khoc_radix_destroy(&tree);
	EXPECT_EQ(image.live, 0);
	image_destroy(&image);
}

/* All threads make the same nodes at the same time, from an empty tree, again and again. */
static void mark_same_leaves(void *arg)
{
	struct worker *w = arg;

	for (unsigned int order = 0; order < 19; order++)
		EXPECT_IN_THREAD(!khoc_radix_add(w->tree, (u64)w->id << (SHIFT + order), order));
}

TEST(nodes_are_made_once)
{
	struct image image;

	image_make(&image, SHIFT, SIZE, 0x10000, 1024, true);
	for (int round = 0; round < 200; round++) {
		struct worker w[NR_THREADS];
		struct khoc_radix_counts counts;
		struct khoc_radix tree;

		EXPECT_EQ(khoc_radix_init(&tree, &image.mem, SHIFT), 0);
		for (unsigned int i = 0; i < NR_THREADS; i++) {
			w[i] = (struct worker){.tree = &tree, .id = i};
			w[i].thread = shim_thread_start(mark_same_leaves, &w[i]);
		}
		for (unsigned int i = 0; i < NR_THREADS; i++)
			shim_thread_join(w[i].thread);
		EXPECT_EQ(khoc_radix_count(&tree, 0, SIZE, &counts), 0);
		EXPECT_EQ(counts.tables + counts.leaves, image.live);
		for (unsigned int order = 0; order < 19; order++)
			EXPECT_EQ(counts.blocks[order], NR_THREADS);
		khoc_radix_destroy(&tree);
		EXPECT_EQ(image.live, 0);
	}
	image_destroy(&image);
}

TEST_SUITE(radix_threads, TEST_CASE(marks_of_all_threads_are_there),
	   TEST_CASE(ranges_of_all_threads_are_there), TEST_CASE(nodes_are_made_once));
