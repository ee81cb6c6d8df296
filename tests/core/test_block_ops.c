/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Writing block sets: against a model, with every allocation failed once, and looked at before and
 * after each publication, as a successor would find them after a crash there.
 */
#include "image.h"

#define BASE 0x100000ULL
#define NR_PAGES 512ULL
#define MAX_RECORDS 4096

/*
 * struct subject - a set, its image, and what it should contain
 * @model: a number for each record
 * @nr: records
 * @lo, @hi: how many records a crash may leave at this moment
 * @lost_front: a crash may leave a tail of the records: blocks are being freed from the first on
 * @looks: publications looked at
 */
struct subject {
	struct image image;
	struct khoc_mem_ops inner;
	struct khoc_block_set set;
	u64 slot;
	u64 *model;
	u64 nr;
	u64 lo;
	u64 hi;
	bool any;
	u64 looks;
	struct rng rng;
};

static void entry_fill(const struct subject *s, u8 *entry, u64 number)
{
	for (u64 i = 0; i < s->set.chain.entry_size; i++)
		entry[i] = (u8)(number * 37 + i + 1);
}

static bool entry_is(const struct subject *s, const u8 *entry, u64 number)
{
	for (u64 i = 0; i < s->set.chain.entry_size; i++)
		if (entry[i] != (u8)(number * 37 + i + 1))
			return false;
	return true;
}

/*
 * What a successor finds: a sound chain, all of it published and nothing else, the records @lo to
 * @hi.
 */
static void look(struct subject *s, u64 reserved)
{
	struct khoc_block_chain chain = s->set.chain;
	struct khoc_block_counts counts;
	struct khoc_report report;
	struct khoc_block_it it;
	u64 published = 0;
	const u8 *entry;

	chain.head = s->slot;
	EXPECT_EQ(khoc_block_check(&chain, NULL, &counts, &report), 0);
	EXPECT(s->any || (counts.entries >= s->lo && counts.entries <= s->hi));
	khoc_block_it_init_read(&it, &chain);
	for (u64 i = 0; (entry = khoc_block_it_read(&it)); i++)
		EXPECT(s->any || i >= s->nr || entry_is(s, entry, s->model[i]));
	for (u64 i = 0; i < NR_PAGES; i++)
		published += image_is_published(&s->image, BASE + (i << s->image.shift));
	EXPECT_EQ(published, counts.blocks);
	EXPECT_EQ(s->image.live, published + reserved);
	for (kho_pa_t pa = chain.head; pa; pa = *image_word(&s->image, pa))
		EXPECT(image_is_published(&s->image, pa));
	s->looks++;
}

static int looking_publish(void *ctx, __u64 *slot, __u64 value, kho_pa_t fresh, kho_pa_t stale)
{
	struct subject *s = (struct subject *)ctx;
	int err;

	look(s, !!fresh);
	err = s->inner.publish_page(ctx, slot, value, fresh, stale);
	if (!err)
		look(s, 0);
	return err;
}

static void subject_make(struct subject *s, unsigned int shift, u64 entry_size, bool linear)
{
	memset(s, 0, sizeof(*s));
	s->model = shim_alloc(MAX_RECORDS * sizeof(*s->model));
	image_make(&s->image, shift, BASE + (NR_PAGES << shift), BASE, NR_PAGES, linear);
	s->inner = s->image.ops;
	s->image.ops.publish_page = looking_publish;
	EXPECT_EQ(khoc_block_set_init(&s->set, &s->image.mem, shift, &s->slot, entry_size), 0);
}

static void expect_state(struct subject *s)
{
	struct khoc_block_it it;
	const u8 *entry;
	u64 i = 0;

	s->lo = s->hi = s->nr;
	look(s, 0);
	EXPECT_EQ(khoc_block_set_head_pa(&s->set), s->slot);
	khoc_block_it_init(&it, &s->set);
	while ((entry = khoc_block_it_read(&it)))
		EXPECT(i < s->nr && entry_is(s, entry, s->model[i++]));
	EXPECT_EQ(i, s->nr);
	EXPECT_EQ(khoc_block_it_error(&it, NULL), 0);
	/* And back again. */
	while ((entry = khoc_block_it_prev(&it)))
		EXPECT(i && entry_is(s, entry, s->model[--i]));
	EXPECT_EQ(i, 0);
	EXPECT_EQ(khoc_block_it_error(&it, NULL), 0);
}

