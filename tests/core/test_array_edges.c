/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Arrays where nothing ordinary leads: keys twice in a node's tail, half an update that was never made, what a
 * crash left in pages that are none, and a host that is faulty itself.
 */
#include "array_fixture.h"

#define FAR (1ULL << 40)

static void set_range(struct fixture *f, u64 first, u64 nr, u64 stride)
{
	for (u64 i = 0; i < nr; i++)
		EXPECT_EQ(khoc_array_set(&f->array, first + i * stride, khoc_array_integer(i)), 0);
}

static struct kho_abi_array_node *node_at(struct fixture *f, u64 pa)
{
	return (struct kho_abi_array_node *)image_word(&f->image, pa & ~63ULL);
}

static u64 *values_of(struct kho_abi_array_node *node)
{
	return (u64 *)(node + 1);
}

static void *keys_of(struct kho_abi_array_node *node)
{
	return values_of(node) + kho_abi_array_cap(12, node->width);
}

static void is_refused(struct fixture *f, int fault, const char *field)
{
	struct khoc_array_check check;
	struct khoc_report report;

	EXPECT_EQ(fixture_validate(f, &f->array, &check, &report), -fault);
	EXPECT_EQ(report.fault, fault);
	EXPECT_STR_EQ(report.field, field);
}

/* Dense entries and scattered ones: the root has leaves of both kinds. */
static void make(struct fixture *f, bool linear)
{
	fixture_make(f, 12, 40, 1, linear);
	set_range(f, 0, 600, 1);
	set_range(f, FAR, 600, 1000);
}

TEST(a_descriptor_is_in_the_image)
{
	struct khoc_report report;
	struct khoc_array array;
	struct fixture f;

	make(&f, true);
	EXPECT_EQ(khoc_array_attach(&array, &f.image.mem, 12, f.desc_pa + 4, &report),
		  -KHO_E_ALIGN);
	EXPECT_EQ(report.fault, KHO_E_ALIGN);
	EXPECT_STR_EQ(report.field, "descriptor");
	EXPECT_EQ(khoc_array_attach(&array, &f.image.mem, 12, f.image.mem.size, &report),
		  -KHO_E_RANGE);
	EXPECT_EQ(report.addr, f.image.mem.size);
	fixture_destroy(&f);
}

/* The last key becomes one of the tail, and says what the first says. */
TEST(a_key_in_the_tail_may_not_be_one_before_it)
{
	struct kho_abi_array_node *node;
	struct khoc_array_check check;
	struct fixture f;
	u32 *keys, was;
	u64 *separators, wide;

	make(&f, true);
	node = node_at(&f, values_of(node_at(&f, f.array.desc->root))[2]);
	EXPECT_EQ(node->width, 4);
	keys = keys_of(node);
	was = keys[node->nr_sorted - 1];
	keys[--node->nr_sorted] = keys[0];
	is_refused(&f, KHO_E_DUPLICATE, "key");
	keys[node->nr_sorted++] = was;
	node = node_at(&f, f.array.desc->root);
	EXPECT_EQ(node->width, 8);
	EXPECT(node->nr_sorted > 2);
	separators = keys_of(node);
	wide = separators[node->nr_sorted - 1];
	separators[--node->nr_sorted] = separators[1];
	is_refused(&f, KHO_E_DUPLICATE, "key");
	separators[node->nr_sorted++] = wide;
	EXPECT_EQ(fixture_validate(&f, &f.array, &check, NULL), 0);
	fixture_destroy(&f);
}

TEST(half_an_update_has_a_place)
{
	struct kho_abi_array *desc;
	struct fixture f;

	make(&f, true);
	desc = f.array.desc;
	desc->next_count++;
	desc->slot_pa = f.desc_pa + 3;
	is_refused(&f, KHO_E_ALIGN, "slot_pa");
	desc->slot_pa = 0;
	is_refused(&f, KHO_E_RANGE, "slot_pa");
	desc->slot_pa = f.image.mem.node_hi;
	is_refused(&f, KHO_E_RANGE, "slot_pa");
	/* It was not made: nothing of it counts. */
	EXPECT_EQ(khoc_array_count(&f.array), 1200);
	fixture_destroy(&f);
}

