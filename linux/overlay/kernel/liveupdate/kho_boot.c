// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the previous kernel handed over: believed in two steps, then reserved.
 *
 * First step, kho_populate(), before memory is mapped: the root FDT and the table of scratch areas,
 * which fit a few pages of early_memremap(). If they are sound, memblock gives out scratch alone,
 * so that nothing that may be preserved is overwritten.
 *
 * Second step, at the first question for a subtree or at kho_memory_init(): everything else, by
 * kho_verify(). Nothing is reserved before all of it is found sound.
 *
 * Refused in the first step, this is a cold boot: all memory is free, scratch is made anew. In the
 * second step memblock has given out scratch already, and the page allocator will know its page
 * blocks as such: it is kept, and all other memory is free. Either way the next handover finds what
 * it needs. What was handed over is lost: kho_on_fault=panic if that is worse than not to run, say
 * because a device still writes to it, or because it must not be seen by others.
 */
#define pr_fmt(fmt) "KHO: " fmt

#include <linux/init.h>
#include <linux/io.h>
#include <linux/kexec_handover.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/panic.h>
#include <linux/string.h>

#include <asm/early_ioremap.h>
#include <asm/sections.h>
#ifdef CONFIG_X86
#include <asm/e820/api.h>
#endif

#include "kexec_handover_internal.h"

/* As many areas as memblock has regions for before it can make room for more. */
#define SCRATCH_MAX 100

static struct {
	phys_addr_t fdt_phys; /* the root FDT */
	phys_addr_t scratch_phys; /* the table of scratch areas; 0: nothing was offered */
	struct khoc_report report; /* why it was refused */
} kho_in __ro_after_init;

static bool panic_on_fault __initdata;

static int __init kho_parse_on_fault(char *text)
{
	if (text && !strcmp(text, "panic"))
		panic_on_fault = true;
	else if (text && !strcmp(text, "continue"))
		panic_on_fault = false;
	else
		return -EINVAL;
	return 0;
}
early_param("kho_on_fault", kho_parse_on_fault);

static void __init refuse(enum kho_state state, const struct khoc_report *report)
{
	kho_state = state;
	kho_in.report = *report;
	pr_err("handover %s: %s at 0x%llx, level %d, %s: %s (0x%llx, limit 0x%llx)\n",
	       kho_state_text(), khoc_structure_text(report->structure), report->addr,
	       report->level, report->field, khoc_fault_text(report->fault), report->value,
	       report->limit);
}

/* Why the handover was refused; NULL if it was not. */
const struct khoc_report *kho_refusal(void)
{
	return kho_in.report.fault ? &kho_in.report : NULL;
}

/* ---- first step ---------------------------------------------------------- */

static struct kho_scratch areas[SCRATCH_MAX] __initdata;
static unsigned int nr_areas __initdata;

/* What the firmware says, where that is known before memblock knows it. */
static bool __init firmware_has_ram(phys_addr_t start, phys_addr_t end)
{
#ifdef CONFIG_X86
	return e820__mapped_all(start, end, E820_TYPE_RAM);
#else
	return true;
#endif
}

static bool __init overlap(phys_addr_t a, u64 a_size, phys_addr_t b, u64 b_size)
{
	return a < b + b_size && b < a + a_size;
}

/* Is all of it in one area? */
static bool __init in_scratch(phys_addr_t start, u64 size)
{
	for (unsigned int i = 0; i < nr_areas; i++)
		if (start >= areas[i].addr && size <= areas[i].size &&
		    start - areas[i].addr <= areas[i].size - size)
			return true;
	return false;
}

static int __init table_fault(struct khoc_report *report, int fault, u64 addr, u64 value, u64 limit,
			      const char *field)
{
	*report = (struct khoc_report){fault, KHOC_S_SCRATCH, -1, addr, value, limit, field};
	return -fault;
}

