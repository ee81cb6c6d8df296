/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Reading a memory file that Linux handed over: "memfd-v2".
 *
 * As with <kho/core/luo.h>: what could be read is filled in also when it is at fault, and an entry
 * at fault does not end the walk.
 */
#ifndef KHO_CORE_MEMFD_H
#define KHO_CORE_MEMFD_H

#include <stdbool.h>

#include <kho/abi/memfd.h>
#include <kho/core/image.h>
#include <kho/core/report.h>
#include <kho/core/vmalloc.h>

/**
 * struct khoc_memfd - a memory file
 * @mem, @shift: the image
 * @pa: where its header is
 * @pos, @size, @seals, @flags, @nr_folios, @folios: as struct kho_abi_memfd says
 */
struct khoc_memfd {
	const struct khoc_mem *mem;
	unsigned int shift;
	kho_pa_t pa;
	__u64 pos;
	__u64 size;
	__u32 seals;
	__u32 flags;
	__u64 nr_folios;
	struct kho_abi_vmalloc folios;
};

/**
 * khoc_memfd_open() - read a header
 * @shift: log2 of the page size
 * @pa: what the file's record says (khoc_luo_file.data)
 *
 * Return: 0; -EINVAL (page size); -KHO_E_RANGE (not in the image: nothing could be read; more pages
 * than Linux counts; more folios than pages); -KHO_E_INCOMPATIBLE (seals that Linux 7.2 does not
 * restore); -KHO_E_VERSION (flags).
 */
int khoc_memfd_open(struct khoc_memfd *memfd, const struct khoc_mem *mem, unsigned int shift,
		    kho_pa_t pa, struct khoc_report *report);

/**
 * struct khoc_memfd_folio - an entry of the list
 * @at: where the entry is
 * @entry: its number, from 0
 * @pa: of the folio; 0 if the page's number is none of the image
 * @pfn: that number
 * @flags: KHO_ABI_MEMFD_*, and bits that have no name
 * @index: page of the file
 * @order: of the preserved block that it lies in, if a tree was given; else 0
 */
struct khoc_memfd_folio {
	kho_pa_t at;
	__u64 entry;
	kho_pa_t pa;
	__u64 pfn;
	__u32 flags;
	__u64 index;
	unsigned int order;
};

/**
 * struct khoc_memfd_list - a walk through the list; private
 * @blocks: the scattered memory that it lies in
 * @at, @end: what is left of the block at hand
 * @tree: every folio must be preserved there
 */
struct khoc_memfd_list {
	const struct khoc_memfd *memfd;
	const struct khoc_radix *tree;
	struct khoc_vmalloc_iter blocks;
	kho_pa_t at;
	kho_pa_t end;
	__u64 entry;
	__u64 next_index;
	bool ended;
};

/**
 * khoc_memfd_list() - start a walk
 * @memfd: must outlive @list
 * @check: what to hold chunks and blocks of the list against, as for khoc_vmalloc_iter_init();
 *	NULL: the image's size alone. If it has a tree, every folio must be preserved there, too.
 *
 * Return: 0; what khoc_vmalloc_iter_init() says; -KHO_E_RANGE, too, if the list cannot have that
 * many entries (as many as it has can be read).
 */
int khoc_memfd_list(struct khoc_memfd_list *list, const struct khoc_memfd *memfd,
		    const struct khoc_vmalloc_check *check, struct khoc_report *report);

/**
 * khoc_memfd_folio_next() - the next entry
 *
 * Behind the last entry the rest of the list's chain is walked once, too: who restores it does.
 *
 * Return: 0; -ENOENT (there were all, or there is no more to be read); a fault, with @folio->at not
 * 0 if it is one of this entry: -KHO_E_RANGE (no page of the image, no page of the file),
 * -KHO_E_VERSION (unknown flags), -KHO_E_FORMAT (not behind the entry before),
 * -KHO_E_NOT_PRESERVED. With @folio->at 0 it is one of the list: a fault of
 * khoc_vmalloc_iter_next(), or -KHO_E_TRUNCATED (it ends before all entries), and the walk ends.
 */
int khoc_memfd_folio_next(struct khoc_memfd_list *list, struct khoc_memfd_folio *folio,
			  struct khoc_report *report);

#endif
