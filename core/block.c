/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Block sets: records of one size in a chain of pages.
 *
 * After every store to a page that the chain reaches, the chain is sound and loses no page: blocks
 * come and go by publish_page alone; a record is counted by one store, and bytes that do not count
 * are nobody's. Iterators check each block again when they enter it, and each count when they use
 * it.
 *
 *	link	the word that has a block's address: the set's slot, or the block before's next
 *	entry	a record
 */
#include "blocks.h"

/*
 * Blocks whose addresses are held at once while going backwards: half the stack that a function may
 * have.
 */
#define CLEAR_WINDOW 64

static u64 div_up(u64 n, u64 by)
{
	return n / by + !!(n % by);
}

/* ---- iterators: where they are ------------------------------------------- */

static int it_fault(const struct khoc_block_it *it)
{
	return -it->report.fault;
}

void khoc_block_it_init_read(struct khoc_block_it *it, const struct khoc_block_chain *chain)
{
	*it = (struct khoc_block_it){.chain = chain, .report = {.level = -1, .field = ""}};
}

void khoc_block_it_init(struct khoc_block_it *it, struct khoc_block_set *set)
{
	khoc_block_it_init_read(it, &set->chain);
	it->set = set;
}

int khoc_block_it_error(const struct khoc_block_it *it, struct khoc_report *report)
{
	if (report)
		*report = it->report;
	return it_fault(it);
}

/*
 * The block that the position is in, the first at the start. Return: NULL without one, or after a
 * fault.
 */
static struct kho_abi_block *it_block(struct khoc_block_it *it)
{
	if (it->report.fault)
		return NULL;
	if (!it->block) {
		it->block = it->chain->head;
		it->at = it->chain->head_at;
		it->i = 0;
		it->steps = 1;
	}
	if (!it->block || !block_sizes_ok(it->chain->shift, it->chain->entry_size))
		return NULL;
	return block_map(it->chain, it->block, it->at, &it->report);
}

/*
 * On to the next block. Return: NULL, and the position stays, behind the last or when it cannot be
 * one.
 */
static struct kho_abi_block *it_forward(struct khoc_block_it *it, const struct kho_abi_block *block)
{
	kho_pa_t next = khoc_load_acquire(&block->next);
	struct kho_abi_block *found;

	if (!next)
		return NULL;
	if (it->steps >= KHO_ABI_BLOCKS_MAX) {
		report_fault(&it->report, KHO_E_RANGE, KHOC_S_BLOCK, -1, it->block, next,
			     KHO_ABI_BLOCKS_MAX, "blocks");
		return NULL;
	}
	found = block_map(it->chain, next, it->block, &it->report);
	if (!found)
		return NULL;
	it->at = it->block;
	it->block = next;
	it->i = 0;
	it->steps++;
	return found;
}

static void *entry_of(const struct khoc_block_it *it, struct kho_abi_block *block, u64 i)
{
	return (char *)(block + 1) + i * it->chain->entry_size;
}

static u64 it_limit(const struct khoc_block_it *it)
{
	return kho_abi_block_entries(it->chain->shift, it->chain->entry_size);
}

kho_pa_t khoc_block_it_pa(const struct khoc_block_it *it)
{
	return it->block + sizeof(struct kho_abi_block) + (it->i - 1) * it->chain->entry_size;
}

int khoc_block_it_init_end(struct khoc_block_it *it, struct khoc_block_set *set)
{
	struct kho_abi_block *block;
	struct khoc_block_it last;
	u64 count;

	khoc_block_it_init(it, set);
	last = *it;
	for (block = it_block(it); block; block = it_forward(it, block)) {
		if (!block_count(it->chain, it->block, block, &count, &it->report))
			break;
		if (count) {
			last = *it;
			last.i = count;
		}
	}
	if (!it->report.fault)
		*it = last;
	return it_fault(it);
}

/* ---- iterators: reading and writing ---------------------------------------- */

/*
 * Over blocks without records to the next one with some. Without one the position stays where
 * records end.
 */
static void *read_ahead(struct khoc_block_it *it, struct kho_abi_block *block)
{
	struct khoc_block_it ahead = *it;
	u64 count = 0;

	while (!count && (block = it_forward(&ahead, block)))
		if (!block_count(ahead.chain, ahead.block, block, &count, &ahead.report))
			break;
	it->report = ahead.report;
	if (it->report.fault || !block)
		return NULL;
	*it = ahead;
	return entry_of(it, block, it->i++);
}

void *khoc_block_it_read(struct khoc_block_it *it)
{
	struct kho_abi_block *block = it_block(it);
	u64 count;

	if (!block || !block_count(it->chain, it->block, block, &count, &it->report))
		return NULL;
	return it->i < count ? entry_of(it, block, it->i++) : read_ahead(it, block);
}

/*
 * The block in which the next record is written, the position at it. Return: NULL if all are full.
 */
static struct kho_abi_block *it_room(struct khoc_block_it *it)
{
	struct kho_abi_block *block = it_block(it);

	return block && it->i >= it_limit(it) ? it_forward(it, block) : block;
}

