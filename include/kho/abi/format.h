/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What a program reads and writes: records in HELLO and in ELF notes, and the library's own.
 * docs/abi.md, "handover-v1".
 */
#ifndef KHO_ABI_FORMAT_H
#define KHO_ABI_FORMAT_H

#include <kho/abi/layout.h>
#include <kho/types.h>

/*
 * Every format of this library: X(name, oldest version read, newest version read, version
 * written, flags). The one list: HELLO, the note in programs and what is taken from an image all
 * come from it. In the order of strcmp.
 */
#define KHO_ABI_LIBRARY_FORMATS(X)                                                                 \
	X("arena", 1, 1, 1, 0)                                                                     \
	X("array", 1, 1, 1, KHO_ABI_FORMAT_PART)                                                   \
	X("block", 1, 1, 1, KHO_ABI_FORMAT_PART)                                                   \
	X("handover", 1, 1, 1, 0)                                                                  \
	X("kho", 4, 4, 4, 0)                                                                       \
	X("radix", 1, 1, 1, 0)                                                                     \
	X("session", 1, 1, 1, KHO_ABI_FORMAT_PART)                                                 \
	X("slab", 1, 1, 1, 0)                                                                      \
	X("vmalloc", 1, 1, 1, KHO_ABI_FORMAT_PART)

/**
 * struct kho_abi_format - what a program reads and writes of one format; in HELLO and in notes
 * @name: NUL-terminated, not empty
 * @reads_min, @reads_max: the versions that it reads
 * @writes: the version that it writes; 0: none
 * @writes_min: the oldest version that it can write as well; 0: @writes alone
 * @flags: KHO_ABI_FORMAT_*
 */
struct kho_abi_format {
	char name[32];
	__u32 reads_min;
	__u32 reads_max;
	__u32 writes;
	__u32 writes_min;
	__u32 flags;
};

#define KHO_ABI_FORMAT_OPTIONAL 1u /* whoever does not read it does without */
#define KHO_ABI_FORMAT_LATER 2u /* can do without writing it until the successor is healthy */
/*
 * Of a library: there only where the root FDT's "compatible" lists it, in the version that it says
 * there. A plain number, for the assembler reads it, too.
 */
#define KHO_ABI_FORMAT_PART 4
#define KHO_ABI_FORMAT_FLAGS (KHO_ABI_FORMAT_OPTIONAL | KHO_ABI_FORMAT_LATER | KHO_ABI_FORMAT_PART)

KHO_ABI_SIZE(struct kho_abi_format, 52);
KHO_ABI_OFFSET(struct kho_abi_format, name, 0);
KHO_ABI_OFFSET(struct kho_abi_format, reads_min, 32);
KHO_ABI_OFFSET(struct kho_abi_format, reads_max, 36);
KHO_ABI_OFFSET(struct kho_abi_format, writes, 40);
KHO_ABI_OFFSET(struct kho_abi_format, writes_min, 44);
KHO_ABI_OFFSET(struct kho_abi_format, flags, 48);

#endif
