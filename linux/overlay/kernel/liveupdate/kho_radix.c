// SPDX-License-Identifier: GPL-2.0-only
/*
 * Trees of blocks that others than KHO keep, by the core's functions.
 *
 * A tree is its root page: each call attaches to it anew. The core needs no lock for this; the lock
 * is part of the interface, since callers may replace the root under it.
 */
#include <linux/export.h>
#include <linux/io.h>
#include <linux/kho/abi/radix_tree.h>
#include <linux/kho/radix_tree.h>
#include <linux/mutex.h>
#include <linux/pfn.h>

#include "kexec_handover_internal.h"

/* The formats that the two sets of headers describe are one. */
static_assert(KHO_ORDER_0_LOG2 == 64 - PAGE_SHIFT);
static_assert(sizeof(struct kho_radix_node) == PAGE_SIZE);
static_assert(sizeof(struct kho_radix_leaf) == PAGE_SIZE);

static int attach(struct khoc_radix *core, const struct kho_radix_tree *tree)
{
	lockdep_assert_held(&tree->lock);
	BUILD_BUG_ON(KHO_ABI_PAGE_SHIFT_MIN > PAGE_SHIFT || KHO_ABI_PAGE_SHIFT_MAX < PAGE_SHIFT);
	WARN_ON_ONCE(kho_abi_radix_depth(PAGE_SHIFT) != KHO_TREE_MAX_DEPTH);
	if (!tree->root || !kho_mem_out.size)
		return -EINVAL;
	return khoc_radix_attach(core, &kho_mem_out, PAGE_SHIFT, virt_to_phys(tree->root));
}

/**
 * kho_radix_add_page() - add a block to a tree
 * @tree: the tree
 * @pfn: its first page
 * @order: log2 of its pages
 *
 * Adding a block twice is adding it once.
 *
 * Context: May sleep; takes the tree's lock.
 * Return: 0; -EINVAL: no root, or no such block; -ENOMEM.
 */
int kho_radix_add_page(struct kho_radix_tree *tree, unsigned long pfn, unsigned int order)
{
	struct khoc_radix core;
	int err;

	guard(mutex)(&tree->lock);
	err = attach(&core, tree);
	if (!err)
		err = khoc_radix_add(&core, PFN_PHYS(pfn), order);
	return kho_errno(err);
}
EXPORT_SYMBOL_GPL(kho_radix_add_page);

/**
 * kho_radix_del_page() - take a block out of a tree
 * @tree: the tree
 * @pfn: its first page
 * @order: as it was added; a block that is not there is no error
 *
 * Nodes stay, also empty ones.
 *
 * Context: May sleep; takes the tree's lock.
 */
void kho_radix_del_page(struct kho_radix_tree *tree, unsigned long pfn, unsigned int order)
{
	struct khoc_radix core;

	guard(mutex)(&tree->lock);
	if (!attach(&core, tree))
		khoc_radix_del(&core, PFN_PHYS(pfn), order);
}
EXPORT_SYMBOL_GPL(kho_radix_del_page);

/**
 * kho_radix_walk_tree() - call a function for each block of a tree
 * @tree: the tree
 * @cb: what to call; anything but 0 ends the walk
 *
 * Larger blocks come before smaller ones, those of one size by ascending address.
 *
 * Context: May sleep; @cb is called under the tree's lock.
 * Return: 0, what @cb returned, or -EINVAL: no root, or a node that is none.
 */
int kho_radix_walk_tree(struct kho_radix_tree *tree, kho_radix_tree_walk_callback_t cb)
{
	struct khoc_radix_iter iter;
	struct khoc_radix core;
	struct khoc_run run;
	int err;

	guard(mutex)(&tree->lock);
	err = attach(&core, tree);
	if (err)
		return kho_errno(err);
	khoc_radix_iter_init(&iter, &core, 0, kho_mem_out.size, 0, khoc_max_order(PAGE_SHIFT));
	while (khoc_radix_iter_next(&iter, &run)) {
		for (; run.nr; run.nr--) {
			err = cb(run.pa, run.order);
			if (err)
				return err;
			run.pa += 1ULL << (PAGE_SHIFT + run.order);
		}
	}
	return kho_errno(khoc_radix_iter_error(&iter));
}
EXPORT_SYMBOL_GPL(kho_radix_walk_tree);
