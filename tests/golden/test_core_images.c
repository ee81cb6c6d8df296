/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The golden images of the core's own formats, in every page size: they contain what core-SHIFT.txt
 * says, and can be worked on. They are read for ever.
 */
#include "core_image.h"
#include "golden.h"

/* What was found in an image: a bit for each page, and text. */
struct found {
	u64 *seen;
	u64 nr_pages;
	struct said said;
};

static void mark(struct core_image *c, kho_pa_t pa, u8 what)
{
	c->image.used[(pa - c->image.mem.node_lo) >> c->image.shift] = what;
	c->image.live++;
}

static int mark_node(void *ctx, kho_pa_t pa, int level)
{
	mark(ctx, pa, IMAGE_RESERVED);
	return 0;
}

static void open_image(struct core_image *c, unsigned int shift)
{
	struct khoc_radix_check check = {.data_hi = 65536ULL << shift};
	char name[32];

	core_image_make(c, shift);
	snprintf(name, sizeof(name), "core-%u.sparse", shift);
	EXPECT_EQ(golden_image(name, c->image.bytes, c->image.mapped), c->image.mem.node_hi);
	EXPECT_EQ(khoc_radix_attach(&c->tree, &c->image.mem, shift, *tree_word(c)), 0);
	check.data_lo = page_pa(c, 1);
	check.seen = shim_alloc(c->image.nr_nodes / 8 + 8);
	EXPECT_EQ(khoc_radix_validate(&c->tree, &check, NULL), 0);
	EXPECT_EQ(khoc_radix_nodes(&c->tree, mark_node, c), 0);
	shim_free(check.seen);
}

/* ---- reading: each structure is sound, and all of it is said ------------------------- */

static int by_address(const void *a, const void *b)
{
	const struct khoc_block *x = a, *y = b;

	return x->pa != y->pa ? (x->pa > y->pa) - (x->pa < y->pa)
			      : (x->order > y->order) - (x->order < y->order);
}

static void say_blocks(struct core_image *c, struct said *said)
{
	struct khoc_block blocks[64];
	struct khoc_radix_iter iter;
	struct khoc_run run;
	unsigned int nr = 0;

	khoc_radix_iter_init(&iter, &c->tree, c->image.mem.node_hi, c->image.mem.size, 0,
			     khoc_max_order(c->image.shift));
	while (khoc_radix_iter_next(&iter, &run))
		for (u64 i = 0; i < run.nr; i++) {
			EXPECT(nr < ARRAY_LEN(blocks));
			blocks[nr].pa = run.pa + (i << (c->image.shift + run.order));
			blocks[nr++].order = run.order;
		}
	qsort(blocks, nr, sizeof(blocks[0]), by_address);
	for (unsigned int i = 0; i < nr; i++)
		say(said, "block 0x%llx %u\n", (unsigned long long)blocks[i].pa, blocks[i].order);
}

static void say_array(struct core_image *c, struct found *found, unsigned int n)
{
	struct khoc_array_check check = {
		.data_lo = page_pa(c, 1), .data_hi = c->image.mem.node_hi, .seen = found->seen};
	struct khoc_array_iter iter;
	struct khoc_array array;
	u64 index, entry, nr = 0;

	EXPECT_EQ(khoc_array_attach(&array, &c->image.mem, c->image.shift, array_pa(c, n), NULL),
		  0);
	EXPECT_EQ(khoc_array_validate(&array, &check, NULL), 0);
	say(&found->said, "array %u\n", n);
	khoc_array_iter_init(&iter, &array, 0, ~0ULL);
	for (; khoc_array_iter_next(&iter, &index, &entry) == 1; nr++) {
		say(&found->said, "entry 0x%llx 0x%llx\n", (unsigned long long)index,
		    (unsigned long long)entry);
		EXPECT_EQ(khoc_array_get(&array, index), entry);
		/* As the words say it, array 0 has the squares and 1. */
		EXPECT_EQ(khoc_array_is_integer(entry), entry & 1);
		if (khoc_array_is_integer(entry))
			EXPECT_EQ(khoc_array_integer(khoc_array_to_integer(entry)), entry);
		EXPECT(n || khoc_array_to_integer(entry) == index * index + 1);
	}
	EXPECT_EQ(khoc_array_count(&array), nr);
}

