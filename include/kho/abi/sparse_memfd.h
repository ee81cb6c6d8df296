/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * "sparsefd-v1": a memory file with holes, as a kernel of ours hands it over in a session:
 * kho_abi_luo_file.data is the pa of a kho_abi_sparse_memfd, which has an array of folios.
 * docs/abi.md, "sparsefd-v1".
 */
#ifndef KHO_ABI_SPARSE_MEMFD_H
#define KHO_ABI_SPARSE_MEMFD_H

#include <kho/abi/array.h>
#include <kho/abi/layout.h>
#include <kho/types.h>

#define KHO_ABI_SPARSE_MEMFD_COMPATIBLE "sparsefd-v1"

/* Seals are those of "memfd-v2". */
#define KHO_ABI_SPARSE_MEMFD_SEALS 0x3f

/**
 * struct kho_abi_sparse_memfd - a memory file
 * @pos: its file position
 * @size: bytes, below 2^63
 * @seals: Linux's F_SEAL_*
 * @flags: 0
 * @folios: by the page of the file that a folio begins at: an integer, the folio's pa. What no folio
 *	is at is a hole, or zeroes
 */
struct kho_abi_sparse_memfd {
	__u64 pos;
	__u64 size;
	__u32 seals;
	__u32 flags;
	struct kho_abi_array folios;
};

KHO_ABI_SIZE(struct kho_abi_sparse_memfd, 88);
KHO_ABI_OFFSET(struct kho_abi_sparse_memfd, pos, 0);
KHO_ABI_OFFSET(struct kho_abi_sparse_memfd, size, 8);
KHO_ABI_OFFSET(struct kho_abi_sparse_memfd, seals, 16);
KHO_ABI_OFFSET(struct kho_abi_sparse_memfd, flags, 20);
KHO_ABI_OFFSET(struct kho_abi_sparse_memfd, folios, 24);

#endif
