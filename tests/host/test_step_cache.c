/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Every instruction: slab caches. In every snapshot, before anything is adopted, all slabs must be
 * sound: of single-object caches that includes that bytes of nobody are 0. See step.h.
 */
#include <errno.h>
#include <kho/slab.h>

#include "step.h"

#define SINGLE_SIZE 200
#define SINGLE_BYTE 0x6b

static struct kmem_cache *cache;

static void setup_whole(void)
{
	setup_roots();
	cache = kho_kmem_cache_create("w", sizeof(struct node), 0, 0, NULL);
	object = cache ? kho_kmem_cache_alloc(cache) : NULL;
	if (!object)
		_exit(8);
	*(struct node *)object = (struct node){NULL, NODE_TAG, 2};
}

static void setup_whole_published(void)
{
	setup_whole();
	if (kho_publish(slot_a, object, NULL))
		_exit(8);
}

static void setup_whole_empty(void)
{
	setup_whole();
	kho_free(object);
}

static void setup_single_cache(void)
{
	cache = kho_kmem_cache_create("s", SINGLE_SIZE, 0, KHO_CACHE_SINGLE, NULL);
	if (!cache)
		_exit(8);
}

/* Slabs of 7 objects: the second one has a single object left, and goes with it. */
static void fill_slabs(void)
{
	void *p[21];

	for (int i = 0; i < 21; i++)
		p[i] = kho_kmem_cache_alloc(cache);
	kho_kmem_cache_free(cache, p[0]);
	for (int i = 8; i < 14; i++)
		kho_kmem_cache_free(cache, p[i]);
	object = p[7];
}

static void setup_slab_of_cache(void)
{
	cache = kho_kmem_cache_create("w", 32768, 0, 0, NULL);
	fill_slabs();
}

static void setup_slab_of_singles(void)
{
	cache = kho_kmem_cache_create("s", 32768, 0, KHO_CACHE_SINGLE, NULL);
	fill_slabs();
}

static void setup_whole_cache(void)
{
	cache = kho_kmem_cache_create("w", sizeof(struct node), 0, 0, NULL);
	if (!cache)
		_exit(8);
}

static void setup_single(void)
{
	setup_single_cache();
	object = kho_kmem_cache_alloc(cache);
	if (!object)
		_exit(8);
	memset(object, SINGLE_BYTE, SINGLE_SIZE);
	info->pa = kho_virt_to_phys(object);
}

static void setup_single_preserved(void)
{
	setup_single();
	if (kho_slab_preserve(object))
		_exit(8);
}

static void setup_single_restored(void)
{
	setup_single_preserved();
	kho_arena_disown_();
	if (kho_arena_own_() || !kho_slab_restore(info->pa))
		_exit(8);
	cache = kho_kmem_cache_of(object);
}

static void setup_single_empty(void)
{
	setup_single();
	if (kho_kmem_cache_free(cache, object))
		_exit(8);
}

/* One preserved, others left half-way by a crash: they are cleared by whoever touches the slab. */
static void setup_single_left(void)
{
	setup_single_preserved();
	for (int i = 0; i < 2; i++)
		memset(kho_kmem_cache_alloc(cache), 0xdd, SINGLE_SIZE);
	map_again();
	if (kho_arena_own_())
		_exit(8);
}

static void op_cache_make(void)
{
	kho_kmem_cache_create("w", sizeof(struct node), 0, 0, NULL);
}

static void op_single_make(void)
{
	kho_kmem_cache_create("s", SINGLE_SIZE, 0, KHO_CACHE_SINGLE, NULL);
}

static void op_cache_destroy(void)
{
	if (kho_kmem_cache_destroy(cache))
		_exit(7);
}

static void op_cache_alloc(void)
{
	kho_kmem_cache_alloc(cache);
}

static void op_single_alloc(void)
{
	memset(kho_kmem_cache_alloc(cache), 0xee, SINGLE_SIZE);
}

static void op_single_preserve(void)
{
	if (kho_slab_preserve(object))
		_exit(7);
}

static void op_single_unpreserve(void)
{
	if (kho_slab_unpreserve(object))
		_exit(7);
}

static void op_single_free(void)
{
	if (kho_kmem_cache_free(cache, object))
		_exit(7);
}

static void op_single_adopt(void)
{
	if (!kho_slab_restore(info->pa))
		_exit(7);
}

/* Whatever was left of a cache, it can be asked for; and goes without a trace. */
static int was_made(const struct found *found, bool single)
{
	unsigned int flags = single ? KHO_CACHE_SINGLE : 0;

	assert_int_equal(found->singles, 0);
	assert_true(found->records < 2);
	cache = kho_kmem_cache_create(single ? "s" : "w",
				      single ? SINGLE_SIZE : sizeof(struct node), 0, flags, NULL);
	assert_non_null(cache);
	assert_int_equal(arena_live(), 1);
	assert_int_equal(kho_kmem_cache_destroy(cache), 0);
	assert_int_equal(arena_live(), 0);
	assert_int_equal(kho_retrieve_subtree(single ? "cache,s" : "cache,w", NULL, NULL), -ENOENT);
	return found->records == 1;
}

