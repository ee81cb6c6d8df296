// SPDX-License-Identifier: GPL-2.0-only
/*
 * Areas of vmalloc(): a list of the addresses of their blocks, which the core writes and reads.
 */
#define pr_fmt(fmt) "KHO: " fmt

#include <linux/io.h>
#include <linux/kasan.h>
#include <linux/kho/abi/vmalloc.h>
#include <linux/kho/vmalloc.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/vmstat.h>

#include <kho/core/vmalloc.h>

#include "../../mm/internal.h"
#include "kexec_handover_internal.h"

static_assert(sizeof(struct kho_vmalloc) == sizeof(struct kho_abi_vmalloc));
static_assert(offsetof(struct kho_vmalloc, first) == offsetof(struct kho_abi_vmalloc, first));
static_assert(offsetof(struct kho_vmalloc, total_pages) ==
	      offsetof(struct kho_abi_vmalloc, total_pages));
static_assert(offsetof(struct kho_vmalloc, flags) == offsetof(struct kho_abi_vmalloc, flags));
static_assert(offsetof(struct kho_vmalloc, order) == offsetof(struct kho_abi_vmalloc, order));
static_assert(offsetof(struct kho_vmalloc_chunk, phys) ==
	      offsetof(struct kho_abi_vmalloc_chunk, phys));

/* What an area may be that the next kernel can have again. */
#define VM_KHO_FLAGS (VM_ALLOC | VM_ALLOW_HUGE_VMAP)

static struct kho_abi_vmalloc to_core(const struct kho_vmalloc *area)
{
	return (struct kho_abi_vmalloc){area->first.phys, area->total_pages, area->flags,
					area->order};
}

static unsigned int part_type(const struct khoc_vmalloc_part *part)
{
	return part->chunk ? KHO_ABI_TYPE_VMALLOC_CHUNK : KHO_ABI_TYPE_VMALLOC;
}

/* ---- this kernel's ------------------------------------------------------- */

/* Take the marks of chunks and blocks back, up to but not including @stop, which may be NULL. */
static void unpreserve_parts(const struct kho_abi_vmalloc *desc,
			     const struct khoc_vmalloc_part *stop)
{
	struct khoc_vmalloc_part part;
	struct khoc_vmalloc_iter iter;

	if (khoc_vmalloc_iter_init(&iter, &kho_mem_out, PAGE_SHIFT, desc, NULL))
		return;
	while (khoc_vmalloc_iter_next(&iter, &part)) {
		if (stop && part.pa == stop->pa)
			break;
		kho_unmark(part.pa, part.order, part_type(&part));
	}
}

static int preserve_parts(const struct kho_abi_vmalloc *desc)
{
	struct khoc_vmalloc_part part;
	struct khoc_vmalloc_iter iter;
	int err;

	err = khoc_vmalloc_iter_init(&iter, &kho_mem_out, PAGE_SHIFT, desc, NULL);
	if (err)
		return err;
	while (khoc_vmalloc_iter_next(&iter, &part)) {
		err = kho_mark(part.pa, part.order, part_type(&part), NULL);
		if (err) {
			unpreserve_parts(desc, &part);
			return err;
		}
	}
	return khoc_vmalloc_iter_error(&iter);
}

/* The addresses of an area's blocks. Return: NULL if there is no memory. */
static kho_pa_t *area_blocks(const struct vm_struct *vm, unsigned int order, unsigned long nr)
{
	kho_pa_t *blocks = kvmalloc_array(nr, sizeof(*blocks), GFP_KERNEL);

	for (unsigned long i = 0; blocks && i < nr; i++)
		blocks[i] = page_to_phys(vm->pages[i << order]);
	return blocks;
}

/**
 * kho_preserve_vmalloc() - hand over an area of vmalloc()
 * @ptr: what vmalloc() or a function of its kind returned
 * @preservation: filled in with what kho_restore_vmalloc() is to be called with; 16 bytes that the
 *	caller hands over
 *
 * Context: May sleep.
 * Return: 0; -EINVAL: no such area; -EOPNOTSUPP: it is of a kind that the next kernel could not
 * have again, or there is no KHO; -ENOMEM.
 */
int kho_preserve_vmalloc(void *ptr, struct kho_vmalloc *preservation)
{
	struct vm_struct *vm = find_vm_area(ptr);
	struct kho_abi_vmalloc desc;
	unsigned int order, flags;
	kho_pa_t *blocks;
	int err;

	if (!vm)
		return -EINVAL;
	if (!kho_tree.root || vm->flags & ~VM_KHO_FLAGS)
		return -EOPNOTSUPP;
	flags = KHO_ABI_VMALLOC_ALLOC | (vm->flags & VM_ALLOW_HUGE_VMAP ? KHO_ABI_VMALLOC_HUGE : 0);
	order = get_vm_area_page_order(vm);
	blocks = area_blocks(vm, order, vm->nr_pages >> order);
	if (!blocks)
		return -ENOMEM;
	err = khoc_vmalloc_build(&kho_mem_out, PAGE_SHIFT, order, flags, blocks,
				 vm->nr_pages >> order, &desc);
	kvfree(blocks);
	if (err)
		return kho_errno(err);
	err = preserve_parts(&desc);
	if (err) {
		khoc_vmalloc_free(&kho_mem_out, PAGE_SHIFT, &desc);
		return kho_errno(err);
	}
	preservation->total_pages = desc.total_pages;
	preservation->flags = desc.flags;
	preservation->order = desc.order;
	WRITE_ONCE(preservation->first.phys, desc.first);
	return 0;
}
EXPORT_SYMBOL_GPL(kho_preserve_vmalloc);

