/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Block sets: records of one size in a chain of pages, "block-v1".
 *
 * Two ways to write. Linux's: grow the set to what will be needed, then reserve records one after
 * the other; a record is counted before it is filled. And ours: append, which counts a record
 * when it is whole, and links a block when its first record is in it. In both, after every store
 * the chain is one that khoc_block_check() accepts, and each of its pages is preserved. A chain
 * that was only appended to and popped has no empty block, as Linux 7.2's reader wants it; after
 * khoc_block_set_grow() there are some at its end until they are written or shrunk away.
 *
 * One thread at a time for a set and its iterators.
 */
#ifndef KHO_CORE_BLOCK_H
#define KHO_CORE_BLOCK_H

#include <stdbool.h>
#include <stddef.h>

#include <kho/abi/block.h>
#include <kho/core/image.h>
#include <kho/core/report.h>

struct khoc_radix;

/**
 * struct khoc_block_chain - blocks to be read
 * @mem: the image; must outlive the chain
 * @shift: log2 of the page size, KHO_ABI_PAGE_SHIFT_MIN to _MAX
 * @entry_size: bytes of a record; not 0, and one fits a block
 * @head: pa of the first block; 0: no block
 * @head_at: where in the image @head is written, for reports; 0 if nowhere
 */
struct khoc_block_chain {
	const struct khoc_mem *mem;
	unsigned int shift;
	__u64 entry_size;
	kho_pa_t head;
	kho_pa_t head_at;
};

/* What a check counted. @tail: pa of the last block. */
struct khoc_block_counts {
	__u64 blocks;
	__u64 entries;
	kho_pa_t tail;
};

/**
 * khoc_block_check() - is this a chain that can be read?
 * @chain: contents of the blocks are untrusted
 * @tree: if not NULL, every block must be preserved there
 * @counts: if not NULL, filled in; up to the fault, if there is one
 *
 * Each address is a page of the image, no block is reached twice, there are at most
 * KHO_ABI_BLOCKS_MAX, none holds more records than fit, and one without records has none with
 * records behind it. (Linux 7.2 refuses every block without records. It can write one all the
 * same.) Time is bounded by KHO_ABI_BLOCKS_MAX, memory is not needed.
 *
 * Return: 0, -EINVAL (page or record size), or a fault that @report, if not NULL, explains.
 */
int khoc_block_check(const struct khoc_block_chain *chain, const struct khoc_radix *tree,
		     struct khoc_block_counts *counts, struct khoc_report *report);

/**
 * struct khoc_block_set - a chain that can be written
 *
 * Set up by khoc_block_set_init(); fields are private.
 */
struct khoc_block_set {
	struct khoc_block_chain chain;
	__u64 *slot;
	__u64 per_block;
	__u64 nr_blocks;
	kho_pa_t tail;
};

/**
 * khoc_block_set_init() - a set without blocks
 * @set: filled in
 * @slot: the word that keeps the first block's address; must outlive @set. Where a crash must lose
 *	nothing it lies in preserved memory. It is left alone until the first block is linked; for a
 *	set that is not to be restored it must be 0.
 * @entry_size: bytes of a record
 *
 * Return: 0, -EINVAL (page size; a record of 0 bytes or larger than a block).
 */
int khoc_block_set_init(struct khoc_block_set *set, const struct khoc_mem *mem, unsigned int shift,
			__u64 *slot, __u64 entry_size);

/**
 * khoc_block_set_restore() - take over the chain that the slot names
 * @set: initialised and without blocks
 * @tree: as for khoc_block_check()
 *
 * The chain is checked, then used where it is. A set that is refused stays without blocks, and the
 * blocks stay what they were.
 *
 * Return: as khoc_block_check().
 */
int khoc_block_set_restore(struct khoc_block_set *set, const struct khoc_radix *tree,
			   struct khoc_report *report);

/**
 * khoc_block_set_grow() - have room for @count records in all
 * Return: 0, -ENOMEM, -ENOSPC (more than KHO_ABI_BLOCKS_MAX blocks): nothing changed.
 */
int khoc_block_set_grow(struct khoc_block_set *set, __u64 count);