/* @at: where the area is written */
static int __init check_area(unsigned int i, phys_addr_t at, struct khoc_report *report)
{
	const struct kho_scratch *area = &areas[i];
	u64 end = 1ULL << MAX_PHYSMEM_BITS;

	if (!PAGE_ALIGNED(area->addr))
		return table_fault(report, KHO_E_ALIGN, at, area->addr, PAGE_SIZE, "addr");
	if (!PAGE_ALIGNED(area->size))
		return table_fault(report, KHO_E_ALIGN, at + 8, area->size, PAGE_SIZE, "size");
	if (area->addr >= end)
		return table_fault(report, KHO_E_RANGE, at, area->addr, end, "addr");
	if (area->size > end - area->addr || !firmware_has_ram(area->addr, area->addr + area->size))
		return table_fault(report, KHO_E_RANGE, at + 8, area->size, end - area->addr,
				   "size");
	for (unsigned int j = 0; j < i; j++)
		if (overlap(area->addr, area->size, areas[j].addr, areas[j].size))
			return table_fault(report, KHO_E_OVERLAP, at, area->addr, areas[j].addr,
					   "addr");
	return 0;
}

static int __init check_areas(phys_addr_t table, const struct kho_scratch *from, u64 len,
			      struct khoc_report *report)
{
	int err;

	for (u64 i = 0; i < len / sizeof(*from); i++) {
		areas[nr_areas] = from[i];
		/* Linux 7.2 has an area of no bytes where it has no use for one. */
		if (!areas[nr_areas].size)
			continue;
		err = check_area(nr_areas, table + i * sizeof(*from), report);
		if (err)
			return err;
		nr_areas++;
	}
	if (!nr_areas)
		return table_fault(report, KHO_E_TRUNCATED, table, 0, 1, "areas");
	/* The table, and this very kernel, were put there by those who made it. */
	if (!in_scratch(table, len))
		return table_fault(report, KHO_E_RANGE, table, table, 0, "the table itself");
	if (!in_scratch(__pa_symbol(_text), _end - _text))
		return table_fault(report, KHO_E_RANGE, table, __pa_symbol(_text), 0,
				   "this kernel");
	return 0;
}

static int __init check_scratch(phys_addr_t table, u64 len, struct khoc_report *report)
{
	struct kho_scratch *from;
	int err;

	if (!table || !IS_ALIGNED(table, sizeof(u64)))
		return table_fault(report, KHO_E_ALIGN, table, table, sizeof(u64), "scratch_addr");
	if (!len || len % sizeof(*from) || len > sizeof(areas))
		return table_fault(report, KHO_E_RANGE, table, len, sizeof(areas), "scratch_size");
	if (table >= 1ULL << MAX_PHYSMEM_BITS || !firmware_has_ram(table, table + len))
		return table_fault(report, KHO_E_RANGE, table, table, 1ULL << MAX_PHYSMEM_BITS,
				   "scratch_addr");
	from = early_memremap(table, len);
	if (!from)
		return table_fault(report, KHO_E_RANGE, table, table, 0, "scratch_addr");
	err = check_areas(table, from, len, report);
	early_memunmap(from, len);
	return err;
}

static int __init fdt_fault(struct khoc_report *report, int fault, u64 addr, u64 value, u64 limit)
{
	*report = (struct khoc_report){fault, KHOC_S_ROOT_FDT, -1, addr, value, limit, "fdt_addr"};
	return -fault;
}

static int __init check_root(phys_addr_t phys, u64 len, struct khoc_report *report)
{
	u64 end = 1ULL << MAX_PHYSMEM_BITS;
	void *fdt;
	int err;

	if (!phys || !PAGE_ALIGNED(phys))
		return fdt_fault(report, KHO_E_ALIGN, phys, phys, PAGE_SIZE);
	if (len != PAGE_SIZE)
		return fdt_fault(report, KHO_E_RANGE, phys, len, PAGE_SIZE);
	if (phys >= end || !firmware_has_ram(phys, phys + len))
		return fdt_fault(report, KHO_E_RANGE, phys, phys, end);
	if (in_scratch(phys, 1))
		return fdt_fault(report, KHO_E_OVERLAP, phys, phys, 0);
	fdt = early_memremap(phys, len);
	if (!fdt)
		return fdt_fault(report, KHO_E_RANGE, phys, phys, 0);
	err = khoc_root_check(fdt, len, phys, end, report);
	if (!err)
		err = kho_compat_check_root(fdt, phys, report);
	early_memunmap(fdt, len);
	return err;
}

