/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Versions of what this kernel reads and writes of a handover. The list of all of them, formats.S,
 * is in vmlinux as an ELF note, in x86's kernel_info, and in what we hand over.
 *
 * Few files include this: a kernel with another version here is made in no time.
 */
#ifndef _LINUX_KHO_ABI_FORMATS_H
#define _LINUX_KHO_ABI_FORMATS_H

/* What is in every handover. */
#define KHO_FDT_VERSION 4
#define KHO_BLOCK_VERSION 1
#define KHO_RADIX_VERSION 1
#define KHO_VMALLOC_VERSION 1

/* What is there if it is used. */
#define KHO_ARRAY_VERSION 1
#define KHO_SLAB_VERSION 1
#define KHO_SPARSEFD_VERSION 1
#define KHO_TYPES_VERSION 1

/* What the kernel's own users of it hand over: versions of theirs. */
#define KHO_LUO_VERSION 5
#define KHO_MEMBLOCK_VERSION 1
#define KHO_MEMFD_VERSION 2
#define KHO_METADATA_VERSION 1

/* KHO_ABI_FORMAT_*, for the assembler. */
#define KHO_FORMAT_OPTIONAL 1
#define KHO_FORMAT_PART 4

#endif /* _LINUX_KHO_ABI_FORMATS_H */