static int check_cache_made(const struct found *found)
{
	return was_made(found, false);
}

static int check_single_made(const struct found *found)
{
	return was_made(found, true);
}

static int check_single_cache_gone(const struct found *found)
{
	return !was_made(found, true);
}

static int check_slab_gone(const struct found *found)
{
	assert_int_equal(found->records, 1);
	assert_true(found->slab_pages == 16 + 3 * 64 || found->slab_pages == 16 + 2 * 64);
	return found->slab_pages == 16 + 2 * 64;
}

static int check_cache_gone(const struct found *found)
{
	return !check_cache_made(found);
}

static int check_nothing_single(const struct found *found)
{
	assert_int_equal(found->singles, 0);
	assert_int_equal(found->records, 1);
	return 0;
}

/* The record's slab, then one of the cache's own. */
static int check_first_slab(const struct found *found)
{
	check_nothing_single(found);
	assert_true(found->slab_pages == 16 || found->slab_pages == 32);
	return found->slab_pages == 32;
}

/* The whole object or nothing of it. */
static int check_single_there(const struct found *found)
{
	const unsigned char *bytes = kho_phys_to_virt(info->pa);
	bool there = kho_slab_restore(info->pa);

	assert_int_equal(found->singles, there);
	for (int i = 0; i < SINGLE_SIZE; i++)
		assert_int_equal(bytes[i], there ? SINGLE_BYTE : 0);
	return there;
}

static int check_single_gone(const struct found *found)
{
	return !check_single_there(found);
}

static int check_single_stays(const struct found *found)
{
	const unsigned char *bytes = kho_phys_to_virt(info->pa);

	assert_int_equal(check_single_there(found), 1);
	for (int i = 208; i < 3 * 208; i++)
		assert_int_equal(bytes[i], 0);
	return 0;
}

static const struct step_case cases[] = {
	{.name = "cache, make",
	 .setup = setup_roots,
	 .op = op_cache_make,
	 .check = check_cache_made,
	 .slow = true},
	{.name = "cache, destroy",
	 .setup = setup_whole_empty,
	 .op = op_cache_destroy,
	 .check = check_cache_gone,
	 .slow = true},
	{.name = "cache, make single",
	 .setup = setup_roots,
	 .op = op_single_make,
	 .check = check_single_made,
	 .slow = true},
	{.name = "cache, destroy single",
	 .setup = setup_single_empty,
	 .op = op_cache_destroy,
	 .check = check_single_cache_gone,
	 .slow = true},
	{.name = "cache, new slab",
	 .setup = setup_whole_cache,
	 .op = op_cache_alloc,
	 .check = check_first_slab},
	{.name = "cache, slab goes",
	 .setup = setup_slab_of_cache,
	 .op = op_single_free,
	 .check = check_slab_gone},
	{.name = "single, slab goes",
	 .setup = setup_slab_of_singles,
	 .op = op_single_free,
	 .check = check_slab_gone},
	{.name = "single, unpreserve restored",
	 .setup = setup_single_restored,
	 .op = op_single_unpreserve,
	 .check = check_single_gone},
	{.name = "single, free restored",
	 .setup = setup_single_restored,
	 .op = op_single_free,
	 .check = check_single_gone},
	{.name = "cache, alloc",
	 .setup = setup_whole,
	 .op = op_cache_alloc,
	 .check = check_no_change,
	 .constant = true},
	{.name = "cache, free",
	 .setup = setup_whole,
	 .op = op_free,
	 .check = check_no_change,
	 .constant = true},
	{.name = "cache, publish", .setup = setup_whole, .op = op_publish_a, .check = check_insert},
	{.name = "cache, delete",
	 .setup = setup_whole_published,
	 .op = op_delete,
	 .check = check_removed},
	{.name = "single, new slab",
	 .setup = setup_single_cache,
	 .op = op_cache_alloc,
	 .check = check_first_slab},
	{.name = "single, alloc",
	 .setup = setup_single,
	 .op = op_single_alloc,
	 .check = check_nothing_single,
	 .constant = true},
	{.name = "single, preserve",
	 .setup = setup_single,
	 .op = op_single_preserve,
	 .check = check_single_there},
	{.name = "single, unpreserve",
	 .setup = setup_single_preserved,
	 .op = op_single_unpreserve,
	 .check = check_single_gone},
	{.name = "single, free",
	 .setup = setup_single,
	 .op = op_single_free,
	 .check = check_nothing_single,
	 .constant = true},
	{.name = "single, free preserved",
	 .setup = setup_single_preserved,
	 .op = op_single_free,
	 .check = check_single_gone},
	{.name = "single, adopt",
	 .setup = setup_single_left,
	 .op = op_single_adopt,
	 .check = check_single_stays,
	 .constant = true,
	 .slow = true},
};

int main(void)
{
	return step_main("step_cache", cases, sizeof(cases) / sizeof(*cases));
}
