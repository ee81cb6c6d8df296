/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Block sets in the arena: written, left by a crash, taken over; and everything that is refused. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <kho/block.h>

#include "arena_fixture.h"
#include "page.h"
#include "preserve.h"

#define ARENA_MAX (64ULL << 20)

struct record {
	__u64 number;
	char text[72];
};

struct table {
	__u64 head;
	__u64 other;
	__u64 pad[6];
};

static struct table *table;
static struct kho_block_set set;
static struct kho_block_set_it it;

static int open_arena(void **state)
{
	arena_new(ARENA_MAX);
	table = kho_calloc(1, sizeof(*table));
	if (kho_publish(kho_root("table", "test", 1), table, NULL))
		return -1;
	return kho_block_set_init(&set, &table->head, sizeof(struct record));
}

static int close_arena(void **state)
{
	arena_drop();
	return 0;
}

/* As after a crash: the next program finds the set from its root. */
static void crash(void)
{
	arena_crash();
	table = *kho_root("table", "test", 1);
	assert_int_equal(kho_block_set_init(&set, &table->head, sizeof(struct record)), 0);
	assert_int_equal(kho_block_set_restore(&set), 0);
}

static struct record record_of(__u64 number)
{
	struct record record = {.number = number};

	snprintf(record.text, sizeof(record.text), "record %llu", (unsigned long long)number);
	return record;
}

static __u64 nr_pages(void)
{
	struct khoc_block block;
	unsigned int type, order;
	__u64 nr = 0;

	for (kho_pa_t pos = 0; khoc_radix_next(&kho_arena_.tree, pos, ARENA_MAX, &block);) {
		assert_int_equal(kho_block_desc_(block.pa, &type, &order), 0);
		nr += type == KHO_ABI_DESC_STRUCT;
		pos = block.pa + (KHO_PAGE_SIZE << order);
	}
	return nr;
}

static void expect_records(__u64 nr)
{
	const struct record *entry;
	__u64 i = 0;

	kho_block_set_it_init(&it, &set);
	while ((entry = kho_block_set_it_read_entry(&it))) {
		struct record want = record_of(i++);

		assert_memory_equal(entry, &want, sizeof(want));
	}
	assert_int_equal(kho_block_set_it_error(&it), 0);
	assert_int_equal(i, nr);
}

static void append(__u64 first, __u64 end)
{
	for (__u64 i = first; i < end; i++) {
		struct record record = record_of(i);

		assert_int_equal(kho_block_set_it_append(&it, &record), 0);
	}
}

/* Records of 80 bytes, as Linux's sessions: 51 a page. */
static void records_outlive_a_crash(void **state)
{
	assert_true(kho_block_set_is_empty(&set));
	kho_block_set_it_init(&it, &set);
	append(0, 150);
	assert_int_equal(nr_pages(), 3);
	assert_int_equal(kho_block_set_head_pa(&set), table->head);
	crash();
	assert_int_equal(nr_pages(), 3);
	expect_records(150);
	append(150, 160);
	crash();
	assert_int_equal(nr_pages(), 4);
	expect_records(160);
	assert_int_equal(kho_block_set_it_end(&it, &set), 0);
	for (__u64 i = 160; i-- > 100;)
		assert_int_equal(kho_block_set_it_pop(&it), 0);
	assert_int_equal(nr_pages(), 2);
	crash();
	expect_records(100);
	assert_int_equal(kho_block_set_destroy(&set), 0);
	assert_int_equal(table->head, 0);
	assert_int_equal(nr_pages(), 0);
	crash();
	expect_records(0);
	assert_int_equal(kho_block_set_it_pop(&it), -ENOENT);
}

