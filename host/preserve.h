/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Preserved blocks: a bit in the tree, a descriptor that says what it is, and, private to
 * this process, whether it was claimed. Everything that is preserved or restored in the
 * process host, heap included, goes through these few functions.
 */
#ifndef KHO_HOST_PRESERVE_H
#define KHO_HOST_PRESERVE_H

#include <kho/types.h>
#include <stdbool.h>

int kho_claims_init_(void);
void kho_claims_destroy_(void);

/* Mark a block. It counts as claimed by us. Return: 0, or negative (nothing changed). */
int kho_block_preserve_(kho_pa_t pa, unsigned int order, unsigned int type);
/* Take the mark back. Cannot fail for a block that was preserved. */
void kho_block_unpreserve_(kho_pa_t pa, unsigned int order);

/**
 * kho_block_check_() - is this block preserved as this type and order?
 * Return: 0; -KHO_E_RANGE, -KHO_E_ALIGN, -KHO_E_NOT_PRESERVED, -KHO_E_TYPE, -KHO_E_ORDER,
 * -KHO_E_CHECKSUM.
 */
int kho_block_check_(kho_pa_t pa, unsigned int order, unsigned int type);

/* Was the block that starts at @pa restored or preserved in this program? */
bool kho_block_is_claimed_(kho_pa_t pa);

/* Take a claim of kho_block_restore_() back: what it was part of could not be restored whole. */
void kho_block_unclaim_(kho_pa_t pa);

/* enum kho_abi_desc_type in words; never NULL. */
const char *kho_block_type_text_(unsigned int type);

/* What the descriptor of @pa says. Return: 0 or -KHO_E_CHECKSUM. */
int kho_block_desc_(kho_pa_t pa, unsigned int *type, unsigned int *order);

/**
 * kho_block_restore_() - the one primitive that every restore is built on: claim a block
 * Return: as kho_block_check_(), or -KHO_E_CLAIMED.
 */
int kho_block_restore_(kho_pa_t pa, unsigned int order, unsigned int type);

/* The same for pages split as kho_preserve_pages() splits them. On an error nothing is claimed. */
int kho_run_restore_(kho_pa_t pa, __u64 nr, unsigned int type, unsigned int part_type);
int kho_run_check_(kho_pa_t pa, __u64 nr, unsigned int type, unsigned int part_type);
int kho_run_preserve_(kho_pa_t pa, __u64 nr, unsigned int type, unsigned int part_type);
void kho_run_unpreserve_(kho_pa_t pa, __u64 nr);
/* Of a run of descriptor type @type, unpreserve what there is; leave others alone. For recovery. */
void kho_run_settle_(kho_pa_t pa, __u64 nr, unsigned int type);
/* Has the run several blocks? */
bool kho_run_is_split_(kho_pa_t pa, __u64 nr);
/* The same before anything was found free: for recovery, which gives the pages to nobody. */
void kho_run_drop_(kho_pa_t pa, __u64 nr);

/* Do tree and descriptors agree in the section that starts at @pa? Return: 0 or a fault; kho_error() says more. */
int kho_preserve_check_section_(kho_pa_t pa);
/* In the whole arena; @live: somebody may be changing it meanwhile. */
int kho_preserve_check_all_(bool live);

#endif
