// SPDX-License-Identifier: GPL-2.0-only
/*
 * Block sets, by the core's functions. A set that we write takes its pages from the allocator and
 * preserves them; one that was handed to us is read where stamps say that there is something, and
 * its pages are restored when they are freed.
 */
#include <linux/kho/block.h>
#include <linux/string.h>

#include <kho/core/block.h>

#include "kexec_handover_internal.h"

static_assert(sizeof(struct kho_block_header_ser) == sizeof(struct kho_abi_block));
static_assert(offsetof(struct kho_block_header_ser, next) == offsetof(struct kho_abi_block, next));
static_assert(offsetof(struct kho_block_header_ser, count) ==
	      offsetof(struct kho_abi_block, count));
static_assert(sizeof(((struct kho_block_set *)0)->core) >= sizeof(struct khoc_block_set));
static_assert(sizeof(((struct kho_block_set_it *)0)->core) >= sizeof(struct khoc_block_it));

static struct khoc_block_it *core_it(struct kho_block_set_it *it)
{
	return (struct khoc_block_it *)it->core;
}

/* The core's set; made on its first use. Return: NULL if records of this size do not fit. */
static struct khoc_block_set *core_set(struct kho_block_set *bs)
{
	struct khoc_block_set *set = (struct khoc_block_set *)bs->core;
	const struct khoc_mem *mem = bs->incoming ? &kho_mem_in : &kho_mem_out;

	if (!set->chain.mem &&
	    khoc_block_set_init(set, mem, PAGE_SHIFT, &bs->head_pa, bs->entry_size))
		return NULL;
	return set;
}

/**
 * kho_block_set_init() - a set without blocks
 * @bs: the set
 * @entry_size: bytes of a record
 */
void kho_block_set_init(struct kho_block_set *bs, size_t entry_size)
{
	*bs = (struct kho_block_set)KHO_BLOCK_SET_INIT(*bs, entry_size);
}

/**
 * kho_block_set_grow() - have room for a number of records in all
 * @bs: the set, not an incoming one
 * @count: how many
 *
 * Context: May sleep.
 * Return: 0; -ENOMEM; -ENOSPC: more than the format has; -EINVAL. Then nothing has changed.
 */
int kho_block_set_grow(struct kho_block_set *bs, u64 count)
{
	struct khoc_block_set *set = bs->incoming ? NULL : core_set(bs);

	return set ? kho_errno(khoc_block_set_grow(set, count)) : -EINVAL;
}

/**
 * kho_block_set_shrink() - free the blocks that a number of records does not need
 * @bs: the set
 * @count: how many records there are
 *
 * Context: May sleep.
 */
void kho_block_set_shrink(struct kho_block_set *bs, u64 count)
{
	struct khoc_block_set *set = core_set(bs);

	if (set)
		khoc_block_set_shrink(set, count);
}

/**
 * kho_block_set_restore() - take over the set whose first block the previous kernel named
 * @bs: a set without blocks
 * @head_pa: what its kho_block_set_head_pa() was
 *
 * Every page is seen to be preserved, and the chain to be sound, before it is used. Blocks without
 * records are sound at the end of the chain.
 *
 * Context: May sleep.
 * Return: 0, or -EINVAL: @bs stays without blocks, and the blocks stay as they are.
 */
int kho_block_set_restore(struct kho_block_set *bs, u64 head_pa)
{
	struct khoc_block_set *set;
	int err;

	if (bs->head_pa)
		return -EINVAL;
	memset(bs->core, 0, sizeof(bs->core));
	bs->incoming = true;
	bs->head_pa = head_pa;
	set = core_set(bs);
	err = set ? khoc_block_set_restore(set, NULL, NULL) : -EINVAL;
	if (err) {
		bs->head_pa = 0;
		bs->incoming = false;
		memset(bs->core, 0, sizeof(bs->core));
	}
	return kho_errno(err);
}

/**
 * kho_block_set_destroy() - free all blocks
 * @bs: the set; it can be used again afterwards, for records that we write
 *
 * Context: May sleep.
 */
void kho_block_set_destroy(struct kho_block_set *bs)
{
	struct khoc_block_set *set = core_set(bs);

	if (set)
		khoc_block_set_destroy(set);
	kho_block_set_init(bs, bs->entry_size);
}

/**
 * kho_block_set_clear() - forget all records, and keep the blocks
 * @bs: the set
 */
void kho_block_set_clear(struct kho_block_set *bs)
{
	struct khoc_block_set *set = core_set(bs);

	if (set)
		khoc_block_set_clear(set);
}

/**
 * kho_block_set_it_init() - go to the front of a set
 * @it: the position
 * @bs: the set
 */
void kho_block_set_it_init(struct kho_block_set_it *it, struct kho_block_set *bs)
{
	struct khoc_block_set *set = core_set(bs);

	*it = (struct kho_block_set_it){};
	if (set)
		khoc_block_it_init(core_it(it), set);
}

/**
 * kho_block_set_it_reserve_entry() - the next record, to be written
 * @it: the position; moves behind it
 *
 * Return: The record, which counts from now on; NULL if the set's blocks are full.
 */
void *kho_block_set_it_reserve_entry(struct kho_block_set_it *it)
{
	return core_it(it)->set ? khoc_block_it_reserve(core_it(it)) : NULL;
}

/**
 * kho_block_set_it_read_entry() - the next record
 * @it: the position; moves behind it
 *
 * Return: The record, or NULL behind the last.
 */
void *kho_block_set_it_read_entry(struct kho_block_set_it *it)
{
	return core_it(it)->set ? khoc_block_it_read(core_it(it)) : NULL;
}

/**
 * kho_block_set_it_prev() - one record back
 * @it: the position; moves before it
 *
 * Return: The record that was before the position, or NULL at the front.
 */
void *kho_block_set_it_prev(struct kho_block_set_it *it)
{
	return core_it(it)->set ? khoc_block_it_prev(core_it(it)) : NULL;
}
