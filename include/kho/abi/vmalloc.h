/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * "vmalloc-v1": scattered blocks that belong together, the format of Linux 7.2
 * (include/linux/kho/abi/kexec_handover.h). docs/abi.md, "vmalloc-v1".
 *
 * A descriptor of 16 bytes lies wherever its owner wants it. It names the first of a
 * chain of chunks. A chunk is one page: the address of the next chunk, then addresses of
 * blocks up to the first 0 or the end of the page. All blocks have the descriptor's
 * order; their sequence is that of the virtual addresses. A chunk that the last block fills
 * has an empty successor. Blocks and chunks are preserved, each as a block of its own.
 * Integers are in the CPU's byte order; only little-endian hosts exist.
 */
#ifndef KHO_ABI_VMALLOC_H
#define KHO_ABI_VMALLOC_H

#include <kho/abi/layout.h>
#include <kho/types.h>

#define KHO_ABI_VMALLOC_COMPATIBLE "vmalloc-v1"

/* kho_abi_vmalloc.flags; a reader refuses others */
#define KHO_ABI_VMALLOC_ALLOC 0x1 /* made by vmalloc(); every writer sets it */
#define KHO_ABI_VMALLOC_HUGE 0x2 /* may be mapped with huge pages */
#define KHO_ABI_VMALLOC_FLAGS (KHO_ABI_VMALLOC_ALLOC | KHO_ABI_VMALLOC_HUGE)

/**
 * struct kho_abi_vmalloc - what a chain of chunks is
 * @first: pa of the first chunk; 0: there is none
 * @total_pages: pages of all blocks together: a multiple of 2^@order, not 0
 * @flags: KHO_ABI_VMALLOC_*
 * @order: log2 of the pages of each block
 */
struct kho_abi_vmalloc {
	__u64 first;
	__u32 total_pages;
	__u16 flags;
	__u16 order;
};

KHO_ABI_SIZE(struct kho_abi_vmalloc, 16);
KHO_ABI_OFFSET(struct kho_abi_vmalloc, first, 0);
KHO_ABI_OFFSET(struct kho_abi_vmalloc, total_pages, 8);
KHO_ABI_OFFSET(struct kho_abi_vmalloc, flags, 12);
KHO_ABI_OFFSET(struct kho_abi_vmalloc, order, 14);

/**
 * struct kho_abi_vmalloc_chunk - one page of block addresses
 * @next: pa of the next chunk, or 0
 * @phys: pa of blocks, kho_abi_vmalloc_per_chunk() words, zeros behind the last
 */
struct kho_abi_vmalloc_chunk {
	__u64 next;
	__u64 phys[];
};

KHO_ABI_SIZE(struct kho_abi_vmalloc_chunk, 8);
KHO_ABI_OFFSET(struct kho_abi_vmalloc_chunk, next, 0);

/* Block addresses in a chunk: 7, 511, 2047, 8191 for pages of 64 B, 4K, 16K, 64K. */
static inline __u32 kho_abi_vmalloc_per_chunk(unsigned int shift)
{
	return (1u << (shift - 3)) - 1;
}

#endif
