/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The array: what each call does, how much it takes, and what its validator says of each kind of damage. */
#include "array_fixture.h"

static void set_range(struct fixture *f, u64 first, u64 nr, u64 stride)
{
	for (u64 i = 0; i < nr; i++)
		EXPECT_EQ(khoc_array_set(&f->array, first + i * stride, i << 1 | 1), 0);
}

TEST(calls_do_what_they_say)
{
	static const u64 picks[] = {0, 1, 509, 510, 1ULL << 32, 1ULL << 63, ~0ULL - 1, ~0ULL};

	for (unsigned int s = 0; s < ARRAY_LEN(array_shifts); s++) {
		struct fixture f;
		u64 index = 0, entry;

		fixture_make(&f, array_shifts[s], 200, 64, s & 1);
		EXPECT_EQ(khoc_array_count(&f.array), 0);
		EXPECT_EQ(khoc_array_get(&f.array, 0), 0);
		EXPECT_EQ(khoc_array_erase(&f.array, 0), -ENOENT);
		EXPECT_EQ(khoc_array_clear(&f.array), 0);
		EXPECT_EQ(khoc_array_next(&f.array, &index, &entry), 0);
		EXPECT_EQ(khoc_array_prev(&f.array, &index, &entry), 0);
		for (unsigned int i = 0; i < ARRAY_LEN(picks); i++)
			EXPECT_EQ(khoc_array_set(&f.array, picks[i], khoc_array_integer(i)), 0);
		EXPECT_EQ(khoc_array_set(&f.array, 509, 512), 0);
		EXPECT_EQ(khoc_array_count(&f.array), ARRAY_LEN(picks));
		EXPECT_EQ(khoc_array_get(&f.array, 509), 512);
		EXPECT(!khoc_array_is_integer(512) && khoc_array_is_integer(3));
		EXPECT_EQ(khoc_array_to_integer(khoc_array_get(&f.array, ~0ULL)),
			  ARRAY_LEN(picks) - 1);
		index = 511;
		EXPECT_EQ(khoc_array_next(&f.array, &index, &entry), 1);
		EXPECT_EQ(index, 1ULL << 32);
		index = 508;
		EXPECT_EQ(khoc_array_prev(&f.array, &index, &entry), 1);
		EXPECT_EQ(index, 1);
		EXPECT_EQ(khoc_array_erase(&f.array, 0), 0);
		EXPECT_EQ(khoc_array_get(&f.array, 0), 0);
		EXPECT_EQ(khoc_array_clear(&f.array), 0);
		EXPECT_EQ(khoc_array_count(&f.array), 0);
		fixture_check(&f);
		EXPECT_EQ(f.pages, 0);
		EXPECT_EQ(khoc_array_set(&f.array, 7, 3), 0);
		EXPECT_EQ(khoc_array_destroy(&f.array), 0);
		EXPECT_EQ(khoc_array_attach(&f.array, &f.image.mem, f.image.shift, f.desc_pa, NULL),
			  -KHO_E_MAGIC);
		fixture_destroy(&f);
	}
}

TEST(bad_operands_are_refused)
{
	struct khoc_array array;
	struct fixture f;

	fixture_make(&f, 12, 10, 1, true);
	EXPECT_EQ(khoc_array_set(&f.array, 1, 0), -EINVAL);
	EXPECT_EQ(khoc_array_set(&f.array, 1, 4), -EINVAL);
	EXPECT_EQ(khoc_array_set(&f.array, 1, 1026), -EINVAL);
	EXPECT_EQ(khoc_array_set(&f.array, 1, f.image.mem.size), -EINVAL);
	EXPECT_EQ(khoc_array_set(&f.array, 1, f.image.mem.size - 8), 0);
	EXPECT_EQ(khoc_array_init(&array, &f.image.mem, 5, f.desc_pa), -EINVAL);
	EXPECT_EQ(khoc_array_init(&array, &f.image.mem, 17, f.desc_pa), -EINVAL);
	EXPECT_EQ(khoc_array_init(&array, &f.image.mem, 12, f.desc_pa + 4), -KHO_E_ALIGN);
	EXPECT_EQ(khoc_array_init(&array, &f.image.mem, 12, 0), -KHO_E_RANGE);
	EXPECT_EQ(khoc_array_init(&array, &f.image.mem, 12, f.image.mem.size - 56), -KHO_E_RANGE);
	EXPECT_EQ(khoc_array_attach(&array, &f.image.mem, 14, f.desc_pa, NULL),
		  -KHO_E_INCOMPATIBLE);
	fixture_destroy(&f);
}

/* Without a descriptor's page; @most in bytes, times 100 an entry. */
static void takes(struct fixture *f, u64 entries, u64 most)
{
	u64 pages = f->image.live - 1;

	EXPECT_EQ(khoc_array_count(&f->array), entries);
	EXPECT((pages << f->image.shift) * 100 <= most * entries);
}

