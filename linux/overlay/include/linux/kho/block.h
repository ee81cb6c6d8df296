/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Block sets: records of one size in a chain of preserved pages. The format:
 * linux/kho/abi/block.h. Only what is built with the live update orchestrator can use them.
 */
#ifndef _LINUX_KHO_BLOCK_H
#define _LINUX_KHO_BLOCK_H

#include <linux/types.h>
#include <linux/kho/abi/block.h>

/**
 * struct kho_block_set - a chain of blocks
 * @head_pa: address of the first; 0: none
 * @entry_size: bytes of a record
 * @incoming: the previous kernel made it
 * @core: private, a struct khoc_block_set; set up when it is first needed, so that a set can be
 *	initialised statically
 *
 * Whoever owns a set sees to it that one thread at a time uses it. It must not be moved.
 */
struct kho_block_set {
	u64 head_pa;
	size_t entry_size;
	bool incoming;
	u64 core[9];
};

/* A position in a set. It does not outlive a change of the set's blocks. */
struct kho_block_set_it {
	u64 core[12]; /* private, a struct khoc_block_it */
};

/* A set without blocks, as initialiser. The sum sees to it that @_name is one. */
#define KHO_BLOCK_SET_INIT(_name, _entry_size)                             \
	{                                                                  \
		.entry_size = (_entry_size) + 0 * sizeof((_name).head_pa), \
	}

void kho_block_set_init(struct kho_block_set *bs, size_t entry_size);
int kho_block_set_grow(struct kho_block_set *bs, u64 count);
void kho_block_set_shrink(struct kho_block_set *bs, u64 count);
int kho_block_set_restore(struct kho_block_set *bs, u64 head_pa);
void kho_block_set_destroy(struct kho_block_set *bs);
void kho_block_set_clear(struct kho_block_set *bs);

/* Address of the first block, for the next kernel's kho_block_set_restore(); 0: no block. */
static inline u64 kho_block_set_head_pa(struct kho_block_set *bs)
{
	return bs->head_pa;
}

static inline bool kho_block_set_is_empty(struct kho_block_set *bs)
{
	return !bs->head_pa;
}

void kho_block_set_it_init(struct kho_block_set_it *it, struct kho_block_set *bs);
void *kho_block_set_it_reserve_entry(struct kho_block_set_it *it);
void *kho_block_set_it_read_entry(struct kho_block_set_it *it);
void *kho_block_set_it_prev(struct kho_block_set_it *it);

#endif /* _LINUX_KHO_BLOCK_H */
