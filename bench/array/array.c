/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * bench-array: the array beside JudyL, absl::btree_map and, where indices are few, an array of C, on the
 * same streams of indices, one after the other in one process. Nanoseconds an entry; n is the rounds.
 *
 *	array/dense	0 to a million, ascending
 *	array/rand24	a million at random below 2^24
 *	array/rand36	below 2^36
 *	array/rand64	of all: every index alone
 *	array/runs64	aligned runs of 64, at random below 2^30
 *
 * Lookups are of all indices in random order, deletions of half of them in the same. lookup2_ns is with two
 * threads, each half of the indices: updates exclude each other, and are not measured so.
 * bytes_per_entry-900k and -1100k are at other numbers of entries: full nodes divide together.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "../rows.h"
#include "subject.h"

#define NR 1000000
#define NR_MORE 1100000
#define NR_LESS 900000

static uint64_t keys[NR_MORE], order[NR_MORE];
static uint64_t *buffer, buffer_words;
static struct rows rows;
static volatile uint64_t sink;

uint64_t *handover_buffer(uint64_t words)
{
	if (buffer && words <= buffer_words)
		return buffer;
	if (buffer)
		munmap(buffer, buffer_words * 8);
	buffer_words = words;
	buffer = mmap(NULL, words * 8, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (buffer == MAP_FAILED)
		abort();
	return buffer;
}

static uint64_t rng(void)
{
	static uint64_t state = 0x9e3779b97f4a7c15ULL;

	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * 0x2545f4914f6cdd1dULL;
}

enum stream { DENSE, RAND24, RAND36, RAND64, RUNS64, NR_STREAMS };

static const char *const stream_names[] = {"array/dense", "array/rand24", "array/rand36",
					   "array/rand64", "array/runs64"};

static uint64_t pick(enum stream stream, uint64_t i)
{
	switch (stream) {
	case DENSE:
		return i;
	case RAND24:
		return rng() >> 40;
	case RAND36:
		return rng() >> 28;
	case RAND64:
		return rng();
	default:
		return i % 64 ? keys[i - 1] + 1 : rng() >> 34 & ~63ULL;
	}
}

static void fill_keys(enum stream stream)
{
	for (uint64_t i = 0; i < NR_MORE; i++)
		keys[i] = pick(stream, i);
	memcpy(order, keys, sizeof(order));
	for (uint64_t i = NR - 1; i; i--) {
		uint64_t j = rng() % (i + 1), t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
}

static void *look_up_half(void *arg)
{
	const struct subject *s = arg;
	uint64_t sum = 0;

	for (uint64_t i = NR / 2; i < NR; i++)
		sum += s->get(order[i]);
	sink += sum;
	return NULL;
}

static double lookup2(const struct subject *s)
{
	double start = now_ns();
	uint64_t sum = 0;
	pthread_t other;

	if (pthread_create(&other, NULL, look_up_half, (void *)(uintptr_t)s))
		abort();
	for (uint64_t i = 0; i < NR / 2; i++)
		sum += s->get(order[i]);
	pthread_join(other, NULL);
	sink += sum;
	return (now_ns() - start) / NR;
}

enum { INSERT, LOOKUP, LOOKUP2, WALK, HANDOVER, BYTES, DELETE, NR_METRICS };

static const struct {
	const char *name;
	const char *unit;
} metrics[] = {{"insert_ns", "ns"}, {"lookup_ns", "ns"},   {"lookup2_ns", "ns"},
	       {"walk_ns", "ns"},   {"handover_us", "us"}, {"bytes_per_entry", "B"},
	       {"delete_ns", "ns"}};

static void one_round(const struct subject *s, struct row **row, uint64_t limit, uint64_t distinct)
{
	double t[4];
	uint64_t sum = 0;

	s->make(limit);
	t[0] = now_ns();
	for (uint64_t i = 0; i < NR; i++)
		s->set(keys[i], keys[i] << 1 | 1);
	t[1] = now_ns();
	for (uint64_t i = 0; i < NR; i++)
		sum += s->get(order[i]);
	t[2] = now_ns();
	sum += s->walk();
	t[3] = now_ns();
	row_add(row[INSERT], (t[1] - t[0]) / NR);
	row_add(row[LOOKUP], (t[2] - t[1]) / NR);
	row_add(row[WALK], (t[3] - t[2]) / (double)distinct);
	row_add(row[LOOKUP2], lookup2(s));
	row_add(row[BYTES], (double)s->bytes() / (double)distinct);
	row_add(row[HANDOVER], s->handover() / 1e3);
	for (uint64_t i = 0; i < NR; i++)
		if (s->get(order[i]) != (order[i] << 1 | 1))
			abort();
	t[0] = now_ns();
	for (uint64_t i = 0; i < NR / 2; i++)
		s->erase(order[i]);
	row_add(row[DELETE], (now_ns() - t[0]) / (NR / 2));
	s->destroy();
	sink += sum;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static uint64_t distinct_of(uint64_t nr)
{
	static uint64_t sorted[NR_MORE];
	uint64_t distinct = 1;

	memcpy(sorted, keys, nr * 8);
	qsort(sorted, nr, 8, by_value);
	for (uint64_t i = 1; i < nr; i++)
		distinct += sorted[i] != sorted[i - 1];
	return distinct;
}

static void bytes_at(const char *name, const char *metric, uint64_t nr)
{
	struct row *row = row_new(&rows, name, subject_kho.name, metric, "B");

	subject_kho.make(0);
	for (uint64_t i = 0; i < nr; i++)
		subject_kho.set(keys[i], 1);
	row_add(row, (double)subject_kho.bytes() / (double)distinct_of(nr));
	subject_kho.destroy();
}

int main(int argc, char **argv)
{
	static const struct subject *const subjects[] = {&subject_kho, &subject_judy,
							 &subject_btree, &subject_plain};
	unsigned int rounds = argc > 2 ? (unsigned int)atoi(argv[2]) : 5;

	for (unsigned int stream = 0; stream < NR_STREAMS; stream++) {
		struct row *row[4][NR_METRICS];
		uint64_t limit = stream == DENSE    ? NR
				 : stream == RAND24 ? 1 << 24
						    : ~0ULL,
			 distinct;

		fill_keys(stream);
		distinct = distinct_of(NR);
		for (unsigned int i = 0; i < 4; i++)
			for (unsigned int m = 0; m < NR_METRICS; m++)
				if (!subjects[i]->keys_below || limit <= subjects[i]->keys_below)
					row[i][m] = row_new(&rows, stream_names[stream],
							    subjects[i]->name, metrics[m].name,
							    metrics[m].unit);
		for (unsigned int round = 0; round < rounds; round++)
			for (unsigned int i = 0; i < 4; i++)
				if (!subjects[i]->keys_below || limit <= subjects[i]->keys_below)
					one_round(subjects[i], row[i], limit, distinct);
		if (stream == RAND36 || stream == RAND64) {
			bytes_at(stream_names[stream], "bytes_per_entry-900k", NR_LESS);
			bytes_at(stream_names[stream], "bytes_per_entry-1100k", NR_MORE);
		}
	}
	return rows_write(&rows, argc > 1 ? argv[1] : "core-array.json");
}
