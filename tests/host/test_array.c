/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Arrays in an arena: there after a crash, as they were; nothing lost, nothing leaked. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <kho/array.h>

#include "arena_fixture.h"
#include "heap.h"
#include "page.h"
#include "preserve.h"

#define ARENA_MAX (256ULL << 20)

static struct kho_array_desc **slot;
static struct kho_array *array;

static int open_arena(void **state)
{
	arena_new(ARENA_MAX);
	slot = (void *)kho_root("array", "test-array", 1);
	assert_non_null(slot);
	assert_int_equal(kho_publish((void **)slot, kho_array_create(), NULL), 0);
	array = kho_array_attach(*slot);
	assert_non_null(array);
	return 0;
}

static int close_arena(void **state)
{
	kho_array_detach(array);
	arena_drop();
	return 0;
}

static void crash(void)
{
	kho_array_detach(array);
	arena_crash();
	slot = (void *)kho_root("array", "test-array", 1);
	array = kho_array_attach(*slot);
	assert_non_null(array);
}

static __u64 struct_pages(void)
{
	struct khoc_radix_iter iter;
	struct khoc_run run;
	__u64 nr = 0;

	khoc_radix_iter_init(&iter, &kho_arena_.tree, kho_arena_.header->data_pa, ~0ULL, 0, 0);
	while (khoc_radix_iter_next(&iter, &run))
		for (__u64 i = 0; i < run.nr; i++)
			nr += !kho_block_check_(run.pa + i * KHO_PAGE_SIZE, 0, KHO_ABI_DESC_STRUCT);
	return nr;
}

static void values_and_pointers_are_there_after_a_crash(void **state)
{
	void *object = kho_malloc(48);

	assert_int_equal(kho_publish(kho_root("object", "test", 1), object, NULL), 0);
	assert_int_equal(kho_array_set(array, 5, kho_array_mk_value(42)), 0);
	assert_int_equal(kho_array_set(array, ~0ULL, object), 0);
	assert_int_equal(kho_array_set(array, 1ULL << 40, kho_array_mk_value(0)), 0);
	crash();
	assert_int_equal(kho_array_count(array), 3);
	assert_true(kho_array_is_value(kho_array_get(array, 5)));
	assert_int_equal(kho_array_to_value(kho_array_get(array, 5)), 42);
	assert_ptr_equal(kho_array_get(array, ~0ULL), object);
	assert_int_equal(kho_array_to_value(kho_array_get(array, 1ULL << 40)), 0);
	assert_null(kho_array_get(array, 6));
	assert_int_equal(kho_array_erase(array, 5), 0);
	assert_int_equal(kho_array_erase(array, 5), -ENOENT);
	crash();
	assert_int_equal(kho_array_count(array), 2);
}

static void what_is_no_entry_is_refused(void **state)
{
	int local;

	assert_int_equal(kho_array_set(array, 1, NULL), -EINVAL);
	assert_int_equal(kho_array_set(array, 1, (void *)(((uintptr_t)&local & ~7ULL))), -EINVAL);
	assert_int_equal(kho_array_set(array, 1, (char *)*slot + 4), -EINVAL);
	assert_int_equal(kho_array_set(array, 1, kho_arena_.base + KHO_ABI_CELLS_PA), -EINVAL);
	assert_int_equal(kho_array_count(array), 0);
	assert_null(kho_array_attach(NULL));
	assert_null(kho_array_attach((void *)&local));
	assert_null(kho_array_attach((void *)((char *)*slot + 8)));
	assert_int_equal(kho_array_init((void *)&local), -EINVAL);
}

static int sum(void *ctx, __u64 index, void *entry)
{
	__u64 *total = ctx;

	*total += kho_array_to_value(entry);
	return index == 1ULL << 60;
}

static void a_large_array_survives_and_frees_all_its_pages(void **state)
{
	uint64_t seed = test_seed();
	__u64 total = 0, all = 0, index = 0, nr = 0;
	unsigned int n = 50000;

	for (unsigned int i = 0; i < n; i++) {
		__u64 at = i % 3 ? i : test_random(&seed) >> 8;

		assert_int_equal(kho_array_set(array, at, kho_array_mk_value(i)), 0);
		all += i;
		if (!(i % 20000))
			crash();
	}
	crash();
	assert_int_equal(kho_array_count(array), n);
	assert_int_equal(kho_array_walk(array, 0, ~0ULL, false, sum, &total), 0);
	assert_int_equal(total, all);
	total = 0;
	assert_int_equal(kho_array_walk(array, 0, ~0ULL, true, sum, &total), 0);
	assert_int_equal(total, all);
	for (index = 0; kho_array_next(array, &index); index++)
		nr++;
	assert_int_equal(nr, n);
	index = ~0ULL;
	assert_non_null(kho_array_prev(array, &index));
	assert_true(struct_pages() > n * 8 / KHO_PAGE_SIZE);
	assert_int_equal(kho_array_clear(array), 0);
	assert_int_equal(struct_pages(), 0);
	crash();
	assert_int_equal(kho_array_count(array), 0);
	assert_int_equal(kho_array_set(array, 1, kho_array_mk_value(1)), 0);
	assert_int_equal(kho_array_destroy(array), 0);
	array = NULL;
	assert_int_equal(struct_pages(), 0);
	assert_int_equal(kho_publish((void **)slot, NULL, *slot), 0);
}

static void a_descriptor_may_be_part_of_an_object(void **state)
{
	struct object {
		__u64 other[3];
		struct kho_array_desc desc;
	} *object = kho_calloc(1, sizeof(*object));
	struct kho_array *part;

	assert_int_equal(kho_array_init(&object->desc), 0);
	assert_int_equal(kho_publish(kho_root("object", "test", 1), object, NULL), 0);
	part = kho_array_attach(&object->desc);
	assert_non_null(part);
	for (__u64 i = 0; i < 2000; i++)
		assert_int_equal(kho_array_set(part, i, kho_array_mk_value(i)), 0);
	kho_array_detach(part);
	crash();
	object = *kho_root("object", "test", 1);
	part = kho_array_attach(&object->desc);
	assert_non_null(part);
	assert_int_equal(kho_array_count(part), 2000);
	assert_int_equal(kho_array_destroy(part), 0);
}

static void an_array_that_is_bent_is_not_attached(void **state)
{
	struct kho_abi_array *desc = (void *)*slot;
	struct kho_abi_array was;

	assert_int_equal(kho_array_set(array, 1, kho_array_mk_value(1)), 0);
	was = *desc;
	desc->root += 64; /* not a page */
	assert_null(kho_array_attach(*slot));
	desc->root = kho_arena_.header->data_pa; /* a page of something else */
	assert_null(kho_array_attach(*slot));
	desc->root = was.root + (1ULL << 40);
	assert_null(kho_array_attach(*slot));
	*desc = was;
	desc->count = desc->next_count = 2;
	assert_null(kho_array_attach(*slot));
	assert_non_null(strstr(kho_error(), "count"));
	*desc = was;
	desc->version++;
	assert_null(kho_array_attach(*slot));
	*desc = was;
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, open_arena, close_arena)
	const struct CMUnitTest tests[] = {
		CASE(values_and_pointers_are_there_after_a_crash),
		CASE(what_is_no_entry_is_refused),
		CASE(a_large_array_survives_and_frees_all_its_pages),
		CASE(a_descriptor_may_be_part_of_an_object),
		CASE(an_array_that_is_bent_is_not_attached),
	};

	return cmocka_run_group_tests_name("array", tests, NULL, NULL);
}