/* Linux's order of calls. */
static void grow_and_reserve(void **state)
{
	struct record *entry;

	assert_int_equal(kho_block_set_grow(&set, 120), 0);
	assert_int_equal(nr_pages(), 3);
	crash(); /* blocks without records are no fault, and no leak */
	assert_int_equal(nr_pages(), 3);
	expect_records(0);
	kho_block_set_it_init(&it, &set);
	for (__u64 i = 0; i < 60; i++) {
		entry = kho_block_set_it_reserve_entry(&it);
		assert_non_null(entry);
		*entry = record_of(i);
	}
	assert_ptr_equal(kho_block_set_it_prev(&it), entry);
	expect_records(60);
	assert_int_equal(kho_block_set_shrink(&set, 60), 0);
	assert_int_equal(nr_pages(), 2);
	crash();
	expect_records(60);
	assert_int_equal(kho_block_set_clear(&set), 0);
	assert_int_equal(nr_pages(), 2);
	expect_records(0);
	assert_int_equal(kho_block_set_destroy(&set), 0);
	assert_int_equal(nr_pages(), 0);
}

/* A word of a block can be the head of another set. */
static void sets_in_records_of_a_set(void **state)
{
	struct kho_block_set inner;
	struct kho_block_set_it inner_it;
	__u64 zeros[10] = {0}, *head, value = 17, *found;

	kho_block_set_it_init(&it, &set);
	assert_int_equal(kho_block_set_it_append(&it, zeros), 0);
	kho_block_set_it_init(&it, &set);
	head = (__u64 *)kho_block_set_it_read_entry(&it) + 3;
	assert_int_equal(kho_block_set_init(&inner, head, 8), 0);
	kho_block_set_it_init(&inner_it, &inner);
	assert_int_equal(kho_block_set_it_append(&inner_it, &value), 0);
	crash();
	kho_block_set_it_init(&it, &set);
	head = (__u64 *)kho_block_set_it_read_entry(&it) + 3;
	assert_int_equal(kho_block_set_init(&inner, head, 8), 0);
	assert_int_equal(kho_block_set_restore(&inner), 0);
	kho_block_set_it_init(&inner_it, &inner);
	found = kho_block_set_it_read_entry(&inner_it);
	assert_int_equal(*found, 17);
	assert_int_equal(kho_block_set_destroy(&inner), 0);
	assert_int_equal(kho_block_set_destroy(&set), 0);
	assert_int_equal(nr_pages(), 0);
}

static void heads_and_sizes_that_cannot_be(void **state)
{
	struct kho_block_set bad;
	__u64 ours = 0;

	assert_int_equal(kho_block_set_init(&bad, &ours, 8), -EINVAL);
	assert_non_null(strstr(kho_error(), "head"));
	assert_int_equal(kho_block_set_init(&bad, (__u64 *)((char *)&table->head + 4), 8), -EINVAL);
	assert_int_equal(kho_block_set_init(&bad, NULL, 8), -EINVAL);
	assert_int_equal(kho_block_set_init(&bad, (__u64 *)kho_root("table", "test", 1), 8),
			 -EINVAL);
	assert_int_equal(kho_block_set_init(&bad, &table->other, 0), -EINVAL);
	assert_non_null(strstr(kho_error(), "1 to 4080"));
	assert_int_equal(kho_block_set_init(&bad, &table->other, 4081), -EINVAL);
	assert_int_equal(kho_block_set_init(&bad, &table->other, 4080), 0);
}

static void too_many_and_out_of_place(void **state)
{
	struct record record = record_of(0);

	assert_int_equal(kho_block_set_grow(&set, 51 * 10000 + 1), -ENOSPC);
	assert_non_null(strstr(kho_error(), "10000"));
	kho_block_set_it_init(&it, &set);
	append(0, 2);
	kho_block_set_it_init(&it, &set);
	assert_int_equal(kho_block_set_it_append(&it, &record), -EINVAL);
	assert_int_equal(kho_block_set_it_pop(&it), -EINVAL);
	assert_non_null(strstr(kho_error(), "end"));
	assert_int_equal(kho_block_set_restore(&set), -EBUSY);
	assert_int_equal(kho_block_set_destroy(&set), 0);
}

