/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The arena as the core sees it: pages of structures, reserved and published. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "arena_fixture.h"
#include "heap.h"
#include "page.h"
#include "preserve.h"

#define ARENA_MAX (64ULL << 20)

static const struct khoc_mem_ops *ops;
static __u64 *word; /* in a live object */

static int open_arena(void **state)
{
	arena_new(ARENA_MAX);
	ops = kho_arena_.mem.ops;
	word = kho_calloc(1, 64);
	return kho_publish(kho_root("object", "test", 1), word, NULL);
}

static int close_arena(void **state)
{
	arena_drop();
	return 0;
}

/* As after a crash: everything private is forgotten. */
static void crash(void)
{
	arena_crash();
	word = *kho_root("object", "test", 1);
}

static bool is_preserved(kho_pa_t pa)
{
	return !kho_block_check_(pa, 0, KHO_ABI_DESC_STRUCT);
}

static void reserved_page_is_zero_and_gone_after_a_crash(void **state)
{
	kho_pa_t pa = ops->alloc_page(NULL);

	assert_int_not_equal(pa, 0);
	assert_int_equal(pa % KHO_PAGE_SIZE, 0);
	for (size_t i = 0; i < KHO_PAGE_SIZE; i++)
		assert_int_equal(kho_arena_.base[pa + i], 0);
	memset(kho_arena_.base + pa, 0xff, KHO_PAGE_SIZE);
	ops->free_page(NULL, pa);
	assert_int_equal(ops->alloc_page(NULL), pa);
	assert_int_equal(kho_arena_.base[pa], 0);
	crash();
	assert_int_equal(kho_pages_discover_all_(), 0);
	assert_true(kho_pages_are_free_(pa, 1));
}

static void published_page_outlives_us_and_is_freed_by_its_successor(void **state)
{
	kho_pa_t one = ops->alloc_page(NULL), two;

	assert_int_equal(ops->publish_page(NULL, word, one, one, 0), 0);
	assert_int_equal(*word, one);
	assert_true(is_preserved(one));
	crash();
	assert_int_equal(*word, one);
	assert_true(is_preserved(one));
	two = ops->alloc_page(NULL);
	assert_int_not_equal(two, one);
	assert_int_equal(ops->publish_page(NULL, word, two | 1, two, one), 0);
	assert_int_equal(*word, two | 1);
	assert_true(is_preserved(two) && !is_preserved(one));
	assert_int_equal(ops->publish_page(NULL, word, 0, 0, two), 0);
	assert_false(is_preserved(two));
	assert_int_equal(kho_pages_discover_all_(), 0);
	assert_true(kho_pages_are_free_(one, 1) && kho_pages_are_free_(two, 1));
}

/* Nobody restores pages of structures one by one: whoever points to them owns them. */
static int count(void *ctx, kho_pa_t pa, unsigned int order, const char *what)
{
	++*(int *)ctx;
	return 0;
}

static void published_page_is_not_unclaimed(void **state)
{
	kho_pa_t pa = ops->alloc_page(NULL);
	int unclaimed = 0;

	assert_int_equal(ops->publish_page(NULL, word, pa, pa, 0), 0);
	crash();
	assert_int_equal(kho_for_each_unclaimed(count, &unclaimed), 0);
	assert_int_equal(unclaimed, 0);
	assert_int_equal(ops->publish_page(NULL, word, 0, 0, pa), 0);
}

static void operands_that_cannot_be_change_nothing(void **state)
{
	kho_pa_t pa = ops->alloc_page(NULL), folio = kho_virt_to_phys(kho_folio_alloc(0));
	void **cell = kho_root("object", "test", 1);

	*word = 7;
	assert_int_equal(kho_preserve_folio(kho_phys_to_virt(folio)), 0);
	assert_int_equal(ops->publish_page(NULL, word, 7, pa, 0), -EINVAL);
	assert_int_equal(ops->publish_page(NULL, (__u64 *)((char *)word + 4), pa, pa, 0), -EINVAL);
	assert_int_equal(ops->publish_page(NULL, (__u64 *)cell, pa, pa, 0), -EINVAL);
	assert_int_equal(ops->publish_page(NULL, &(__u64){0}, pa, pa, 0), -EINVAL);
	assert_int_equal(ops->publish_page(NULL, word, folio, folio, 0), -EINVAL);
	assert_int_equal(ops->publish_page(NULL, word, 0, 0, folio), -KHO_E_TYPE);
	assert_int_equal(ops->publish_page(NULL, word, 0, 0, pa), -KHO_E_NOT_PRESERVED);
	assert_int_equal(ops->publish_page(NULL, word, 0, 0, pa + 8), -KHO_E_ALIGN);
	assert_int_equal(*word, 7);
	assert_ptr_equal(*cell, word);
	assert_false(is_preserved(pa));
	kho_folio_put(kho_phys_to_virt(folio));
	ops->free_page(NULL, pa);
	*word = 0;
}

static void leave_record(__u64 value, __u64 fresh, __u64 stale)
{
	struct kho_abi_intent *intent = (void *)(kho_arena_.base + KHO_ABI_INTENTS_PA);

	intent->value = value;
	intent->new_object = fresh ? (uintptr_t)kho_phys_to_virt(fresh) | KHO_ABI_INTENT_PAGE : 0;
	intent->old_object = stale ? (uintptr_t)kho_phys_to_virt(stale) | KHO_ABI_INTENT_PAGE : 0;
	intent->slot = kho_virt_to_phys(word);
}

/* A hostile record names a page in the middle of something else: that stays what it is. */
static void record_of_a_page_that_is_something_else(void **state)
{
	struct folio *folio = kho_folio_alloc(1);
	kho_pa_t pa = kho_virt_to_phys(folio);

	assert_int_equal(kho_preserve_folio(folio), 0);
	*word = 5;
	for (int i = 0; i < 4; i++) {
		kho_pa_t page = pa + (i & 1 ? KHO_PAGE_SIZE : 0);

		leave_record(i & 2 ? 5 : 6, page, page);
		crash();
		assert_int_equal(kho_block_check_(pa, 1, KHO_ABI_DESC_FOLIO), 0);
		assert_false(is_preserved(pa + KHO_PAGE_SIZE));
	}
	folio = kho_restore_folio(pa);
	assert_non_null(folio);
	kho_folio_put(folio);
	*word = 0;
}

static void record_of_a_page_out_of_place_is_refused(void **state)
{
	int fd = fcntl(kho_arena_.fd, F_DUPFD_CLOEXEC, 0);

	leave_record(1, kho_arena_.header->data_pa + 16, 0);
	kho_arena_unmap_();
	assert_int_equal(kho_arena_map_(fd, true), -KHO_E_RANGE);
	assert_non_null(strstr(kho_error(), "intent record"));
	arena_new(ARENA_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reserved_page_is_zero_and_gone_after_a_crash),
		cmocka_unit_test(published_page_outlives_us_and_is_freed_by_its_successor),
		cmocka_unit_test(published_page_is_not_unclaimed),
		cmocka_unit_test(operands_that_cannot_be_change_nothing),
		cmocka_unit_test(record_of_a_page_that_is_something_else),
		cmocka_unit_test(record_of_a_page_out_of_place_is_refused),
	};

	return cmocka_run_group_tests_name("image", tests, open_arena, close_arena);
}
