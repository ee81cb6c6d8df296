// SPDX-License-Identifier: GPL-2.0-only
/*
 * Slabs that were handed to us: each is looked at as a whole, byte by byte, and taken over with
 * the objects in it, which stay preserved until somebody frees them. One that is not sound is
 * passed over with a line in the log; the others do not suffer.
 */
#define pr_fmt(fmt) "KHO: " fmt

#include <linux/io.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "kexec_handover_internal.h"
#include "kho_slab.h"

static void __init say(const struct khoc_report *report)
{
	pr_warn("%s at 0x%llx, %s: %s (0x%llx, limit 0x%llx)\n",
		khoc_structure_text(report->structure), report->addr, report->field,
		khoc_fault_text(report->fault), report->value, report->limit);
}

static int __init fault(int code, int structure, u64 addr, u64 value, const char *field)
{
	const struct khoc_report report = {code, structure, -1, addr, value, 0, field};

	say(&report);
	return -code;
}

/* Which cache a sound slab is of; NULL: there is none. */
static struct kho_cache *__init cache_of(const struct kho_abi_slab *header)
{
	struct kho_cache *cache;

	list_for_each_entry(cache, &kho_slabs.caches, list) {
		if (cache->object_size != header->object_size)
			continue;
		if (!cache->record && !header->cache)
			return cache;
		if (cache->record && virt_to_phys(cache->record) == header->cache &&
		    cache->record->flags == header->flags)
			return cache;
	}
	return NULL;
}

/* The pages become ours, and are preserved again. */
static int __init adopt(struct kho_cache *cache, phys_addr_t phys, unsigned int order)
{
	struct kho_slab *slab = kho_slab_describe(cache, phys_to_virt(phys));
	int err = slab ? kho_mark(phys, order, KHO_ABI_TYPE_SLAB, NULL) : -ENOMEM;

	if (!err && !kho_claim(phys, 1UL << order, KHO_ABI_TYPE_SLAB))
		err = -KHO_E_CLAIMED;
	else if (!err)
		err = kho_slab_enter(slab);
	if (err) {
		kho_unmark(phys, order, KHO_ABI_TYPE_SLAB);
		kfree(slab);
	}
	return err;
}

/* @named: of those of named caches, for which there must be a record by now, or the others */
static int __init take_slab(phys_addr_t phys, unsigned int order, bool named)
{
	const struct kho_abi_slab *header = phys_to_virt(phys);
	struct khoc_slab_counts counts;
	struct khoc_report report;
	struct kho_cache *cache;

	/* Taken over before. */
	if (kho_slab_of(phys) && kho_slab_phys(kho_slab_of(phys)) == phys)
		return 0;
	if (phys >= kho_mem_in.size || order > MAX_PAGE_ORDER ||
	    !kho_can_claim(phys, order, KHO_ABI_TYPE_SLAB))
		return fault(KHO_E_NOT_PRESERVED, KHOC_S_SLAB, phys, order, "order");
	if (!!header->cache != named)
		return 0;
	if (khoc_slab_check(&kho_mem_in, PAGE_SHIFT, phys, order, &counts, &report)) {
		say(&report);
		return -report.fault;
	}
	cache = cache_of(header);
	if (!cache)
		return fault(KHO_E_RANGE, KHOC_S_SLAB, phys, header->cache, "cache");
	/* No kernel of ours leaves an object half way. */
	if (counts.freed || counts.reserved)
		return fault(KHO_E_STATE, KHOC_S_SLAB, phys, counts.freed + counts.reserved,
			     "states");
	return adopt(cache, phys, order);
}

static void __init take_slabs(bool named)
{
	u64 unit = 0, entry;

	for (; kho_array_next(&kho_slabs.slab_array, &unit, &entry) == 1; unit++) {
		phys_addr_t phys = unit << KHO_SLAB_UNIT_SHIFT;

		if (unit >= U64_MAX >> KHO_SLAB_UNIT_SHIFT || !kho_array_is_value(entry) ||
		    take_slab(phys, kho_array_to_value(entry), named))
			kho_array_erase(&kho_slabs.slab_array, unit);
	}
}

/* A record is an object of the heap's, whose slabs we have. */
static int __init take_record(u64 index, u64 entry)
{
	struct kho_cache *heap = kho_heap_class(sizeof(struct kho_abi_cache)), *cache;
	struct kho_abi_cache *record;
	struct khoc_report report;

	if (kho_array_is_value(entry) || entry / KHO_ABI_SLAB_OBJECT_MIN != index)
		return fault(KHO_E_FORMAT, KHOC_S_CACHE, entry, index, "index");
	record = kho_slab_take(heap, kho_slab_of(entry), entry);
	if (!record)
		return fault(KHO_E_NOT_PRESERVED, KHOC_S_CACHE, entry, index, "record");
	if (khoc_cache_check(record, PAGE_SHIFT, entry, &report)) {
		say(&report);
		return -report.fault;
	}
	list_for_each_entry(cache, &kho_slabs.caches, list)
		if (cache->record && !strcmp(cache->record->name, record->name))
			return fault(KHO_E_DUPLICATE, KHOC_S_CACHE, entry, index, "name");
	cache = kzalloc_obj(*cache);
	if (!cache)
		return -ENOMEM;
	kho_cache_setup(cache, record, record->object_size);
	return 0;
}

static void __init take_records(void)
{
	u64 index = 0, entry;

	for (; kho_array_next(&kho_slabs.cache_array, &index, &entry) == 1; index++) {
		if (take_record(index, entry))
			kho_array_erase(&kho_slabs.cache_array, index);
		if (index == U64_MAX)
			break;
	}
}

/**
 * kho_slab_take_over() - take over all slabs and caches of the previous kernel
 * @blob: where they are; ours by now, and preserved
 *
 * Return: 0, if perhaps with fewer than there were; or a fault: the list of them is none.
 */
int __init kho_slab_take_over(struct kho_abi_slabs *blob)
{
	phys_addr_t at = virt_to_phys(blob);
	int err;

	if (blob->magic != KHO_ABI_SLABS_MAGIC)
		return fault(KHO_E_MAGIC, KHOC_S_SLAB, at, blob->magic, "magic");
	if (blob->version != KHO_ABI_SLAB_VERSION)
		return fault(KHO_E_VERSION, KHOC_S_SLAB, at, blob->version, "version");
	if (blob->reserved)
		return fault(KHO_E_FORMAT, KHOC_S_SLAB, at, blob->reserved, "reserved");
	err = kho_array_restore(&kho_slabs.slab_array, &blob->slabs);
	if (err)
		return err;
	err = kho_array_restore(&kho_slabs.cache_array, &blob->caches);
	if (err) {
		kho_array_destroy(&kho_slabs.slab_array);
		return err;
	}
	take_slabs(false);
	take_records();
	take_slabs(true);
	return 0;
}
