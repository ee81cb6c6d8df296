/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Reading the regions that Linux's reserve_mem= set aside: "memblock-v1". */
#ifndef KHO_CORE_RESERVE_MEM_H
#define KHO_CORE_RESERVE_MEM_H

#include <kho/abi/reserve_mem.h>
#include <kho/core/fdt.h>
#include <kho/core/image.h>
#include <kho/core/report.h>

/**
 * struct khoc_reserve_mem_region - a region
 * @pa: where in the image its node begins
 * @name: NUL-terminated; what is behind KHO_ABI_RESERVE_MEM_NAME_MAX bytes is cut off
 * @name_len: bytes of the name as it is there
 * @start, @size: of the region; 0 where the property is missing
 */
struct khoc_reserve_mem_region {
	kho_pa_t pa;
	char name[KHO_ABI_RESERVE_MEM_NAME_MAX + 1];
	__u32 name_len;
	kho_pa_t start;
	__u64 size;
};

/**
 * struct khoc_reserve_mem - a walk through the regions; private
 * @image_size: of the image
 * @before: those that there were
 * @ended: nothing more comes
 * @pending: the next token was read already
 */
struct khoc_reserve_mem {
	struct khoc_fdt fdt;
	struct khoc_fdt_item item;
	__u64 image_size;
	__u32 nr;
	bool ended;
	bool pending;
	struct khoc_reserve_mem_region before[KHO_ABI_RESERVE_MEM_MAX];
};

/**
 * khoc_reserve_mem_open() - start a walk
 * @pa, @size: the blob of the subtree KHO_ABI_MEMBLOCK_NODE
 *
 * Return: 0, or a fault: not in the image, what is wrong with the FDT, or -KHO_E_INCOMPATIBLE.
 * No region can be read then.
 */
int khoc_reserve_mem_open(struct khoc_reserve_mem *walk, const struct khoc_mem *mem, kho_pa_t pa,
			  __u64 size, struct khoc_report *report);

/**
 * khoc_reserve_mem_next() - the next region
 *
 * Return: 0; -ENOENT at the end and ever after; a fault. With @region->pa not 0 the fault is one of
 * this region, and the next can be read: -KHO_E_FORMAT (its name, or a property that is missing or
 * has another length), -KHO_E_DUPLICATE (a name or property twice), -KHO_E_INCOMPATIBLE,
 * -KHO_E_RANGE (no bytes, or not all in the image; more than KHO_ABI_RESERVE_MEM_MAX regions),
 * -KHO_E_OVERLAP (with a region before). Else the FDT cannot be read any further.
 */
int khoc_reserve_mem_next(struct khoc_reserve_mem *walk, struct khoc_reserve_mem_region *region,
			  struct khoc_report *report);

#endif
