// SPDX-License-Identifier: GPL-2.0-only
/*
 * KHO arrays, by the core's functions.
 *
 * An array that was handed to us is looked at as a whole, once, by memory that stamps say is there.
 * Then its pages become ours, and are preserved again: from there on it is an array like any other.
 */
#define pr_fmt(fmt) "KHO: " fmt

#include <linux/export.h>
#include <linux/io.h>
#include <linux/kho/array.h>
#include <linux/mm.h>
#include <linux/vmalloc.h>

#include <kho/core/array.h>

#include "kexec_handover_internal.h"

static_assert(sizeof(((struct kho_array *)0)->core) >= sizeof(struct khoc_array));

static struct khoc_array *core_of(struct kho_array *array)
{
	return (struct khoc_array *)array->core;
}

/**
 * kho_array_init() - make an empty array
 * @array: filled in
 * @desc: its descriptor, in the kernel's linear mapping, aligned to 8 bytes; overwritten. Whoever
 *	calls this has preserved it
 *
 * Context: Any.
 * Return: 0; -EINVAL: @desc is not aligned; -EOPNOTSUPP: there is no KHO.
 */
int kho_array_init(struct kho_array *array, struct kho_abi_array *desc)
{
	int err;

	if (!kho_tree.root)
		return -EOPNOTSUPP;
	init_rwsem(&array->lock);
	err = khoc_array_init(core_of(array), &kho_mem_out, PAGE_SHIFT, virt_to_phys(desc));
	return kho_errno(err);
}
EXPORT_SYMBOL_GPL(kho_array_init);

/* ---- what was handed to us ----------------------------------------------- */

/*
 * @ctx: the descriptor's address; its user may have restored it, or not. Anything else is a page
 * that is a block of its own.
 */
static void *incoming_map(void *ctx, kho_pa_t pa, size_t len)
{
	const kho_pa_t *desc_pa = ctx;

	if (pa >= *desc_pa && pa - *desc_pa + len <= sizeof(struct kho_abi_array))
		return phys_to_virt(pa);
	if (len > PAGE_SIZE - offset_in_page(pa) ||
	    !kho_can_claim(PAGE_ALIGN_DOWN(pa), 0, KHO_ABI_TYPE_STRUCT))
		return NULL;
	return phys_to_virt(pa);
}

static const struct khoc_mem_ops incoming_ops = {
	.map = incoming_map,
};

/* Take back the marks of the pages in @seen, below @stop. */
static void unmark(const unsigned long *seen, unsigned long stop)
{
	unsigned long pfn;

	for_each_set_bit(pfn, seen, stop)
		kho_unmark(PFN_PHYS(pfn), 0, KHO_ABI_TYPE_STRUCT);
}

/* Mark what is in @seen for the next kernel. */
static int mark(const unsigned long *seen, unsigned long nr)
{
	unsigned long pfn;
	int err;

	for_each_set_bit(pfn, seen, nr) {
		err = kho_mark(PFN_PHYS(pfn), 0, KHO_ABI_TYPE_STRUCT, NULL);
		if (err) {
			unmark(seen, pfn);
			return err;
		}
	}
	return 0;
}

/*
 * The pages of a sound array become ours. If somebody takes one of them at this very moment, those
 * that were taken before it are left without a user.
 */
static int take_over(const unsigned long *seen, unsigned long nr)
{
	unsigned long pfn;
	int err = mark(seen, nr);

	if (err)
		return err;
	for_each_set_bit(pfn, seen, nr) {
		if (!kho_claim(PFN_PHYS(pfn), 1, KHO_ABI_TYPE_STRUCT)) {
			unmark(seen, nr);
			return -KHO_E_CLAIMED;
		}
	}
	return 0;
}

static int check_and_take(struct khoc_array *core, struct khoc_report *report)
{
	unsigned long nr = PHYS_PFN(core->mem->size);
	/* From 0 on, so that a bit's number is a page's. */
	struct khoc_array_check check = {.data_hi = core->mem->size};
	int err;

	check.seen = vzalloc(BITS_TO_LONGS(nr) * sizeof(long));
	if (!check.seen)
		return -ENOMEM;
	err = khoc_array_validate(core, &check, report);
	if (!err)
		err = take_over((unsigned long *)check.seen, nr);
	vfree(check.seen);
	return err;
}

/**
 * kho_array_restore() - take over an array that the previous kernel made
 * @array: filled in
 * @desc: its descriptor, where it was handed over, or restored
 *
 * All of the array is seen to be sound and preserved before it is used. It is handed over again,
 * as if we had made it, if the next kernel finds the descriptor; else kho_array_destroy() frees it.
 * The memory that the check takes is a bit for each page of RAM.
 *
 * Context: May sleep.
 * Return: 0; -EINVAL: it is not sound, was not preserved or was restored before, with a line in
 * the log that says where; -ENOMEM; -EOPNOTSUPP: nothing was handed over. On an error nothing has
 * changed.
 */