static void see_page(struct core_image *c, struct found *found, kho_pa_t pa)
{
	u64 nr = (pa - c->image.mem.node_lo) >> c->image.shift;

	EXPECT(!(found->seen[nr / 64] >> (nr % 64) & 1));
	found->seen[nr / 64] |= 1ULL << (nr % 64);
}

static void say_set(struct core_image *c, struct found *found, unsigned int n)
{
	struct khoc_block_set set;
	struct khoc_block_it it;
	const void *record;

	EXPECT_EQ(khoc_block_set_init(&set, &c->image.mem, c->image.shift, set_word(c, n),
				      set_sizes[n]),
		  0);
	EXPECT_EQ(khoc_block_set_restore(&set, &c->tree, NULL), 0);
	say(&found->said, "set %u\n", n);
	khoc_block_it_init(&it, &set);
	while ((record = khoc_block_it_read(&it)))
		say_bytes(&found->said, "record", record, set_sizes[n]);
	EXPECT_EQ(khoc_block_it_error(&it, NULL), 0);
	for (kho_pa_t pa = khoc_block_set_head_pa(&set); pa; pa = *image_word(&c->image, pa))
		see_page(c, found, pa);
}

static void say_area(struct core_image *c, struct found *found, unsigned int n)
{
	const struct kho_abi_vmalloc *desc = area_desc(c, n);
	struct khoc_vmalloc_check check = {
		.data_lo = page_pa(c, 1), .data_hi = c->image.mem.size, .tree = &c->tree};
	struct khoc_vmalloc_iter iter;
	struct khoc_vmalloc_part part;

	check.seen = shim_alloc(65536 / 8);
	EXPECT_EQ(khoc_vmalloc_validate(&c->image.mem, c->image.shift, desc, &check, NULL), 0);
	shim_free(check.seen);
	check.seen = NULL;
	say(&found->said, "area %u %u %u %u\n", n, desc->total_pages, desc->flags, desc->order);
	khoc_vmalloc_iter_init(&iter, &c->image.mem, c->image.shift, desc, &check);
	while (khoc_vmalloc_iter_next(&iter, &part))
		if (part.chunk)
			see_page(c, found, part.pa);
		else
			say(&found->said, "part 0x%llx\n", (unsigned long long)part.pa);
}

/* All of it, held against the text. Pages that are preserved are those that structures have. */
static void check_image(struct core_image *c, bool first)
{
	struct found found = {.nr_pages = c->image.nr_nodes};
	char name[32];

	found.seen = shim_alloc(found.nr_pages / 8 + 8);
	said_begin(&found.said);
	say_blocks(c, &found.said);
	for (unsigned int n = 0; n < NR_ARRAYS; n++)
		say_array(c, &found, n);
	for (unsigned int n = 0; n < NR_SETS; n++)
		say_set(c, &found, n);
	for (unsigned int n = 0; n < NR_AREAS; n++)
		say_area(c, &found, n);
	for (u64 i = 0; i < found.nr_pages; i++) {
		kho_pa_t pa = c->image.mem.node_lo + page_pa(c, i);
		bool seen = found.seen[i / 64] >> (i % 64) & 1;

		EXPECT_EQ(khoc_radix_test(&c->tree, pa, 0), seen);
		if (first && seen)
			mark(c, pa, IMAGE_PUBLISHED);
		EXPECT_EQ(c->image.used[i] == IMAGE_PUBLISHED, seen);
	}
	shim_free(found.seen);
	snprintf(name, sizeof(name), "core-%u.txt", c->image.shift);
	EXPECT(said_end(&found.said, name));
}

TEST(they_contain_what_they_did)
{
	for (unsigned int i = 0; i < ARRAY_LEN(golden_shifts); i++) {
		struct core_image c;

		open_image(&c, golden_shifts[i]);
		check_image(&c, true);
		image_destroy(&c.image);
	}
}

/* ---- writing: there and back again ---------------------------------------------------- */

struct entries {
	u64 index[300];
	u64 entry[300];
	unsigned int nr;
};

