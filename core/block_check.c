/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Block sets: is a chain that somebody else wrote sound?
 *
 * A loop is found without memory: a marker stays behind while the walk goes on, and moves up to it
 * after 1, 2, 4, ... blocks. A walk that meets its marker is in a loop.
 */
#include "blocks.h"

int block_fault_(const struct khoc_block_chain *chain, kho_pa_t pa, kho_pa_t at,
		 struct khoc_report *report)
{
	u64 page = 1ULL << chain->shift;
	bool aligned = !(pa & (page - 1));

	return report_fault(report, aligned ? KHO_E_RANGE : KHO_E_ALIGN, KHOC_S_BLOCK, -1, at, pa,
			    aligned ? khoc_load(&chain->mem->size) : page,
			    pa == chain->head ? "head" : "next");
}

/* The block behind the one at @pa; 0 behind the last, and where there is none that can be read. */
static kho_pa_t next_of(const struct khoc_block_chain *chain, kho_pa_t pa)
{
	const struct kho_abi_block *block = block_map(chain, pa, 0, NULL);

	return block ? khoc_load(&block->next) : 0;
}

/*
 * A loop of @length blocks: find the word that closes it. Two walks, one of them @length blocks
 * ahead, meet where the loop begins; the word before that is what the one ahead has just followed.
 */
static int cycle_fault(const struct khoc_block_chain *chain, u64 length, struct khoc_report *report)
{
	kho_pa_t back = chain->head, ahead = chain->head, before = 0;

	for (u64 i = 0; i < length; i++) {
		before = ahead;
		ahead = next_of(chain, ahead);
	}
	for (u64 i = 0; back != ahead && i < KHO_ABI_BLOCKS_MAX; i++) {
		before = ahead;
		back = next_of(chain, back);
		ahead = next_of(chain, ahead);
	}
	return report_fault(report, KHO_E_CYCLE, KHOC_S_BLOCK, -1, before, ahead, 0, "next");
}

/*
 * One block: its count, and whether it may be where it is. @empty: pa of the first without records.
 */
static int check_block(const struct khoc_block_chain *chain, kho_pa_t pa,
		       const struct kho_abi_block *block, const struct khoc_radix *tree,
		       kho_pa_t *empty, struct khoc_block_counts *counts,
		       struct khoc_report *report)
{
	struct khoc_block cover;
	u64 count;

	if (tree && !khoc_radix_lookup(tree, pa, &cover))
		return report_fault(report, KHO_E_NOT_PRESERVED, KHOC_S_BLOCK, -1, pa, 0, 0,
				    "block");
	if (!block_count(chain, pa, block, &count, report))
		return -KHO_E_RANGE;
	if (!count && !*empty)
		*empty = pa;
	if (count && *empty)
		return report_fault(report, KHO_E_FORMAT, KHOC_S_BLOCK, -1,
				    *empty + offsetof(struct kho_abi_block, count), 0, 0, "count");
	counts->blocks++;
	counts->entries += count;
	counts->tail = pa;
	return 0;
}

static int check_chain(const struct khoc_block_chain *chain, const struct khoc_radix *tree,
		       struct khoc_block_counts *counts, struct khoc_report *report)
{
	kho_pa_t at = chain->head_at, pa = chain->head, marker = 0, empty = 0;
	u64 behind = 0, limit = 1;

	while (pa) {
		const struct kho_abi_block *block;
		int err;

		if (pa == marker)
			return cycle_fault(chain, behind, report);
		if (counts->blocks == KHO_ABI_BLOCKS_MAX)
			return report_fault(report, KHO_E_RANGE, KHOC_S_BLOCK, -1, at, pa,
					    KHO_ABI_BLOCKS_MAX, "blocks");
		block = block_map(chain, pa, at, report);
		if (!block)
			return pa & ((1ULL << chain->shift) - 1) ? -KHO_E_ALIGN : -KHO_E_RANGE;
		if (behind == limit || !marker) {
			limit = marker ? limit * 2 : 1;
			marker = pa;
			behind = 0;
		}
		err = check_block(chain, pa, block, tree, &empty, counts, report);
		if (err)
			return err;
		behind++;
		at = pa;
		pa = khoc_load(&block->next);
	}
	return 0;
}

int khoc_block_check(const struct khoc_block_chain *chain, const struct khoc_radix *tree,
		     struct khoc_block_counts *counts, struct khoc_report *report)
{
	struct khoc_block_counts own = {0};
	int err;

	report_clear(report);
	if (!block_sizes_ok(chain->shift, chain->entry_size))
		return -EINVAL;
	err = check_chain(chain, tree, &own, report);
	if (counts)
		*counts = own;
	return err;
}