static void subject_destroy(struct subject *s)
{
	s->any = true;
	EXPECT_EQ(khoc_block_set_destroy(&s->set), 0);
	EXPECT_EQ(s->slot, 0);
	EXPECT_EQ(s->image.live, 0);
	EXPECT(khoc_block_set_is_empty(&s->set));
	image_destroy(&s->image);
	shim_free(s->model);
}

static int append(struct subject *s, struct khoc_block_it *it, u64 number)
{
	u8 entry[256];
	int err;

	entry_fill(s, entry, number);
	s->model[s->nr] = number;
	s->lo = s->nr;
	s->hi = s->nr + 1;
	err = khoc_block_it_append(it, entry);
	if (!err)
		s->nr++;
	return err;
}

static int pop(struct subject *s, struct khoc_block_it *it)
{
	int err;

	s->lo = s->nr ? s->nr - 1 : 0;
	s->hi = s->nr;
	err = khoc_block_it_pop(it);
	if (!err)
		s->nr--;
	return err;
}

/* ---- one thing at a time --------------------------------------------------- */

static const struct {
	unsigned int shift;
	u64 entry_size;
} sizes[] = {{6, 8}, {6, 48}, {6, 13}, {7, 80}, {12, 250}, {12, 80}, {14, 200}, {16, 255}};

static u64 enough(const struct subject *s)
{
	u64 nr = s->set.per_block * 3 + 1;

	return nr < MAX_RECORDS ? nr : MAX_RECORDS;
}

TEST(append_and_pop)
{
	struct khoc_block_it it;
	struct subject s;

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		u64 nr;

		subject_make(&s, sizes[i].shift, sizes[i].entry_size, i & 1);
		nr = enough(&s);
		EXPECT_EQ(khoc_block_it_init_end(&it, &s.set), 0);
		EXPECT_EQ(pop(&s, &it), -ENOENT);
		for (u64 k = 0; k < nr; k++)
			EXPECT_EQ(append(&s, &it, k), 0);
		expect_state(&s);
		/* As few blocks as there can be, and none without records. */
		EXPECT_EQ(s.image.live, (nr + s.set.per_block - 1) / s.set.per_block);
		/* Somebody else's iterator goes on from there. */
		EXPECT_EQ(khoc_block_it_init_end(&it, &s.set), 0);
		for (u64 k = 0; k < nr; k++) {
			EXPECT_EQ(pop(&s, &it), 0);
			EXPECT_EQ(s.image.live, (s.nr + s.set.per_block - 1) / s.set.per_block);
		}
		EXPECT_EQ(pop(&s, &it), -ENOENT);
		EXPECT_EQ(s.slot, 0);
		EXPECT_EQ(append(&s, &it, 5), 0);
		expect_state(&s);
		subject_destroy(&s);
	}
}

/* Only at the end. */
TEST(append_and_pop_elsewhere)
{
	struct khoc_block_it end, it;
	struct subject s;

	subject_make(&s, 6, 24, true);
	EXPECT_EQ(khoc_block_it_init_end(&end, &s.set), 0);
	for (u64 k = 0; k < 4; k++)
		EXPECT_EQ(append(&s, &end, k), 0);
	khoc_block_it_init(&it, &s.set);
	EXPECT_EQ(append(&s, &it, 9), -EINVAL);
	EXPECT_EQ(pop(&s, &it), -EINVAL);
	EXPECT(khoc_block_it_read(&it));
	EXPECT_EQ(append(&s, &it, 9), -EINVAL);
	EXPECT(khoc_block_it_read(&it));
	/* At the end of a block that is full, and not the last. */
	EXPECT_EQ(append(&s, &it, 9), -EINVAL);
	expect_state(&s);
	/* Blocks that wait behind the end are used. */
	EXPECT_EQ(khoc_block_set_grow(&s.set, 8), 0);
	s.image.fail_at = 1;
	s.image.fail_all = true;
	for (u64 k = 4; k < 8; k++)
		EXPECT_EQ(append(&s, &end, k), 0);
	EXPECT_EQ(append(&s, &end, 8), -ENOMEM);
	expect_state(&s);
	subject_destroy(&s);
}