/* 64 MiB are full before there are 20,000 blocks: nothing is lost, and nothing left behind. */
static void full_arena(void **state)
{
	__u64 before = kho_pages_used_(), n = 0;
	struct kho_block_set big;
	struct kho_block_set_it at;
	static const char entry[4080];
	int rc;

	assert_int_equal(kho_block_set_init(&big, &table->other, 4080), 0);
	kho_block_set_it_init(&at, &big);
	while (n < 9000 && !(rc = kho_block_set_it_append(&at, entry)))
		n++;
	assert_int_equal(n, 9000);
	/* The rest goes to folios. */
	while (kho_folio_alloc(0))
		;
	assert_int_equal(kho_block_set_it_append(&at, entry), -ENOMEM);
	assert_non_null(strstr(kho_error(), "full"));
	assert_int_equal(kho_block_set_grow(&big, 9001), -ENOMEM);
	assert_int_equal(kho_block_set_destroy(&big), 0);
	crash();
	assert_int_equal(kho_pages_discover_all_(), 0);
	assert_true(kho_pages_used_() <= before);
}

/* What the last program left is checked, and said; it stays as it is. */
static void chains_that_are_refused(void **state)
{
	struct kho_abi_block *block;
	struct folio *folio = kho_folio_alloc(0);
	char place[48];
	kho_pa_t pa;

	kho_block_set_it_init(&it, &set);
	append(0, 60);
	pa = table->head;
	block = kho_phys_to_virt(pa);
	assert_int_equal(kho_block_set_init(&set, &table->head, sizeof(struct record)), 0);
	block->count = 52;
	assert_int_equal(kho_block_set_restore(&set), -KHO_E_RANGE);
	assert_non_null(strstr(kho_error(), "block: count"));
	block->count = 51;
	table->head = pa + 8;
	assert_int_equal(kho_block_set_restore(&set), -KHO_E_ALIGN);
	snprintf(place, sizeof(place),
		 "block: head at %#llx:", (unsigned long long)kho_virt_to_phys(&table->head));
	assert_non_null(strstr(kho_error(), place));
	/* Not preserved; then preserved, as something else. */
	table->head = kho_virt_to_phys(folio);
	memset(folio, 0, KHO_PAGE_SIZE);
	assert_int_equal(kho_block_set_restore(&set), -KHO_E_NOT_PRESERVED);
	assert_int_equal(kho_preserve_folio(folio), 0);
	assert_int_equal(kho_block_set_restore(&set), -KHO_E_TYPE);
	assert_true(kho_block_set_is_empty(&set));
	table->head = pa;
	assert_int_equal(kho_block_set_restore(&set), 0);
	expect_records(60);
	/* And overwritten later. */
	pa = block->next;
	block->next = 1;
	kho_block_set_it_init(&it, &set);
	for (int i = 0; i < 51; i++)
		assert_non_null(kho_block_set_it_read_entry(&it));
	assert_null(kho_block_set_it_read_entry(&it));
	assert_int_equal(kho_block_set_it_error(&it), -KHO_E_ALIGN);
	assert_non_null(strstr(kho_error(), "block: next"));
	assert_int_equal(kho_block_set_it_end(&it, &set), -KHO_E_ALIGN);
	assert_int_equal(kho_block_set_clear(&set), -KHO_E_RANGE);
	assert_non_null(strstr(kho_error(), "overwritten"));
	block->next = pa;
	assert_int_equal(kho_block_set_destroy(&set), 0);
	kho_folio_put(folio);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(records_outlive_a_crash, open_arena, close_arena),
		cmocka_unit_test_setup_teardown(grow_and_reserve, open_arena, close_arena),
		cmocka_unit_test_setup_teardown(sets_in_records_of_a_set, open_arena, close_arena),
		cmocka_unit_test_setup_teardown(heads_and_sizes_that_cannot_be, open_arena,
						close_arena),
		cmocka_unit_test_setup_teardown(too_many_and_out_of_place, open_arena, close_arena),
		cmocka_unit_test_setup_teardown(full_arena, open_arena, close_arena),
		cmocka_unit_test_setup_teardown(chains_that_are_refused, open_arena, close_arena),
	};

	return cmocka_run_group_tests_name("block", tests, NULL, NULL);
}
