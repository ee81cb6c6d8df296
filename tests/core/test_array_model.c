/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The array against a plain sorted array: random updates in patterns that a sparse array sees, with
 * every page size; and every allocation, and every publication, failed once.
 */
#include "array_fixture.h"

enum pattern { DENSE, RUNS, SPARSE, WIDE, EDGES, NR_PATTERNS };

static u64 pick_index(struct rng *rng, enum pattern pattern)
{
	u64 at = rng_next(rng) >> 8;

	switch (pattern) {
	case DENSE:
		return at % 3000;
	case RUNS:
		return (at % 32) * 1000003 + (at >> 8) % 64;
	case SPARSE:
		return at % (1 << 24);
	case WIDE:
		return rng_next(rng);
	default: /* around the ends of what keys and indices hold */
		return ((at & 1 ? 0 : 1ULL << (16 * (at >> 8) % 64)) + (at >> 16) % 64) - 32;
	}
}

static u64 pick_entry(struct rng *rng, const struct fixture *f)
{
	u64 at = rng_next(rng);

	return at & 2 ? khoc_array_integer(at >> 1) : (at % (f->image.mem.size - 8) & ~7ULL) + 8;
}

static void probe(struct fixture *f, u64 index)
{
	u64 at = model_find(&f->model, index), found = index, entry = 0;
	bool there = at < f->model.nr;
	int rc = khoc_array_next(&f->array, &found, &entry);

	EXPECT_EQ(khoc_array_get(&f->array, index), model_get(&f->model, index));
	EXPECT_EQ(rc, there);
	EXPECT(!there ||
	       (found == f->model.entries[at].index && entry == f->model.entries[at].entry));
	if (!there || f->model.entries[at].index != index)
		at--;
	there = at < f->model.nr;
	found = index;
	EXPECT_EQ(khoc_array_prev(&f->array, &found, &entry), there);
	EXPECT(!there ||
	       (found == f->model.entries[at].index && entry == f->model.entries[at].entry));
}

static void walk_back(struct fixture *f, u64 first, u64 last)
{
	u64 at = model_find(&f->model, last), index, entry;
	struct khoc_array_iter iter;

	if (at < f->model.nr && f->model.entries[at].index == last)
		at++;
	khoc_array_iter_init(&iter, &f->array, first, last);
	while (khoc_array_iter_prev(&iter, &index, &entry) == 1) {
		EXPECT(at && index >= first && index <= last);
		at--;
		EXPECT_EQ(index, f->model.entries[at].index);
		EXPECT_EQ(entry, f->model.entries[at].entry);
	}
	EXPECT(first > last || at == model_find(&f->model, first));
}

/* One update, and the model's. Return: that of the update. */
static int update(struct fixture *f, struct rng *rng, enum pattern pattern, unsigned int erase)
{
	u64 index = pick_index(rng, pattern), entry = pick_entry(rng, f);
	bool there = model_get(&f->model, index) != 0;
	int rc;

	if (f->model.nr && (rng_below(rng, 100) < erase || f->model.nr == f->model.max)) {
		if (rng_below(rng, 4)) {
			index = f->model.entries[rng_below(rng, f->model.nr)].index;
			there = true;
		}
		rc = khoc_array_erase(&f->array, index);
		EXPECT_EQ(rc, there ? 0 : -ENOENT);
		model_set(&f->model, index, 0);
		return 0;
	}
	rc = khoc_array_set(&f->array, index, entry);
	if (!rc)
		model_set(&f->model, index, entry);
	return rc;
}

static void differential(unsigned int shift, enum pattern pattern, bool linear, u64 seed,
			 unsigned int ops)
{
	struct rng rng = {seed};
	struct fixture f;

	fixture_make(&f, shift, shift == 6 ? 6000 : 600, 4000, linear);
	for (unsigned int i = 0; i < ops; i++) {
		/* Growing, then shrinking to nothing, then growing. */
		unsigned int erase = i < ops / 2 ? 20 : i < ops * 3 / 4 ? 95 : 40;

		EXPECT_EQ(update(&f, &rng, pattern, erase), 0);
		EXPECT_EQ(khoc_array_count(&f.array), f.model.nr);
		if (!(i % 16))
			probe(&f, pick_index(&rng, pattern));
		if (!(i % 512)) {
			u64 a = pick_index(&rng, pattern), b = pick_index(&rng, pattern);

			fixture_check(&f);
			walk_back(&f, 0, ~0ULL);
			walk_back(&f, a, b);
		}
	}
	fixture_check(&f);
	while (f.model.nr) {
		u64 index = f.model.entries[rng_below(&rng, f.model.nr)].index;

		EXPECT_EQ(khoc_array_erase(&f.array, index), 0);
		model_set(&f.model, index, 0);
	}
	fixture_check(&f);
	EXPECT_EQ(f.pages, 0);
	fixture_destroy(&f);
}