/* Whoever has read all of it can go on writing, also where blocks wait. */
TEST(append_behind_what_was_read)
{
	struct khoc_block_it it;
	struct subject s;

	for (u64 had = 0; had < 6; had++) {
		subject_make(&s, 6, 24, true);
		EXPECT_EQ(khoc_block_it_init_end(&it, &s.set), 0);
		for (u64 k = 0; k < had; k++)
			EXPECT_EQ(append(&s, &it, k), 0);
		EXPECT_EQ(khoc_block_set_grow(&s.set, 10), 0);
		khoc_block_it_init(&it, &s.set);
		while (khoc_block_it_read(&it))
			;
		for (u64 k = had; k < 12; k++) {
			EXPECT_EQ(append(&s, &it, k), 0);
			expect_state(&s);
		}
		subject_destroy(&s);
	}
}

/* Linux's way: grow to what will be needed, then reserve one after the other. */
TEST(grow_and_reserve)
{
	struct khoc_block_it it;
	struct subject s;

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		u64 nr;
		u8 *entry;

		subject_make(&s, sizes[i].shift, sizes[i].entry_size, i & 1);
		nr = enough(&s);
		khoc_block_it_init(&it, &s.set);
		EXPECT(!khoc_block_it_reserve(&it));
		EXPECT_EQ(khoc_block_set_grow(&s.set, nr), 0);
		EXPECT_EQ(s.image.live, (nr + s.set.per_block - 1) / s.set.per_block);
		EXPECT_EQ(khoc_block_set_grow(&s.set, nr), 0);
		EXPECT_EQ(khoc_block_set_grow(&s.set, 0), 0);
		expect_state(&s);
		for (u64 k = 0; k < nr; k++) {
			entry = khoc_block_it_reserve(&it);
			EXPECT(entry);
			entry_fill(&s, entry, k);
			s.model[s.nr++] = k;
		}
		expect_state(&s);
		while ((entry = khoc_block_it_reserve(&it)))
			entry_fill(&s, entry, s.model[s.nr] = s.nr), s.nr++;
		EXPECT_EQ(s.nr % s.set.per_block, 0);
		expect_state(&s);
		/* Back one: the next reservation gives the same record. */
		entry = khoc_block_it_prev(&it);
		EXPECT(entry == khoc_block_it_reserve(&it));
		s.any = true;
		EXPECT_EQ(khoc_block_set_clear(&s.set), 0);
		s.any = false;
		s.nr = 0;
		expect_state(&s);
		subject_destroy(&s);
	}
}

TEST(shrink)
{
	struct subject s;

	subject_make(&s, 6, 8, true);
	EXPECT_EQ(khoc_block_set_grow(&s.set, 60), 0);
	EXPECT_EQ(s.image.live, 10);
	EXPECT_EQ(khoc_block_set_shrink(&s.set, 55), 0);
	EXPECT_EQ(s.image.live, 10);
	EXPECT_EQ(khoc_block_set_shrink(&s.set, 54), 0);
	EXPECT_EQ(s.image.live, 9);
	EXPECT_EQ(khoc_block_set_shrink(&s.set, 7), 0);
	EXPECT_EQ(s.image.live, 2);
	EXPECT_EQ(khoc_block_set_shrink(&s.set, 100), 0);
	EXPECT_EQ(khoc_block_set_shrink(&s.set, 1), 0);
	EXPECT_EQ(s.image.live, 1);
	/* It can still grow at its end. */
	EXPECT_EQ(khoc_block_set_grow(&s.set, 20), 0);
	EXPECT_EQ(s.image.live, 4);
	expect_state(&s);
	EXPECT_EQ(khoc_block_set_shrink(&s.set, 0), 0);
	EXPECT_EQ(s.slot, 0);
	EXPECT_EQ(khoc_block_set_shrink(&s.set, 0), 0);
	subject_destroy(&s);
}

