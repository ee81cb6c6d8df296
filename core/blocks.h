/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Private: what checker and users of block sets share. */
#ifndef KHO_CORE_BLOCKS_PRIVATE_H
#define KHO_CORE_BLOCKS_PRIVATE_H

#include "mem.h"

/* Can there be blocks of this page size with records of this size? */
khoc_inline bool block_sizes_ok(unsigned int shift, u64 entry_size)
{
	return shift >= KHO_ABI_PAGE_SHIFT_MIN && shift <= KHO_ABI_PAGE_SHIFT_MAX && entry_size &&
	       kho_abi_block_entries(shift, entry_size);
}

/* Why a block at @pa cannot be; @at has its address. */
int block_fault_(const struct khoc_block_chain *chain, kho_pa_t pa, kho_pa_t at,
		 struct khoc_report *report);

/*
 * The block at @pa, not 0, which is written at @at. Return: NULL, and @report, if it cannot be one.
 */
khoc_inline struct kho_abi_block *block_map(const struct khoc_block_chain *chain, kho_pa_t pa,
					    kho_pa_t at, struct khoc_report *report)
{
	struct kho_abi_block *block = NULL;

	if (likely(!(pa & ((1ULL << chain->shift) - 1))))
		block = khoc_map(chain->mem, pa, 1UL << chain->shift);
	if (unlikely(!block))
		block_fault_(chain, pa, at, report);
	return block;
}

/* What a block at @pa says it holds. Return: false, and @report, if that is more than fit. */
khoc_inline bool block_count(const struct khoc_block_chain *chain, kho_pa_t pa,
			     const struct kho_abi_block *block, u64 *count,
			     struct khoc_report *report)
{
	u64 limit = kho_abi_block_entries(chain->shift, chain->entry_size);

	*count = khoc_load_acquire(&block->count);
	if (likely(*count <= limit))
		return true;
	report_fault(report, KHO_E_RANGE, KHOC_S_BLOCK, -1,
		     pa + offsetof(struct kho_abi_block, count), *count, limit, "count");
	return false;
}

#endif