/**
 * kho_populate() - what the boot protocol says of a handover
 * @fdt_phys: where the root FDT is
 * @fdt_len: its bytes
 * @scratch_phys: where the table of scratch areas is
 * @scratch_len: its bytes
 *
 * Called by the architecture, before memory is mapped, and at most once with good effect.
 */
void __init kho_populate(phys_addr_t fdt_phys, u64 fdt_len, phys_addr_t scratch_phys,
			 u64 scratch_len)
{
	struct khoc_report report = {};

	if (kho_state != KHO_COLD)
		return;
	if (check_scratch(scratch_phys, scratch_len, &report) ||
	    check_root(fdt_phys, fdt_len, &report)) {
		refuse(KHO_REFUSED_EARLY, &report);
		return;
	}
	for (unsigned int i = 0; i < nr_areas; i++) {
		memblock_add(areas[i].addr, areas[i].size);
		memblock_mark_kho_scratch(areas[i].addr, areas[i].size);
	}
	memblock_reserve(scratch_phys, scratch_len);
	memblock_set_kho_scratch_only();
	kho_in.fdt_phys = fdt_phys;
	kho_in.scratch_phys = scratch_phys;
	kho_scratch_cnt = scratch_len / sizeof(*kho_scratch);
	kho_state = KHO_OFFERED;
	pr_info("found a handover, %u areas of scratch\n", nr_areas);
}

/* ---- second step --------------------------------------------------------- */

/* The region of memory that @phys is in; NULL: none. */
static struct memblock_region *__init ram_region(phys_addr_t phys)
{
	unsigned long lo = 0, hi = memblock.memory.cnt;

	while (lo < hi) {
		unsigned long mid = lo + (hi - lo) / 2;
		struct memblock_region *region = &memblock.memory.regions[mid];

		if (phys < region->base)
			hi = mid;
		else if (phys - region->base >= region->size)
			lo = mid + 1;
		else
			return region;
	}
	return NULL;
}

/* RAM outside of scratch, which has the next kernel in it, and nothing that was handed over. */
static void *__init in_boot_map(void *ctx, kho_pa_t pa, size_t len)
{
	struct memblock_region *region = ram_region(pa);

	if (!region || memblock_is_nomap(region) || memblock_is_kho_scratch(region) ||
	    len > region->size - (pa - region->base))
		return NULL;
	return phys_to_virt(pa);
}

static const struct khoc_mem_ops in_boot_ops __initconst = {
	.map = in_boot_map,
};

static struct khoc_mem in_boot_mem __initdata = {
	.ops = &in_boot_ops,
};

/* The same in one piece: for nodes that in_boot_map() has said yes to. */
static struct khoc_mem in_boot_linear __initdata;

/* Where the last question was answered; they come by ascending address. */
struct ram_cursor {
	unsigned long reserved; /* number of a region */
};

/* What of it this kernel has other plans with; 0: nothing. */
static phys_addr_t __init taken(struct ram_cursor *cursor, phys_addr_t phys, u64 size)
{
	struct memblock_type *type = &memblock.reserved;

	for (; cursor->reserved < type->cnt; cursor->reserved++) {
		struct memblock_region *region = &type->regions[cursor->reserved];

		if (region->base + region->size > phys)
			return region->base < phys + size ? max(region->base, phys) : 0;
	}
	return 0;
}

