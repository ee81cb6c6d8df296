/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Reading a memory file that Linux handed over. */
#include "mem.h"

static int fault(struct khoc_report *report, int code, u64 addr, u64 value, u64 limit,
		 const char *field)
{
	return report_fault(report, code, KHOC_S_MEMFD, -1, addr, value, limit, field);
}

/* Pages of the file. */
static u64 memfd_pages(const struct khoc_memfd *memfd)
{
	return (memfd->size >> memfd->shift) + !!(memfd->size & ((1ULL << memfd->shift) - 1));
}

static int check_header(const struct khoc_memfd *memfd, struct khoc_report *report)
{
	u64 pages = memfd_pages(memfd);
	kho_pa_t pa = memfd->pa;

	if (pages > KHO_ABI_MEMFD_MAX_PAGES)
		return fault(report, KHO_E_RANGE, pa + offsetof(struct kho_abi_memfd, size),
			     memfd->size, KHO_ABI_MEMFD_MAX_PAGES << memfd->shift, "size");
	if (memfd->seals & ~(u32)KHO_ABI_MEMFD_SEALS)
		return fault(report, KHO_E_INCOMPATIBLE, pa + offsetof(struct kho_abi_memfd, seals),
			     memfd->seals, KHO_ABI_MEMFD_SEALS, "seals");
	if (memfd->flags)
		return fault(report, KHO_E_VERSION, pa + offsetof(struct kho_abi_memfd, flags),
			     memfd->flags, 0, "flags");
	if (memfd->nr_folios > pages)
		return fault(report, KHO_E_RANGE, pa + offsetof(struct kho_abi_memfd, nr_folios),
			     memfd->nr_folios, pages, "nr_folios");
	return 0;
}

int khoc_memfd_open(struct khoc_memfd *memfd, const struct khoc_mem *mem, unsigned int shift,
		    kho_pa_t pa, struct khoc_report *report)
{
	struct kho_abi_memfd header;
	const void *bytes;

	report_clear(report);
	*memfd = (struct khoc_memfd){.mem = mem, .shift = shift, .pa = pa};
	if (shift < KHO_ABI_PAGE_SHIFT_MIN || shift > KHO_ABI_PAGE_SHIFT_MAX)
		return -EINVAL;
	bytes = khoc_map(mem, pa, sizeof(header));
	if (!bytes)
		return fault(report, KHO_E_RANGE, pa, pa, khoc_load(&mem->size), "header");
	memcpy(&header, bytes, sizeof(header));
	memfd->pos = header.pos;
	memfd->size = header.size;
	memfd->seals = header.seals;
	memfd->flags = header.flags;
	memfd->nr_folios = header.nr_folios;
	memfd->folios = header.folios;
	return check_header(memfd, report);
}

/* ---- the list --------------------------------------------------------------- */

/* What ended the walk of the blocks, told of its place in the image. Return: 0 or a fault. */
static int blocks_error(const struct khoc_memfd_list *list, struct khoc_report *report)
{
	int err = khoc_vmalloc_iter_error(&list->blocks);

	if (!err || !report)
		return err;
	*report = list->blocks.report;
	if (report->structure == KHOC_S_VMALLOC)
		report->addr += list->memfd->pa + offsetof(struct kho_abi_memfd, folios);
	return err;
}

int khoc_memfd_list(struct khoc_memfd_list *list, const struct khoc_memfd *memfd,
		    const struct khoc_vmalloc_check *check, struct khoc_report *report)
{
	u64 room = ((u64)memfd->folios.total_pages << memfd->shift) /
		   sizeof(struct kho_abi_memfd_folio);
	int err;

	report_clear(report);
	*list = (struct khoc_memfd_list){
		.memfd = memfd, .tree = check ? check->tree : NULL, .ended = true};
	if (!memfd->nr_folios)
		return 0;
	err = khoc_vmalloc_iter_init(&list->blocks, memfd->mem, memfd->shift, &memfd->folios,
				     check);
	if (err)
		return blocks_error(list, report);
	list->ended = false;
	if (memfd->nr_folios > room)
		return fault(report, KHO_E_RANGE,
			     memfd->pa + offsetof(struct kho_abi_memfd, nr_folios),
			     memfd->nr_folios, room, "nr_folios");
	return 0;
}

/*
 * Did the chain end before as many blocks as the descriptor counts? Of the walk's other faults one
 * alone is at a chunk's first word, and then it has not passed over it yet.
 */
static bool ended_early(const struct khoc_vmalloc_iter *blocks)
{
	return blocks->report.fault == KHO_E_RANGE && blocks->left && !blocks->pending &&
	       blocks->report.addr == blocks->chunk;
}