/**
 * kho_unpreserve_vmalloc() - take back kho_preserve_vmalloc()
 * @preservation: as that filled it in
 *
 * The area stays; it must not have been freed before.
 *
 * Context: May sleep.
 */
void kho_unpreserve_vmalloc(struct kho_vmalloc *preservation)
{
	struct kho_abi_vmalloc desc = to_core(preservation);

	if (!desc.first)
		return;
	WRITE_ONCE(preservation->first.phys, 0);
	unpreserve_parts(&desc, NULL);
	khoc_vmalloc_free(&kho_mem_out, PAGE_SHIFT, &desc);
}
EXPORT_SYMBOL_GPL(kho_unpreserve_vmalloc);

/* ---- the previous kernel's ----------------------------------------------- */

static void free_pages_of(struct page **pages, unsigned long nr)
{
	while (nr)
		__free_page(pages[--nr]);
}

/*
 * Restore all blocks, and free each chunk when the walk has left it. Return: how many pages there
 * are; fewer than the descriptor says after a fault.
 */
static unsigned long restore_parts(struct khoc_vmalloc_iter *iter, struct page **pages)
{
	struct page *page, *chunk = NULL;
	struct khoc_vmalloc_part part;
	unsigned long nr = 0;

	while (khoc_vmalloc_iter_next(iter, &part)) {
		page = kho_claim(part.pa, 1UL << part.order, part_type(&part));
		if (!page)
			break;
		if (part.chunk) {
			if (chunk)
				__free_page(chunk);
			chunk = page;
			continue;
		}
		for (unsigned long i = 0; i < 1UL << part.order; i++)
			pages[nr++] = page + i;
	}
	if (chunk)
		__free_page(chunk);
	return nr;
}

/* Map the pages as vmalloc() would have. Return: NULL if there is no memory. */
static void *map_pages(struct page **pages, const struct kho_abi_vmalloc *desc)
{
	unsigned int shift = PAGE_SHIFT + desc->order;
	unsigned long size = (unsigned long)desc->total_pages << PAGE_SHIFT;
	unsigned long flags = VM_ALLOC;
	struct vm_struct *vm;

	if (desc->flags & KHO_ABI_VMALLOC_HUGE)
		flags |= VM_ALLOW_HUGE_VMAP;
	vm = __get_vm_area_node(size, 1UL << shift, shift, flags, VMALLOC_START, VMALLOC_END,
				NUMA_NO_NODE, GFP_KERNEL, __builtin_return_address(0));
	if (!vm)
		return NULL;
	if (vmap_pages_range((unsigned long)vm->addr, (unsigned long)vm->addr + size, PAGE_KERNEL,
			     pages, shift)) {
		free_vm_area(vm);
		return NULL;
	}
	vm->pages = pages;
	vm->nr_pages = desc->total_pages;
#ifdef CONFIG_HAVE_ARCH_HUGE_VMALLOC
	vm->page_order = desc->order;
#endif
	for (unsigned int i = 0; i < desc->total_pages; i++)
		mod_lruvec_page_state(pages[i], NR_VMALLOC, 1);
	vm->addr = kasan_unpoison_vmalloc(vm->addr, size, KASAN_VMALLOC_PROT_NORMAL);
	return vm->addr;
}

/**
 * kho_restore_vmalloc() - take over an area of vmalloc()
 * @preservation: as kho_preserve_vmalloc() filled it in
 *
 * The area has another address, and the contents that it had at the jump. vfree() frees it.
 *
 * Context: May sleep.
 * Return: Its address; NULL if the descriptor or its list is at fault, if something in it was not
 * preserved or was restored before, or if there is no memory. Then what it lists is lost until the
 * next boot, or freed.
 */
void *kho_restore_vmalloc(const struct kho_vmalloc *preservation)
{
	struct kho_abi_vmalloc desc = to_core(preservation);
	struct khoc_vmalloc_iter iter;
	struct page **pages;
	unsigned long nr;
	void *addr = NULL;

	/* Sees to it that the count is one of pages that there can be. */
	if (khoc_vmalloc_iter_init(&iter, &kho_mem_in, PAGE_SHIFT, &desc, NULL))
		return NULL;
	pages = kvmalloc_array(desc.total_pages, sizeof(*pages), GFP_KERNEL);
	if (!pages)
		return NULL;
	nr = restore_parts(&iter, pages);
	if (nr == desc.total_pages)
		addr = map_pages(pages, &desc);
	if (!addr) {
		pr_warn("vmalloc area of %u pages: only %lu restored\n", desc.total_pages, nr);
		free_pages_of(pages, nr);
		kvfree(pages);
	}
	return addr;
}
EXPORT_SYMBOL_GPL(kho_restore_vmalloc);
