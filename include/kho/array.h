/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The process host: a sparse array from 64-bit index to an entry, which outlives the program.
 *
 *	struct kho_array_desc *desc = *slot;
 *
 *	if (!desc) {				// first time
 *		desc = kho_array_create();
 *		kho_publish(slot, desc, NULL);
 *	}
 *	array = kho_array_attach(desc);		// in every program
 *	kho_array_set(array, 1000000, kho_array_mk_value(42));
 *	kho_array_set(array, 7, object);	// a pointer into the arena
 *
 * Every update is one step to any crash, and is there for the next program without anything
 * being written out or read in. An array costs 8 to 20 bytes an entry; see docs/design.md.
 *
 * Entries are pointers into the arena, 8-byte aligned, or integers below 2^63. The array does not own
 * what pointers lead to: objects are published by other words, or by a slot of their own.
 *
 * Threads: one thread updates an array at a time, and nobody reads it meanwhile; any number
 * read while nobody writes. Who excludes whom is the caller's business.
 *
 * A handle is private: after a roll-back (KHO_THAW_ROLLED_BACK) detach, and attach again.
 */
#ifndef KHO_ARRAY_H
#define KHO_ARRAY_H

#include <kho/host.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

/* What outlives the program: an object of its own, or a part of a larger live object. Private. */
struct kho_array_desc {
	__u64 words[8];
};

struct kho_array;

static inline void *kho_array_mk_value(__u64 value)
{
	return (void *)(uintptr_t)(value << 1 | 1);
}

static inline bool kho_array_is_value(const void *entry)
{
	return (uintptr_t)entry & 1;
}

static inline __u64 kho_array_to_value(const void *entry)
{
	return (uintptr_t)entry >> 1;
}

/*
 * An empty array's descriptor, reserved: publish it. The first one in an arena makes "array-v1" a part of
 * that. Return: NULL on failure, as kho_array_init().
 */
struct kho_array_desc *kho_array_create(void);

/*
 * Make @desc, a part of a larger object, that of an empty array. Return: 0, -EINVAL, -EPERM, -EOWNERDEAD;
 * of the first in an arena: -ENOSPC (the root FDT is full), -KHO_E_INCOMPATIBLE (the predecessor, which may
 * have to go on with the arena, reads no arrays: not before kho_healthy()).
 */
int kho_array_init(struct kho_array_desc *desc);

/**
 * kho_array_attach() - open the array of a descriptor that is reachable
 *
 * Publish it first: pages are preserved as entries are set, and would be lost if the program died before
 * anything led to them.
 *
 * All of it is checked first, each page once. A reader (in a successor before it is the writer) may
 * attach as well; it sees later updates, but attaches again once it is the writer.
 *
 * Return: a handle, or NULL: kho_error() says what is wrong and where.
 */
struct kho_array *kho_array_attach(struct kho_array_desc *desc);
/* Drop a handle; NULL is allowed. */
void kho_array_detach(struct kho_array *array);

/* Erase everything, and drop the handle. The descriptor can be freed then: kho_publish(slot, NULL, desc). */
int kho_array_destroy(struct kho_array *array);

/* The entry at an index, or NULL. */
void *kho_array_get(const struct kho_array *array, __u64 index);
/*
 * Store an entry, whether or not there is one. Return: 0; -EINVAL (no pointer into the arena, or not
 * aligned); -ENOMEM; -EPERM, -EOWNERDEAD (not the writer); or a fault.
 */
int kho_array_set(struct kho_array *array, __u64 index, void *entry);
/* Return: 0, -ENOENT, -EPERM, -EOWNERDEAD, or a fault. */
int kho_array_erase(struct kho_array *array, __u64 index);
/* Erase everything, as one step. Return: as kho_array_erase(). */
int kho_array_clear(struct kho_array *array);
/* Number of entries, exact. */
__u64 kho_array_count(const struct kho_array *array);

/*
 * The first entry at *@index or above (_next), the last at *@index or below (_prev). Return: the entry and
 * *@index, or NULL. To go through an array: index = 0; then *@index + 1 each time, until NULL or
 * the end of the indices. kho_array_walk() is faster.
 */
void *kho_array_next(const struct kho_array *array, __u64 *index);
void *kho_array_prev(const struct kho_array *array, __u64 *index);

/*
 * Call @fn for every entry of [@first, @last] in ascending order, or descending if @down. Another result than
 * 0 stops. @fn may not update the array. Return: 0, what @fn returned, or a fault.
 */
int kho_array_walk(const struct kho_array *array, __u64 first, __u64 last, bool down,
		   int (*fn)(void *ctx, __u64 index, void *entry), void *ctx);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
