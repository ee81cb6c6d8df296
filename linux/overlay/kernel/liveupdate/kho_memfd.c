// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory files whose holes stay holes: a handler of the live update orchestrator's, beside the
 * kernel's own for memfds, which fills every hole before it hands a file over.
 *
 * Either handler reads its own files, whichever wrote last. Which of them hands over is chosen:
 *
 *	kho_memfd=kernel	the kernel's, as Linux 7.2 does, whose files Linux 7.2 can read
 *	kho_memfd=sparse	this one
 *
 * The kernel asks the handlers in the order in which they came; this one comes first.
 *
 *	file	struct kho_abi_sparse_memfd, in a page that is preserved
 *	folios	its array: by page of the file, address of the folio that begins there
 *
 * A folio of the file is pinned as long as it is in the array. A file can be written to while it
 * is preserved, and so can a hole: what has come since is looked for when the session is frozen.
 * What is written into a hole after that, by somebody who goes on during the reboot, is lost.
 */
#define pr_fmt(fmt) "KHO: " fmt

#include <linux/atomic.h>
#include <linux/file.h>
#include <linux/init.h>
#include <linux/io.h>
#include <linux/kexec_handover.h>
#include <linux/kho/array.h>
#include <linux/liveupdate.h>
#include <linux/memcontrol.h>
#include <linux/memfd.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/swap.h>

#include <kho/abi/sparse_memfd.h>

#include <uapi/linux/memfd.h>

#include "../../mm/internal.h"
#include "kexec_handover_internal.h"

static_assert(KHO_ABI_SPARSE_MEMFD_SEALS == (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW |
					     F_SEAL_WRITE | F_SEAL_FUTURE_WRITE | F_SEAL_EXEC));
static_assert(sizeof(KHO_ABI_SPARSE_MEMFD_COMPATIBLE) <= LIVEUPDATE_HNDL_COMPAT_LENGTH);

/* Files that are handed over. */
static atomic_t nr_preserved = ATOMIC_INIT(0);

/* Is there a file that only a kernel with this handler can read? */
bool kho_memfd_in_use(void)
{
	return atomic_read(&nr_preserved);
}

static bool sparse __ro_after_init = IS_ENABLED(CONFIG_KHO_MEMFD_SPARSE);

static int __init parse_sparse(char *text)
{
	if (text && !strcmp(text, "sparse"))
		sparse = true;
	else if (text && !strcmp(text, "kernel"))
		sparse = false;
	else
		return -EINVAL;
	return 0;
}
early_param("kho_memfd", parse_sparse);

/* ---- this kernel's files ------------------------------------------------- */

/* Pin the folio that page @index of a file is in, swapped out or not; it moves out of scratch. */
static struct folio *pin_folio(struct file *file, u64 index)
{
	loff_t pos = (loff_t)index << PAGE_SHIFT;
	struct folio *folio;
	pgoff_t offset;
	long nr;

	nr = memfd_pin_folios(file, pos, pos, &folio, 1, &offset);
	if (nr < 0)
		return ERR_PTR(nr);
	return nr ? folio : ERR_PTR(-ENOENT);
}

/*
 * Put a folio into the array. Its contents may still change, and whether they did is not known
 * later: it is dirty from here on, so that nobody drops it. One that was set aside, and never
 * written, has no contents yet.
 */
static int list_folio(struct kho_array *array, struct folio *folio)
{
	u64 phys = PFN_PHYS(folio_pfn(folio));
	int err = kho_preserve_folio(folio);

	if (err)
		return err;
	folio_lock(folio);
	if (!folio_test_uptodate(folio)) {
		folio_zero_range(folio, 0, folio_size(folio));
		flush_dcache_folio(folio);
		folio_mark_uptodate(folio);
	}
	folio_mark_dirty(folio);
	folio_unlock(folio);
	err = kho_array_set(array, folio->index, kho_array_mk_value(phys));
	if (err)
		kho_unpreserve_folio(folio);
	return err;
}

static struct folio *folio_of(u64 entry)
{
	return pfn_folio(PHYS_PFN(kho_array_to_value(entry)));
}

/* Behind the folio at @index that the array has; @index if it has none there. */
static u64 behind_listed(struct kho_array *array, u64 index)
{
	u64 entry = kho_array_get(array, index);

	return entry ? index + folio_nr_pages(folio_of(entry)) : index;
}

