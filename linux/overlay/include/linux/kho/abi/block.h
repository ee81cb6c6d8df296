/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Records of one size in a chain of pages, "block-v1". What the records are, and how long, is known
 * to whoever keeps the address of the first page. kho/abi/block.h describes it in full.
 */
#ifndef _LINUX_KHO_ABI_BLOCK_H
#define _LINUX_KHO_ABI_BLOCK_H

#include <linux/types.h>
#include <asm/page.h>

#define KHO_BLOCK_SIZE PAGE_SIZE

/**
 * struct kho_block_header_ser - at the start of each page
 * @next: address of the next; 0: there is none
 * @count: how many records follow here
 */
struct kho_block_header_ser {
	u64 next;
	u64 count;
} __packed;

#endif /* _LINUX_KHO_ABI_BLOCK_H */
