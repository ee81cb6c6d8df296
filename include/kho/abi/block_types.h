/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * "types-v1": as what the blocks of a handover between kernels were preserved, and so are to be
 * restored: the blob of the subtree "kho-types". docs/abi.md, "types-v1".
 *
 * For each type but FOLIO the blob has the root of a tree in the format "radix-v1", of the blocks of
 * that type. A preserved block in none of them is a FOLIO; a block of them that is not preserved
 * does not count: a block is put into its tree before it is preserved, and taken out afterwards.
 */
#ifndef KHO_ABI_BLOCK_TYPES_H
#define KHO_ABI_BLOCK_TYPES_H

#include <kho/abi/layout.h>
#include <kho/types.h>

#define KHO_ABI_TYPES_COMPATIBLE "types-v1"
#define KHO_ABI_TYPES_NODE "kho-types"
#define KHO_ABI_TYPES_MAGIC 0x5059544bU /* bytes "KTYP" */
#define KHO_ABI_TYPES_VERSION 1

/* The numbers are those of an arena's page descriptors. 4 and 5 are no type here. */
#define KHO_ABI_TYPE_FOLIO 1 /* kho_preserve_folio(): has no tree */
#define KHO_ABI_TYPE_PAGES 2 /* one block of a range of pages */
#define KHO_ABI_TYPE_SLAB 3 /* a slab of objects, "slab-v1" */
#define KHO_ABI_TYPE_STRUCT 6 /* a page of a structure, which whoever points to it owns */
#define KHO_ABI_TYPE_VMALLOC 7 /* one block of an area of vmalloc() */
#define KHO_ABI_TYPE_VMALLOC_CHUNK 8 /* one page of the list of those */
#define KHO_ABI_TYPES 16 /* there is room for as many */

/**
 * struct kho_abi_types - the blob
 * @magic, @version: KHO_ABI_TYPES_MAGIC, KHO_ABI_TYPES_VERSION
 * @reserved: 0
 * @tree: by type, where the root of its tree is; 0: no block of it, or not a type
 *
 * Written once, before it is named; the trees change until the jump.
 */
struct kho_abi_types {
	__u32 magic;
	__u16 version;
	__u16 reserved;
	__u64 tree[KHO_ABI_TYPES];
};

KHO_ABI_SIZE(struct kho_abi_types, 136);
KHO_ABI_OFFSET(struct kho_abi_types, magic, 0);
KHO_ABI_OFFSET(struct kho_abi_types, version, 4);
KHO_ABI_OFFSET(struct kho_abi_types, reserved, 6);
KHO_ABI_OFFSET(struct kho_abi_types, tree, 8);

#endif
