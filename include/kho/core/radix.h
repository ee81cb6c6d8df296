/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The preserved-memory tree: "radix-v1". */
#ifndef KHO_CORE_RADIX_H
#define KHO_CORE_RADIX_H

#include <stdbool.h>

#include <kho/abi/radix.h>
#include <kho/core/image.h>
#include <kho/core/report.h>

/**
 * struct khoc_radix - a preserved-memory tree
 *
 * Set up by khoc_radix_init() or khoc_radix_attach(); its fields are private.
 *
 * khoc_radix_add*, _del*, _test, _lookup, _next* and _count* may run in any number of
 * threads at once on one tree. Each store leaves a valid tree. _prune and _destroy
 * need exclusion from everything else.
 *
 * @size, @node_lo, @node_nr, @linear and @top are short cuts for 4 KiB pages and a linear
 * image: what was last read of @mem, and for the lower orders the address of the
 * lowest table that has all blocks of that order below it, with its level added.
 * They hold as long as the image only grows and no table is freed: khoc_radix_prune()
 * renews them, and every other struct khoc_radix on the same tree must be attached again.
 */
#define KHOC_RADIX_NR_TOPS 24
struct khoc_radix {
	const struct khoc_mem *mem;
	kho_pa_t root_pa;
	void *root;
	unsigned int shift;
	__u64 size;
	__u64 node_lo;
	__u64 node_nr;
	void *linear;
	__u64 top[KHOC_RADIX_NR_TOPS];
};

/* A block: 2^order pages at pa, which is aligned to their size. */
struct khoc_block {
	kho_pa_t pa;
	unsigned int order;
};

/* @nr neighbouring blocks of one order, the first at @pa. */
struct khoc_run {
	kho_pa_t pa;
	__u64 nr;
	unsigned int order;
};

/**
 * khoc_key() - the key of a block
 * @shift: log2 of the page size
 * @pa: address; bits below the block's size are ignored
 * @order: log2 of the pages, at most khoc_max_order(@shift)
 */
__u64 khoc_key(unsigned int shift, kho_pa_t pa, unsigned int order);

/**
 * khoc_key_decode() - the block of a key
 * Return: 0, or -KHO_E_KEY if no order bit, or one above that of order 0, is set.
 */
int khoc_key_decode(unsigned int shift, __u64 key, struct khoc_block *block);

/* Largest order whose block can still have an address: 63 - shift. */
unsigned int khoc_max_order(unsigned int shift);

/**
 * khoc_radix_init() - make an empty tree
 * @tree: filled in
 * @mem: the image; must outlive @tree
 * @shift: log2 of the page size, KHO_ABI_PAGE_SHIFT_MIN to _MAX
 *
 * Return: 0, -EINVAL (page size, or a node region that is not page aligned), -ENOMEM (no
 * node for the root).
 */
int khoc_radix_init(struct khoc_radix *tree, const struct khoc_mem *mem, unsigned int shift);

/**
 * khoc_radix_attach() - use the tree that is already there
 * @root_pa: its root; checked to be an aligned page inside the node region
 *
 * The rest of the tree is not judged: see khoc_radix_validate(). Every later step
 * through it is bounded all the same.
 *
 * Return: 0, -EINVAL (as khoc_radix_init()), -KHO_E_ALIGN, -KHO_E_RANGE.
 */
int khoc_radix_attach(struct khoc_radix *tree, const struct khoc_mem *mem, unsigned int shift,
		      kho_pa_t root_pa);

/*
 * Free every node, the root too. Needs exclusion. @tree is unusable afterwards. It must be
 * one of our own making, or have passed khoc_radix_validate(): in others a node with two
 * parents would be freed twice.
 */
void khoc_radix_destroy(struct khoc_radix *tree);

/**
 * khoc_radix_add() - mark one block
 *
 * Marking twice is marking once. Blocks of other orders on the same pages are not
 * looked for.
 *
 * Return: 0; -EINVAL (@pa not aligned to the block, order too large, block not all
 * inside the image); -ENOMEM (no node; nothing changed but for empty nodes);
 * -KHO_E_RANGE or -KHO_E_ALIGN (a corrupt node on the way).
 */
int khoc_radix_add(struct khoc_radix *tree, kho_pa_t pa, unsigned int order);

/* Clear one block. Return: as khoc_radix_add(); a block that is not marked is no error. */
int khoc_radix_del(struct khoc_radix *tree, kho_pa_t pa, unsigned int order);

/* Is exactly this block marked? False, too, for a block that cannot be. */
bool khoc_radix_test(const struct khoc_radix *tree, kho_pa_t pa, unsigned int order);