/* All folios of the file that are not in the array: those that are there, or swapped out. */
static int list_folios(struct file *file, struct kho_array *array)
{
	struct inode *inode = file_inode(file);
	unsigned long last, index = 0;
	struct folio *folio;
	u64 behind;
	int err;

	if (!i_size_read(inode))
		return 0;
	last = (i_size_read(inode) - 1) >> PAGE_SHIFT;
	while (index <= last && xa_find(&inode->i_mapping->i_pages, &index, last, XA_PRESENT)) {
		behind = behind_listed(array, index);
		if (behind == index) {
			folio = pin_folio(file, index);
			if (IS_ERR(folio))
				return PTR_ERR(folio);
			behind = folio_next_index(folio);
			err = list_folio(array, folio);
			if (err) {
				unpin_folio(folio);
				return err;
			}
		}
		index = behind;
		cond_resched();
	}
	return 0;
}

static void unlist_folios(struct kho_array *array)
{
	u64 index = 0, entry;

	for (; kho_array_next(array, &index, &entry) == 1; index++) {
		kho_unpreserve_folio(folio_of(entry));
		unpin_folio(folio_of(entry));
		cond_resched();
	}
	kho_array_destroy(array);
}

static int describe(struct kho_abi_sparse_memfd *desc, struct file *file)
{
	int seals = memfd_get_seals(file);

	if (seals < 0)
		return seals;
	if (seals & ~KHO_ABI_SPARSE_MEMFD_SEALS)
		return -EOPNOTSUPP;
	desc->pos = file->f_pos;
	desc->size = i_size_read(file_inode(file));
	desc->seals = seals;
	return 0;
}

static int kho_memfd_preserve(struct liveupdate_file_op_args *args)
{
	struct inode *inode = file_inode(args->file);
	struct kho_abi_sparse_memfd *desc = kho_alloc_preserve(sizeof(*desc));
	struct kho_array *array;
	int err;

	if (IS_ERR(desc))
		return PTR_ERR(desc);
	array = kzalloc_obj(*array);
	err = array ? kho_array_init(array, &desc->folios) : -ENOMEM;
	inode_lock(inode);
	/* Its size stays as it is, and nothing is punched out of it. */
	shmem_freeze(inode, true);
	if (!err)
		err = describe(desc, args->file);
	if (!err) {
		err = list_folios(args->file, array);
		if (err)
			unlist_folios(array);
	}
	if (err) {
		shmem_freeze(inode, false);
		kfree(array);
		kho_unpreserve_free(desc);
	} else {
		args->private_data = array;
		args->serialized_data = virt_to_phys(desc);
		atomic_inc(&nr_preserved);
	}
	inode_unlock(inode);
	return err;
}

/* What was written since then. */
static int kho_memfd_freeze(struct liveupdate_file_op_args *args)
{
	struct kho_abi_sparse_memfd *desc = phys_to_virt(args->serialized_data);
	struct inode *inode = file_inode(args->file);
	int err;

	inode_lock(inode);
	desc->pos = args->file->f_pos;
	err = list_folios(args->file, args->private_data);
	inode_unlock(inode);
	return err;
}

static void kho_memfd_unpreserve(struct liveupdate_file_op_args *args)
{
	struct inode *inode = file_inode(args->file);

	inode_lock(inode);
	unlist_folios(args->private_data);
	shmem_freeze(inode, false);
	inode_unlock(inode);
	kfree(args->private_data);
	kho_unpreserve_free(phys_to_virt(args->serialized_data));
	atomic_dec(&nr_preserved);
}

static bool kho_memfd_can_preserve(struct liveupdate_file_handler *handler, struct file *file)
{
	return sparse && shmem_file(file) && !file_inode(file)->i_nlink;
}

static unsigned long kho_memfd_get_id(struct file *file)
{
	return (unsigned long)file_inode(file);
}

/* ---- the previous kernel's ----------------------------------------------- */

/* Put a folio where it was in the file. The caller's reference stays the caller's. */
static int insert_folio(struct file *file, struct folio *folio, u64 index)
{
	struct address_space *mapping = file->f_mapping;
	gfp_t gfp = mapping_gfp_mask(mapping);
	long nr = folio_nr_pages(folio);
	int err;

	__folio_set_locked(folio);
	__folio_set_swapbacked(folio);
	err = mem_cgroup_charge(folio, NULL, gfp);
	if (!err)
		err = shmem_add_to_page_cache(folio, mapping, index, NULL, gfp);
	if (err)
		goto unlock;
	folio_mark_uptodate(folio);
	folio_mark_dirty(folio);
	err = shmem_inode_acct_blocks(file_inode(file), nr);
	if (err) {
		filemap_remove_folio(folio);
		goto unlock;
	}
	shmem_recalc_inode(file_inode(file), nr, 0);
	folio_add_lru(folio);
unlock:
	folio_unlock(folio);
	return err;
}

