/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * "block-v1": records of one size in a chain of pages, the format of Linux 7.2's block sets.
 * docs/abi.md, "block-v1".
 *
 *	struct kho_abi_block | record 0 | record 1 | ... up to the page's end
 *
 * A block says nothing of what its records are, nor of their size: who keeps the address of the
 * first block knows. Records stay in the order in which they were added.
 */
#ifndef KHO_ABI_BLOCK_H
#define KHO_ABI_BLOCK_H

#include <kho/abi/layout.h>
#include <kho/types.h>

#define KHO_ABI_BLOCK_COMPATIBLE "block-v1"

/* Linux 7.2 neither writes nor reads a longer chain: at 4 KiB a block, 40 MB. */
#define KHO_ABI_BLOCKS_MAX 10000

/**
 * struct kho_abi_block - at the start of each block, which is one page
 * @next: pa of the next block, page aligned; 0: this is the last
 * @count: records in this block
 */
struct kho_abi_block {
	__u64 next;
	__u64 count;
};

KHO_ABI_SIZE(struct kho_abi_block, 16);
KHO_ABI_OFFSET(struct kho_abi_block, next, 0);
KHO_ABI_OFFSET(struct kho_abi_block, count, 8);

/* How many records of @entry_size bytes, which is not 0, one block holds. */
static inline __u64 kho_abi_block_entries(unsigned int shift, __u64 entry_size)
{
	return ((1ULL << shift) - sizeof(struct kho_abi_block)) / entry_size;
}

#endif
