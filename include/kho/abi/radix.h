/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * "radix-v1": the preserved-memory tree, the format of Linux 7.2
 * (include/linux/kho/abi/kexec_handover.h, kho-v4). docs/abi.md, "radix-v1".
 *
 * A preserved block of 2^order pages at physical address pa is one bit. Its
 * position is the key
 *
 *	key = 1 << (order0 - order)  |  pa >> (shift + order)
 *
 * where shift is log2 of the page size and order0 = 64 - shift. The topmost
 * set bit of a key tells its order, so that all orders share the upper levels.
 *
 * A node is one page. Levels are counted from the leaves, which are level 0:
 * a bitmap of 2^(shift+3) bits (bit i is bit i%8 of byte i/8). The levels
 * above are tables of 2^(shift-3) native 64-bit words, each the physical
 * address of a child, page aligned, or 0. The root is always a table.
 * Integers are in the CPU's byte order; only little-endian hosts exist.
 */
#ifndef KHO_ABI_RADIX_H
#define KHO_ABI_RADIX_H

#include <kho/types.h>

#define KHO_ABI_RADIX_COMPATIBLE "radix-v1"

/* Page shifts that the format is defined for. 6 exists for tests: deep trees from few keys. */
#define KHO_ABI_PAGE_SHIFT_MIN 6
#define KHO_ABI_PAGE_SHIFT_MAX 16

/* log2 of the number of words in a table */
static inline unsigned int kho_abi_radix_table_log2(unsigned int shift)
{
	return shift - 3;
}

/* log2 of the number of bits in a leaf */
static inline unsigned int kho_abi_radix_bitmap_log2(unsigned int shift)
{
	return shift + 3;
}

/* the position of the order bit of an order-0 key; also the largest order that a key can name */
static inline unsigned int kho_abi_radix_order0_log2(unsigned int shift)
{
	return 64 - shift;
}

/* number of levels, leaves included: ceil((order0 - bitmap + 1) / table) + 1 = 18, 6, 5, 4 for 64 B, 4K, 16K, 64K */
static inline unsigned int kho_abi_radix_depth(unsigned int shift)
{
	unsigned int table = kho_abi_radix_table_log2(shift);
	unsigned int upper =
		kho_abi_radix_order0_log2(shift) - kho_abi_radix_bitmap_log2(shift) + 1;

	return (upper + table - 1) / table + 1;
}

#endif
