/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The image of the first release is read for ever: what make_golden.c put in is found in it. */
#include <kho/slab.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arena_fixture.h"
#include "page.h"
#include "preserve.h"
#include "sparse.h"

#define MAX_SIZE (3 << 20)

struct node {
	struct node *next;
	__u64 value;
};

static int open_golden(void **state)
{
	FILE *in = fopen("tests/golden/arena-v1.sparse", "r");
	char *image = calloc(1, MAX_SIZE);
	int fd = kho_arena_create_("golden");
	__u64 size;

	assert_non_null(in);
	size = sparse_read(in, image, MAX_SIZE);
	assert_true(size > 0x130000);
	assert_int_equal(pwrite(fd, image, size, 0), size);
	fclose(in);
	free(image);
	if (kho_arena_map_(fd, true) || kho_arena_own_())
		fail_msg("%s", kho_error());
	assert_int_equal(kho_preserve_check_all_(false), 0);
	assert_int_equal(kho_pages_discover_all_(), 0);
	return 0;
}

/* Whatever was done to it: the next program finds it sound. */
static int drop(void **state)
{
	assert_int_equal(arena_check_slabs(), 0);
	arena_crash();
	assert_int_equal(kho_pages_discover_all_(), 0);
	assert_int_equal(arena_check_slabs(), 0);
	arena_drop();
	return 0;
}

static void the_header_says_what_it_said(void **state)
{
	static const unsigned char id[16] = {0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
					     0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf};
	char release[65];
	unsigned int count;

	assert_memory_equal(kho_arena_.base, "KO ARENA", 8);
	assert_memory_equal(kho_arena_.header->id, id, 16);
	assert_int_equal((uintptr_t)kho_arena_.base, 0x550000000000);
	/* 228 pages of nodes from 0x40000, 0x600 bytes of descriptors, up to 64 KiB. */
	assert_int_equal(kho_arena_.header->data_pa, 0x130000);
	assert_int_equal(kho_arena_generation_(), 7);
	assert_int_equal(kho_arena_state_(), 1);
	assert_int_equal(kho_metadata(release, &count), 0);
	assert_string_equal(release, "golden 1.0");
	assert_int_equal(count, 3);
}

static void the_list_has_its_four_objects(void **state)
{
	static const __u64 values[] = {44, 11, 22, 33};
	void **slot;
	struct node *node;

	assert_int_equal(kho_retrieve_subtree("list", NULL, NULL), 0);
	slot = kho_root("list", "golden-list", 1);
	assert_non_null(slot);
	node = *slot;
	for (int i = 0; i < 4; i++, node = node->next) {
		assert_non_null(node);
		assert_int_equal(node->value, values[i]);
		assert_true(kho_usable_size(node) >= (i == 2 ? 1000 : 16));
	}
	assert_null(node);
	/* And one large; of the caches 2 records, 3 and 2 objects. */
	assert_int_equal(arena_live(), 5 + 7);
	/* And they are freed as any others. */
	while ((node = *slot))
		assert_int_equal(kho_publish(slot, node->next, node), 0);
	assert_int_equal(arena_live(), 1 + 7);
	assert_int_equal(kho_root_remove("list"), 0);
}

static void the_large_object_is_there(void **state)
{
	void **slot = kho_root("big", "golden-big", 9);
	char *large = *slot;

	assert_int_equal(large[0], 'L');
	assert_int_equal(large[39999], 'E');
	/* 40000 bytes and 64 of header are 10 pages. */
	assert_int_equal(kho_usable_size(large), 10 * 4096 - 64);
	assert_int_equal(kho_publish(slot, NULL, large), 0);
}

static void pages_are_restored(void **state)
{
	kho_pa_t blob, run;
	size_t size;
	__u64 *words;

	assert_int_equal(kho_retrieve_subtree("blob", &blob, &size), 0);
	assert_int_equal(size, 7);
	assert_string_equal(kho_folio_address(kho_restore_folio(blob)), "GOLDEN");
	assert_int_equal(kho_retrieve_subtree("run", &run, &size), 0);
	assert_int_equal(size, 20480);
	words = kho_page_address(kho_restore_pages(run, 5));
	for (int i = 0; i < 5; i++)
		assert_int_equal(words[i * 512], 0x1111 * i);
	/* 4 and 5 pages; large object 10; slabs of 16, 1000 and 96 bytes and of two caches, 16 pages each. */
	assert_int_equal(kho_pages_used_(), (4 + 5 + 10 + 5 * 16) * 4096);
}

static void the_caches_are_found_by_name(void **state)
{
	struct kmem_cache *nodes = kho_kmem_cache_create("nodes", 200, 0, 0, NULL);
	struct kmem_cache *keys = kho_kmem_cache_create("keys", 100, 64, KHO_CACHE_SINGLE, NULL);
	void **cached = kho_root("cached", "golden-list", 1);
	struct node *node = *cached;
	kho_pa_t pa, pa2;
	char *key;

	assert_non_null(nodes);
	assert_non_null(keys);
	assert_null(kho_kmem_cache_create("nodes", 201, 0, 0, NULL));
	for (__u64 value = 3; value; value--, node = node->next) {
		assert_int_equal(node->value, value);
		assert_ptr_equal(kho_kmem_cache_of(node), nodes);
	}
	while ((node = *cached))
		assert_int_equal(kho_publish(cached, node->next, node), 0);
	assert_int_equal(kho_kmem_cache_destroy(nodes), 0);
	assert_int_equal(kho_retrieve_subtree("key", &pa, NULL), 0);
	assert_int_equal(kho_retrieve_subtree("key2", &pa2, NULL), 0);
	/* 100 bytes to a multiple of 64. */
	assert_int_equal(pa2 - pa, 2 * 128);
	key = kho_slab_restore(pa);
	assert_int_equal(key[0], 'k');
	assert_int_equal(key[99], 'k');
	assert_int_equal(key[128], 0); /* was handed out only */
	assert_null(kho_slab_restore(pa + 128));
	assert_null(kho_slab_restore(pa + 3 * 128));
	key = kho_kmem_cache_restore(keys, pa2);
	assert_int_equal(key[99], 'k' + 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_header_says_what_it_said, open_golden, drop),
		cmocka_unit_test_setup_teardown(the_list_has_its_four_objects, open_golden, drop),
		cmocka_unit_test_setup_teardown(the_large_object_is_there, open_golden, drop),
		cmocka_unit_test_setup_teardown(pages_are_restored, open_golden, drop),
		cmocka_unit_test_setup_teardown(the_caches_are_found_by_name, open_golden, drop),
	};

	return cmocka_run_group_tests_name("golden", tests, NULL, NULL);
}
