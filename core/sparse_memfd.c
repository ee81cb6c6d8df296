/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Reading a memory file with holes. */
#include "mem.h"

#include <kho/core/sparse_memfd.h>

static int fault(struct khoc_report *report, int code, u64 addr, u64 value, u64 limit,
		 const char *field)
{
	return report_fault(report, code, KHOC_S_MEMFD, -1, addr, value, limit, field);
}

int khoc_sparse_memfd_open(struct khoc_sparse_memfd *file, const struct khoc_mem *mem,
			   unsigned int shift, kho_pa_t pa, struct khoc_report *report)
{
	struct kho_abi_sparse_memfd header;
	const void *bytes;

	report_clear(report);
	if (pa & 7)
		return fault(report, KHO_E_ALIGN, pa, pa, 8, "data");
	bytes = khoc_map(mem, pa, sizeof(header));
	if (!bytes)
		return fault(report, KHO_E_RANGE, pa, pa, khoc_load(&mem->size), "data");
	memcpy(&header, bytes, sizeof(header));
	file->pa = pa;
	file->pos = header.pos;
	file->size = header.size;
	file->seals = header.seals;
	if (header.size >> 63)
		return fault(report, KHO_E_RANGE, pa + 8, header.size, 1ULL << 63, "size");
	if (header.seals & ~(u32)KHO_ABI_SPARSE_MEMFD_SEALS)
		return fault(report, KHO_E_INCOMPATIBLE, pa + 16, header.seals,
			     KHO_ABI_SPARSE_MEMFD_SEALS, "seals");
	if (header.flags)
		return fault(report, KHO_E_VERSION, pa + 20, header.flags, 0, "flags");
	return khoc_array_attach(&file->folios, mem, shift,
				 pa + offsetof(struct kho_abi_sparse_memfd, folios), report);
}

/* The order of the largest block that is preserved at @pa; -1: none begins there. */
static int order_at(const struct khoc_radix *tree, kho_pa_t pa)
{
	struct khoc_block block;

	return khoc_radix_lookup(tree, pa, &block) && block.pa == pa ? (int)block.order : -1;
}

/* @end: pages of the file that are taken; moved behind the folio */
static int check_folio(const struct khoc_sparse_memfd *file, const struct khoc_radix *tree,
		       u64 index, u64 entry, u64 *end, struct khoc_report *report)
{
	unsigned int shift = file->folios.shift;
	u64 page = 1ULL << shift, pages = (file->size >> shift) + !!(file->size & (page - 1));
	u64 at = file->pa + offsetof(struct kho_abi_sparse_memfd, folios);
	kho_pa_t pa = khoc_array_to_integer(entry);
	int order;

	if (!khoc_array_is_integer(entry))
		return fault(report, KHO_E_FORMAT, at, index, 0, "folio");
	if (pa & (page - 1))
		return fault(report, KHO_E_ALIGN, at, index, page, "folio");
	order = order_at(tree, pa);
	if (order < 0)
		return fault(report, KHO_E_NOT_PRESERVED, at, index, pa, "folio");
	if (index & ((1ULL << order) - 1))
		return fault(report, KHO_E_ALIGN, at, index, 1ULL << order, "index");
	/* A block has fewer pages than 2^63, and its place is a multiple of their number. */
	if (index >= pages)
		return fault(report, KHO_E_RANGE, at, index, pages, "index");
	if (index < *end)
		return fault(report, KHO_E_OVERLAP, at, index, *end, "index");
	*end = index + (1ULL << order);
	return 0;
}

int khoc_sparse_memfd_validate(const struct khoc_sparse_memfd *file, struct khoc_array_check *check,
			       const struct khoc_radix *tree, struct khoc_report *report)
{
	struct khoc_array_iter iter;
	u64 index, entry, end = 0;
	int rc = khoc_array_validate(&file->folios, check, report);

	if (rc)
		return rc;
	khoc_array_iter_init(&iter, &file->folios, 0, ~0ULL);
	while ((rc = khoc_array_iter_next(&iter, &index, &entry)) > 0) {
		rc = check_folio(file, tree, index, entry, &end, report);
		if (rc)
			return rc;
	}
	/* Of an array that was sound a moment ago. */
	return rc ? fault(report, -rc, file->pa, 0, 0, "folios") : 0;
}
