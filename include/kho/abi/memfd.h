/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * "memfd-v2": a memory file, as Linux 7.2 hands it over in a session: kho_abi_luo_file.data is the
 * pa of a kho_abi_memfd, whose list of folios is scattered memory (vmalloc-v1).
 * docs/abi.md, "memfd-v2".
 */
#ifndef KHO_ABI_MEMFD_H
#define KHO_ABI_MEMFD_H

#include <kho/abi/layout.h>
#include <kho/abi/vmalloc.h>
#include <kho/types.h>

#define KHO_ABI_MEMFD_COMPATIBLE "memfd-v2"

/* Seals of a memory file: the numbers of Linux's F_SEAL_*. Those that 7.2 hands over. */
#define KHO_ABI_MEMFD_SEAL_SEAL 0x01
#define KHO_ABI_MEMFD_SEAL_SHRINK 0x02
#define KHO_ABI_MEMFD_SEAL_GROW 0x04
#define KHO_ABI_MEMFD_SEAL_WRITE 0x08
#define KHO_ABI_MEMFD_SEAL_FUTURE_WRITE 0x10
#define KHO_ABI_MEMFD_SEAL_EXEC 0x20
#define KHO_ABI_MEMFD_SEALS 0x3f

/* The list is an array of pages that Linux counts in 32 bits. */
#define KHO_ABI_MEMFD_MAX_PAGES 0xffffffffULL

/**
 * struct kho_abi_memfd - a memory file
 * @pos: its file position
 * @size: bytes
 * @seals: KHO_ABI_MEMFD_SEAL_*
 * @flags: 0
 * @nr_folios: entries of the list
 * @folios: where the list is; means nothing without folios
 */
struct kho_abi_memfd {
	__u64 pos;
	__u64 size;
	__u32 seals;
	__u32 flags;
	__u64 nr_folios;
	struct kho_abi_vmalloc folios;
};

KHO_ABI_SIZE(struct kho_abi_memfd, 48);
KHO_ABI_OFFSET(struct kho_abi_memfd, pos, 0);
KHO_ABI_OFFSET(struct kho_abi_memfd, size, 8);
KHO_ABI_OFFSET(struct kho_abi_memfd, seals, 16);
KHO_ABI_OFFSET(struct kho_abi_memfd, flags, 20);
KHO_ABI_OFFSET(struct kho_abi_memfd, nr_folios, 24);
KHO_ABI_OFFSET(struct kho_abi_memfd, folios, 32);

/* kho_abi_memfd_folio.word */
#define KHO_ABI_MEMFD_PFN_BITS 52 /* number of the folio's first page; flags above */
#define KHO_ABI_MEMFD_DIRTY 0x1
#define KHO_ABI_MEMFD_UPTODATE 0x2
#define KHO_ABI_MEMFD_FLAGS (KHO_ABI_MEMFD_DIRTY | KHO_ABI_MEMFD_UPTODATE)

/**
 * struct kho_abi_memfd_folio - an entry of the list
 * @word: page number | KHO_ABI_MEMFD_* << KHO_ABI_MEMFD_PFN_BITS
 * @index: page of the file at which the folio begins
 */
struct kho_abi_memfd_folio {
	__u64 word;
	__u64 index;
};

KHO_ABI_SIZE(struct kho_abi_memfd_folio, 16);
KHO_ABI_OFFSET(struct kho_abi_memfd_folio, word, 0);
KHO_ABI_OFFSET(struct kho_abi_memfd_folio, index, 8);

#endif