/**
 * struct khoc_radix_reserve - nodes set aside for adds that must not fail
 * @pa: the nodes
 * @nr: how many are left
 */
struct khoc_radix_reserve {
	kho_pa_t pa[18];
	unsigned int nr;
};

/**
 * khoc_radix_reserve_fill() - set aside enough nodes for one add of any key
 * Return: 0, or -ENOMEM (what was taken stays in @reserve).
 */
int khoc_radix_reserve_fill(struct khoc_radix *tree, struct khoc_radix_reserve *reserve);

/* Give back what is left. */
void khoc_radix_reserve_drain(struct khoc_radix *tree, struct khoc_radix_reserve *reserve);

/**
 * khoc_radix_add_reserved() - as khoc_radix_add(), allocating from @reserve only
 *
 * Cannot return -ENOMEM after a successful khoc_radix_reserve_fill(). @reserve belongs to
 * one thread.
 */
int khoc_radix_add_reserved(struct khoc_radix *tree, kho_pa_t pa, unsigned int order,
			    struct khoc_radix_reserve *reserve);

/**
 * khoc_radix_add_range() - mark @nr neighbouring blocks of one order
 *
 * A word of the bitmap at a time. On -ENOMEM the blocks before the missing node are
 * marked; khoc_radix_del_range() takes all of it back.
 *
 * Return: as khoc_radix_add().
 */
int khoc_radix_add_range(struct khoc_radix *tree, kho_pa_t pa, __u64 nr, unsigned int order);

/* Clear @nr neighbouring blocks of one order. Never allocates. */
int khoc_radix_del_range(struct khoc_radix *tree, kho_pa_t pa, __u64 nr, unsigned int order);

/**
 * khoc_radix_split() - the next block of a range of pages, split as Linux 7.2 splits it
 * @pa: start of what is left, page aligned
 * @nr_pages: how many pages are left, not 0
 *
 * The largest block that @pa is aligned to and that fits. Callers step by the
 * result's size; there is no other way to find the same blocks again.
 *
 * Return: the order.
 */
unsigned int khoc_radix_split(unsigned int shift, kho_pa_t pa, __u64 nr_pages);

/**
 * khoc_radix_add_pages() - mark @nr_pages pages, split by khoc_radix_split()
 * Return: as khoc_radix_add(); on an error what this call marked is cleared again, and
 * what was marked before stays.
 */
int khoc_radix_add_pages(struct khoc_radix *tree, kho_pa_t pa, __u64 nr_pages);

/* Clear what khoc_radix_add_pages() with the same operands marked. */
int khoc_radix_del_pages(struct khoc_radix *tree, kho_pa_t pa, __u64 nr_pages);

/**
 * khoc_radix_reorder() - change the order that pages are marked with
 * @pa, @nr_pages: a range aligned to both orders
 * @from, @to: the orders
 *
 * Sets the new keys before it clears the old: a reader that takes the union of all
 * orders never sees the pages unmarked.
 *
 * Return: as khoc_radix_add(); on an error the old keys stay and the new are cleared.
 */
int khoc_radix_reorder(struct khoc_radix *tree, kho_pa_t pa, __u64 nr_pages, unsigned int from,
		       unsigned int to);

/**
 * khoc_radix_lookup() - which block covers this address?
 * @block: filled in with the largest marked block that covers @pa
 *
 * Return: true if there is one.
 */
bool khoc_radix_lookup(const struct khoc_radix *tree, kho_pa_t pa, struct khoc_block *block);

/**
 * khoc_radix_next() - the first preserved block at or after an address, of any order
 * @pa: where to start; a block that begins before @pa does not count
 * @end: where to stop: only blocks that begin below it count
 * @block: filled in; of several at one address, the largest
 *
 * Return: true if there is one.
 */
bool khoc_radix_next(const struct khoc_radix *tree, kho_pa_t pa, kho_pa_t end,
		     struct khoc_block *block);

/**
 * struct khoc_radix_iter - a walk by runs, resumable: copy it to remember a place
 *
 * Private but for khoc_radix_iter_init(), _next() and _error().
 */
struct khoc_radix_iter {
	const struct khoc_radix *tree;
	kho_pa_t lo;
	kho_pa_t hi;
	unsigned int order_min;
	unsigned int order_max;
	__u64 key;
	bool done;
	int error;
};

/**
 * khoc_radix_iter_init() - start a walk
 * @lo, @hi: only blocks that share bytes with [@lo, @hi)
 * @order_min, @order_max: only these orders
 */
