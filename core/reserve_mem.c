/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Reading the regions that Linux's reserve_mem= set aside. */
#include "mem.h"

/* Properties that we know, as bits: which a node has had. */
enum {
	HAD_COMPATIBLE = 1 << 0,
	HAD_START = 1 << 1,
	HAD_SIZE = 1 << 2,
};

static int fault(const struct khoc_reserve_mem *walk, struct khoc_report *report, int code, u32 at,
		 u64 value, u64 limit, const char *field)
{
	return report_fault(report, code, KHOC_S_RESERVE_MEM, -1, walk->fdt.addr + at, value, limit,
			    field);
}

/* The next token. A fault of the FDT is the end of the walk. */
static int step(struct khoc_reserve_mem *walk, struct khoc_report *report)
{
	int err = khoc_fdt_next(&walk->fdt, &walk->item, report);

	walk->ended |= err != 0;
	return err;
}

/* A token where another must be. */
static int stray(struct khoc_reserve_mem *walk, struct khoc_report *report)
{
	walk->ended = true;
	return fault(walk, report, KHO_E_FORMAT, walk->item.at, walk->item.token, 0, "token");
}

/* Up to the first region, or the root's end. */
static int read_root(struct khoc_reserve_mem *walk, struct khoc_report *report)
{
	bool compatible = false;
	int err = step(walk, report);

	if (err)
		return err;
	if (walk->item.token != KHOC_FDT_BEGIN || walk->item.name_len)
		return stray(walk, report);
	for (;;) {
		err = step(walk, report);
		if (err || walk->item.token != KHOC_FDT_PROP)
			break;
		if (khoc_fdt_named(&walk->item, KHO_ABI_RESERVE_MEM_PROP_COMPATIBLE))
			compatible |= khoc_fdt_lists(&walk->fdt, &walk->item,
						     KHO_ABI_MEMBLOCK_COMPATIBLE);
	}
	if (!err && !compatible)
		err = fault(walk, report, KHO_E_INCOMPATIBLE, walk->item.at, 0, 0,
			    KHO_ABI_RESERVE_MEM_PROP_COMPATIBLE);
	return err;
}

int khoc_reserve_mem_open(struct khoc_reserve_mem *walk, const struct khoc_mem *mem, kho_pa_t pa,
			  __u64 size, struct khoc_report *report)
{
	const void *bytes = size ? khoc_map(mem, pa, size) : NULL;
	int err;

	*walk = (struct khoc_reserve_mem){.fdt.addr = pa, .ended = true};
	walk->image_size = khoc_load(&mem->size);
	report_clear(report);
	if (!bytes)
		return fault(walk, report, KHO_E_RANGE, 0, size, walk->image_size, "blob");
	err = khoc_fdt_init(&walk->fdt, bytes, size, pa, KHOC_S_RESERVE_MEM, report);
	if (err)
		return err;
	walk->ended = false;
	walk->pending = true;
	err = read_root(walk, report);
	walk->ended |= err != 0;
	return err;
}

/* ---- a region ---------------------------------------------------------------- */

/* A property of 8 bytes, once. */
static int take_u64(struct khoc_reserve_mem *walk, u32 *had, u32 bit, u64 *value, const char *name,
		    struct khoc_report *report)
{
	if (*had & bit)
		return fault(walk, report, KHO_E_DUPLICATE, walk->item.at, 0, 0, name);
	*had |= bit;
	if (walk->item.len != sizeof(*value))
		return fault(walk, report, KHO_E_FORMAT, walk->item.at, walk->item.len,
			     sizeof(*value), name);
	*value = khoc_fdt_u64(&walk->fdt, &walk->item);
	return 0;
}

static int take_prop(struct khoc_reserve_mem *walk, struct khoc_reserve_mem_region *region,
		     u32 *had, struct khoc_report *report)
{
	const struct khoc_fdt_item *item = &walk->item;

	if (khoc_fdt_named(item, KHO_ABI_RESERVE_MEM_PROP_START))
		return take_u64(walk, had, HAD_START, &region->start,
				KHO_ABI_RESERVE_MEM_PROP_START, report);
	if (khoc_fdt_named(item, KHO_ABI_RESERVE_MEM_PROP_SIZE))
		return take_u64(walk, had, HAD_SIZE, &region->size, KHO_ABI_RESERVE_MEM_PROP_SIZE,
				report);
	if (!khoc_fdt_named(item, KHO_ABI_RESERVE_MEM_PROP_COMPATIBLE))
		return 0;
	if (*had & HAD_COMPATIBLE)
		return fault(walk, report, KHO_E_DUPLICATE, walk->item.at, 0, 0,
			     KHO_ABI_RESERVE_MEM_PROP_COMPATIBLE);
	*had |= HAD_COMPATIBLE;
	if (!khoc_fdt_lists(&walk->fdt, &walk->item, KHO_ABI_RESERVE_MEM_COMPATIBLE))
		return fault(walk, report, KHO_E_INCOMPATIBLE, walk->item.at, 0, 0,
			     KHO_ABI_RESERVE_MEM_PROP_COMPATIBLE);
	return 0;
}

