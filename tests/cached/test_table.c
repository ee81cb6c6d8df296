/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The table against a plain model: through growth, crashes and threads. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena_fixture.h"
#include "table.h"

#define MIB (1ULL << 20)
#define KEYS 20000

static struct tally sums;
static uint64_t seed;
static __u32 model[KEYS]; /* the value, or 0 */

static struct table *open_table(bool counted)
{
	void **slot = kho_root("cache", "cached-table", 1);

	assert_non_null(slot);
	assert_int_equal(table_make(slot), 0);
	table_attach(*slot, counted);
	return *slot;
}

static int fresh(void **state)
{
	arena_new(512 * MIB);
	memset(model, 0, sizeof(model));
	memset(&sums, 0, sizeof(sums));
	open_table(true);
	return 0;
}

static int drop(void **state)
{
	arena_drop();
	return 0;
}

/* Keys of 1 to 250 bytes, with zeros in them. */
static unsigned int make_key(char *key, unsigned int number)
{
	unsigned int len = 4 + number % 13 + (number % 97 == 0 ? 230 : 0);

	memset(key, 0, 256);
	memcpy(key, &number, sizeof(number));
	return len;
}

static void lock_key(struct place *place, char *key, unsigned int number)
{
	unsigned int len = make_key(key, number);

	table_lock(place, key, len, table_hash(key, len));
}

static __u32 value_of(const struct item *item)
{
	return item ? item->flags : 0;
}

static void put(unsigned int number, __u32 value, struct tally *tally)
{
	struct place place;
	struct item *item;
	char key[256];

	lock_key(&place, key, number);
	item = kho_calloc(1, sizeof(*item) + 256 + value % 50);
	assert_non_null(item);
	item->nkey = make_key(key, number);
	item->flags = value;
	item->nbytes = value % 50;
	memcpy(item->data, key, item->nkey);
	assert_int_equal(table_put(&place, item, tally), 0);
	table_unlock(&place);
}

static void erase(unsigned int number, struct tally *tally)
{
	struct place place;
	char key[256];

	lock_key(&place, key, number);
	if (place.item)
		table_delete(&place, tally);
	table_unlock(&place);
}

static __u32 get(unsigned int number)
{
	struct place place;
	char key[256];
	__u32 value;

	lock_key(&place, key, number);
	value = value_of(place.item);
	table_unlock(&place);
	return value;
}

static void check(__u64 items)
{
	struct table_report report;

	if (table_check(&report))
		fail_msg("%s", report.fault);
	assert_int_equal(report.items, items);
	assert_int_equal(report.items, sums.items);
	assert_int_equal(report.bytes, sums.bytes);
}

static __u64 check_model(void)
{
	__u64 items = 0;

	for (unsigned int i = 0; i < KEYS; i++) {
		if (get(i) != model[i])
			fail_msg("key %u: %u is not %u", i, get(i), model[i]);
		items += model[i] != 0;
	}
	check(items);
	return items;
}

static void one(void)
{
	unsigned int number = test_random(&seed) % KEYS;

	if (test_random(&seed) % 3) {
		model[number] = (__u32)test_random(&seed) | 1;
		put(number, model[number], &sums);
	} else {
		model[number] = 0;
		erase(number, &sums);
	}
}

static void crash(void)
{
	arena_crash();
	memset(&sums, 0, sizeof(sums));
	open_table(false);
}

static void agrees_with_the_model(void **state)
{
	for (int i = 0; i < 60000; i++) {
		one();
		if (i % 3 == 0)
			table_grow_step(sums.items);
		if (i % 20000 == 19999)
			check_model();
	}
	assert_true(table_buckets() > BASE_BUCKETS * 4);
}

/* What was reserved is gone, nothing else; the sums come back while others change the table. */
static void survives_crashes(void **state)
{
	for (int round = 0; round < 8; round++) {
		for (int i = 0; i < 4000; i++) {
			one();
			table_grow_step(sums.items);
		}
		crash();
		for (int i = 0; i < 3000 || table_counting(); i++) {
			one();
			table_count_step(&sums);
			if (round % 2)
				table_grow_step(KEYS);
		}
		check_model();
	}
}

