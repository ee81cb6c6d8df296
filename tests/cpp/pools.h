/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * kho::pool for tests and tools in C, on an arena that they mapped themselves; and pools in every state that a
 * death can leave, the same every time: what the golden image, the tests of corruption and the fuzzer start from.
 *
 *	full		six blocks of several sizes and alignments; one more came and went
 *	empty		made, and nothing more
 *	died-adding	as full; died in an update, when another block was in the ring, and the one behind did not know
 *	died-removing	as full; died when the third was out of the ring, and the one behind it did not know
 *	died-emptying	the same, of an only block
 *	died-updating	as full, in an update
 */
#ifndef TESTS_CPP_POOLS_H
#define TESTS_CPP_POOLS_H

#include <kho/abi/pool.h>
#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define POOLS_NR 6
#define POOLS_TOP_SIZE 48
#define POOLS_TAG                                                                                  \
	"A BLOCK" /* what a block begins with; then its number and its size, 8 bytes each */

extern const char *const pools_names[POOLS_NR];

/* What was thrown. @error: 0, a negative errno, or, with the other members, that of a kho::pool_fault. */
struct pools_why {
	int error;
	int fault;
	__u64 at;
	__u64 value;
	char field[24];
	char text[240];
};

/* One at a time: the one before is closed. Type "pool", version 1. */
int pools_open(const char *name, struct pools_why *why);
void pools_close(void);
bool pools_torn(void);
int pools_drop(struct pools_why *why);
/* The first object, POOLS_TOP_SIZE bytes, or NULL. */
void *pools_top(struct pools_why *why);
/* Each in an update of its own. */
void *pools_allocate(size_t size, size_t alignment, struct pools_why *why);
void pools_deallocate(void *p, size_t size, size_t alignment);
/* The pool itself. */
struct kho_abi_pool *pools_head(const char *name);

/* All of those above, in the open, owned arena. Return: 0, or -1. */
int pools_fill(struct pools_why *why);

#ifdef __cplusplus
}
#endif

#endif
