/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Reading a memory file with holes: "sparsefd-v1". */
#ifndef KHO_CORE_SPARSE_MEMFD_H
#define KHO_CORE_SPARSE_MEMFD_H

#include <kho/abi/sparse_memfd.h>
#include <kho/core/array.h>
#include <kho/core/image.h>
#include <kho/core/radix.h>
#include <kho/core/report.h>

/**
 * struct khoc_sparse_memfd - a file
 * @pa: where it is described
 * @pos, @size, @seals: of the file
 * @folios: private
 */
struct khoc_sparse_memfd {
	kho_pa_t pa;
	__u64 pos;
	__u64 size;
	__u32 seals;
	struct khoc_array folios;
};

/**
 * khoc_sparse_memfd_open() - read what a file is
 * @pa: kho_abi_luo_file.data
 *
 * Looks at the description and at the array's descriptor.
 *
 * Return: 0; -EINVAL (page size); or a fault that @report, if not NULL, explains: KHO_E_ALIGN, KHO_E_RANGE
 * (@pa, @size), KHO_E_INCOMPATIBLE (a seal), KHO_E_VERSION (@flags), or as khoc_array_attach().
 */
int khoc_sparse_memfd_open(struct khoc_sparse_memfd *file, const struct khoc_mem *mem,
			   unsigned int shift, kho_pa_t pa, struct khoc_report *report);

/**
 * khoc_sparse_memfd_validate() - is the array sound, and every folio preserved and in the file?
 * @check: as for khoc_array_validate()
 * @tree: what is preserved
 *
 * Return: 0; as khoc_array_validate(); or a fault with the folio's page of the file as @value:
 * KHO_E_FORMAT (not an integer), KHO_E_ALIGN (its address or its page), KHO_E_NOT_PRESERVED (no
 * block begins there), KHO_E_RANGE (behind the file's end), KHO_E_OVERLAP (with the folio before).
 */
int khoc_sparse_memfd_validate(const struct khoc_sparse_memfd *file, struct khoc_array_check *check,
			       const struct khoc_radix *tree, struct khoc_report *report);

#endif
