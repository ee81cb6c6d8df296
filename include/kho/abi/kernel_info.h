/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What a kernel reads and writes, where it can be seen before the kernel is started: in its image and
 * in its ELF file. docs/abi.md, "Kernels".
 *
 *	list	an ELF note (<kho/abi/note.h>) of type KHO_ABI_NOTE_KERNEL: the same bytes in vmlinux, in a
 *		chunk of a bzImage's kernel_info, and in what the kernel hands over
 */
#ifndef KHO_ABI_KERNEL_INFO_H
#define KHO_ABI_KERNEL_INFO_H

#include <kho/abi/compat.h>
#include <kho/abi/layout.h>
#include <kho/abi/note.h>
#include <kho/types.h>

/* Of x86's boot protocol: offsets in a bzImage. */
#define KHO_ABI_BOOT_SETUP_SECTS                                                                   \
	0x1f1 /* u8: 512-byte sectors before the kernel, less one; 0 is 4 */
#define KHO_ABI_BOOT_MAGIC_AT 0x202 /* u32 */
#define KHO_ABI_BOOT_MAGIC 0x53726448 /* "HdrS" */
#define KHO_ABI_BOOT_VERSION 0x206 /* u16 */
#define KHO_ABI_BOOT_VERSION_INFO 0x20f /* 2.15, the first with a kernel_info */
#define KHO_ABI_BOOT_INFO_OFFSET 0x268 /* u32: of kernel_info, from the kernel on */
#define KHO_ABI_BOOT_HEADER_END 0x26c /* as much of the header as is read */

#define KHO_ABI_KERNEL_INFO_MAGIC 0x506f544c /* "LToP" */
#define KHO_ABI_KERNEL_INFO_MAX 65536 /* bytes of it that a reader goes through */

/**
 * struct kho_abi_kernel_info - start of x86's kernel_info
 * @magic: KHO_ABI_KERNEL_INFO_MAGIC
 * @size: bytes of the fixed part; chunks follow it
 * @size_total: bytes of all of it
 */
struct kho_abi_kernel_info {
	__u32 magic;
	__u32 size;
	__u32 size_total;
};

KHO_ABI_SIZE(struct kho_abi_kernel_info, 12);
KHO_ABI_OFFSET(struct kho_abi_kernel_info, magic, 0);
KHO_ABI_OFFSET(struct kho_abi_kernel_info, size, 4);
KHO_ABI_OFFSET(struct kho_abi_kernel_info, size_total, 8);

#define KHO_ABI_KERNEL_CHUNK_MAGIC 0x464f484b /* "KHOF" */

/**
 * struct kho_abi_kernel_chunk - start of a chunk of kernel_info
 * @magic: KHO_ABI_KERNEL_CHUNK_MAGIC of ours
 * @size: bytes of the chunk, this head included
 */
struct kho_abi_kernel_chunk {
	__u32 magic;
	__u32 size;
};

KHO_ABI_SIZE(struct kho_abi_kernel_chunk, 8);
KHO_ABI_OFFSET(struct kho_abi_kernel_chunk, magic, 0);
KHO_ABI_OFFSET(struct kho_abi_kernel_chunk, size, 4);

/* Records of a list: as many as there can be of a base and its parts. */
#define KHO_ABI_KERNEL_FORMATS_MAX (KHO_ABI_COMPAT_PARTS_MAX + 1)

/* Of handovers; every list has it. */
#define KHO_ABI_KERNEL_BASE "kho"

/* The subtree whose blob is the list of the kernel that hands over. */
#define KHO_ABI_KERNEL_NODE "kho-formats"

#endif