/* One entry. @file: where it belongs; NULL: nowhere, it is freed. */
static int restore_folio(struct file *file, u64 index, u64 entry)
{
	struct folio *folio;
	int err = 0;

	if (!kho_array_is_value(entry))
		return -EINVAL;
	folio = kho_restore_folio(kho_array_to_value(entry));
	if (!folio)
		return -EIO;
	if (file && (!IS_ALIGNED(index, folio_nr_pages(folio)) ||
		     index > (MAX_LFS_FILESIZE >> PAGE_SHIFT) - folio_nr_pages(folio)))
		err = -EINVAL;
	else if (file)
		err = insert_folio(file, folio, index);
	folio_put(folio);
	return err;
}

/* All of them; after a fault the others are freed. */
static int restore_folios(struct kho_array *array, struct file *file)
{
	u64 index = 0, entry;
	int err = 0, ret;

	for (; kho_array_next(array, &index, &entry) == 1; index++) {
		ret = restore_folio(err ? NULL : file, index, entry);
		err = err ?: ret;
		cond_resched();
		if (index == U64_MAX)
			break;
	}
	return err;
}

/* The file without its folios. */
static struct file *make_file(const struct kho_abi_sparse_memfd *desc)
{
	struct file *file;
	int err;

	if (desc->seals & ~KHO_ABI_SPARSE_MEMFD_SEALS || desc->flags ||
	    desc->size > MAX_LFS_FILESIZE)
		return ERR_PTR(-EOPNOTSUPP);
	file = memfd_alloc_file("", MFD_ALLOW_SEALING);
	if (IS_ERR(file))
		return file;
	err = memfd_add_seals(file, desc->seals);
	if (err) {
		fput(file);
		return ERR_PTR(err);
	}
	vfs_setpos(file, desc->pos, MAX_LFS_FILESIZE);
	i_size_write(file_inode(file), desc->size);
	return file;
}

/* Everything of a file that was handed to us is used up, whatever comes of it. @file: as above */
static int consume(struct kho_abi_sparse_memfd *desc, struct file *file)
{
	struct kho_array array;
	int err = kho_array_restore(&array, &desc->folios);

	if (!err) {
		err = restore_folios(&array, file);
		kho_array_destroy(&array);
	}
	kho_restore_free(desc);
	return err;
}

static int kho_memfd_retrieve(struct liveupdate_file_op_args *args)
{
	struct kho_abi_sparse_memfd *desc = phys_to_virt(args->serialized_data);
	struct file *file;
	int err;

	if (!args->serialized_data)
		return -EINVAL;
	file = make_file(desc);
	if (IS_ERR(file)) {
		consume(desc, NULL);
		return PTR_ERR(file);
	}
	err = consume(desc, file);
	if (err) {
		pr_err("a memory file is lost: %pe\n", ERR_PTR(err));
		fput(file);
		return err;
	}
	args->file = file;
	return 0;
}

static void kho_memfd_finish(struct liveupdate_file_op_args *args)
{
	/* Retrieved, or tried to: it is used up. */
	if (!args->retrieve_status && args->serialized_data)
		consume(phys_to_virt(args->serialized_data), NULL);
}

static const struct liveupdate_file_ops kho_memfd_ops = {
	.can_preserve = kho_memfd_can_preserve,
	.preserve = kho_memfd_preserve,
	.unpreserve = kho_memfd_unpreserve,
	.freeze = kho_memfd_freeze,
	.retrieve = kho_memfd_retrieve,
	.finish = kho_memfd_finish,
	.get_id = kho_memfd_get_id,
	.owner = THIS_MODULE,
};

static struct liveupdate_file_handler kho_memfd_handler = {
	.ops = &kho_memfd_ops,
	.compatible = KHO_ABI_SPARSE_MEMFD_COMPATIBLE,
};

static int __init kho_memfd_init(void)
{
	int err = liveupdate_register_file_handler(&kho_memfd_handler);

	if (err && err != -EOPNOTSUPP)
		pr_err("no handler of memory files with holes: %pe\n", ERR_PTR(err));
	return err == -EOPNOTSUPP ? 0 : err;
}

/* Before the kernel's own, which registers itself by late_initcall(). */
device_initcall_sync(kho_memfd_init);