void khoc_radix_iter_init(struct khoc_radix_iter *iter, const struct khoc_radix *tree, kho_pa_t lo,
			  kho_pa_t hi, unsigned int order_min, unsigned int order_max);

/**
 * khoc_radix_iter_next() - the next run
 * @run: filled in: as many neighbouring blocks of one order as there are
 *
 * From the largest order to the smallest, each by ascending address. What other
 * threads change meanwhile may or may not be seen.
 *
 * Keys of no block of the image are not looked at: khoc_radix_validate() finds them. So the
 * time of a walk is bounded by the image's size, however the tree is bent.
 *
 * Return: true if there was one; false at the end, or at a corrupt node: then
 * khoc_radix_iter_error() says -KHO_E_RANGE or -KHO_E_ALIGN.
 */
bool khoc_radix_iter_next(struct khoc_radix_iter *iter, struct khoc_run *run);

static inline int khoc_radix_iter_error(const struct khoc_radix_iter *iter)
{
	return iter->error;
}

/**
 * khoc_radix_walk() - call @fn for every run that shares bytes with [@lo, @hi)
 * @fn: a non-zero result stops the walk
 *
 * Return: 0, what @fn returned, or the error of khoc_radix_iter_error().
 */
int khoc_radix_walk(const struct khoc_radix *tree, kho_pa_t lo, kho_pa_t hi,
		    int (*fn)(void *ctx, const struct khoc_run *run), void *ctx);

/**
 * khoc_radix_union() - which pages of a range are in any block of any order?
 * @pa: start, aligned to 64 pages
 * @nr_pages: a multiple of 64
 * @bitmap: @nr_pages bits, overwritten: bit i is page i of the range
 *
 * Pages outside the image are in none.
 *
 * Return: 0, -EINVAL (alignment), or the walk's error.
 */
int khoc_radix_union(const struct khoc_radix *tree, kho_pa_t pa, __u64 nr_pages, __u64 *bitmap);

/* What a tree holds. @blocks[order] for each order; pages counts a page once per block it is in. */
struct khoc_radix_counts {
	__u64 tables;
	__u64 leaves;
	__u64 pages;
	__u64 blocks[64];
};

/* Count blocks that begin in [@lo, @hi) (tables and leaves: of the whole tree). Return: as khoc_radix_walk(). */
int khoc_radix_count(const struct khoc_radix *tree, kho_pa_t lo, kho_pa_t hi,
		     struct khoc_radix_counts *counts);

/* Free nodes in which nothing is marked, as khoc_radix_destroy() would. Return: how many were freed. */
__u64 khoc_radix_prune(struct khoc_radix *tree);

/**
 * khoc_radix_nodes() - call @fn for every node, parents before children
 * @fn: (ctx, pa, level); a non-zero result stops
 *
 * Bounded: at most one visit per node page of the image, however the tree is bent.
 *
 * Return: 0, what @fn returned, or a fault.
 */
int khoc_radix_nodes(const struct khoc_radix *tree, int (*fn)(void *ctx, kho_pa_t pa, int level),
		     void *ctx);

/**
 * struct khoc_radix_check - what to hold a tree against
 * @data_lo, @data_hi: where preserved blocks may lie: [lo, hi)
 * @seen: scratch memory, one bit for each page of [mem->node_lo, mem->node_hi), zeroed by the
 *	caller; on success the bits of all nodes of the tree are set
 */
struct khoc_radix_check {
	kho_pa_t data_lo;
	kho_pa_t data_hi;
	__u64 *seen;
};

/**
 * khoc_radix_validate() - is this tree sound?
 *
 * Every node aligned, in the node region, reached once; every key that of a block that
 * lies whole in [data_lo, data_hi). Each node is read once, so the time is bounded by the
 * node region whatever the bytes are.
 *
 * Blocks of different orders on the same pages are accepted: khoc_radix_reorder() makes
 * them for a moment.
 *
 * A fault of a word of a table is reported with the word's address and its table's level:
 * KHO_E_ALIGN, KHO_E_RANGE or KHO_E_CYCLE (@value: the child), KHO_E_KEY (@value: the first
 * key below a word that leads to none). Of a leaf, with the address of the bitmap's word:
 * KHO_E_KEY (@value: a key that no block of the image has), KHO_E_OVERLAP (@value: start or
 * end of a block outside [data_lo, data_hi)). Nodes without a mark are no fault.
 *
 * Return: 0, or a negative fault that @report, if not NULL, explains.
 */
int khoc_radix_validate(const struct khoc_radix *tree, const struct khoc_radix_check *check,
			struct khoc_report *report);

#endif