/* What @keep says stays; others come and go; then all is erased and set again in another order. */
static void work_on_array(struct khoc_array *array, struct rng *rng)
{
	struct entries *all = shim_alloc(sizeof(*all));
	u64 index = 0, entry;

	for (; khoc_array_next(array, &index, &entry) == 1; index++) {
		EXPECT(all->nr < ARRAY_LEN(all->index));
		all->index[all->nr] = index;
		all->entry[all->nr++] = entry;
		if (index == ~0ULL)
			break;
	}
	for (unsigned int round = 0; round < 2; round++) {
		struct rng again = *rng;

		for (unsigned int i = 0; i < 60; i++) {
			index = (1ULL << 62) + (rng_next(&again) >> 3);
			if (round)
				EXPECT_EQ(khoc_array_erase(array, index), 0);
			else
				EXPECT_EQ(khoc_array_set(array, index, 7), 0);
		}
	}
	for (unsigned int i = 0; i < all->nr; i++)
		EXPECT_EQ(khoc_array_erase(array, all->index[i]), 0);
	EXPECT_EQ(khoc_array_count(array), 0);
	for (unsigned int i = all->nr; i; i--)
		EXPECT_EQ(khoc_array_set(array, all->index[i - 1], all->entry[i - 1]), 0);
	shim_free(all);
}

static void work_on_arrays(struct core_image *c, struct rng *rng)
{
	for (unsigned int n = 0; n < NR_ARRAYS; n++) {
		struct khoc_array array;

		EXPECT_EQ(khoc_array_attach(&array, &c->image.mem, c->image.shift, array_pa(c, n),
					    NULL),
			  0);
		work_on_array(&array, rng);
		EXPECT_EQ(array.desc->doomed, 0);
	}
}

static void work_on_sets(struct core_image *c)
{
	for (unsigned int n = 0; n < NR_SETS; n++) {
		struct khoc_block_set set;
		struct khoc_block_it it;
		char record[20] = "nineteen letters...";

		EXPECT_EQ(khoc_block_set_init(&set, &c->image.mem, c->image.shift, set_word(c, n),
					      set_sizes[n]),
			  0);
		EXPECT_EQ(khoc_block_set_restore(&set, &c->tree, NULL), 0);
		EXPECT_EQ(khoc_block_it_init_end(&it, &set), 0);
		for (unsigned int i = 0; i < 25; i++)
			EXPECT_EQ(khoc_block_it_append(&it, record), 0);
		for (unsigned int i = 0; i < 25; i++)
			EXPECT_EQ(khoc_block_it_pop(&it), 0);
	}
}

static void work_on_areas_and_tree(struct core_image *c)
{
	struct kho_abi_vmalloc other;
	kho_pa_t blocks[9];

	for (unsigned int i = 0; i < 9; i++) {
		blocks[i] = zone_pa(c) + page_pa(c, 8192 + 4 * (i * 2 % 9));
		EXPECT_EQ(khoc_radix_add(&c->tree, blocks[i], 2), 0);
	}
	EXPECT_EQ(khoc_vmalloc_build(&c->image.mem, c->image.shift, 2, KHO_ABI_VMALLOC_FLAGS,
				     blocks, 9, &other),
		  0);
	EXPECT_EQ(khoc_vmalloc_validate(&c->image.mem, c->image.shift, &other, NULL, NULL), 0);
	khoc_vmalloc_free(&c->image.mem, c->image.shift, &other);
	for (unsigned int i = 0; i < 9; i++)
		EXPECT_EQ(khoc_radix_del(&c->tree, blocks[i], 2), 0);
	/* Taken back as it was preserved, and given again. */
	EXPECT_EQ(khoc_radix_del_pages(&c->tree, zone_pa(c) + page_pa(c, 1539), 13), 0);
	EXPECT(!khoc_radix_test(&c->tree, zone_pa(c) + page_pa(c, 1544), 3));
	EXPECT_EQ(khoc_radix_add_pages(&c->tree, zone_pa(c) + page_pa(c, 1539), 13), 0);
}

TEST(they_can_be_worked_on)
{
	struct rng rng = {test_seed()};

	for (unsigned int i = 0; i < ARRAY_LEN(golden_shifts); i++) {
		struct core_image c;

		open_image(&c, golden_shifts[i]);
		check_image(&c, true);
		work_on_arrays(&c, &rng);
		check_image(&c, false);
		work_on_sets(&c);
		check_image(&c, false);
		work_on_areas_and_tree(&c);
		check_image(&c, false);
		image_destroy(&c.image);
	}
}

TEST_SUITE(core_images, TEST_CASE(they_contain_what_they_did), TEST_CASE(they_can_be_worked_on));
