/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The KHO array: a sparse array from 64-bit index to an entry, read in place by the successor.
 *
 * An update (set, erase, clear) is one step to any crash, count included: after each single store
 * of the writer a reader in the next program finds the array as before or as after the update,
 * and no page is lost. Nothing has to be repaired before reading; what a crash left half
 * done is finished by the next update.
 *
 * One writer at a time, and no reader beside it: whoever calls excludes the others. Any number
 * of readers while nobody writes. A handle belongs to one program; only the descriptor and the
 * pages outlive it. A second handle must not write.
 *
 * The descriptor is its user's: a part of larger memory, or a page of its own. Publish it, so
 * that it is reachable, before the first entry is set: pages are preserved as they are linked to it.
 */
#ifndef KHO_CORE_ARRAY_H
#define KHO_CORE_ARRAY_H

#include <stdbool.h>

#include <kho/abi/array.h>
#include <kho/core/image.h>
#include <kho/core/report.h>

/* ---- entries ---- */

/* @value is below 2^63. */
static inline __u64 khoc_array_integer(__u64 value)
{
	return value << 1 | KHO_ABI_ARRAY_INTEGER;
}

static inline bool khoc_array_is_integer(__u64 entry)
{
	return entry & KHO_ABI_ARRAY_INTEGER;
}

static inline __u64 khoc_array_to_integer(__u64 entry)
{
	return entry >> 1;
}

/**
 * struct khoc_array - a handle
 *
 * Private, but for @desc_pa. The leaf used last speeds the next update up; the trend tells
 * ascending and descending orders of insertion from others.
 */
struct khoc_array {
	const struct khoc_mem *mem;
	struct kho_abi_array *desc;
	kho_pa_t desc_pa;
	unsigned int shift;
	int trend;
	__u64 last_index;
	kho_pa_t leaf_pa;
	struct kho_abi_array_node *leaf;
	__u64 leaf_lo;
	__u64 leaf_last;
};

/**
 * khoc_array_init() - an empty array
 * @desc_pa: where the descriptor is to be, aligned to 8 bytes; overwritten
 *
 * Return: 0; -EINVAL (page size); -KHO_E_RANGE, -KHO_E_ALIGN (@desc_pa).
 */
int khoc_array_init(struct khoc_array *array, const struct khoc_mem *mem, unsigned int shift,
		    kho_pa_t desc_pa);

/**
 * khoc_array_attach() - open an array that is there
 * @report: filled in on an error, if not NULL
 *
 * Checks the descriptor alone and writes nothing: an array of doubtful origin needs
 * khoc_array_validate() as well, before anything is set.
 *
 * Return: 0, -EINVAL, or a negative fault.
 */
int khoc_array_attach(struct khoc_array *array, const struct khoc_mem *mem, unsigned int shift,
		      kho_pa_t desc_pa, struct khoc_report *report);

/**
 * khoc_array_get() - the entry at an index
 * Return: the entry, or 0: none. Nodes that are corrupt hold none.
 */
__u64 khoc_array_get(const struct khoc_array *array, __u64 index);

/**
 * khoc_array_set() - store an entry, whether or not there is one
 * @entry: of khoc_array_integer(), or an address in the image, 8-byte aligned, not 0
 *
 * Return: 0; -EINVAL (@entry); -ENOMEM; -ENOSPC (too many levels: with tiny pages alone); or a
 * fault of a corrupt node. On an error the entry is as it was.
 */
int khoc_array_set(struct khoc_array *array, __u64 index, __u64 entry);

/* Erase an entry. Never for want of memory does it fail. Return: 0, -ENOENT, or a fault. */
int khoc_array_erase(struct khoc_array *array, __u64 index);

/*
 * Erase everything, as one step, and free all pages; those that cannot be freed for want of memory with a
 * later update. Return: 0; -ENOMEM (such pages of an earlier call are there); or a fault.
 */
int khoc_array_clear(struct khoc_array *array);

/**
 * khoc_array_destroy() - as khoc_array_clear(); then the descriptor is none any more
 *
 * The descriptor's memory stays its user's. Return: 0; -ENOMEM (it is empty, and still an array); or a fault.
 */
int khoc_array_destroy(struct khoc_array *array);

/* Number of entries; exact at any time, after a crash as well. */
__u64 khoc_array_count(const struct khoc_array *array);

/**
 * khoc_array_next() - the first entry at @index or above
 * @index: in: where to start; out: where it is
 * @entry: filled in
 *
 * Return: 1; 0: none; or a negative fault. khoc_array_prev() looks downwards.
 */
int khoc_array_next(const struct khoc_array *array, __u64 *index, __u64 *entry);
int khoc_array_prev(const struct khoc_array *array, __u64 *index, __u64 *entry);

/**
 * struct khoc_array_cursor - what of a node is there, in order, from either end
 *
 * Private.
 */
struct khoc_array_cursor {
	const __u64 *values;
	const void *keys;
	__u64 base;
	unsigned int width;
	unsigned int at; /* of the sorted ones, or all of a leaf without keys: [at, end) */
	unsigned int end;
	unsigned int tail_at; /* of order[]: [tail_at, tail_end) */
	unsigned int tail_end;
	__u16 order[KHO_ABI_ARRAY_TAIL];
};

/**
 * struct khoc_array_iter - a walk
 *
 * Private. Updates of the array end it: start another behind the last index.
 */
struct khoc_array_iter {
	const struct khoc_array *array;
	__u64 first;
	__u64 last;
	__u64 budget;
	bool more;
	struct khoc_array_cursor cursor;
};

/**
 * khoc_array_iter_init() - start a walk over the indices [@first, @last]
 *
 * khoc_array_iter_next() goes up, khoc_array_iter_prev() down: a walk uses one of them.
 *
 * Return of these: 1 and an entry; 0 at the end; or a negative fault. A walk ends, however the
 * nodes are bent.
 */
void khoc_array_iter_init(struct khoc_array_iter *iter, const struct khoc_array *array, __u64 first,
			  __u64 last);
int khoc_array_iter_next(struct khoc_array_iter *iter, __u64 *index, __u64 *entry);
int khoc_array_iter_prev(struct khoc_array_iter *iter, __u64 *index, __u64 *entry);

/**
 * struct khoc_array_check - what to hold an array against
 * @data_lo, @data_hi: where its pages may lie: [lo, hi), page aligned
 * @seen: scratch memory, one bit for each page of [data_lo, data_hi), zeroed by the caller. Bits of
 *	the array's pages are set: arrays checked with the same memory share none
 * @pages, @entries: filled in on success
 */
struct khoc_array_check {
	kho_pa_t data_lo;
	kho_pa_t data_hi;
	__u64 *seen;
	__u64 pages;
	__u64 entries;
};

/**
 * khoc_array_validate() - is this array sound?
 *
 * Each page is read once, so the time is bounded by [data_lo, data_hi) whatever the bytes are.
 * Of entries that are addresses: aligned, and inside the image. Ghosts and dead keys are nothing.
 *
 * Return: 0, or a negative fault that @report, if not NULL, explains: KHO_E_ALIGN, KHO_E_RANGE, KHO_E_CYCLE
 * (a node's address), KHO_E_STATE (level, width, numbers of keys), KHO_E_FORMAT (keys that do not
 * ascend; a first separator that is not where the range begins; an entry; reserved fields),
 * KHO_E_DUPLICATE (a key twice), KHO_E_RANGE (counts; an entry's address; the word of an update that is
 * going on is of no leaf).
 */
int khoc_array_validate(const struct khoc_array *array, struct khoc_array_check *check,
			struct khoc_report *report);

#endif
