/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Every instruction: block sets. The set's head is in an object at root "a"; records are the
 * numbers from 1 on, two in a block. After every instruction a successor takes the set over: it is
 * sound, has the records of before or after, and each of its blocks is preserved and nothing else.
 * See step.h.
 */
#include <kho/block.h>

#include "step.h"

#define BLOCK_RECORD 1400 /* two in a block */

struct block_node {
	struct node node;
	__u64 head;
};

static struct kho_block_set block_set;
static struct kho_block_set_it block_it;

static __u64 *block_head(void)
{
	return &((struct block_node *)*kho_root("a", "list", 1))->head;
}

static void block_append(__u64 number)
{
	char record[BLOCK_RECORD];

	memset(record, (int)number, sizeof(record));
	if (kho_block_set_it_append(&block_it, record))
		_exit(8);
}

static void setup_no_use(void)
{
	struct block_node *first;

	setup_roots();
	first = (void *)node_new(sizeof(*first), 1);
	first->head = 0;
	if (kho_publish(slot_a, first, NULL) ||
	    kho_block_set_init(&block_set, &first->head, BLOCK_RECORD))
		_exit(8);
	kho_block_set_it_init(&block_it, &block_set);
}

/* A set of @nr records, the iterator behind them. The first use in an arena takes more than others. */
static void setup_blocks(__u64 nr)
{
	setup_no_use();
	block_append(1);
	if (kho_block_set_it_pop(&block_it))
		_exit(8);
	for (__u64 i = 1; i <= nr; i++)
		block_append(i);
	info->nr = nr;
	/* Its first touch of fresh memory is not the case's affair. */
	kho_arena_.mem.ops->free_page(NULL, page_new());
}

static void setup_no_block(void)
{
	setup_blocks(0);
}

static void setup_block_with_room(void)
{
	setup_blocks(3);
}

static void setup_full_blocks(void)
{
	setup_blocks(4);
}

static void setup_five_records(void)
{
	setup_blocks(5);
}

static void setup_empty_blocks(void)
{
	setup_blocks(2);
	if (kho_block_set_grow(&block_set, 8))
		_exit(8);
}

static void op_block_append(void)
{
	block_append(info->nr + 1);
}

/* Linux's way: it counts at once, and is filled then. */
static void op_block_reserve(void)
{
	char *record = kho_block_set_it_reserve_entry(&block_it);

	if (!record)
		_exit(7);
	memset(record, (int)info->nr + 1, 8);
}

static void op_block_restore(void)
{
	struct kho_block_set set;

	if (kho_block_set_init(&set, block_head(), BLOCK_RECORD) || kho_block_set_restore(&set))
		_exit(7);
}

static void op_block_pop(void)
{
	if (kho_block_set_it_pop(&block_it))
		_exit(7);
}

static void op_block_grow(void)
{
	if (kho_block_set_grow(&block_set, 10))
		_exit(7);
}

static void op_block_shrink(void)
{
	if (kho_block_set_shrink(&block_set, info->nr))
		_exit(7);
}

static void op_block_clear(void)
{
	if (kho_block_set_clear(&block_set))
		_exit(7);
}

static void op_block_destroy(void)
{
	if (kho_block_set_destroy(&block_set))
		_exit(7);
}

/* What a successor finds. @blocks: how many; @first: the first record's number. Return: records. */
static __u64 the_records(const struct found *found, __u64 *blocks, __u64 *first)
{
	struct kho_block_set set;
	struct kho_block_set_it it;
	const unsigned char *record;
	__u64 nr = 0;

	*blocks = *first = 0;
	assert_int_equal(kho_block_set_init(&set, block_head(), BLOCK_RECORD), 0);
	if (kho_block_set_restore(&set))
		fail_msg("%s", kho_error());
	for (kho_pa_t pa = *block_head(); pa; pa = *(__u64 *)kho_phys_to_virt(pa))
		++*blocks;
	assert_int_equal(found->struct_pages, *blocks);
	kho_block_set_it_init(&it, &set);
	while ((record = kho_block_set_it_read_entry(&it))) {
		*first = nr++ ? *first : record[0];
		for (int i = 0; i < BLOCK_RECORD; i++)
			assert_int_equal(record[i], *first + nr - 1);
	}
	return nr;
}

/* One more record, whole. A block comes with its first. */
static int check_block_append(const struct found *found)
{
	__u64 blocks, first, nr = the_records(found, &blocks, &first);

	assert_true(nr == info->nr || nr == info->nr + 1);
	assert_int_equal(blocks, (nr + 1) / 2);
	return nr > info->nr;
}

