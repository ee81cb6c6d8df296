/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What bench-array compares: maps from a 64-bit index to a word. */
#ifndef BENCH_ARRAY_SUBJECT_H
#define BENCH_ARRAY_SUBJECT_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * struct subject - a map; values are not 0, and odd
 * @keys_below: the largest index that it can take and fit the machine, plus one; 0: any
 * @make: an empty one, for keys below @keys_below that are below @limit
 * @bytes: memory that it has
 * @handover: what it takes until a successor can use it: serialised and loaded, or attached.
 *	Return: nanoseconds; afterwards the successor's is in use.
 */
struct subject {
	const char *name;
	uint64_t keys_below;
	void (*make)(uint64_t limit);
	void (*set)(uint64_t index, uint64_t value);
	uint64_t (*get)(uint64_t index);
	void (*erase)(uint64_t index);
	uint64_t (*walk)(void); /* sum of values, in order of indices */
	uint64_t (*bytes)(void);
	double (*handover)(void);
	void (*destroy)(void);
};

extern const struct subject subject_kho, subject_judy, subject_btree, subject_plain;

/* A buffer as large as what is serialised, whose pages are there. */
uint64_t *handover_buffer(uint64_t words);

#ifdef __cplusplus
}
#endif

#endif
