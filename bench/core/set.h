/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Sets of 64-bit keys that the benchmark of the core holds against each other.
 *
 *	stream	the keys of a case, in the order in which every subject gets them
 *	run	so many neighbouring keys from each key of the stream on; 1 but for set/runs64
 */
#ifndef BENCH_CORE_SET_H
#define BENCH_CORE_SET_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * struct set_case - what is put in
 * @space: keys are below this
 * @nr: keys of the stream
 * @run: neighbours from each on
 */
struct set_case {
	const char *name;
	uint64_t space;
	size_t nr;
	size_t run;
	uint64_t *keys;
};

/**
 * struct set_ops - a subject
 * @fits: does it take the case? NULL: all
 * @insert, @lookup, @erase: all @nr keys, @run from each on; @lock, if not NULL, is taken around each
 * @lookup: how many are there
 * @walk: all in order; how many
 * @bytes: of memory; NULL: what malloc counts
 * @hand_over: to another of its kind, which is dropped again; how many bytes went
 *
 * Subjects that need no lock are given one all the same, and do not take it. What is NULL is not measured.
 */
struct set_ops {
	const char *name;
	bool (*fits)(const struct set_case *c);
	void *(*make)(const struct set_case *c);
	void (*insert)(void *set, const uint64_t *keys, size_t nr, size_t run,
		       pthread_mutex_t *lock);
	size_t (*lookup)(void *set, const uint64_t *keys, size_t nr, size_t run,
			 pthread_mutex_t *lock);
	void (*erase)(void *set, const uint64_t *keys, size_t nr, size_t run,
		      pthread_mutex_t *lock);
	size_t (*walk)(void *set);
	size_t (*bytes)(void *set);
	void (*hand_over)(void *set);
	void (*drop)(void *set);
};

extern const struct set_ops set_kho, set_per_bit, set_bitmap, set_roaring, set_judy, set_std;

static inline void set_lock(pthread_mutex_t *lock)
{
	if (lock)
		pthread_mutex_lock(lock);
}

static inline void set_unlock(pthread_mutex_t *lock)
{
	if (lock)
		pthread_mutex_unlock(lock);
}

#ifdef __cplusplus
}
#endif

#endif