/* A record that is no longer there leaves no bytes. */
TEST(nothing_stays_behind)
{
	static const u8 zeros[64];
	struct khoc_block_it it;
	struct subject s;
	kho_pa_t pa;

	subject_make(&s, 6, 8, true);
	EXPECT_EQ(khoc_block_it_init_end(&it, &s.set), 0);
	for (u64 k = 0; k < 5; k++)
		EXPECT_EQ(append(&s, &it, k), 0);
	EXPECT_EQ(khoc_block_it_pa(&it), s.slot + 16 + 4 * 8);
	pa = khoc_block_it_pa(&it);
	EXPECT_EQ(pop(&s, &it), 0);
	EXPECT_MEM_EQ(s.image.bytes + pa, zeros, 8);
	s.any = true;
	EXPECT_EQ(khoc_block_set_clear(&s.set), 0);
	EXPECT_MEM_EQ(s.image.bytes + s.slot, zeros, 64);
	subject_destroy(&s);
}

/* More blocks than are gone through at once, backwards: after each store a sound chain. */
TEST(clear_many)
{
	struct khoc_block_it it;
	struct subject s;

	for (u64 nr = 126; nr < 131; nr++) {
		subject_make(&s, 6, 48, false);
		EXPECT_EQ(khoc_block_it_init_end(&it, &s.set), 0);
		for (u64 k = 0; k < nr; k++)
			EXPECT_EQ(append(&s, &it, k), 0);
		EXPECT_EQ(s.image.live, nr);
		EXPECT_EQ(khoc_block_set_clear(&s.set), 0);
		s.nr = 0;
		expect_state(&s);
		EXPECT_EQ(s.image.live, nr);
		subject_destroy(&s);
	}
}

TEST(as_large_as_it_gets)
{
	struct khoc_block_set set;
	struct khoc_block_it it;
	struct image image;
	u64 slot = 0, nr = 0;

	image_make(&image, 6, BASE + (10010ULL << 6), BASE, 10010, true);
	EXPECT_EQ(khoc_block_set_init(&set, &image.mem, 6, &slot, 48), 0);
	EXPECT_EQ(khoc_block_set_grow(&set, 10001), -ENOSPC);
	EXPECT_EQ(khoc_block_set_grow(&set, ~0ULL), -ENOSPC);
	EXPECT_EQ(image.allocs, 0);
	EXPECT_EQ(khoc_block_set_grow(&set, 10000), 0);
	EXPECT_EQ(image.live, 10000);
	khoc_block_it_init(&it, &set);
	while (khoc_block_it_reserve(&it))
		nr++;
	EXPECT_EQ(nr, 10000);
	EXPECT_EQ(khoc_block_it_append(&it, "123456781234567812345678123456781234567812345678"),
		  -ENOSPC);
	EXPECT_EQ(image.live, 10000);
	EXPECT_EQ(khoc_block_it_init_end(&it, &set), 0);
	EXPECT_EQ(khoc_block_it_pop(&it), 0);
	EXPECT_EQ(khoc_block_it_append(&it, "123456781234567812345678123456781234567812345678"), 0);
	EXPECT_EQ(khoc_block_set_clear(&set), 0);
	EXPECT_EQ(khoc_block_set_destroy(&set), 0);
	EXPECT_EQ(image.live, 0);
	image_destroy(&image);
}

/* ---- what fails -------------------------------------------------------------- */