TEST(dense_entries_take_little_more_than_themselves)
{
	for (unsigned int s = 1; s < ARRAY_LEN(array_shifts); s++) {
		struct fixture f;
		u64 nr = 400000;

		fixture_make(&f, array_shifts[s], (nr * 11 >> array_shifts[s]) + 8, 1, true);
		set_range(&f, 0, nr, 1);
		takes(&f, nr, 810 + (s == 3) * 10); /* 64 KiB: part of the last page counts */
		EXPECT_EQ(khoc_array_clear(&f.array), 0);
		set_range(&f, nr, nr, -1ULL);
		takes(&f, nr, 810 + (s == 3) * 20);
		fixture_destroy(&f);
	}
}

TEST(lone_entries_take_at_most_24_bytes)
{
	static const unsigned int spread[] = {28, 0}; /* random in 2^36, and in 2^64 */

	for (unsigned int i = 0; i < ARRAY_LEN(spread); i++) {
		struct rng rng = {test_seed()};
		struct fixture f;

		fixture_make(&f, 12, 6000, 1, true);
		/* At every number on the way: full nodes are divided at about the same time. */
		for (u64 nr = 1; nr <= 400000; nr++) {
			u64 index = rng_next(&rng) >> spread[i];

			if (khoc_array_get(&f.array, index))
				nr--;
			EXPECT_EQ(khoc_array_set(&f.array, index, 1), 0);
			if (nr >= 100000 && !(nr % 1000))
				takes(&f, nr, 2400);
		}
		fixture_destroy(&f);
	}
}

TEST(erasing_gives_pages_back)
{
	struct rng rng = {test_seed()};
	struct fixture f;
	u64 nr = 40800;

	fixture_make(&f, 12, 400, 1, true);
	set_range(&f, 0, nr, 1);
	for (u64 i = 0; i < nr; i++)
		if (rng_below(&rng, 16))
			khoc_array_erase(&f.array, i);
	takes(&f, khoc_array_count(&f.array), 5000);
	fixture_destroy(&f);
}

/* ---- damage ------------------------------------------------------------- */

/* One word of a sound array changes: what is said of it? Then it is as before. */
static void damage(struct fixture *f, u64 *word, u64 value, int fault, const char *field)
{
	struct khoc_array_check check;
	struct khoc_report report;
	u64 was = *word;
	int rc;

	*word = value;
	rc = fixture_validate(f, &f->array, &check, &report);
	if (report.fault != fault)
		printf("%s: %s, not %s\n", field, khoc_fault_text(report.fault),
		       khoc_fault_text(fault));
	EXPECT_EQ(rc, -fault);
	EXPECT_EQ(report.fault, fault);
	EXPECT_STR_EQ(report.field, field);
	EXPECT(report.structure == KHOC_S_ARRAY || report.structure == KHOC_S_ARRAY_NODE);
	*word = was;
	EXPECT_EQ(fixture_validate(f, &f->array, &check, &report), 0);
}

TEST(damage_is_named)
{
	struct fixture f;
	struct kho_abi_array *desc;
	u64 *root, *leaf, *child, *keys;

	fixture_make(&f, 12, 40, 1, true);
	set_range(&f, 0, 600, 1); /* dense: a leaf without keys, and one that has some */
	set_range(&f, 1ULL << 40, 600, 1000);
	desc = f.array.desc;
	root = image_word(&f.image, desc->root & ~63ULL);
	child = root + 2;
	keys = child + kho_abi_array_cap(12, 8);
	EXPECT(((struct kho_abi_array_node *)root)->nr_used >= 3);
	damage(&f, &desc->root, desc->root + 64, KHO_E_ALIGN, "address");
	damage(&f, &desc->root, desc->root + 1, KHO_E_STATE, "head");
	damage(&f, &desc->root, desc->root + 30, KHO_E_RANGE, "root");
	damage(&f, &desc->root, f.image.mem.size + 1, KHO_E_RANGE, "address");
	damage(&f, &desc->root, f.desc_pa + 1, KHO_E_OVERLAP, "address");
	damage(&f, &desc->count, desc->count + 1, KHO_E_RANGE, "count");
	damage(&f, &desc->next_count, desc->count + 2, KHO_E_RANGE, "next_count");
	damage(&f, &desc->reserved[1], 1, KHO_E_FORMAT, "reserved");
	damage(&f, &desc->doomed, child[0], KHO_E_CYCLE, "address");
	damage(&f, child, child[0] + 8, KHO_E_ALIGN, "address");
	damage(&f, child, 1ULL << 50, KHO_E_RANGE, "address");
	damage(&f, child, desc->root & ~63ULL, KHO_E_CYCLE, "address");
	damage(&f, child + 1, child[0], KHO_E_CYCLE, "address");
	damage(&f, child, 0, KHO_E_FORMAT, "key");
	damage(&f, keys, 1, KHO_E_FORMAT, "key");
	damage(&f, keys + 1, keys[2], KHO_E_FORMAT, "key");
	leaf = image_word(&f.image, child[0]);
	damage(&f, leaf + 2, 2, KHO_E_FORMAT, "entry");
	damage(&f, leaf + 2, f.image.mem.size, KHO_E_RANGE, "entry");
	damage(&f, leaf + 2, 0, KHO_E_RANGE, "count");
	damage(&f, leaf, ~0ULL, KHO_E_RANGE, "base");
	damage(&f, leaf + 1, leaf[1] | 3, KHO_E_STATE, "head");
	leaf = image_word(&f.image, child[2]);
	EXPECT(((struct kho_abi_array_node *)leaf)->width);
	damage(&f, leaf + 1, leaf[1] | 1 << 8, KHO_E_STATE, "head");
	damage(&f, leaf + 1, leaf[1] | 0xffff0000ULL, KHO_E_STATE, "head");
	fixture_destroy(&f);
}