/*
 * All entries were there: what follows in the chain is nobody's, but who restores the list follows
 * it. Return: -ENOENT or a fault.
 */
static int finish(struct khoc_memfd_list *list, struct khoc_report *report)
{
	const struct khoc_memfd *memfd = list->memfd;
	const struct kho_abi_vmalloc *desc = &memfd->folios;
	struct khoc_vmalloc_part part;
	u64 left;

	list->ended = true;
	while (khoc_vmalloc_iter_next(&list->blocks, &part))
		;
	left = list->blocks.left << desc->order;
	if (!ended_early(&list->blocks))
		return blocks_error(list, report) ?: -ENOENT;
	/* Nothing is missing: it is the count that is wrong. */
	return report_fault(report, KHO_E_RANGE, KHOC_S_VMALLOC, -1,
			    memfd->pa + offsetof(struct kho_abi_memfd, folios) +
				    offsetof(struct kho_abi_vmalloc, total_pages),
			    desc->total_pages, desc->total_pages - left, "total_pages");
}

/* On to the next block of the list. Return: 0 or a fault: the end of it all. */
static int next_block(struct khoc_memfd_list *list, struct khoc_report *report)
{
	const struct khoc_memfd *memfd = list->memfd;
	struct khoc_vmalloc_part part;
	int err;

	while (khoc_vmalloc_iter_next(&list->blocks, &part)) {
		if (part.chunk)
			continue;
		list->at = part.pa;
		list->end = part.pa + (1ULL << (memfd->shift + part.order));
		return 0;
	}
	list->ended = true;
	err = blocks_error(list, report);
	return err ? err
		   : fault(report, KHO_E_TRUNCATED,
			   memfd->pa + offsetof(struct kho_abi_memfd, nr_folios), memfd->nr_folios,
			   list->entry, "nr_folios");
}

static int check_folio(struct khoc_memfd_list *list, struct khoc_memfd_folio *folio,
		       struct khoc_report *report)
{
	const struct khoc_memfd *memfd = list->memfd;
	u64 limit = khoc_load(&memfd->mem->size) >> memfd->shift, pages = memfd_pages(memfd);
	u64 behind = list->next_index;
	struct khoc_block cover;

	if (folio->index < pages)
		list->next_index = folio->index + 1;
	if (!folio->pfn || folio->pfn >= limit)
		return fault(report, KHO_E_RANGE, folio->at, folio->pfn, limit, "pfn");
	folio->pa = folio->pfn << memfd->shift;
	if (folio->flags & ~(u32)KHO_ABI_MEMFD_FLAGS)
		return fault(report, KHO_E_VERSION, folio->at, folio->flags, KHO_ABI_MEMFD_FLAGS,
			     "flags");
	if (folio->index >= pages)
		return fault(report, KHO_E_RANGE,
			     folio->at + offsetof(struct kho_abi_memfd_folio, index), folio->index,
			     pages, "index");
	if (folio->index < behind)
		return fault(report, KHO_E_FORMAT,
			     folio->at + offsetof(struct kho_abi_memfd_folio, index), folio->index,
			     behind, "index");
	if (!list->tree)
		return 0;
	if (!khoc_radix_lookup(list->tree, folio->pa, &cover))
		return fault(report, KHO_E_NOT_PRESERVED, folio->at, folio->pa, 0, "pfn");
	folio->order = cover.order;
	return 0;
}

int khoc_memfd_folio_next(struct khoc_memfd_list *list, struct khoc_memfd_folio *folio,
			  struct khoc_report *report)
{
	struct kho_abi_memfd_folio entry;
	const void *bytes;
	int err = 0;

	report_clear(report);
	*folio = (struct khoc_memfd_folio){.entry = list->entry};
	if (list->ended)
		return -ENOENT;
	if (list->entry >= list->memfd->nr_folios)
		return finish(list, report);
	/* Blocks are whole pages, and entries do not cross their ends. */
	if (list->at == list->end)
		err = next_block(list, report);
	if (err)
		return err;
	bytes = khoc_map(list->memfd->mem, list->at, sizeof(entry));
	if (!bytes) {
		list->ended = true;
		return fault(report, KHO_E_RANGE, list->at, list->at,
			     khoc_load(&list->memfd->mem->size), "folios");
	}
	memcpy(&entry, bytes, sizeof(entry));
	folio->at = list->at;
	folio->pfn = entry.word & ((1ULL << KHO_ABI_MEMFD_PFN_BITS) - 1);
	folio->flags = (u32)(entry.word >> KHO_ABI_MEMFD_PFN_BITS);
	folio->index = entry.index;
	list->at += sizeof(entry);
	list->entry++;
	return check_folio(list, folio, report);
}
