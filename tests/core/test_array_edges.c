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

TEST(less_than_a_page_has_no_nodes)
{
	struct fixture f;

	make(&f, true);
	EXPECT_NE(khoc_array_get(&f.array, 5), 0);
	f.image.mem.size = 4095;
	EXPECT_EQ(khoc_array_get(&f.array, 5), 0);
	f.image.mem.size = 0;
	EXPECT_EQ(khoc_array_get(&f.array, 5), 0);
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

/* The neighbour that a full leaf would share with is no node: the entry is refused, and those before it are there. */
TEST(growing_beside_a_bad_leaf)
{
	struct kho_abi_array_node *root;
	u64 *child, first, was, at = 0, i = 0;
	struct fixture f;
	int rc = 0;

	make(&f, true);
	root = node_at(&f, f.array.desc->root);
	child = values_of(root);
	first = node_at(&f, child[2])->base;
	EXPECT(root->nr_used > 3);
	was = child[3];
	child[3] = was + 8;
	for (; i < 1000; i++) {
		at = first + 1 + 1000 * (i / 2) + i % 2;
		rc = khoc_array_set(&f.array, at, khoc_array_integer(i));
		if (rc)
			break;
	}
	EXPECT_EQ(rc, -KHO_E_ALIGN);
	EXPECT_EQ(khoc_array_get(&f.array, at), 0);
	EXPECT_EQ(khoc_array_count(&f.array), 1200 + i);
	child[3] = was;
	EXPECT_EQ(khoc_array_set(&f.array, at, khoc_array_integer(i)), 0);
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

/* ---- lookups ---------------------------------------------------------------- */

/*
 * No memory to tidy up after two nodes became one: a separator that leads nowhere stays among the sorted ones, and what
 * it led to is found by way of the one before it.
 */
TEST(a_separator_may_be_dead)
{
	struct kho_abi_array_node *root;
	unsigned int dead = 0;
	struct fixture f;

	fixture_make(&f, 12, 40, 5100, true);
	for (u64 i = 0; i < 5100; i++) {
		EXPECT_EQ(khoc_array_set(&f.array, i, i << 1 | 1), 0);
		model_set(&f.model, i, i << 1 | 1);
	}
	for (u64 i = 1020; i < 3570; i++) {
		if (i % 10 == 9)
			continue;
		f.image.fail_at = f.image.allocs + 2;
		f.image.fail_all = true;
		EXPECT_EQ(khoc_array_erase(&f.array, i), 0);
		f.image.fail_at = 0;
		model_set(&f.model, i, 0);
	}
	root = node_at(&f, f.array.desc->root);
	EXPECT_EQ(root->nr_sorted, root->nr_used);
	for (unsigned int i = 0; i < root->nr_used; i++)
		dead += !values_of(root)[i];
	EXPECT(dead);
	for (u64 i = 0; i < 5200; i++)
		EXPECT_EQ(khoc_array_get(&f.array, i), model_get(&f.model, i));
	fixture_check(&f);
	fixture_destroy(&f);
}

static void *map_of_copy(void *ctx, kho_pa_t pa, size_t len)
{
	const struct khoc_mem *copy = ctx;

	return pa < copy->size && len <= copy->size - pa ? (char *)copy->linear + pa : NULL;
}

/* A word that leads somewhere, or not quite, or says how much a node has. */
static u64 bent(struct rng *rng, const struct image *image)
{
	unsigned int shift = image->shift;
	u64 pages = image->mem.size >> shift, most = (1ULL << shift) / 16 - rng_below(rng, 3);

	switch (rng_below(rng, 6)) {
	case 0:
		return rng_next(rng);
	case 1: /* an address at the edge of all addresses */
		return (~0ULL << shift) + rng_below(rng, 2) * 8;
	case 2: /* a head: width, level, and numbers about the largest */
		if (rng_below(rng, 3))
			return 8 | rng_below(rng, 4) << 8 | most << 16 | most << 32;
		return 1ULL << rng_below(rng, 4) | rng_below(rng, 4) << 8 |
		       rng_below(rng, 1 << 16) * 0x100010000ULL;
	default:
		return (rng_below(rng, pages + 2) << shift) + (rng_below(rng, 3) ? 0 : 8);
	}
}

/* The same bytes, linear and by way of map(): the two ways down agree, and neither leaves the image. */
static void look_up_both_ways(struct fixture *f, struct rng *rng, struct shim_guard guard)
{
	const struct khoc_mem *mem = &f->image.mem;
	struct khoc_mem linear = *mem, mapped;
	struct khoc_mem_ops ops = {.map = map_of_copy};
	struct khoc_array near = f->array, far = f->array;

	linear.linear = shim_guard_copy(guard, f->image.bytes, mem->size);
	mapped = (struct khoc_mem){.ops = &ops, .ctx = &linear, .size = mem->size};
	near.mem = &linear;
	far.mem = &mapped;
	near.desc = far.desc = (void *)((char *)linear.linear + f->desc_pa);
	near.leaf = far.leaf = NULL;
	for (unsigned int i = 0; i < 64; i++) {
		u64 index = i < 8 ? 3 - (u64)i : rng_next(rng) >> rng_below(rng, 64);

		EXPECT_EQ(khoc_array_get(&near, index), khoc_array_get(&far, index));
	}
}

/* Entries are addresses, which a lookup that loses its way would follow. */
static void fill_at_random(struct fixture *f, struct rng *rng, bool dense)
{
	u64 pages = f->image.mem.size >> f->image.shift;

	for (unsigned int i = 0; i < 600; i++) {
		u64 index = dense ? i : rng_next(rng) >> rng_below(rng, 64);

		khoc_array_set(&f->array, index, (1 + rng_below(rng, pages - 1)) << f->image.shift);
	}
	/* In page 0 is no node, whatever it looks like. */
	memcpy(f->image.bytes, node_at(f, f->array.desc->root), 1UL << f->image.shift);
}

static void bend(struct fixture *f, struct rng *rng)
{
	u64 at = rng_below(rng, f->image.nr_nodes) << f->image.shift, root = f->array.desc->root;
	u64 word = rng_below(rng, 8) * 8;

	at += f->image.mem.node_lo;
	if (rng_below(rng, 2) && root >= f->image.mem.node_lo && root < f->image.mem.node_hi)
		at = root & ~63ULL;
	if (rng_below(rng, 8) < 2) /* in the head, width and level */
		*image_word(&f->image, at + 8) ^= 1ULL << rng_below(rng, 12);
	else if (rng_below(rng, 6))
		*image_word(&f->image, at + word) = bent(rng, &f->image);
	else
		f->array.desc->root = bent(rng, &f->image) | rng_below(rng, 3);
}

TEST(lookups_in_damage_stay_inside)
{
	struct shim_guard guard = shim_guard_make();
	struct rng rng = {test_seed()};

	for (unsigned int round = 0; round < 2000; round++) {
		unsigned int shift = round & 1 ? 12 : 6, pages = (SHIM_GUARD_SIZE >> shift) - 4;
		struct fixture f;

		fixture_make(&f, shift, pages, 1, round & 2);
		fill_at_random(&f, &rng, round & 4);
		for (unsigned int i = 0; i <= rng_below(&rng, 12); i++) {
			bend(&f, &rng);
			look_up_both_ways(&f, &rng, guard);
		}
		fixture_destroy(&f);
	}
	shim_guard_destroy(guard);
}

TEST_SUITE(array_edges, TEST_CASE(a_descriptor_is_in_the_image),
	   TEST_CASE(less_than_a_page_has_no_nodes),
	   TEST_CASE(a_key_in_the_tail_may_not_be_one_before_it),
	   TEST_CASE(half_an_update_has_a_place), TEST_CASE(what_a_crash_left_is_checked),
	   TEST_CASE(erasing_beside_a_bad_leaf), TEST_CASE(growing_beside_a_bad_leaf),
	   TEST_CASE(a_page_that_is_none_is_given_back),
	   TEST_CASE(a_page_that_cannot_be_published_is_given_back),
	   TEST_CASE(a_page_that_is_missing_is_named), TEST_CASE(a_separator_may_be_dead),
	   TEST_CASE(lookups_in_damage_stay_inside));
