// SPDX-License-Identifier: GPL-2.0-only
/*
 * /sys/kernel/debug/kho, for root to read:
 *
 *	state			what came of the handover to us, and why it was refused
 *	out/fdt			the root FDT that we hand over
 *	out/map			what we hand over, a line for each run of blocks
 *	out/scratch_phys	where scratch is, and
 *	out/scratch_len		its sizes, a line for each area
 *	out/sub_fdts/NAME	the subtrees' blobs
 *	in/fdt			the same of what was handed to us. A blob whose memory was
 *	in/sub_fdts/NAME	restored meanwhile is not there any more: -ENODATA.
 */
#define pr_fmt(fmt) "KHO: " fmt

#include <linux/debugfs.h>
#include <linux/io.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "kexec_handover_internal.h"

static struct dentry *out_blobs;

/**
 * struct kho_blob - a file of bytes
 * @list: in out_list
 * @data: the bytes
 * @size: how many
 * @incoming: to be read only as long as nobody has restored them
 * @file: the file
 */
struct kho_blob {
	struct list_head list;
	const void *data;
	size_t size;
	bool incoming;
	struct dentry *file;
};

/* The blobs under out/sub_fdts; under the lock of the root FDT. */
static LIST_HEAD(out_list);

static ssize_t blob_read(struct file *file, char __user *to, size_t len, loff_t *pos)
{
	const struct kho_blob *blob = file->private_data;
	ssize_t ret;

	ret = debugfs_file_get(file->f_path.dentry);
	if (ret)
		return ret;
	if (blob->incoming && !kho_is_stamped(virt_to_phys((void *)blob->data), 1))
		ret = -ENODATA;
	else
		ret = simple_read_from_buffer(to, len, pos, blob->data, blob->size);
	debugfs_file_put(file->f_path.dentry);
	return ret;
}

static const struct file_operations blob_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.read = blob_read,
	.llseek = default_llseek,
};

/* A file of bytes that stay where they are. Return: NULL if there is no memory. */
static struct kho_blob *blob_create(struct dentry *dir, const char *name, const void *data,
				    size_t size, bool incoming)
{
	struct kho_blob *blob = kzalloc_obj(*blob);

	if (!blob)
		return NULL;
	INIT_LIST_HEAD(&blob->list);
	blob->data = data;
	blob->size = size;
	blob->incoming = incoming;
	blob->file = debugfs_create_file_unsafe(name, 0400, dir, blob, &blob_fops);
	if (IS_ERR(blob->file)) {
		kfree(blob);
		return NULL;
	}
	return blob;
}

void kho_debugfs_blob_add(const char *name, const void *blob, size_t size)
{
	struct kho_blob *file = out_blobs ? blob_create(out_blobs, name, blob, size, false) : NULL;

	if (file)
		list_add(&file->list, &out_list);
}

void kho_debugfs_blob_remove(const void *blob)
{
	struct kho_blob *file, *next;

	list_for_each_entry_safe(file, next, &out_list, list) {
		if (file->data == blob) {
			list_del(&file->list);
			debugfs_remove(file->file);
			kfree(file);
		}
	}
}

/* ---- the map ------------------------------------------------------------- */

/* @iter: behind @run, which is number @at */
struct kho_map {
	struct khoc_radix_iter iter;
	struct khoc_run run;
	loff_t at;
};

static void *map_next(struct seq_file *m, void *v, loff_t *pos)
{
	struct kho_map *map = m->private;

	map->at = ++*pos;
	/* Nothing, for who reads on behind the end. */
	map->run.nr = 0;
	return khoc_radix_iter_next(&map->iter, &map->run) ? map : NULL;
}

static void *map_start(struct seq_file *m, loff_t *pos)
{
	struct kho_map *map = m->private;
	loff_t at = 0;
	bool more;

	/* Where the last read left off; anywhere else has to be looked for from the start. */
	if (*pos && *pos == map->at)
		return map->run.nr ? map : NULL;
	khoc_radix_iter_init(&map->iter, &kho_tree, 0, kho_mem_out.size, 0,
			     khoc_max_order(PAGE_SHIFT));
	do {
		map->run.nr = 0;
		more = khoc_radix_iter_next(&map->iter, &map->run);
	} while (more && at++ < *pos);
	map->at = *pos;
	return more ? map : NULL;
}

static void map_stop(struct seq_file *m, void *v)
{
}

static int map_show(struct seq_file *m, void *v)
{
	const struct khoc_run *run = &((struct kho_map *)m->private)->run;

	seq_printf(m, "0x%012llx-0x%012llx order %2u  %llu\n", run->pa,
		   run->pa + kho_run_size(run) - 1, run->order, run->nr);
	return 0;
}

static const struct seq_operations map_sops = {
	.start = map_start,
	.next = map_next,
	.stop = map_stop,
	.show = map_show,
};

static int map_open(struct inode *inode, struct file *file)
{
	return __seq_open_private(file, &map_sops, sizeof(struct kho_map)) ? 0 : -ENOMEM;
}

static const struct file_operations map_fops = {
	.owner = THIS_MODULE,
	.open = map_open,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = seq_release_private,
};

/* ---- the rest ------------------------------------------------------------ */

static int scratch_phys_show(struct seq_file *m, void *v)
{
	for (unsigned int i = 0; i < kho_scratch_cnt; i++)
		seq_printf(m, "0x%llx\n", kho_scratch[i].addr);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(scratch_phys);

static int scratch_len_show(struct seq_file *m, void *v)
{
	for (unsigned int i = 0; i < kho_scratch_cnt; i++)
		seq_printf(m, "0x%llx\n", kho_scratch[i].size);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(scratch_len);

static int state_show(struct seq_file *m, void *v)
{
	const struct khoc_report *report = kho_refusal();

	seq_printf(m, "%s\n", kho_state_text());
	if (report)
		seq_printf(m, "%s at 0x%llx, level %d, %s: %s (0x%llx, limit 0x%llx)\n",
			   khoc_structure_text(report->structure), report->addr, report->level,
			   report->field, khoc_fault_text(report->fault), report->value,
			   report->limit);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(state);

static void __init in_init(struct dentry *dir)
{
	const void *fdt = kho_in_fdt();
	struct khoc_subtree subtree;
	struct dentry *blobs;
	int pos = 0;

	if (!fdt)
		return;
	blob_create(dir, "fdt", fdt, PAGE_SIZE, true);
	blobs = debugfs_create_dir("sub_fdts", dir);
	while (!khoc_root_next(fdt, &pos, &subtree))
		blob_create(blobs, subtree.name, phys_to_virt(subtree.data), subtree.size, true);
}

/* Called once the root FDT is there, and before the first subtree. */
int __init kho_debugfs_init(void)
{
	struct dentry *dir, *out;

	dir = debugfs_create_dir("kho", NULL);
	if (IS_ERR(dir))
		return -ENOENT;
	debugfs_create_file("state", 0400, dir, NULL, &state_fops);
	in_init(debugfs_create_dir("in", dir));
	out = debugfs_create_dir("out", dir);
	blob_create(out, "fdt", phys_to_virt(kho_root_phys()), PAGE_SIZE, false);
	debugfs_create_file("map", 0400, out, NULL, &map_fops);
	debugfs_create_file("scratch_phys", 0400, out, NULL, &scratch_phys_fops);
	debugfs_create_file("scratch_len", 0400, out, NULL, &scratch_len_fops);
	out_blobs = debugfs_create_dir("sub_fdts", out);
	return 0;
}