int kho_array_restore(struct kho_array *array, struct kho_abi_array *desc)
{
	kho_pa_t desc_pa = virt_to_phys(desc);
	struct khoc_mem mem = {
		.ops = &incoming_ops,
		.ctx = &desc_pa,
		.size = kho_mem_in.size,
	};
	struct khoc_report report = {};
	int err;

	if (!kho_tree.root || !mem.size)
		return -EOPNOTSUPP;
	init_rwsem(&array->lock);
	err = khoc_array_attach(core_of(array), &mem, PAGE_SHIFT, desc_pa, &report);
	if (!err)
		err = check_and_take(core_of(array), &report);
	if (!err)
		err = khoc_array_attach(core_of(array), &kho_mem_out, PAGE_SHIFT, desc_pa, &report);
	if (report.fault)
		pr_warn_ratelimited("%s at 0x%llx, level %d, %s: %s (0x%llx, limit 0x%llx)\n",
				    khoc_structure_text(report.structure), report.addr,
				    report.level, report.field, khoc_fault_text(report.fault),
				    report.value, report.limit);
	return kho_errno(err);
}
EXPORT_SYMBOL_GPL(kho_array_restore);

/* ---- entries ------------------------------------------------------------- */

/**
 * kho_array_get() - the entry at an index
 * @array: the array
 * @index: any number
 *
 * Context: May sleep; takes the array's lock.
 * Return: The entry; 0: there is none.
 */
u64 kho_array_get(struct kho_array *array, u64 index)
{
	guard(rwsem_read)(&array->lock);
	return khoc_array_get(core_of(array), index);
}
EXPORT_SYMBOL_GPL(kho_array_get);

/**
 * kho_array_set() - store an entry, whether or not there is one
 * @array: the array
 * @index: where
 * @entry: of kho_array_mk_value(), or a physical address
 *
 * Context: May sleep; takes the array's lock.
 * Return: 0; -EINVAL: no entry; -ENOMEM. On an error the entry is as it was.
 */
int kho_array_set(struct kho_array *array, u64 index, u64 entry)
{
	guard(rwsem_write)(&array->lock);
	return kho_errno(khoc_array_set(core_of(array), index, entry));
}
EXPORT_SYMBOL_GPL(kho_array_set);

/**
 * kho_array_erase() - erase an entry
 * @array: the array
 * @index: where
 *
 * Never fails for want of memory.
 *
 * Context: May sleep; takes the array's lock.
 * Return: 0, or -ENOENT: there is none.
 */
int kho_array_erase(struct kho_array *array, u64 index)
{
	guard(rwsem_write)(&array->lock);
	return kho_errno(khoc_array_erase(core_of(array), index));
}
EXPORT_SYMBOL_GPL(kho_array_erase);

/**
 * kho_array_count() - how many entries there are
 * @array: the array
 *
 * Context: May sleep; takes the array's lock.
 */
u64 kho_array_count(struct kho_array *array)
{
	guard(rwsem_read)(&array->lock);
	return khoc_array_count(core_of(array));
}
EXPORT_SYMBOL_GPL(kho_array_count);

/**
 * kho_array_next() - the first entry at an index or above
 * @array: the array
 * @index: where to start; set to where it is
 * @entry: set to it
 *
 * Context: May sleep; takes the array's lock.
 * Return: 1, or 0: there is none.
 */
int kho_array_next(struct kho_array *array, u64 *index, u64 *entry)
{
	guard(rwsem_read)(&array->lock);
	return kho_errno(khoc_array_next(core_of(array), index, entry));
}
EXPORT_SYMBOL_GPL(kho_array_next);

/**
 * kho_array_prev() - the last entry at an index or below
 * @array: the array
 * @index: where to start; set to where it is
 * @entry: set to it
 *
 * Context: May sleep; takes the array's lock.
 * Return: 1, or 0: there is none.
 */
int kho_array_prev(struct kho_array *array, u64 *index, u64 *entry)
{
	guard(rwsem_read)(&array->lock);
	return kho_errno(khoc_array_prev(core_of(array), index, entry));
}
EXPORT_SYMBOL_GPL(kho_array_prev);

/**
 * kho_array_walk() - call a function for each entry, by ascending index
 * @array: the array
 * @first: where to start
 * @last: where to end
 * @fn: what to call; anything but 0 ends the walk. It must not change the array
 * @ctx: passed to it
 *
 * Context: May sleep; @fn is called under the array's lock.
 * Return: 0, or what @fn returned.
 */
int kho_array_walk(struct kho_array *array, u64 first, u64 last,
		   int (*fn)(u64 index, u64 entry, void *ctx), void *ctx)
{
	struct khoc_array_iter iter;
	u64 index, entry;
	int ret;

	guard(rwsem_read)(&array->lock);
	khoc_array_iter_init(&iter, core_of(array), first, last);
	while ((ret = khoc_array_iter_next(&iter, &index, &entry)) > 0) {
		ret = fn(index, entry, ctx);
		if (ret)
			return ret;
	}
	return kho_errno(ret);
}
EXPORT_SYMBOL_GPL(kho_array_walk);

/**
 * kho_array_destroy() - free all pages of an array
 * @array: the array; the descriptor is none afterwards, and stays its user's
 *
 * Context: May sleep; takes the array's lock.
 * Return: 0; -ENOMEM: the array is empty, and has pages that are freed with a later call.
 */
int kho_array_destroy(struct kho_array *array)
{
	guard(rwsem_write)(&array->lock);
	return kho_errno(khoc_array_destroy(core_of(array)));
}
EXPORT_SYMBOL_GPL(kho_array_destroy);