/* What a record has that is counted and not filled is its user's to tell: it was 0 or the bytes of before. */
static int check_block_reserve(const struct found *found)
{
	struct kho_block_set set;
	struct kho_block_set_it it;
	__u64 nr = 0;

	assert_int_equal(found->struct_pages, 2);
	assert_int_equal(kho_block_set_init(&set, block_head(), BLOCK_RECORD), 0);
	assert_int_equal(kho_block_set_restore(&set), 0);
	kho_block_set_it_init(&it, &set);
	for (const unsigned char *record; (record = kho_block_set_it_read_entry(&it)); nr++)
		assert_true(record[0] == nr + 1 || (nr == info->nr && !record[0]));
	assert_true(nr == info->nr || nr == info->nr + 1);
	return nr > info->nr;
}

static int check_block_stays(const struct found *found)
{
	__u64 blocks, first;

	assert_int_equal(the_records(found, &blocks, &first), info->nr);
	return 0;
}

/* And one less. */
static int check_block_pop(const struct found *found)
{
	__u64 blocks, first, nr = the_records(found, &blocks, &first);

	assert_true(nr == info->nr || nr == info->nr - 1);
	assert_int_equal(blocks, (nr + 1) / 2);
	return nr < info->nr;
}

/* Block by block: the records stay. */
static int check_block_grow(const struct found *found)
{
	__u64 blocks, first;

	assert_int_equal(the_records(found, &blocks, &first), 4);
	assert_true(blocks >= 2 && blocks <= 5);
	return blocks == 5;
}

static int check_block_shrink(const struct found *found)
{
	__u64 blocks, first;

	assert_int_equal(the_records(found, &blocks, &first), 2);
	assert_true(blocks >= 1 && blocks <= 4);
	return blocks == 1;
}

/* Block by block, from the last one on; the blocks stay. */
static int check_block_clear(const struct found *found)
{
	__u64 blocks, first, nr = the_records(found, &blocks, &first);

	assert_true(nr == 5 || nr == 4 || nr == 2 || nr == 0);
	assert_true(!nr || first == 1);
	assert_int_equal(blocks, 3);
	return !nr;
}

/* Block by block, from the first one on. */
static int check_block_destroy(const struct found *found)
{
	__u64 blocks, first, nr = the_records(found, &blocks, &first);

	assert_true(nr == 5 || nr == 3 || nr == 1 || nr == 0);
	assert_true(!nr || first == 6 - nr);
	assert_int_equal(blocks, (nr + 1) / 2);
	return !nr;
}

static const struct step_case cases[] = {
	{.name = "block, first use",
	 .setup = setup_no_use,
	 .op = op_block_append,
	 .check = check_block_append,
	 .slow = true},
	{.name = "block, first",
	 .setup = setup_no_block,
	 .op = op_block_append,
	 .check = check_block_append},
	{.name = "block, append",
	 .setup = setup_block_with_room,
	 .op = op_block_append,
	 .check = check_block_append},
	{.name = "block, append one",
	 .setup = setup_full_blocks,
	 .op = op_block_append,
	 .check = check_block_append},
	{.name = "block, reserve",
	 .setup = setup_block_with_room,
	 .op = op_block_reserve,
	 .check = check_block_reserve},
	{.name = "block, restore",
	 .setup = setup_five_records,
	 .op = op_block_restore,
	 .check = check_block_stays,
	 .constant = true},
	{.name = "block, pop",
	 .setup = setup_full_blocks,
	 .op = op_block_pop,
	 .check = check_block_pop},
	{.name = "block, pop block",
	 .setup = setup_five_records,
	 .op = op_block_pop,
	 .check = check_block_pop},
	{.name = "block, grow",
	 .setup = setup_full_blocks,
	 .op = op_block_grow,
	 .check = check_block_grow},
	{.name = "block, shrink",
	 .setup = setup_empty_blocks,
	 .op = op_block_shrink,
	 .check = check_block_shrink},
	{.name = "block, clear",
	 .setup = setup_five_records,
	 .op = op_block_clear,
	 .check = check_block_clear,
	 .slow = true},
	{.name = "block, destroy",
	 .setup = setup_five_records,
	 .op = op_block_destroy,
	 .check = check_block_destroy},
};

int main(void)
{
	return step_main("step_block", cases, sizeof(cases) / sizeof(*cases));
}