/* Each allocation in turn, and each publication. */
TEST(no_memory)
{
	struct khoc_block_it it;
	struct subject s;

	for (u64 fail = 1; fail <= 5; fail++) {
		subject_make(&s, 6, 8, false);
		EXPECT_EQ(khoc_block_it_init_end(&it, &s.set), 0);
		EXPECT_EQ(append(&s, &it, 1), 0);
		s.image.fail_at = s.image.allocs + fail;
		s.lo = s.hi = s.nr;
		EXPECT_EQ(khoc_block_set_grow(&s.set, 36), -ENOMEM);
		EXPECT_EQ(s.image.live, 1);
		expect_state(&s);
		s.image.fail_publish = true;
		EXPECT_EQ(khoc_block_set_grow(&s.set, 36), -ENOMEM);
		s.image.fail_publish = false;
		expect_state(&s);
		EXPECT_EQ(khoc_block_set_grow(&s.set, 36), 0);
		EXPECT_EQ(s.image.live, 6);
		s.image.fail_publish = true;
		EXPECT_EQ(khoc_block_set_shrink(&s.set, 1), -ENOMEM);
		EXPECT_EQ(khoc_block_set_destroy(&s.set), -ENOMEM);
		EXPECT_EQ(s.image.live, 6);
		s.image.fail_publish = false;
		expect_state(&s);
		subject_destroy(&s);
	}
	subject_make(&s, 6, 48, true);
	EXPECT_EQ(khoc_block_it_init_end(&it, &s.set), 0);
	s.image.fail_at = 1;
	EXPECT_EQ(append(&s, &it, 1), -ENOMEM);
	s.image.fail_publish = true;
	EXPECT_EQ(append(&s, &it, 1), -ENOMEM);
	EXPECT_EQ(s.image.live, 0);
	s.image.fail_publish = false;
	EXPECT_EQ(append(&s, &it, 1), 0);
	EXPECT_EQ(append(&s, &it, 2), 0);
	s.image.fail_publish = true;
	EXPECT_EQ(pop(&s, &it), -ENOMEM);
	EXPECT_EQ(append(&s, &it, 3), -ENOMEM);
	s.image.fail_publish = false;
	expect_state(&s);
	EXPECT_EQ(append(&s, &it, 3), 0);
	expect_state(&s);
	subject_destroy(&s);
}

/*
 * Somebody overwrote our own chain: every call ends, with a fault, and frees nothing that it does
 * not own.
 */
TEST(a_chain_that_breaks_later)
{
	static const u64 bad[] = {BASE + 1, ~63ULL, 1ULL << 40};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct khoc_block_it it, end;
		struct subject s;
		u64 *next, was;

		subject_make(&s, 6, 48, true);
		EXPECT_EQ(khoc_block_it_init_end(&end, &s.set), 0);
		for (u64 k = 0; k < 4; k++)
			EXPECT_EQ(append(&s, &end, k), 0);
		next = image_word(&s.image, *image_word(&s.image, s.slot));
		was = *next;
		*next = bad[i];
		s.any = true;
		EXPECT(khoc_block_it_init_end(&it, &s.set) < 0);
		EXPECT(pop(&s, &end) < 0);
		EXPECT(khoc_block_set_shrink(&s.set, 3) < 0);
		EXPECT(khoc_block_set_shrink(&s.set, 2) < 0);
		EXPECT(khoc_block_set_clear(&s.set) < 0);
		khoc_block_it_init(&it, &s.set);
		while (khoc_block_it_read(&it))
			;
		EXPECT(khoc_block_it_error(&it, NULL) < 0);
		EXPECT_EQ(khoc_block_it_append(&it, "x"), khoc_block_it_error(&it, NULL));
		*next = 0;
		EXPECT_EQ(khoc_block_set_clear(&s.set), -KHO_E_RANGE);
		EXPECT_EQ(khoc_block_set_shrink(&s.set, 3), -KHO_E_TRUNCATED);
		*next = was;
		EXPECT_EQ(s.image.live, 4);
		subject_destroy(&s);
	}
}

/* A set whose counts somebody broke. */
TEST(a_count_that_breaks_later)
{
	struct khoc_block_it it, end;
	struct subject s;
	u64 *count;

	subject_make(&s, 6, 24, true);
	EXPECT_EQ(khoc_block_it_init_end(&end, &s.set), 0);
	for (u64 k = 0; k < 3; k++)
		EXPECT_EQ(append(&s, &end, k), 0);
	count = image_word(&s.image, s.slot + 8);
	*count = 3;
	EXPECT_EQ(khoc_block_it_init_end(&it, &s.set), -KHO_E_RANGE);
	s.any = true;
	EXPECT_EQ(pop(&s, &end), -KHO_E_RANGE);
	EXPECT(khoc_block_it_prev(&end));
	EXPECT(!khoc_block_it_prev(&end));
	EXPECT_EQ(khoc_block_it_error(&end, NULL), -KHO_E_RANGE);
	*count = 2;
	subject_destroy(&s);
}

