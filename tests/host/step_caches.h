/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Cases of test_step.c for slab caches. Part of that file: it has what is used here. In every
 * snapshot, before anything is adopted, all slabs must be sound: of single-object caches that
 * includes that bytes of nobody are 0.
 */
#ifndef KHO_TEST_STEP_CACHES_H
#define KHO_TEST_STEP_CACHES_H

#include <errno.h>
#include <kho/slab.h>

#define SINGLE_SIZE 200
#define SINGLE_BYTE 0x6b

static struct kmem_cache *cache;

/* The slabs as they came in. Return: objects that are preserved singly; records of caches that roots name. */
static __u64 check_slabs(__u64 *records)
{
	static const char *const names[] = {"cache,w", "cache,s"};
	struct khoc_slab_counts counts;
	struct khoc_report report;
	struct khoc_block block;
	unsigned int type, order;
	__u64 singles = 0;

	for (kho_pa_t pos = 0; khoc_radix_next(&kho_arena_.tree, pos, ARENA_MAX, &block);
	     pos = block.pa + (KHO_PAGE_SIZE << block.order)) {
		const struct kho_abi_slab *slab = kho_phys_to_virt(block.pa);

		if (kho_block_desc_(block.pa, &type, &order) || type != KHO_ABI_DESC_SLAB)
			continue;
		if (khoc_slab_check(&kho_arena_.mem, KHO_PAGE_SHIFT, block.pa, order, &counts,
				    &report)) {
			kho_fail_report_(&report);
			fail_msg("%s", kho_error());
		}
		singles += slab->flags & KHO_ABI_SLAB_SINGLE ? counts.live : 0;
	}
	*records = 0;
	for (int i = 0; i < 2; i++)
		if (!kho_retrieve_subtree(names[i], NULL, NULL))
			*records += *kho_root(names[i], "kmem_cache", 1) != NULL;
	return singles;
}

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

/* One preserved, others left half-way by a crash: they are cleared by whoever touches the slab. */
static void setup_single_left(void)
{
	int fd = fcntl(kho_arena_.fd, F_DUPFD_CLOEXEC, 0);

	setup_single_preserved();
	for (int i = 0; i < 2; i++)
		memset(kho_kmem_cache_alloc(cache), 0xdd, SINGLE_SIZE);
	kho_arena_unmap_();
	if (kho_arena_map_(fd, true) || kho_arena_own_())
		_exit(8);
}

static void op_cache_make(void)
{
	kho_kmem_cache_create("w", sizeof(struct node), 0, 0, NULL);
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

static int check_cache_made(const struct found *found)
{
	int made = found->records == 1;

	assert_int_equal(found->singles, 0);
	assert_true(found->records < 2);
	/* Whatever was left, it can be asked for; and goes without a trace. */
	cache = kho_kmem_cache_create("w", sizeof(struct node), 0, 0, NULL);
	assert_non_null(cache);
	assert_int_equal(arena_live(), 1);
	assert_int_equal(kho_kmem_cache_destroy(cache), 0);
	assert_int_equal(arena_live(), 0);
	assert_int_equal(kho_retrieve_subtree("cache,w", NULL, NULL), -ENOENT);
	return made;
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
static int check_single_slab(const struct found *found)
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

#define CACHE_CASES                                                                                  \
	{"cache, make", setup_roots, op_cache_make, check_cache_made, false, true},                  \
		{"cache, destroy",                                                                   \
		 setup_whole_empty,                                                                  \
		 op_cache_destroy,                                                                   \
		 check_cache_gone,                                                                   \
		 false,                                                                              \
		 true},                                                                              \
		{"cache, alloc", setup_whole, op_cache_alloc, check_no_change, true, false},         \
		{"cache, free", setup_whole, op_free, check_no_change, true, false},                 \
		{"cache, publish", setup_whole, op_publish_a, check_insert, false, false},           \
		{"cache, delete", setup_whole_published,                                             \
		 op_delete_large, check_delete_large,                                                \
		 false,		  false},                                                            \
		{"single, new slab",                                                                 \
		 setup_single_cache,                                                                 \
		 op_cache_alloc,                                                                     \
		 check_single_slab,                                                                  \
		 false,                                                                              \
		 false},                                                                             \
		{"single, alloc", setup_single, op_single_alloc, check_nothing_single, true, false}, \
		{"single, preserve", setup_single, op_single_preserve,                               \
		 check_single_there, false,	   false},                                           \
		{"single, unpreserve",                                                               \
		 setup_single_preserved,                                                             \
		 op_single_unpreserve,                                                               \
		 check_single_gone,                                                                  \
		 false,                                                                              \
		 false},                                                                             \
		{"single, free", setup_single, op_single_free, check_nothing_single, true, false},   \
		{"single, free preserved",                                                           \
		 setup_single_preserved,                                                             \
		 op_single_free,                                                                     \
		 check_single_gone,                                                                  \
		 false,                                                                              \
		 false},                                                                             \
	{                                                                                            \
		"single, adopt", setup_single_left, op_single_adopt, check_single_stays, true,       \
			true                                                                         \
	}

#endif