void *khoc_block_it_reserve(struct khoc_block_it *it)
{
	struct kho_abi_block *block = it->set ? it_room(it) : NULL;

	if (!block)
		return NULL;
	it->i++;
	khoc_store_release(&block->count, it->i);
	return entry_of(it, block, it->i - 1);
}

/* Move to the end of the block before. Return: NULL in the first block, or after a fault. */
static struct kho_abi_block *it_back(struct khoc_block_it *it)
{
	struct khoc_block_it before;
	struct kho_abi_block *block;
	u64 count;

	khoc_block_it_init_read(&before, it->chain);
	before.set = it->set;
	for (block = it_block(&before); block; block = it_forward(&before, block)) {
		if (before.block == it->block)
			return NULL;
		if (khoc_load(&block->next) == it->block)
			break;
	}
	if (block && !block_count(it->chain, before.block, block, &count, &before.report))
		block = NULL;
	if (block)
		before.i = count;
	if (block || before.report.fault)
		*it = before;
	return block;
}

void *khoc_block_it_prev(struct khoc_block_it *it)
{
	struct kho_abi_block *block = it_block(it);

	while (block && !it->i)
		block = it_back(it);
	return block ? entry_of(it, block, --it->i) : NULL;
}

/* ---- links ------------------------------------------------------------------ */

/*
 * The word that names a block: that of the block at @pa, or the slot for 0.
 * Return: NULL if that block cannot be one.
 */
static u64 *link_of(const struct khoc_block_set *set, kho_pa_t pa)
{
	struct kho_abi_block *block;

	if (!pa)
		return set->slot;
	block = block_map(&set->chain, pa, 0, NULL);
	return block ? &block->next : NULL;
}

/* Link @fresh, complete but for others to see, behind the last block. */
static int link_block(struct khoc_block_set *set, kho_pa_t fresh)
{
	const struct khoc_mem *mem = set->chain.mem;
	u64 *link = link_of(set, set->tail);
	int err = link ? mem->ops->publish_page(mem->ctx, link, fresh, fresh, 0) : -KHO_E_RANGE;

	if (err)
		return err;
	if (!set->tail)
		set->chain.head = fresh;
	set->tail = fresh;
	set->nr_blocks++;
	return 0;
}

/* Take out and free the block behind that at @pa, or the first for 0. */
static int unlink_block(struct khoc_block_set *set, kho_pa_t pa)
{
	const struct khoc_mem *mem = set->chain.mem;
	u64 *link = link_of(set, pa);
	kho_pa_t stale = link ? khoc_load(link) : 0, next;
	u64 *next_link = stale ? link_of(set, stale) : NULL;
	int err;

	if (!next_link)
		return -KHO_E_RANGE;
	next = khoc_load(next_link);
	err = mem->ops->publish_page(mem->ctx, link, next, 0, stale);
	if (err)
		return err;
	if (!pa)
		set->chain.head = next;
	if (!next)
		set->tail = pa;
	set->nr_blocks--;
	return 0;
}

/* The block of number @n, from 1; 0 for 0. Return: a fault if the chain is not what it was. */
static int find_block(const struct khoc_block_set *set, u64 n, kho_pa_t *pa)
{
	struct khoc_block_it it;
	struct kho_abi_block *block;

	*pa = 0;
	if (!n)
		return 0;
	khoc_block_it_init_read(&it, &set->chain);
	block = it_block(&it);
	while (block && --n)
		block = it_forward(&it, block);
	*pa = it.block;
	return block ? 0 : it.report.fault ? it_fault(&it) : -KHO_E_TRUNCATED;
}

/* ---- appending and popping ---------------------------------------------------- */

/* A block with one record in it. */
static int append_block(struct khoc_block_it *it, const void *entry)
{
	struct khoc_block_set *set = it->set;
	const struct khoc_mem *mem = set->chain.mem;
	struct kho_abi_block *block;
	kho_pa_t pa, at = set->tail;
	int err = -ENOMEM;

	if (set->nr_blocks >= KHO_ABI_BLOCKS_MAX)
		return -ENOSPC;
	pa = mem->ops->alloc_page(mem->ctx);
	if (!pa)
		return -ENOMEM;
	block = block_map(&set->chain, pa, at, NULL);
	if (block) {
		memcpy(block + 1, entry, set->chain.entry_size);
		block->count = 1;
		err = link_block(set, pa);
	}
	if (err) {
		mem->ops->free_page(mem->ctx, pa);
		return err;
	}
	it->block = pa;
	it->at = at;
	it->i = 1;
	it->steps = set->nr_blocks;
	return 0;
}

/* Is the position at the end of its block's records? */
static bool it_at_end(const struct khoc_block_it *it, const struct kho_abi_block *block)
{
	return khoc_load(&block->count) == it->i;
}

int khoc_block_it_append(struct khoc_block_it *it, const void *entry)
{
	struct kho_abi_block *block = it->set ? it_block(it) : NULL;

	if (!it->set || (block && !it_at_end(it, block)))
		return -EINVAL;
	block = it_room(it);
	if (it->report.fault)
		return it_fault(it);
	if (!block)
		return append_block(it, entry);
	if (!it_at_end(it, block))
		return -EINVAL;
	memcpy(entry_of(it, block, it->i), entry, it->chain->entry_size);
	khoc_store_release(&block->count, ++it->i);
	return 0;
}