/**
 * khoc_block_set_shrink() - free the blocks that @count records do not need
 *
 * Counts as Linux does: all blocks but the last are taken to be full. Iterators are invalid after
 * it.
 *
 * Return: 0, -ENOMEM (publish_page could not; what was freed is freed), or a fault of the chain.
 */
int khoc_block_set_shrink(struct khoc_block_set *set, __u64 count);

/* Free all blocks. Return: as khoc_block_set_shrink(). */
int khoc_block_set_destroy(struct khoc_block_set *set);

/**
 * khoc_block_set_clear() - forget all records, and keep the blocks
 *
 * From the last block to the first, each record zeroed after it stopped to count.
 *
 * Return: 0, or a fault of the chain.
 */
int khoc_block_set_clear(struct khoc_block_set *set);

/* pa of the first block, 0 without one. */
static inline kho_pa_t khoc_block_set_head_pa(const struct khoc_block_set *set)
{
	return set->chain.head;
}

/* Are there no blocks? */
static inline bool khoc_block_set_is_empty(const struct khoc_block_set *set)
{
	return !set->chain.head;
}

/**
 * struct khoc_block_it - a position between two records
 *
 * @block: pa of the block; 0 before the first
 * @at: where in the image that address is written
 * @i: records of the block before the position
 * @steps: blocks entered, which bounds every walk
 * @report: why it cannot go on; read with khoc_block_it_error()
 */
struct khoc_block_it {
	const struct khoc_block_chain *chain;
	struct khoc_block_set *set;
	kho_pa_t block;
	kho_pa_t at;
	__u64 i;
	__u64 steps;
	struct khoc_report report;
};

/* Before the first record of a chain that is only read. @chain must outlive @it. */
void khoc_block_it_init_read(struct khoc_block_it *it, const struct khoc_block_chain *chain);

/* Before the first record. */
void khoc_block_it_init(struct khoc_block_it *it, struct khoc_block_set *set);

/* Behind the last record. Return: 0 or a fault of the chain. */
int khoc_block_it_init_end(struct khoc_block_it *it, struct khoc_block_set *set);

/**
 * khoc_block_it_read() - the next record
 *
 * Blocks without records are passed over; behind the last record the position stays where it is.
 * Every step is bounded, also in a chain that was never checked.
 *
 * Return: its address, aligned to nothing; NULL behind the last, or when khoc_block_it_error() says
 * why.
 */
void *khoc_block_it_read(struct khoc_block_it *it);

/* The pa of the record before the position; there must be one. */
kho_pa_t khoc_block_it_pa(const struct khoc_block_it *it);

/**
 * khoc_block_it_reserve() - the next record, to be written
 *
 * It is counted at once, and those behind it in the same block do not count any more.
 *
 * Return: its address; NULL if the set's blocks are full, or when khoc_block_it_error() says why.
 */
void *khoc_block_it_reserve(struct khoc_block_it *it);

/**
 * khoc_block_it_prev() - one record back
 *
 * Nothing is uncounted: the next khoc_block_it_reserve() gives the same record again. Crossing into
 * the block before takes time in proportion to the blocks.
 *
 * Return: the record that is now behind the position; NULL before the first.
 */
void *khoc_block_it_prev(struct khoc_block_it *it);

/**
 * khoc_block_it_append() - add a record at the end
 * @it: at the end: read up to it, or made by khoc_block_it_init_end(), or moved by this or
 *	khoc_block_it_pop() since
 * @entry: its bytes
 *
 * One step to any crash: a record is there whole or not at all. Takes a page when the last block is
 * full.
 *
 * Return: 0, -ENOMEM, -ENOSPC (KHO_ABI_BLOCKS_MAX blocks), -EINVAL (not at the end), or a fault of
 * the chain.
 */
int khoc_block_it_append(struct khoc_block_it *it, const void *entry);

/**
 * khoc_block_it_pop() - remove the last record
 * @it: at the end, as for khoc_block_it_append()
 *
 * One step to any crash. The block goes with its last record.
 *
 * Return: 0, -ENOENT (no record), -EINVAL (not at the end), -ENOMEM (publish_page could not), or a
 * fault of the chain.
 */
int khoc_block_it_pop(struct khoc_block_it *it);

/* Why an iterator ended. Return: 0 at the end of the records, or a fault that @report explains. */
int khoc_block_it_error(const struct khoc_block_it *it, struct khoc_report *report);

#endif