/* An allocator that hands out what is no page of the image. */
static kho_pa_t alloc_nonsense(void *ctx)
{
	return BASE + 4;
}

static void free_nonsense(void *ctx, kho_pa_t pa)
{
	EXPECT_EQ(pa, BASE + 4);
}

TEST(an_allocator_that_is_broken)
{
	struct khoc_block_it it;
	struct subject s;

	subject_make(&s, 6, 24, true);
	s.image.ops.alloc_page = alloc_nonsense;
	s.image.ops.free_page = free_nonsense;
	EXPECT_EQ(khoc_block_it_init_end(&it, &s.set), 0);
	EXPECT_EQ(append(&s, &it, 0), -ENOMEM);
	EXPECT_EQ(s.slot, 0);
	image_destroy(&s.image);
	shim_free(s.model);
}

/* ---- against a model ------------------------------------------------------------ */

/* Take the set over, as a successor does. */
static void hand_over(struct subject *s)
{
	struct khoc_block_set *set = &s->set;

	EXPECT_EQ(khoc_block_set_init(set, &s->image.mem, set->chain.shift, &s->slot,
				      set->chain.entry_size),
		  0);
	EXPECT_EQ(khoc_block_set_restore(set, NULL, NULL), 0);
}

/* All blocks but the last are full: what shrinking by count relies on. Cuts records away. */
static void cut_records(struct subject *s, u64 keep)
{
	u64 blocks = (keep + s->set.per_block - 1) / s->set.per_block;

	s->any = true;
	EXPECT_EQ(khoc_block_set_shrink(&s->set, keep), 0);
	s->any = false;
	if (s->nr > blocks * s->set.per_block)
		s->nr = blocks * s->set.per_block;
}

static void random_step(struct subject *s, struct khoc_block_it *it)
{
	u64 dice = rng_below(&s->rng, 100), many = 1 + rng_below(&s->rng, 30);

	if (dice < 45) {
		while (many-- && s->nr < 300)
			EXPECT_EQ(append(s, it, rng_next(&s->rng) >> 20), 0);
		return;
	}
	if (dice < 85) {
		while (many-- && s->nr)
			EXPECT_EQ(pop(s, it), 0);
		return;
	}
	s->lo = s->hi = s->nr;
	if (dice < 90) {
		EXPECT_EQ(khoc_block_set_grow(&s->set, s->nr + many), 0);
	} else if (dice < 95) {
		cut_records(s, rng_below(&s->rng, 3) ? s->nr : rng_below(&s->rng, s->nr + 1));
	} else if (dice < 97) {
		s->any = true;
		EXPECT_EQ(khoc_block_set_clear(&s->set), 0);
		s->any = false;
		s->nr = 0;
	} else {
		hand_over(s);
	}
	EXPECT_EQ(khoc_block_it_init_end(it, &s->set), 0);
}

TEST(like_a_model)
{
	u64 seed = test_seed();

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct khoc_block_it it;
		struct subject s;

		subject_make(&s, sizes[i].shift, sizes[i].entry_size, i & 1);
		s.rng.state = seed + i + 1;
		EXPECT_EQ(khoc_block_it_init_end(&it, &s.set), 0);
		for (int step = 0; step < 400; step++) {
			random_step(&s, &it);
			expect_state(&s);
		}
		EXPECT(s.looks > 400);
		subject_destroy(&s);
	}
}

TEST_SUITE(block_ops, TEST_CASE(append_and_pop), TEST_CASE(append_and_pop_elsewhere),
	   TEST_CASE(append_behind_what_was_read), TEST_CASE(grow_and_reserve), TEST_CASE(shrink),
	   TEST_CASE(nothing_stays_behind), TEST_CASE(clear_many), TEST_CASE(as_large_as_it_gets),
	   TEST_CASE(no_memory), TEST_CASE(a_chain_that_breaks_later),
	   TEST_CASE(a_count_that_breaks_later), TEST_CASE(an_allocator_that_is_broken),
	   TEST_CASE(like_a_model));