/* Two words of a leaf for one key: which of them is looked at must not matter, so neither may be there. */
TEST(a_key_is_there_once)
{
	struct kho_abi_array_node *leaf;
	struct khoc_array_check check;
	struct khoc_report report;
	struct fixture f;
	u64 *words;
	u16 *keys, key;

	fixture_make(&f, 12, 8, 1, true);
	for (u64 i = 0; i < 8; i++)
		EXPECT_EQ(khoc_array_set(&f.array, 10000 + i * 3 % 8 * 5000, 3), 0);
	leaf = (void *)image_word(&f.image, f.array.desc->root);
	words = (u64 *)(leaf + 1);
	keys = (u16 *)(words + kho_abi_array_cap(12, 2));
	EXPECT_EQ(leaf->width, 2);
	EXPECT_EQ(leaf->nr_used, 8);
	EXPECT(leaf->nr_sorted <= 6);
	key = keys[6];
	/* The twin is one of the sorted ones, then one of the tail; of the two the first is dead, or the second. */
	for (unsigned int twin = 0; twin < 8; twin += 7) {
		keys[6] = keys[twin];
		EXPECT_EQ(fixture_validate(&f, &f.array, &check, &report), -KHO_E_DUPLICATE);
		words[6] = 0;
		EXPECT_EQ(fixture_validate(&f, &f.array, &check, &report), -KHO_E_DUPLICATE);
		words[6] = 3;
		words[twin] = 0;
		EXPECT_EQ(fixture_validate(&f, &f.array, &check, &report), -KHO_E_DUPLICATE);
		words[twin] = 3;
		keys[6] = key;
		EXPECT_EQ(fixture_validate(&f, &f.array, &check, &report), 0);
	}
	fixture_destroy(&f);
}

/* Nodes bent at random: whatever is said, everything ends and stays inside the image. */
TEST(random_damage_ends)
{
	struct rng rng = {test_seed()};
	unsigned int found = 0;

	for (unsigned int round = 0; round < 400; round++) {
		unsigned int shift = array_shifts[round % 2];
		struct khoc_array_check check;
		struct khoc_array_iter iter;
		struct khoc_report report;
		u64 index, entry, steps = 0;
		struct fixture f;
		bool sound;

		fixture_make(&f, shift, 128, 1, round & 4);
		for (unsigned int i = 0; i < 150; i++)
			khoc_array_set(&f.array, rng_next(&rng) >> (round % 60), 1);
		for (unsigned int i = 0; i <= rng_below(&rng, 4); i++) {
			u64 at = rng_below(&rng, (128 << shift) / 8) * 8;
			u64 value = rng_below(&rng, 132) << shift;

			*image_word(&f.image, f.image.mem.node_lo + at) =
				rng_below(&rng, 2) ? value : rng_next(&rng);
		}
		sound = !fixture_validate(&f, &f.array, &check, &report);
		found += !sound;
		khoc_array_iter_init(&iter, &f.array, 0, ~0ULL);
		for (; khoc_array_iter_next(&iter, &index, &entry) == 1; steps++)
			EXPECT(!sound || khoc_array_get(&f.array, index) == entry);
		khoc_array_iter_init(&iter, &f.array, 0, ~0ULL);
		while (khoc_array_iter_prev(&iter, &index, &entry) == 1)
			steps++;
		EXPECT(steps <= 2ULL * 260 * (1ULL << shift) / 8);
		khoc_array_get(&f.array, index);
		fixture_destroy(&f);
	}
	EXPECT(found);
}

TEST_SUITE(array, TEST_CASE(calls_do_what_they_say), TEST_CASE(bad_operands_are_refused),
	   TEST_CASE(dense_entries_take_little_more_than_themselves),
	   TEST_CASE(lone_entries_take_at_most_24_bytes), TEST_CASE(erasing_gives_pages_back),
	   TEST_CASE(damage_is_named), TEST_CASE(a_key_is_there_once),
	   TEST_CASE(random_damage_ends));
