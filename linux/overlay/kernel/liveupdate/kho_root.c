// SPDX-License-Identifier: GPL-2.0-only
/*
 * The root FDT: names of subtrees, and where their blobs are.
 *
 * The next kernel is told the page's address when its image is loaded, and reads the page as it is
 * at the jump. So the page stays where it is, and is edited in place: the core writes the new FDT
 * beside the old, and it is copied over it.
 *
 * root.lock is taken for an edit. Before the jump a reboot notifier takes it and closes the FDT for
 * all tasks but the one that reboots, which is the one that jumps, and whose drivers' shutdown
 * functions may still want to say something. So no CPU is stopped in the middle of an edit.
 */
#define pr_fmt(fmt) "KHO: " fmt

#include <linux/io.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/reboot.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "kexec_handover_internal.h"

static struct {
	struct mutex lock; /* all of this, and the FDT */
	void *fdt; /* preserved */
	void *spare; /* a page to write the next one to */
	struct task_struct *closed; /* by the task that reboots */
} root = {
	.lock = __MUTEX_INITIALIZER(root.lock),
};

/* Address of the FDT; 0 before it is there. */
phys_addr_t kho_root_phys(void)
{
	return root.fdt ? virt_to_phys(root.fdt) : 0;
}

/* Call @fn with the root FDT, which does not change meanwhile. Return: what @fn does. */
int kho_root_with(int (*fn)(const void *fdt, void *ctx), void *ctx)
{
	guard(mutex)(&root.lock);
	return fn(root.fdt, ctx);
}

static bool may_edit(void)
{
	lockdep_assert_held(&root.lock);
	return root.fdt && (!root.closed || root.closed == current);
}

/* The FDT in root.spare becomes the root FDT. */
static void commit(void)
{
	lockdep_assert_held(&root.lock);
	memcpy(root.fdt, root.spare, PAGE_SIZE);
	memset(root.spare, 0, PAGE_SIZE);
}

/**
 * kho_add_subtree() - name a blob for the next kernel to find
 * @name: letters, digits and ",._+-", at most 63
 * @blob: its address, in the kernel's linear mapping
 * @size: its bytes
 *
 * Whoever calls this has preserved the blob, which may change until the jump.
 *
 * Context: May sleep.
 * Return: 0; -EEXIST: there is one of this name; -ENOMEM: no room is left for it; -EINVAL: not a
 * name; -EBUSY: too late, we are about to jump; -EOPNOTSUPP: there is no KHO.
 */
int kho_add_subtree(const char *name, void *blob, size_t size)
{
	struct khoc_subtree subtree = {
		.name = name,
		.data = virt_to_phys(blob),
		.size = size,
	};
	int err;

	guard(mutex)(&root.lock);
	if (!may_edit())
		return root.fdt ? -EBUSY : -EOPNOTSUPP;
	err = khoc_root_add(root.fdt, root.spare, PAGE_SIZE, &subtree);
	if (err)
		return err == -ENOSPC ? -ENOMEM : kho_errno(err);
	commit();
	kho_debugfs_blob_add(name, blob, size);
	return 0;
}
EXPORT_SYMBOL_GPL(kho_add_subtree);

/* The subtree of a blob. Its name stays in the FDT. Return: 0 or -ENOENT. */
static int find_blob(phys_addr_t phys, struct khoc_subtree *subtree)
{
	int pos = 0;

	while (!khoc_root_next(root.fdt, &pos, subtree))
		if (subtree->data == phys)
			return 0;
	return -ENOENT;
}

/**
 * kho_remove_subtree() - take back kho_add_subtree()
 * @blob: what that was called with
 *
 * Context: May sleep.
 */
void kho_remove_subtree(void *blob)
{
	struct khoc_subtree subtree;

	guard(mutex)(&root.lock);
	if (!may_edit() || find_blob(virt_to_phys(blob), &subtree))
		return;
	if (khoc_root_remove(root.fdt, root.spare, PAGE_SIZE, subtree.name))
		return;
	commit();
	kho_debugfs_blob_remove(blob);
}
EXPORT_SYMBOL_GPL(kho_remove_subtree);

/**
 * kho_retrieve_subtree() - find what the previous kernel named
 * @name: the name
 * @phys: set to the blob's address
 * @size: set to its bytes, if not NULL
 *
 * The blob lies in memory that was preserved; it stays so until it is restored.
 *
 * Context: Any, from the parsing of the command line on.
 * Return: 0, or -ENOENT: there is none of this name, there was no handover, or it was refused.
 */
int kho_retrieve_subtree(const char *name, phys_addr_t *phys, size_t *size)
{
	const void *fdt = kho_in_fdt();
	struct khoc_subtree subtree;

	if (!fdt || khoc_root_find(fdt, name, &subtree))
		return -ENOENT;
	*phys = subtree.data;
	if (size)
		*size = subtree.size;
	return 0;
}
EXPORT_SYMBOL_GPL(kho_retrieve_subtree);

static int close_root(struct notifier_block *nb, unsigned long action, void *data)
{
	guard(mutex)(&root.lock);
	root.closed = current;
	return NOTIFY_DONE;
}

/* Last of all notifiers: they, too, may have something to add. */
static struct notifier_block close_nb = {
	.notifier_call = close_root,
	.priority = INT_MIN,
};

/* Make a root FDT without subtrees. */
int __init kho_root_init(void)
{
	void *fdt = kho_alloc_preserve(PAGE_SIZE);
	int err;

	if (IS_ERR(fdt))
		return PTR_ERR(fdt);
	root.spare = (void *)get_zeroed_page(GFP_KERNEL);
	err = root.spare ? khoc_root_create(root.spare, PAGE_SIZE, kho_tree.root_pa) : -ENOMEM;
	if (!err)
		err = khoc_root_set_composite(root.spare, fdt, PAGE_SIZE, kho_compat_writes);
	if (!err)
		err = register_reboot_notifier(&close_nb);
	if (err) {
		free_page((unsigned long)root.spare);
		kho_unpreserve_free(fdt);
		return kho_errno(err);
	}
	memset(root.spare, 0, PAGE_SIZE);
	root.fdt = fdt;
	return 0;
}