/* Growth stopped at every one of its stores. */
static void half_spliced_buckets_are_repaired(void **state)
{
	struct table *table = table_get();
	__u64 *bucket, *pred, next;

	for (unsigned int i = 0; i < 3000; i++)
		put(i, model[i] = i + 1, &sums);
	while (table->splice < BASE_BUCKETS + 100)
		table_grow_step(BASE_BUCKETS + 1);
	for (int linked = 0; linked < 2; linked++) {
		/* Take one back, wholly or but for the last store. */
		bucket = (__u64 *)table->segment[0] + table->splice - BASE_BUCKETS - 1;
		next = *bucket;
		for (pred = &table->base[(table->splice - 1) % BASE_BUCKETS];
		     *pred != ((__u64)bucket | 1); pred = (__u64 *)*pred)
			;
		if (!linked)
			*pred = next;
		table->splice--;
		crash();
		while (table_count_step(&sums))
			;
		table = table_get();
		check_model();
		assert_int_equal(table->splice, BASE_BUCKETS + (linked ? 128 : 128));
	}
}

/* The checker is worth nothing if it does not see these. */
static void the_checker_sees_damage(void **state)
{
	struct table_report report;
	struct table *table = table_get();
	struct item *first = NULL, *second;
	__u64 kept;
	unsigned int list;

	for (unsigned int i = 0; i < 8000; i++)
		put(i, i + 1, &sums);
	for (list = 0; list < BASE_BUCKETS; list++) {
		first = (struct item *)table->base[list];
		if (!((__u64)first & 1) && !(first->next & 1))
			break;
	}
	second = (struct item *)first->next;
	check(8000);
	kept = first->next;
	first->next = 0;
	assert_int_not_equal(table_check(&report), 0);
	first->next = (__u64)&table->base[list] | 1;
	assert_int_not_equal(table_check(&report), 0);
	first->next = kept;
	kept = second->next;
	second->next = (__u64)first; /* a circle */
	assert_int_not_equal(table_check(&report), 0);
	second->next = kept;
	first->data[0] ^= 1;
	assert_int_not_equal(table_check(&report), 0);
	first->data[0] ^= 1;
	first->nbytes += 1 << 20;
	assert_int_not_equal(table_check(&report), 0);
	first->nbytes -= 1 << 20;
	check(8000);
}

/* ---- threads ---- */

static bool running;

static void *changer(void *arg)
{
	uint64_t mine = (uint64_t)arg * 7919 + seed;
	unsigned int first = (uintptr_t)arg * (KEYS / 4);
	struct tally tally = {0, 0};

	for (int i = 0; i < 20000; i++) {
		unsigned int number = first + test_random(&mine) % (KEYS / 4);
		__u32 value = (__u32)test_random(&mine) | 1;

		if (get(number) != model[number])
			abort();
		if (value % 4)
			put(number, model[number] = value, &tally);
		else
			erase(number, &tally), model[number] = 0;
		get(test_random(&mine) % KEYS);
	}
	__atomic_add_fetch(&sums.bytes, tally.bytes, __ATOMIC_RELAXED);
	__atomic_add_fetch(&sums.items, tally.items, __ATOMIC_RELAXED);
	return NULL;
}

static void *grower(void *arg)
{
	struct table_report report;

	while (__atomic_load_n(&running, __ATOMIC_RELAXED)) {
		for (int i = 0; i < 50; i++)
			table_grow_step(16000);
		if (table_check(&report))
			abort();
	}
	return NULL;
}

static void threads_do_not_disturb_each_other(void **state)
{
	pthread_t thread[5];

	running = true;
	assert_int_equal(pthread_create(&thread[4], NULL, grower, NULL), 0);
	for (uintptr_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, changer, (void *)i), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	__atomic_store_n(&running, false, __ATOMIC_RELAXED);
	pthread_join(thread[4], NULL);
	check_model();
}

static bool odd(void *ctx, struct item *item)
{
	++*(unsigned int *)ctx;
	return item->flags & 1;
}

static void visits_see_each_item_once(void **state)
{
	unsigned int seen = 0;

	for (unsigned int i = 0; i < 5000; i++)
		put(i, i + 1, &sums);
	for (int i = 0; i < 300; i++)
		table_grow_step(5000);
	for (__u64 bucket = 0; bucket < table_buckets(); bucket++)
		table_visit(bucket, odd, &seen, &sums);
	assert_int_equal(seen, 5000);
	check(2500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(agrees_with_the_model, fresh, drop),
		cmocka_unit_test_setup_teardown(survives_crashes, fresh, drop),
		cmocka_unit_test_setup_teardown(half_spliced_buckets_are_repaired, fresh, drop),
		cmocka_unit_test_setup_teardown(the_checker_sees_damage, fresh, drop),
		cmocka_unit_test_setup_teardown(visits_see_each_item_once, fresh, drop),
		cmocka_unit_test_setup_teardown(threads_do_not_disturb_each_other, fresh, drop),
	};

	seed = test_seed();
	return cmocka_run_group_tests_name("cached-table", tests, NULL, NULL);
}
