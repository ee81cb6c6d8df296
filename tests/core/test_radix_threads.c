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
	pthread_t thread;
	struct khoc_radix *tree;
	unsigned int id;
	u64 seed;
	u64 ops;
};

static bool stop;

static void check(bool ok)
{
	if (!ok)
		abort(); /* cmocka's asserts belong to the main thread */
}

/* Pages of one thread interleave with those of the others in every word. */
static void *mark_own_pages(void *arg)
{
	struct worker *w = arg;
	struct rng rng = {w->seed};

	for (u64 i = 0; i < ROUNDS; i++) {
		u64 page = rng_below(&rng, NR_PAGES / NR_THREADS) * NR_THREADS + w->id;
		kho_pa_t pa = page << SHIFT;

		check(!khoc_radix_add(w->tree, pa, 0));
		check(khoc_radix_test(w->tree, pa, 0));
		check(!khoc_radix_del(w->tree, pa, 0));
		check(!khoc_radix_test(w->tree, pa, 0));
		check(!khoc_radix_add(w->tree, pa, 0));
	}
	return NULL;
}

static void *read_all(void *arg)
{
	struct worker *w = arg;
	struct khoc_radix_counts counts;
	struct rng rng = {w->seed};
	struct khoc_block block;
	u64 bitmap[8];

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		kho_pa_t pa = rng_below(&rng, NR_PAGES / 512) << (SHIFT + 9);

		check(!khoc_radix_count(w->tree, pa, pa + (1 << 24), &counts));
		check(!khoc_radix_union(w->tree, pa, 512, bitmap));
		if (khoc_radix_next(w->tree, pa, SIZE, &block))
			check(block.pa >= pa && block.pa < SIZE);
		khoc_radix_lookup(w->tree, pa, &block);
		w->ops++;
	}
	return NULL;
}

static void marks_of_all_threads_are_there(void **state)
{
	struct worker w[NR_THREADS + 1];
	u64 *want = calloc(NR_PAGES / 64, 8), *got = calloc(NR_PAGES / 64, 8);
	struct khoc_radix tree;
	struct image image;
	u64 seed = test_seed();

	image_make(&image, SHIFT, SIZE, 0x10000, 1024, true);
	assert_int_equal(khoc_radix_init(&tree, &image.mem, SHIFT), 0);
	stop = false;
	for (unsigned int i = 0; i <= NR_THREADS; i++) {
		w[i] = (struct worker){.tree = &tree, .id = i, .seed = seed + i};
		pthread_create(&w[i].thread, NULL, i < NR_THREADS ? mark_own_pages : read_all,
			       &w[i]);
	}
	for (unsigned int i = 0; i < NR_THREADS; i++) {
		struct rng rng = {seed + i};

		pthread_join(w[i].thread, NULL);
		for (u64 j = 0; j < ROUNDS; j++) {
			u64 page = rng_below(&rng, NR_PAGES / NR_THREADS) * NR_THREADS + i;

			want[page / 64] |= 1ULL << page % 64;
		}
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(w[NR_THREADS].thread, NULL);
	assert_int_equal(khoc_radix_union(&tree, 0, NR_PAGES, got), 0);
	assert_memory_equal(want, got, NR_PAGES / 8);
	khoc_radix_destroy(&tree);
	assert_int_equal(image.live, 0);
	image_destroy(&image);
	free(want);
	free(got);
}

/* Ranges that share words at both ends, each thread's own: whole words are stored, edges are not. */
static void *mark_own_ranges(void *arg)
{
	struct worker *w = arg;
	struct rng rng = {w->seed};
	u64 base = NR_PAGES / NR_THREADS * w->id + (w->id ? 37 : 0);
	u64 end = w->id == NR_THREADS - 1 ? NR_PAGES : NR_PAGES / NR_THREADS * (w->id + 1) + 37;

	for (u64 i = 0; i < 200; i++) {
		u64 from = base + rng_below(&rng, end - base);
		u64 nr = rng_below(&rng, end - from) + 1;

		if (i % 2)
			check(!khoc_radix_add_range(w->tree, from << SHIFT, nr, 0));
		else
			check(!khoc_radix_del_range(w->tree, from << SHIFT, nr, 0));
	}
	check(!khoc_radix_add_range(w->tree, base << SHIFT, end - base, 0));
	check(!khoc_radix_del_range(w->tree, (base + 1) << SHIFT, end - base - 2, 0));
	return NULL;
}

static void ranges_of_all_threads_are_there(void **state)
{
	struct worker w[NR_THREADS];
	struct khoc_radix_counts counts;
	struct khoc_radix tree;
	struct image image;
	u64 seed = test_seed();

	image_make(&image, SHIFT, SIZE, 0x10000, 1024, true);
	assert_int_equal(khoc_radix_init(&tree, &image.mem, SHIFT), 0);
	for (unsigned int i = 0; i < NR_THREADS; i++) {
		w[i] = (struct worker){.tree = &tree, .id = i, .seed = seed + i};
		pthread_create(&w[i].thread, NULL, mark_own_ranges, &w[i]);
	}
	for (unsigned int i = 0; i < NR_THREADS; i++)
		pthread_join(w[i].thread, NULL);
	assert_int_equal(khoc_radix_count(&tree, 0, SIZE, &counts), 0);
	assert_int_equal(counts.blocks[0], 2 * NR_THREADS);
	for (unsigned int i = 1; i < NR_THREADS; i++) {
		kho_pa_t edge = (NR_PAGES / NR_THREADS * i + 37) << SHIFT;

		assert_true(khoc_radix_test(&tree, edge, 0));
		assert_true(khoc_radix_test(&tree, edge - 4096, 0));
	}
	khoc_radix_destroy(&tree);
	assert_int_equal(image.live, 0);
	image_destroy(&image);
}

/* All threads make the same nodes at the same time, from an empty tree, again and again. */
static void *mark_same_leaves(void *arg)
{
	struct worker *w = arg;

	for (unsigned int order = 0; order < 19; order++)
		check(!khoc_radix_add(w->tree, (u64)w->id << (SHIFT + order), order));
	return NULL;
}

static void nodes_are_made_once(void **state)
{
	struct image image;

	image_make(&image, SHIFT, SIZE, 0x10000, 1024, true);
	for (int round = 0; round < 200; round++) {
		struct worker w[NR_THREADS];
		struct khoc_radix_counts counts;
		struct khoc_radix tree;

		assert_int_equal(khoc_radix_init(&tree, &image.mem, SHIFT), 0);
		for (unsigned int i = 0; i < NR_THREADS; i++) {
			w[i] = (struct worker){.tree = &tree, .id = i};
			pthread_create(&w[i].thread, NULL, mark_same_leaves, &w[i]);
		}
		for (unsigned int i = 0; i < NR_THREADS; i++)
			pthread_join(w[i].thread, NULL);
		assert_int_equal(khoc_radix_count(&tree, 0, SIZE, &counts), 0);
		assert_int_equal(counts.tables + counts.leaves, image.live);
		for (unsigned int order = 0; order < 19; order++)
			assert_int_equal(counts.blocks[order], NR_THREADS);
		khoc_radix_destroy(&tree);
		assert_int_equal(image.live, 0);
	}
	image_destroy(&image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(marks_of_all_threads_are_there),
		cmocka_unit_test(ranges_of_all_threads_are_there),
		cmocka_unit_test(nodes_are_made_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
