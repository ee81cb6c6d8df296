/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * "memblock-v1": regions that Linux's reserve_mem= set aside by name: the blob of the subtree
 * "memblock", an FDT. docs/abi.md, "memblock-v1".
 *
 *	/ {
 *		compatible = "memblock-v1";
 *		NAME {
 *			compatible = "reserve-mem-v1";
 *			start = <u64, native order: pa>;
 *			size = <u64, native order: bytes>;
 *		};
 *	};
 */
#ifndef KHO_ABI_RESERVE_MEM_H
#define KHO_ABI_RESERVE_MEM_H

#include <kho/types.h>

#define KHO_ABI_MEMBLOCK_NODE "memblock"
#define KHO_ABI_MEMBLOCK_COMPATIBLE "memblock-v1"
#define KHO_ABI_RESERVE_MEM_COMPATIBLE "reserve-mem-v1"
#define KHO_ABI_RESERVE_MEM_PROP_COMPATIBLE "compatible"
#define KHO_ABI_RESERVE_MEM_PROP_START "start"
#define KHO_ABI_RESERVE_MEM_PROP_SIZE "size"
#define KHO_ABI_RESERVE_MEM_NAME_MAX 15 /* without the NUL */
#define KHO_ABI_RESERVE_MEM_MAX 8 /* regions that Linux 7.2 can have */

#endif