/* What the node must have had. @at: where it begins. */
static int check_complete(const struct khoc_reserve_mem *walk, u32 had, u32 at,
			  struct khoc_report *report)
{
	if (!(had & HAD_COMPATIBLE))
		return fault(walk, report, KHO_E_INCOMPATIBLE, at, 0, 0,
			     KHO_ABI_RESERVE_MEM_PROP_COMPATIBLE);
	if (!(had & HAD_START))
		return fault(walk, report, KHO_E_FORMAT, at, 0, 0, KHO_ABI_RESERVE_MEM_PROP_START);
	if (!(had & HAD_SIZE))
		return fault(walk, report, KHO_E_FORMAT, at, 0, 0, KHO_ABI_RESERVE_MEM_PROP_SIZE);
	return 0;
}

static int check_region(struct khoc_reserve_mem *walk, const struct khoc_reserve_mem_region *region,
			u32 at, struct khoc_report *report)
{
	if (!region->name_len || region->name_len > KHO_ABI_RESERVE_MEM_NAME_MAX)
		return fault(walk, report, KHO_E_FORMAT, at, region->name_len,
			     KHO_ABI_RESERVE_MEM_NAME_MAX, "name");
	if (!region->size || !mem_inside(walk->image_size, region->start, region->size))
		return fault(walk, report, KHO_E_RANGE, at, region->size, walk->image_size,
			     KHO_ABI_RESERVE_MEM_PROP_SIZE);
	for (u32 i = 0; i < walk->nr; i++) {
		const struct khoc_reserve_mem_region *other = &walk->before[i];

		if (!strcmp(other->name, region->name))
			return fault(walk, report, KHO_E_DUPLICATE, at, other->pa, 0, "name");
		if (region->start - other->start < other->size ||
		    other->start - region->start < region->size)
			return fault(walk, report, KHO_E_OVERLAP, at, region->start, other->pa,
				     KHO_ABI_RESERVE_MEM_PROP_START);
	}
	if (walk->nr == KHO_ABI_RESERVE_MEM_MAX)
		return fault(walk, report, KHO_E_RANGE, at, walk->nr + 1ULL,
			     KHO_ABI_RESERVE_MEM_MAX, "regions");
	walk->before[walk->nr++] = *region;
	return 0;
}

/*
 * The properties of the node that was begun, up to its end. Of its faults the first is told, but
 * all of it is read.
 */
static int read_region(struct khoc_reserve_mem *walk, struct khoc_reserve_mem_region *region,
		       u32 *had, struct khoc_report *report)
{
	int first = 0;

	for (;;) {
		struct khoc_report own;
		int err = step(walk, &own);

		if (!err && walk->item.token == KHOC_FDT_END_NODE)
			return first;
		if (!err && walk->item.token == KHOC_FDT_PROP) {
			err = take_prop(walk, region, had, &own);
		} else {
			region->pa = 0; /* the FDT's fault: nothing of this node counts */
			first = 0;
			err = err ? err : stray(walk, &own);
		}
		if (err && !first) {
			first = err;
			if (report)
				*report = own;
		}
		if (walk->ended)
			return first;
	}
}

/* The node that was begun. */
static int next_region(struct khoc_reserve_mem *walk, struct khoc_reserve_mem_region *region,
		       struct khoc_report *report)
{
	u32 len = walk->item.name_len, at = walk->item.at, had = 0;
	int err;

	region->pa = walk->fdt.addr + at;
	region->name_len = len;
	memcpy(region->name, walk->item.name,
	       len < KHO_ABI_RESERVE_MEM_NAME_MAX ? len : KHO_ABI_RESERVE_MEM_NAME_MAX);
	err = read_region(walk, region, &had, report);
	if (!err)
		err = check_complete(walk, had, at, report);
	if (!err)
		err = check_region(walk, region, at, report);
	return err;
}

int khoc_reserve_mem_next(struct khoc_reserve_mem *walk, struct khoc_reserve_mem_region *region,
			  struct khoc_report *report)
{
	int err = 0;

	report_clear(report);
	*region = (struct khoc_reserve_mem_region){0};
	if (walk->ended)
		return -ENOENT;
	if (!walk->pending)
		err = step(walk, report);
	walk->pending = false;
	if (!err && walk->item.token == KHOC_FDT_END_NODE) {
		err = step(walk, report);
		if (!err && walk->item.token != KHOC_FDT_END)
			return stray(walk, report);
		walk->ended = true;
		return err ? err : -ENOENT;
	}
	if (!err && walk->item.token != KHOC_FDT_BEGIN)
		return stray(walk, report);
	return err ? err : next_region(walk, region, report);
}
