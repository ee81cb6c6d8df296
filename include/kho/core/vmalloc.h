/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Scattered blocks that belong together: "vmalloc-v1". */
#ifndef KHO_CORE_VMALLOC_H
#define KHO_CORE_VMALLOC_H

#include <stdbool.h>

#include <kho/abi/vmalloc.h>
#include <kho/core/image.h>
#include <kho/core/radix.h>
#include <kho/core/report.h>

/**
 * khoc_vmalloc_build() - write the chain of chunks for a list of blocks
 * @shift: log2 of the page size
 * @order: of every block
 * @flags: KHO_ABI_VMALLOC_*
 * @blocks: their addresses, in the sequence of the virtual addresses
 * @nr: how many, not 0
 * @out: the descriptor; unchanged on an error. Its word @first is what makes the chain
 *	reachable: whoever copies it to where it stays stores that word last.
 *
 * Chunks come from @mem->ops->alloc_page and are only reserved: the caller preserves them, as it does
 * the blocks, before it stores the descriptor.
 *
 * Return: 0; -EINVAL (page size, flags, order, no blocks, more pages than a descriptor
 * can count, a block that is 0, not aligned to its size or not all in the image); -ENOMEM.
 */
int khoc_vmalloc_build(const struct khoc_mem *mem, unsigned int shift, unsigned int order,
		       unsigned int flags, const kho_pa_t *blocks, __u64 nr,
		       struct kho_abi_vmalloc *out);

/**
 * khoc_vmalloc_free() - give the chunks of a chain back, by @mem->ops->free_page
 *
 * Not the blocks. The chain must be one of khoc_vmalloc_build() in this program that nobody else can
 * change. Chunks that were preserved are unpreserved by then.
 */
void khoc_vmalloc_free(const struct khoc_mem *mem, unsigned int shift,
		       const struct kho_abi_vmalloc *desc);

/**
 * struct khoc_vmalloc_check - what to hold a chain against
 * @data_lo, @data_hi: where chunks and blocks may lie: [lo, hi), page aligned
 * @tree: if not NULL, every chunk and block must be preserved in it, by its own order
 * @seen: if not NULL, one zeroed bit for each page of [@data_lo, @data_hi): no page is in two
 *	blocks or chunks. On success the bits of all of them are set.
 */
struct khoc_vmalloc_check {
	kho_pa_t data_lo;
	kho_pa_t data_hi;
	const struct khoc_radix *tree;
	__u64 *seen;
};

/**
 * struct khoc_vmalloc_part - a page of addresses, or a block
 * @pa: where
 * @order: of a chunk 0
 * @chunk: it is a chunk
 */
struct khoc_vmalloc_part {
	kho_pa_t pa;
	unsigned int order;
	bool chunk;
};

/* A walk through a chain. Private but for khoc_vmalloc_iter_init(), _next() and _error(), and @report. */
struct khoc_vmalloc_iter {
	const struct khoc_mem *mem;
	const __u64 *words;
	struct khoc_vmalloc_check check;
	struct kho_abi_vmalloc desc;
	unsigned int shift;
	__u32 at;
	__u64 left;
	__u64 nr_chunks;
	kho_pa_t chunk;
	kho_pa_t pending;
	struct khoc_report report;
};

/**
 * khoc_vmalloc_iter_init() - start a walk
 * @desc: untrusted; copied
 * @check: what to hold every step against; NULL: the image's size alone. Copied.
 *
 * The descriptor is checked here: flags, order, count, and the alignment and range of @first. Where
 * the report is about the descriptor its @addr is the offset of the field.
 *
 * Return: 0; -EINVAL (page size); -KHO_E_VERSION (unknown flags), -KHO_E_ORDER,
 * -KHO_E_RANGE, -KHO_E_ALIGN.
 */
int khoc_vmalloc_iter_init(struct khoc_vmalloc_iter *iter, const struct khoc_mem *mem,
			   unsigned int shift, const struct kho_abi_vmalloc *desc,
			   const struct khoc_vmalloc_check *check);

/**
 * khoc_vmalloc_iter_next() - the next chunk or block
 * @part: filled in: each chunk comes before the blocks that it lists
 *
 * Any bytes may be walked: at most total_pages >> order blocks come, and the walk ends after at
 * most one chunk more than those fill. A chunk may be freed once the call after its last block was
 * made.
 *
 * Return: true if there was one; false at the end or at a fault: see khoc_vmalloc_iter_error().
 */
bool khoc_vmalloc_iter_next(struct khoc_vmalloc_iter *iter, struct khoc_vmalloc_part *part);

/* Return: 0, or the negative fault that iter->report explains. */
static inline int khoc_vmalloc_iter_error(const struct khoc_vmalloc_iter *iter)
{
	return -iter->report.fault;
}

/**
 * khoc_vmalloc_validate() - is this chain sound?
 *
 * The whole of it, against @check (which may be NULL). Beyond what khoc_vmalloc_iter_init() says:
 * KHO_E_RANGE (a chunk or block outside the data; more or fewer blocks than total_pages says),
 * KHO_E_ALIGN, KHO_E_CYCLE (a chunk follows itself), KHO_E_FORMAT (a chunk that is not full has a
 * successor, or words behind its end), KHO_E_NOT_PRESERVED (@check->tree does not have it, or
 * not by this order), KHO_E_OVERLAP (@check->seen: a page twice).
 *
 * Return: 0, -EINVAL, or a negative fault that @report, if not NULL, explains.
 */
int khoc_vmalloc_validate(const struct khoc_mem *mem, unsigned int shift,
			  const struct kho_abi_vmalloc *desc,
			  const struct khoc_vmalloc_check *check, struct khoc_report *report);

#endif