/* The block at the position has one record: it goes. Blocks without records behind it stay. */
static int pop_block(struct khoc_block_it *it)
{
	struct khoc_block_it before = *it;
	int err;

	it_back(&before);
	if (before.report.fault)
		return it_fault(&before);
	/* it_back() does not move in the first block. */
	if (before.block == it->block)
		khoc_block_it_init(&before, it->set);
	err = unlink_block(it->set, before.block);
	if (!err)
		*it = before;
	return err;
}

int khoc_block_it_pop(struct khoc_block_it *it)
{
	struct kho_abi_block *block = it->set ? it_block(it) : NULL;

	if (!it->set)
		return -EINVAL;
	if (!block)
		return it->report.fault ? it_fault(it) : -ENOENT;
	if (!it_at_end(it, block))
		return -EINVAL;
	if (!it->i)
		return -ENOENT;
	if (it->i == 1)
		return pop_block(it);
	it->i--;
	/* A full barrier: what counts is not overwritten. */
	khoc_cmpxchg(&block->count, it->i + 1, it->i);
	memset(entry_of(it, block, it->i), 0, it->chain->entry_size);
	return 0;
}

/* ---- sets ---------------------------------------------------------------------- */

int khoc_block_set_init(struct khoc_block_set *set, const struct khoc_mem *mem, unsigned int shift,
			__u64 *slot, __u64 entry_size)
{
	if (!block_sizes_ok(shift, entry_size))
		return -EINVAL;
	*set = (struct khoc_block_set){.chain = {mem, shift, entry_size, 0, 0},
				       .slot = slot,
				       .per_block = kho_abi_block_entries(shift, entry_size)};
	return 0;
}

int khoc_block_set_restore(struct khoc_block_set *set, const struct khoc_radix *tree,
			   struct khoc_report *report)
{
	struct khoc_block_chain chain = set->chain;
	struct khoc_block_counts counts;
	int err;

	chain.head = khoc_load_acquire(set->slot);
	err = khoc_block_check(&chain, tree, &counts, report);
	if (err)
		return err;
	set->chain = chain;
	set->nr_blocks = counts.blocks;
	set->tail = counts.tail;
	return 0;
}

/* Free all blocks behind the first @keep, the nearest first. */
static int cut(struct khoc_block_set *set, u64 keep)
{
	kho_pa_t last;
	int err = find_block(set, keep, &last);

	while (!err && set->nr_blocks > keep)
		err = unlink_block(set, last);
	return err;
}

int khoc_block_set_grow(struct khoc_block_set *set, __u64 count)
{
	const struct khoc_mem *mem = set->chain.mem;
	u64 had = set->nr_blocks, need = div_up(count, set->per_block);
	int err = 0;

	if (need > KHO_ABI_BLOCKS_MAX)
		return -ENOSPC;
	while (!err && set->nr_blocks < need) {
		kho_pa_t pa = mem->ops->alloc_page(mem->ctx);

		err = pa ? link_block(set, pa) : -ENOMEM;
		if (err && pa)
			mem->ops->free_page(mem->ctx, pa);
	}
	/* What failed for want of memory is not helped by a failure to give back. */
	if (err && set->nr_blocks > had)
		cut(set, had);
	return err;
}

int khoc_block_set_shrink(struct khoc_block_set *set, __u64 count)
{
	u64 keep = div_up(count, set->per_block);

	return keep < set->nr_blocks ? cut(set, keep) : 0;
}

int khoc_block_set_destroy(struct khoc_block_set *set)
{
	return khoc_block_set_shrink(set, 0);
}

/* The blocks from number @first on, from 0, up to @end. */
static int gather(const struct khoc_block_set *set, u64 first, u64 end,
		  struct kho_abi_block **window)
{
	kho_pa_t pa;
	int err = find_block(set, first + 1, &pa);

	for (u64 i = first; !err && i < end; i++) {
		struct kho_abi_block *block = pa ? block_map(&set->chain, pa, 0, NULL) : NULL;

		if (!block)
			return -KHO_E_RANGE;
		window[i - first] = block;
		pa = khoc_load(&block->next);
	}
	return err;
}

int khoc_block_set_clear(struct khoc_block_set *set)
{
	u64 bytes = (1ULL << set->chain.shift) - sizeof(struct kho_abi_block);
	struct kho_abi_block *window[CLEAR_WINDOW];

	for (u64 end = set->nr_blocks, first; end; end = first) {
		int err;

		first = (end - 1) / CLEAR_WINDOW * CLEAR_WINDOW;
		err = gather(set, first, end, window);
		if (err)
			return err;
		for (u64 i = end - first; i--;) {
			u64 count = khoc_load(&window[i]->count);

			/* A full barrier: what counts is not overwritten. */
			khoc_cmpxchg(&window[i]->count, count, 0);
			memset(window[i] + 1, 0, bytes);
		}
	}
	return 0;
}
