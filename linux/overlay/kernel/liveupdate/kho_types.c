// SPDX-License-Identifier: GPL-2.0-only
/*
 * As what blocks were preserved: a tree for each type but that of folios, below a subtree of our
 * own, so that the next kernel does not restore them as anything else. Linux 7.2 has no such
 * subtree, and passes over it.
 *
 * A block is put into the tree of its type before it is preserved, and is taken out afterwards.
 * Neither takes a lock.
 */
#define pr_fmt(fmt) "KHO: " fmt

#include <linux/init.h>
#include <linux/io.h>
#include <linux/mm.h>

#include "kexec_handover_internal.h"

static struct khoc_radix trees[KHO_ABI_TYPES];

/* The tree of a type; NULL: it has none, or there is no KHO. */
static struct khoc_radix *tree_of(unsigned int type)
{
	return trees[type].root ? &trees[type] : NULL;
}

static int mark_in(struct khoc_radix *tree, phys_addr_t phys, unsigned int order,
		   struct khoc_radix_reserve *reserve)
{
	return reserve ? khoc_radix_add_reserved(tree, phys, order, reserve)
		       : khoc_radix_add(tree, phys, order);
}

/*
 * Preserve a block. @reserve: for its mark and for its type's, NULL to allocate. Return: as
 * khoc_radix_add(); -EOPNOTSUPP: there is no KHO. On an error nothing is left of it: a type
 * that a block does not have would keep the next kernel from restoring it as what it is.
 */
int kho_mark(phys_addr_t phys, unsigned int order, unsigned int type,
	     struct khoc_radix_reserve *reserve)
{
	struct khoc_radix *tree = tree_of(type);
	int err = 0;

	if (!kho_tree.root)
		return -EOPNOTSUPP;
	if (WARN_ON_ONCE(kho_scratch_overlap(phys, PAGE_SIZE << order)))
		return -EINVAL;
	if (tree)
		err = mark_in(tree, phys, order, reserve ? &reserve[1] : NULL);
	if (err)
		return err;
	err = mark_in(&kho_tree, phys, order, reserve);
	if (err && tree)
		khoc_radix_del(tree, phys, order);
	return err;
}

/* Take back kho_mark(). */
void kho_unmark(phys_addr_t phys, unsigned int order, unsigned int type)
{
	struct khoc_radix *tree = tree_of(type);

	if (!kho_tree.root)
		return;
	khoc_radix_del(&kho_tree, phys, order);
	if (tree)
		khoc_radix_del(tree, phys, order);
}

/* Preserve neighbouring blocks of one order. On an error none of them is. */
int kho_mark_run(phys_addr_t phys, u64 nr, unsigned int order, unsigned int type)
{
	struct khoc_radix *tree = tree_of(type);
	int err = 0;

	if (!kho_tree.root)
		return -EOPNOTSUPP;
	if (WARN_ON_ONCE(kho_scratch_overlap(phys, nr << (PAGE_SHIFT + order))))
		return -EINVAL;
	if (tree)
		err = khoc_radix_add_range(tree, phys, nr, order);
	if (!err)
		err = khoc_radix_add_range(&kho_tree, phys, nr, order);
	if (err)
		kho_unmark_run(phys, nr, order, type);
	return err;
}

void kho_unmark_run(phys_addr_t phys, u64 nr, unsigned int order, unsigned int type)
{
	struct khoc_radix *tree = tree_of(type);

	if (!kho_tree.root)
		return;
	khoc_radix_del_range(&kho_tree, phys, nr, order);
	if (tree)
		khoc_radix_del_range(tree, phys, nr, order);
}

/* Set nodes aside for kho_mark() of any block. */
int kho_mark_reserve(struct khoc_radix_reserve *reserve)
{
	int err;

	if (!kho_tree.root)
		return -EOPNOTSUPP;
	err = khoc_radix_reserve_fill(&kho_tree, &reserve[0]);
	/* All trees' nodes are alike. */
	return err ?: khoc_radix_reserve_fill(&kho_tree, &reserve[1]);
}

void kho_mark_drain(struct khoc_radix_reserve *reserve)
{
	if (!kho_tree.root)
		return;
	khoc_radix_reserve_drain(&kho_tree, &reserve[0]);
	khoc_radix_reserve_drain(&kho_tree, &reserve[1]);
}

/* Make the trees, and name them. Called once the root FDT is there, before anything else is. */
int __init kho_types_init(void)
{
	struct kho_abi_types *blob = kho_alloc_preserve(sizeof(*blob));
	int err = 0;

	if (IS_ERR(blob))
		return PTR_ERR(blob);
	blob->magic = KHO_ABI_TYPES_MAGIC;
	blob->version = KHO_ABI_TYPES_VERSION;
	for (unsigned int type = 0; type < KHO_ABI_TYPES && !err; type++) {
		if (!khoc_type_has_tree(type))
			continue;
		err = khoc_radix_init(&trees[type], &kho_mem_out, PAGE_SHIFT);
		blob->tree[type] = trees[type].root_pa;
	}
	return err ?: kho_add_subtree(KHO_ABI_TYPES_NODE, blob, sizeof(*blob));
}