TEST(agrees_with_a_sorted_array)
{
	u64 seed = test_seed();

	for (unsigned int i = 0; i < ARRAY_LEN(array_shifts); i++) {
		for (unsigned int pattern = 0; pattern < NR_PATTERNS; pattern++) {
			differential(array_shifts[i], pattern, true, seed + pattern, 12000);
			differential(array_shifts[i], pattern, false, ~seed + pattern, 6000);
		}
	}
}

/* All indices of a range in random order, erased in another. */
TEST(random_order_leaves_dense_indices_dense)
{
	struct rng rng = {test_seed()};
	u64 nr = 20400;
	u64 *order = shim_alloc(nr * sizeof(*order));
	struct fixture f;

	fixture_make(&f, 12, 300, nr, true);
	for (u64 i = 0; i < nr; i++) {
		u64 at = rng_below(&rng, i + 1);

		order[i] = order[at];
		order[at] = i;
	}
	for (u64 i = 0; i < nr; i++)
		EXPECT_EQ(khoc_array_set(&f.array, order[i], order[i] << 1 | 1), 0);
	for (u64 i = 0; i < nr; i++)
		f.model.entries[i] = (struct model_entry){i, i << 1 | 1};
	f.model.nr = nr;
	fixture_check(&f);
	/* 40 leaves and a root, or little more. */
	EXPECT(f.pages <= 43);
	fixture_destroy(&f);
	shim_free(order);
}

static void fail_each(unsigned int shift, enum pattern pattern, bool publish, u64 seed)
{
	unsigned int failed = 0;
	struct rng rng = {seed};
	struct fixture f;

	fixture_make(&f, shift, shift == 6 ? 4000 : 200, 1500, true);
	for (unsigned int i = 0; i < 3000; i++) {
		struct rng before = rng;
		int rc;

		/* The first allocation of the update fails; then all from the first; then the second... */
		for (unsigned int n = 0; n < 8; n++) {
			u64 nr = f.model.nr;

			rng = before;
			f.image.fail_at = f.image.allocs + 1 + n / 2;
			f.image.fail_all = n & 1;
			f.image.fail_publish = publish && !n;
			rc = update(&f, &rng, pattern, i < 2000 ? 25 : 80);
			f.image.fail_at = 0;
			f.image.fail_publish = false;
			if (rc != -ENOMEM)
				break;
			failed++;
			EXPECT_EQ(f.model.nr, nr);
			if (!(i % 32))
				fixture_check(&f);
		}
		if (rc) {
			rng = before;
			rc = update(&f, &rng, pattern, i < 2000 ? 25 : 80);
		}
		EXPECT_EQ(rc, 0);
		if (!(i % 64))
			fixture_check(&f);
	}
	fixture_check(&f);
	EXPECT(failed);
	EXPECT_EQ(khoc_array_clear(&f.array), 0);
	f.model.nr = 0;
	fixture_check(&f);
	fixture_destroy(&f);
}

TEST(every_allocation_may_fail)
{
	u64 seed = test_seed();

	for (unsigned int i = 0; i < ARRAY_LEN(array_shifts); i++)
		for (unsigned int pattern = 0; pattern < NR_PATTERNS; pattern++)
			fail_each(array_shifts[i], pattern, false, seed + pattern);
}

TEST(every_publication_may_fail)
{
	u64 seed = test_seed();

	for (unsigned int pattern = 0; pattern < NR_PATTERNS; pattern++)
		fail_each(6, pattern, true, seed + pattern);
}

TEST_SUITE(array_model, TEST_CASE(agrees_with_a_sorted_array),
	   TEST_CASE(random_order_leaves_dense_indices_dense), TEST_CASE(every_allocation_may_fail),
	   TEST_CASE(every_publication_may_fail));
