/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The tree of preserved blocks, "radix-v1". A block of 2^order pages at phys is one bit, whose
 * position in the tree is
 *
 *	1 << (KHO_ORDER_0_LOG2 - order)  |  phys >> (PAGE_SHIFT + order)
 *
 * Nodes are pages: KHO_TREE_MAX_DEPTH - 1 levels of tables of physical addresses (0: nothing
 * below), then bitmaps. kho/abi/radix.h describes it in full.
 */
#ifndef _LINUX_KHO_ABI_RADIX_TREE_H
#define _LINUX_KHO_ABI_RADIX_TREE_H

#include <linux/bits.h>
#include <linux/log2.h>
#include <linux/math.h>
#include <linux/types.h>

#include <asm/page.h>

enum kho_radix_consts {
	/* where the bit of order 0 is in a position */
	KHO_ORDER_0_LOG2 = 64 - PAGE_SHIFT,
	/* words of a table, log2 */
	KHO_TABLE_SIZE_LOG2 = const_ilog2(PAGE_SIZE / sizeof(u64)),
	/* bits of a bitmap, log2 */
	KHO_BITMAP_SIZE_LOG2 = PAGE_SHIFT + 3,
	KHO_TREE_MAX_DEPTH =
		DIV_ROUND_UP(KHO_ORDER_0_LOG2 + 1 - KHO_BITMAP_SIZE_LOG2, KHO_TABLE_SIZE_LOG2) + 1,
};

struct kho_radix_node {
	u64 table[1 << KHO_TABLE_SIZE_LOG2];
};

struct kho_radix_leaf {
	DECLARE_BITMAP(bitmap, 1 << KHO_BITMAP_SIZE_LOG2);
};

#endif /* _LINUX_KHO_ABI_RADIX_TREE_H */
