/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The root of a handover, "kho-v4": a flattened device tree in one page.
 *
 *	/ {
 *		compatible = "kho-v4;block-v1;radix-v1;vmalloc-v1", "kho-v4";
 *		preserved-memory-map = <u64: where the tree of preserved blocks is>;
 *		NAME {
 *			preserved-data = <u64: where the blob is>;
 *			blob-size = <u64: its bytes>;
 *		};
 *	};
 *
 * The three numbers are in the CPU's byte order. The last string of "compatible" is all that Linux
 * 7.2 writes and asks for.
 *
 * The formats that every handover contains have headers of their own, which users of this one get.
 */
#ifndef _LINUX_KHO_ABI_KEXEC_HANDOVER_H
#define _LINUX_KHO_ABI_KEXEC_HANDOVER_H

#include <linux/kho/abi/compat.h>
#include <linux/kho/abi/radix_tree.h>
#include <linux/kho/abi/vmalloc.h>

#define KHO_FDT_COMPATIBLE "kho-v4"

/* Names of the properties. */
#define KHO_FDT_MEMORY_MAP_PROP_NAME "preserved-memory-map"
#define KHO_SUB_TREE_PROP_NAME "preserved-data"
#define KHO_SUB_TREE_SIZE_PROP_NAME "blob-size"

#endif /* _LINUX_KHO_ABI_KEXEC_HANDOVER_H */