/* Pages to be freed that are none: no update begins, and what is there stays. */
TEST(what_a_crash_left_is_checked)
{
	struct fixture f;
	u64 entry;

	make(&f, true);
	entry = khoc_array_get(&f.array, 5);
	f.array.desc->doomed = f.image.mem.size;
	EXPECT_EQ(khoc_array_erase(&f.array, 5), -KHO_E_RANGE);
	EXPECT_EQ(khoc_array_clear(&f.array), -KHO_E_RANGE);
	EXPECT_EQ(khoc_array_set(&f.array, 5, khoc_array_integer(77)), -KHO_E_RANGE);
	EXPECT_EQ(khoc_array_get(&f.array, 5), entry);
	f.array.desc->doomed = f.array.desc->root | 15;
	EXPECT_EQ(khoc_array_erase(&f.array, 5), -KHO_E_STATE);
	f.array.desc->doomed = 0;
	EXPECT_EQ(khoc_array_erase(&f.array, 5), 0);
	fixture_destroy(&f);
}

/* The neighbour that a leaf would be joined with is no node: the entries go all the same. */
TEST(erasing_beside_a_bad_leaf)
{
	struct fixture f;
	u64 *child, was;

	make(&f, true);
	child = values_of(node_at(&f, f.array.desc->root));
	was = child[1];
	child[1] = was + 8;
	for (u64 i = 0; i < 505; i++)
		EXPECT_EQ(khoc_array_erase(&f.array, i), 0);
	EXPECT_EQ(khoc_array_erase(&f.array, 550), -KHO_E_ALIGN);
	child[1] = was;
	EXPECT_EQ(khoc_array_count(&f.array), 695);
	EXPECT_EQ(khoc_array_erase(&f.array, 550), 0);
	fixture_destroy(&f);
}

/* ---- a faulty host --------------------------------------------------------- */

static kho_pa_t next_page;
static kho_pa_t freed_page;

static kho_pa_t odd_page(void *ctx)
{
	return next_page;
}

static void note_page(void *ctx, kho_pa_t pa)
{
	freed_page = pa;
}

static int no_publishing(void *ctx, __u64 *slot, __u64 value, kho_pa_t fresh, kho_pa_t stale)
{
	return -ENOMEM;
}

TEST(a_page_that_is_none_is_given_back)
{
	struct fixture f;

	fixture_make(&f, 12, 40, 1, true);
	f.image.ops.alloc_page = odd_page;
	f.image.ops.free_page = note_page;
	next_page = f.image.mem.node_lo + 8;
	EXPECT_EQ(khoc_array_set(&f.array, 1, khoc_array_integer(1)), -KHO_E_ALIGN);
	EXPECT_EQ(freed_page, next_page);
	next_page = f.image.mem.size;
	EXPECT_EQ(khoc_array_set(&f.array, 1, khoc_array_integer(1)), -KHO_E_RANGE);
	EXPECT_EQ(freed_page, next_page);
	EXPECT_EQ(khoc_array_count(&f.array), 0);
	EXPECT_EQ(f.array.desc->root, 0);
	fixture_destroy(&f);
}

TEST(a_page_that_cannot_be_published_is_given_back)
{
	struct fixture f;

	fixture_make(&f, 12, 40, 1, true);
	f.image.ops.publish_page = no_publishing;
	EXPECT_EQ(khoc_array_set(&f.array, 1, khoc_array_integer(1)), -ENOMEM);
	EXPECT_EQ(f.image.live, 1); /* the descriptor's */
	EXPECT_EQ(f.array.desc->root, 0);
	fixture_destroy(&f);
}

static kho_pa_t hidden_pa;
static void *(*shown_map)(void *ctx, kho_pa_t pa, size_t len);

static void *map_but_one(void *ctx, kho_pa_t pa, size_t len)
{
	return pa == hidden_pa ? NULL : shown_map(ctx, pa, len);
}

/* A sparse dump of memory: a page of the image is not there. */
TEST(a_page_that_is_missing_is_named)
{
	struct fixture f;
	u64 index;

	make(&f, false);

	hidden_pa = values_of(node_at(&f, f.array.desc->root))[2];
	index = node_at(&f, hidden_pa)->base;
	EXPECT_NE(khoc_array_get(&f.array, index), 0);
	shown_map = f.image.ops.map;
	f.image.ops.map = map_but_one;
	is_refused(&f, KHO_E_RANGE, "address");
	EXPECT_EQ(khoc_array_get(&f.array, index), 0);
	fixture_destroy(&f);
}

TEST_SUITE(array_edges, TEST_CASE(a_descriptor_is_in_the_image),
	   TEST_CASE(a_key_in_the_tail_may_not_be_one_before_it),
	   TEST_CASE(half_an_update_has_a_place), TEST_CASE(what_a_crash_left_is_checked),
	   TEST_CASE(erasing_beside_a_bad_leaf), TEST_CASE(a_page_that_is_none_is_given_back),
	   TEST_CASE(a_page_that_cannot_be_published_is_given_back),
	   TEST_CASE(a_page_that_is_missing_is_named));