static int __init in_boot_is_ram(struct kho_verify *v, phys_addr_t phys, u64 size)
{
	u64 end = phys + size, at = phys;
	int leaf = KHOC_S_RADIX_LEAF;

	while (at < end) {
		struct memblock_region *region = ram_region(at);

		if (!region || memblock_is_nomap(region))
			return kho_verify_fault(v, KHO_E_RANGE, leaf, 0, at, end,
						"a block that is not RAM");
		if (memblock_is_kho_scratch(region))
			return kho_verify_fault(v, KHO_E_OVERLAP, leaf, 0, at, end,
						"a block in scratch");
		at = region->base + region->size;
	}
	at = taken(v->ctx, phys, size);
	if (at)
		return kho_verify_fault(v, KHO_E_OVERLAP, leaf, 0, at, end,
					"a block in reserved memory");
	return 0;
}

static void *__init in_boot_alloc(struct kho_verify *v, size_t size)
{
	return memblock_alloc(size, SMP_CACHE_BYTES);
}

static void __init in_boot_free(struct kho_verify *v, void *mem, size_t size)
{
	memblock_free(mem, size);
}

static struct khoc_types in_boot_types __initdata;

static struct kho_verify in_boot __initdata = {
	.mem = &in_boot_mem,
	.trusted = &in_boot_linear,
	.is_ram = in_boot_is_ram,
	.alloc = in_boot_alloc,
	.free = in_boot_free,
	.types = &in_boot_types,
};

/*
 * Free parts of scratch that are kept out of memblock's hands after a late refusal: all memory is
 * to be had again, but who asks for some that it wants to hand over, as reserve_mem= does, must not
 * get scratch. More parts than these are as they were.
 */
static struct {
	phys_addr_t base;
	phys_addr_t size;
} fence[64] __initdata;
static unsigned int nr_fences __initdata;

static void __init fence_scratch(void)
{
	phys_addr_t start, end;
	u64 i;

	memblock_clear_kho_scratch_only();
	for_each_free_mem_range(i, NUMA_NO_NODE, MEMBLOCK_KHO_SCRATCH, &start, &end, NULL) {
		if (nr_fences == ARRAY_SIZE(fence))
			break;
		fence[nr_fences].base = start;
		fence[nr_fences++].size = end - start;
	}
	/* Not in the loop: it looks at what is reserved. */
	for (i = 0; i < nr_fences; i++)
		memblock_reserve(fence[i].base, fence[i].size);
}

/* The page allocator gets scratch as free memory, of which it gives out movable pages alone. */
static void __init unfence_scratch(void)
{
	while (nr_fences--)
		memblock_phys_free(fence[nr_fences].base, fence[nr_fences].size);
	nr_fences = 0;
}

/* Everything that the first step could not look at. */
static void __init believe(void)
{
	struct ram_cursor cursor = {};

	in_boot_mem.size = memblock_end_of_DRAM();
	in_boot_mem.node_hi = PAGE_ALIGN_DOWN(in_boot_mem.size);
	in_boot_linear = in_boot_mem;
	in_boot.fdt = phys_to_virt(kho_in.fdt_phys);
	in_boot_linear.linear = (void *)in_boot.fdt - kho_in.fdt_phys;
	in_boot.fdt_phys = kho_in.fdt_phys;
	in_boot.ctx = &cursor;
	if (!in_boot_map(NULL, kho_in.fdt_phys, PAGE_SIZE))
		fdt_fault(&in_boot.report, KHO_E_RANGE, kho_in.fdt_phys, kho_in.fdt_phys,
			  in_boot_mem.size);
	else if (!khoc_root_check(in_boot.fdt, PAGE_SIZE, kho_in.fdt_phys, in_boot_mem.size,
				  &in_boot.report) &&
		 !kho_verify(&in_boot)) {
		kho_mem_in.size = in_boot_mem.size;
		kho_state = KHO_REVIVED;
		return;
	}
	refuse(KHO_REFUSED_LATE, &in_boot.report);
	fence_scratch();
}

/* The root FDT of what was handed over; NULL if there was nothing, or it was refused. */
const void *__ref kho_in_fdt(void)
{
	/* Before the first initcall, in the one task that there is. */
	if (kho_state == KHO_OFFERED && kho_is_enabled())
		believe();
	return kho_state == KHO_REVIVED ? phys_to_virt(kho_in.fdt_phys) : NULL;
}

