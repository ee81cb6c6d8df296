/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Block sets: records of one size, in the order in which they were added, in a chain of pages of
 * the arena. Linux's names, and Linux's bytes ("block-v1").
 *
 *	struct table { __u64 log; ... } *table;		// lives in the heap, reachable from a root
 *
 *	kho_block_set_init(&set, &table->log, sizeof(struct entry));
 *	kho_block_set_restore(&set);			// what the last program left, if anything
 *	kho_block_set_it_init(&it, &set);
 *	while ((entry = kho_block_set_it_read_entry(&it)))
 *		...
 *	kho_block_set_it_append(&it, &fresh);
 *
 * Two ways to write. Linux's: kho_block_set_grow(), then kho_block_set_it_reserve_entry() for each;
 * it is counted at once, and filled by the caller. Ours: kho_block_set_it_append(), where a kill at
 * any instant leaves the record whole or not there. In both the next program finds a sound set that
 * has all its pages and no others.
 *
 * A set and its iterators are private to the program; the blocks are not. Destroy a set before
 * the object that its head lies in is freed. A hand-over that fails after the grant forgets what is
 * private: initialise and restore again. One thread at a time for a set and its iterators.
 */
#ifndef KHO_BLOCK_H
#define KHO_BLOCK_H

#include <stdbool.h>
#include <stddef.h>

#include <kho/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

/* A set, and a position in one: private, and not to be copied. */
struct kho_block_set {
	__u64 private_words[12];
};

struct kho_block_set_it {
	__u64 private_words[16];
};

/**
 * kho_block_set_init() - a set without blocks
 * @head: where the first block's address is kept: an aligned word of a live object, or of preserved
 *	memory; 0 for a new set. Not the slot of a root. (Linux keeps it in the set, and its caller
 *	in what it hands over. Here the next program has to find it at any instant.)
 * @entry_size: bytes of a record
 *
 * Return: 0, -EINVAL (@head is not in the arena or not aligned, or no record fits a block).
 */
int kho_block_set_init(struct kho_block_set *bs, __u64 *head, size_t entry_size);

/**
 * kho_block_set_restore() - take over the chain that the head names
 *
 * All of it is checked first. May be called in a rehearsal, too.
 *
 * Return: 0; -EBUSY (the set has blocks); a fault: the set stays without blocks, and they stay what
 * they were.
 */
int kho_block_set_restore(struct kho_block_set *bs);

/**
 * kho_block_set_grow() - have room for @count records in all
 * The first block in an arena, by this or by kho_block_set_it_append(), makes "block-v1" a part of that.
 *
 * Return: 0, -ENOMEM, -ENOSPC (more than 10,000 blocks; the root FDT has no room for the part), -EPERM,
 * -EOWNERDEAD, -KHO_E_INCOMPATIBLE (the part is not there, and the predecessor, which may have to go on
 * with the arena, does not read it: not before kho_healthy()): nothing changed.
 */
int kho_block_set_grow(struct kho_block_set *bs, __u64 count);

/*
 * Free the blocks that @count records do not need, all blocks but the last being full. Records go
 * in the reverse order of coming. Iterators are invalid after it. Return: 0 or negative.
 */
int kho_block_set_shrink(struct kho_block_set *bs, __u64 count);

/* Free all blocks. Return: 0 or negative. */
int kho_block_set_destroy(struct kho_block_set *bs);

/* Forget all records and keep the blocks. Return: 0 or negative. */
int kho_block_set_clear(struct kho_block_set *bs);

/* pa of the first block; 0 without one. */
kho_pa_t kho_block_set_head_pa(const struct kho_block_set *bs);
bool kho_block_set_is_empty(const struct kho_block_set *bs);

/* Before the first record. */
void kho_block_set_it_init(struct kho_block_set_it *it, struct kho_block_set *bs);

/* Behind the last record. Return: 0 or a fault. */
int kho_block_set_it_end(struct kho_block_set_it *it, struct kho_block_set *bs);

/* The next record, NULL behind the last. It may be aligned to nothing. */
void *kho_block_set_it_read_entry(struct kho_block_set_it *it);

/* The next record, to be filled; counted at once. NULL: the blocks are full. */
void *kho_block_set_it_reserve_entry(struct kho_block_set_it *it);

/* One record back; NULL before the first. It still counts. */
void *kho_block_set_it_prev(struct kho_block_set_it *it);

/**
 * kho_block_set_it_append() - add a record at the end, as one step to any crash
 * @it: at the end: read up to it, or made by kho_block_set_it_end(), or moved by this since
 *
 * Return: as kho_block_set_grow(); -EINVAL (not at the end); or a fault.
 */
int kho_block_set_it_append(struct kho_block_set_it *it, const void *entry);

/**
 * kho_block_set_it_pop() - remove the last record, as one step to any crash
 * @it: at the end. Its block goes with the last record in it.
 *
 * Return: 0, -ENOENT (there is none), -EINVAL (not at the end), -EPERM, -EOWNERDEAD, or a fault.
 */
int kho_block_set_it_pop(struct kho_block_set_it *it);

/* Why an iterator gave NULL. Return: 0 at the end, or a fault that kho_error() explains. */
int kho_block_set_it_error(const struct kho_block_set_it *it);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
