/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The hash table in the arena, and the locks around it, which are not.
 */
#ifndef CACHED_TABLE_H
#define CACHED_TABLE_H

#include <stdbool.h>

#include "layout.h"

/* What a thread has added since it last told the global sums. */
struct tally {
	__s64 bytes;
	__s64 items;
};

/* Its owner adds, anybody may look. */
static inline void tally_add(struct tally *tally, __s64 bytes, __s64 items)
{
	__atomic_store_n(&tally->bytes, tally->bytes + bytes, __ATOMIC_RELAXED);
	__atomic_store_n(&tally->items, tally->items + items, __ATOMIC_RELAXED);
}

/**
 * struct place - where a key is, or would be; its lock is held
 * @pred: the list word before it
 * @item: it, or NULL
 */
struct place {
	__u64 *pred;
	struct item *item;
	__u64 sort;
	unsigned int stripe;
};

/* Make an empty table in @slot, if there is none. Return: 0, -ENOMEM. */
int table_make(void **slot);

/* Before the arena is ours: private memory is touched, so that table_attach() does not fault. */
void table_prepare(void);

/**
 * table_attach() - use @table from here on
 * @counted: its sums are right; otherwise items are counted by table_count_step()
 *
 * No thread may be in any function of this file.
 */
void table_attach(struct table *table, bool counted);

/* The table in use. */
struct table *table_get(void);

__u64 table_hash(const char *key, unsigned int nkey);

/* Find a key and lock its place, until table_unlock(). */
void table_lock(struct place *place, const char *key, unsigned int nkey, __u64 hash);
void table_unlock(const struct place *place);

/* Insert a reserved @item, or replace @place's with it. Return: 0; an error of kho_publish_tagged(). */
int table_put(struct place *place, struct item *item, struct tally *tally);

/* Delete and free @place's item. */
void table_delete(struct place *place, struct tally *tally);

/* Go through one bucket; @fn says what to delete. Return: items seen. */
unsigned int table_visit(__u64 bucket, bool (*fn)(void *ctx, struct item *item), void *ctx,
			 struct tally *tally);

/* Buckets now; a power of two. */
__u64 table_buckets(void);

/**
 * table_grow_step() - do a little towards doubling the table
 * @items: double it when there are more than buckets
 *
 * One thread only. Return: true if there is more to do at once.
 */
bool table_grow_step(__u64 items);

/* Forget the memory that table_grow_step() reserved: it is gone. */
void table_grow_reset(void);

/* Count a few more items after a crash. One thread only. Return: false when all are counted. */
bool table_count_step(struct tally *tally);

/* Are there items that do not count yet? */
bool table_counting(void);

struct table_report {
	__u64 items;
	__u64 bytes;
	__u64 spliced;
	__u64 segments;
	char fault[160];
};

/* Walk everything, locking a list at a time. Return: 0, or -EINVAL and @report->fault. */
int table_check(struct table_report *report);

#endif