/* ---- reserving ----------------------------------------------------------- */

/**
 * struct kho_ranges - what is preserved, by ascending address, neighbours as one
 * @merge: the runs
 * @run: the one behind the last range
 * @more: there is one
 */
struct kho_ranges {
	struct kho_merge merge;
	struct khoc_run run;
	bool more;
};

static struct kho_ranges ranges __initdata;

static void __init ranges_init(void)
{
	kho_merge_init(&ranges.merge, &in_boot.tree);
	ranges.more = kho_merge_next(&ranges.merge, &ranges.run);
}

/* There must be one more. */
static void __init ranges_next(void *ctx, phys_addr_t *base, phys_addr_t *size)
{
	*base = ranges.run.pa;
	*size = 0;
	do {
		*size += kho_run_size(&ranges.run);
		ranges.more = kho_merge_next(&ranges.merge, &ranges.run);
	} while (ranges.more && ranges.run.pa == *base + *size);
}

static int __init stamp(void *ctx, const struct khoc_run *run)
{
	kho_stamp_run(run);
	return 0;
}

/* @ctx: the type. A block may have a type and not be preserved. */
static int __init stamp_types(void *ctx, const struct khoc_run *run)
{
	const unsigned int *type = ctx;
	phys_addr_t phys = run->pa;

	for (u64 i = 0; i < run->nr; i++, phys += PAGE_SIZE << run->order)
		if (khoc_radix_test(&in_boot.tree, phys, run->order))
			kho_stamp_type(phys, run->order, *type);
	return 0;
}

/* What types the blocks have that were stamped, if that is known. */
static void __init type_all(void)
{
	if (!in_boot.typed)
		return;
	kho_stamps_have_types();
	for (unsigned int type = 0; type < KHO_ABI_TYPES; type++)
		if (in_boot_types.has & 1U << type)
			khoc_radix_walk(&in_boot_types.tree[type], 0, in_boot_mem.size, stamp_types,
					&type);
}

/*
 * Reserve it all at once, and make the struct pages of it: memblock's users pass over it. The
 * tree's own pages are free again when memblock hands over to the page allocator.
 */
static int __init revive(void)
{
	phys_addr_t base, size;
	unsigned long nr = 0;
	int err;

	for (ranges_init(); ranges.more; nr++)
		ranges_next(NULL, &base, &size);
	ranges_init();
	err = memblock_reserve_sorted(nr, NULL, ranges_next);
	if (err)
		return err;
	khoc_radix_walk(&in_boot.tree, 0, in_boot_mem.size, stamp, NULL);
	type_all();
	return 0;
}

/**
 * kho_memory_init() - reserve what was handed over, or set scratch aside
 *
 * Called once, as late as memblock still allocates.
 */
void __init kho_memory_init(void)
{
	struct khoc_report no_room = {KHO_E_STATE, KHOC_S_RADIX_TABLE,	     -1, 0, 0,
				      0,	   "no memory to reserve it"};

	kho_in_fdt();
	if (kho_state == KHO_REVIVED && revive())
		refuse(KHO_REFUSED_LATE, &no_room);
	/* Not where it is refused: what a panic leads to may not be known there yet. */
	if (panic_on_fault && kho_refusal())
		panic("KHO: handover refused, and kho_on_fault=panic\n");
	if (kho_state == KHO_OFFERED) {
		pr_warn("what was handed over is lost: kho=off\n");
		kho_state = KHO_REFUSED_LATE;
	}
	unfence_scratch();
	if (kho_in.scratch_phys) {
		kho_scratch = phys_to_virt(kho_in.scratch_phys);
	} else if (kho_is_enabled() && kho_scratch_reserve()) {
		pr_warn("nothing can be handed over: no scratch\n");
		kho_disable();
	}
	if (kho_state == KHO_REVIVED)
		pr_info("handover revived\n");
}
