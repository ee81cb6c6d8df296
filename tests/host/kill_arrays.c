/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Kills: a sparse array for each thread, filled and emptied so that nodes of all forms are
 * divided and merged. Keys are numbered: the first half are neighbours, the others anywhere.
 */
#include <errno.h>

#include <kho/array.h>

#include "kill.h"

static struct kho_array *arrays[THREADS];

static __u64 key_of(unsigned int i)
{
	__u64 z = (i + 1) * 0x9e3779b97f4a7c15ULL;

	if (i < KEYS / 2)
		return i + 100;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	return z ^ z >> 27;
}

/* One in four is a pointer. */
static void *entry_of(__u64 seq)
{
	if (!seq)
		return NULL;
	return seq >> 8 & 3 ? kho_array_mk_value(seq)
			    : kho_arena_.base + the_log->blob + (seq >> 10 & 255) * 8;
}

/* ---- the writer's ---- */

static void change_key(unsigned int t, unsigned int i, bool erase)
{
	struct array_model *model = &the_log->array[t];
	struct flight *f = &the_log->flight[t];
	int rc;

	if (erase && !model->seq[i])
		return;
	f->kind = ARRAY_SET;
	f->index = i;
	f->seq = erase ? 0 : next_seq(t);
	if (entry_of(f->seq) == entry_of(model->seq[i]))
		return; /* one could not tell */
	phase(f, 1);
	rc = erase ? kho_array_erase(arrays[t], key_of(i))
		   : kho_array_set(arrays[t], key_of(i), entry_of(f->seq));
	CHECK(!rc || (rc == -ENOMEM && !erase), "array: %d", rc);
	done(t, !rc);
}

static void make(unsigned int t)
{
	struct flight *f = &the_log->flight[t];
	struct kho_array_desc *desc = kho_array_create();

	if (!desc)
		return;
	f->kind = ARRAY_MAKE;
	phase(f, 1);
	CHECK(!kho_publish(&heads[t].array, desc, NULL), "array's descriptor");
	done(t, true);
	arrays[t] = kho_array_attach(desc);
	CHECK(arrays[t], "array");
}

static void clear(unsigned int t, bool drop)
{
	struct flight *f = &the_log->flight[t];

	f->kind = ARRAY_CLEAR;
	phase(f, 1);
	CHECK(!(drop ? kho_array_destroy(arrays[t]) : kho_array_clear(arrays[t])), "clear");
	done(t, true);
	if (!drop)
		return;
	arrays[t] = NULL;
	f->kind = ARRAY_DROP;
	phase(f, 1);
	CHECK(!kho_publish(&heads[t].array, NULL, heads[t].array), "array's descriptor");
	done(t, true);
}

/* A while up, a while down, so that the array is full and empty in turns. */
static void change_array(unsigned int t, uint64_t r)
{
	bool down = the_log->next_seq[t] >> 12 & 1;
	uint64_t rng = r;

	if (!arrays[t]) {
		make(t);
		return;
	}
	if (r % 512 < 2) {
		clear(t, r % 512);
		return;
	}
	for (unsigned int n = 1 + (r >> 8) % 60; n; n--) {
		uint64_t k = test_random(&rng);

		if (r >> 20 & 3) /* not at random: one after the other */
			k = (k & ~0xffffffffULL) | (unsigned int)(r >> 22 & 1 ? r + n : r - n);
		change_key(t, (unsigned int)k % KEYS, (k >> 32) % 8 < (down ? 6 : 1));
	}
}

/* ---- the model ---- */

static void apply_array(unsigned int t, const struct flight *f)
{
	struct array_model *model = &the_log->array[t];

	switch (f->kind) {
	case ARRAY_SET:
		model->seq[f->index] = f->seq;
		break;
	case ARRAY_CLEAR:
		memset(model->seq, 0, sizeof(model->seq));
		break;
	default:
		model->there = f->kind == ARRAY_MAKE;
	}
}

/* The array as the next process finds it, all of it checked. */
static struct kho_array *array_of(unsigned int t)
{
	if (!arrays[t])
		arrays[t] = kho_array_attach(heads[t].array);
	CHECK(arrays[t], "array %u", t);
	return arrays[t];
}

static bool array_happened(unsigned int t, const struct flight *f)
{
	const struct array_model *model = &the_log->array[t];
	const void *is;

	switch (f->kind) {
	case ARRAY_SET:
		is = kho_array_get(array_of(t), key_of(f->index));
		CHECK(is == entry_of(f->seq) || is == entry_of(model->seq[f->index]),
		      "array %u, key %u: neither before nor after", t, f->index);
		return is == entry_of(f->seq);
	case ARRAY_CLEAR:
		for (unsigned int i = 0; i < KEYS; i++)
			if (model->seq[i])
				return !kho_array_get(array_of(t), key_of(i));
		return true;
	default:
		return !!heads[t].array == (f->kind == ARRAY_MAKE);
	}
}

/* ---- what the next process finds ---- */

/* Its pages, those that are being freed with them. No page is of two arrays. */
static __u64 pages_of(unsigned int t)
{
	static __u64 seen[ARENA_MAX / KHO_PAGE_SIZE / 64];
	struct khoc_array_check check = {
		.data_lo = kho_arena_.header->data_pa, .data_hi = kho_file_size_(), .seen = seen};
	struct khoc_report report;
	struct khoc_array core;

	CHECK(!khoc_array_attach(&core, &kho_arena_.mem, KHO_PAGE_SHIFT,
				 kho_virt_to_phys(heads[t].array), &report),
	      "array %u", t);
	CHECK(!khoc_array_validate(&core, &check, &report), "array %u: %s", t, report.field);
	return check.pages;
}

static int count_one(void *ctx, __u64 index, void *entry)
{
	++*(__u64 *)ctx;
	return 0;
}

static void check_array(unsigned int t, struct sums *sums)
{
	const struct array_model *model = &the_log->array[t];
	__u64 nr = 0, walked = 0;

	CHECK(!heads[t].array == !model->there, "array %u: %p", t, heads[t].array);
	if (!model->there)
		return;
	for (unsigned int i = 0; i < KEYS; i++) {
		CHECK(kho_array_get(array_of(t), key_of(i)) == entry_of(model->seq[i]),
		      "array %u, key %u: not what was acknowledged", t, i);
		nr += model->seq[i] != 0;
	}
	CHECK(kho_array_count(arrays[t]) == nr, "array %u: %llu entries, not %llu", t,
	      kho_array_count(arrays[t]), nr);
	CHECK(!kho_array_walk(arrays[t], 0, ~0ULL, t & 1, count_one, &walked) && walked == nr,
	      "array %u: a walk finds %llu of %llu entries", t, walked, nr);
	sums->struct_pages += pages_of(t);
	sums->items++;
}

const struct kill_subject kill_arrays = {.share = 34,
					 .change = change_array,
					 .apply = apply_array,
					 .happened = array_happened,
					 .check = check_array};
