// SPDX-License-Identifier: GPL-2.0-only
/*
 * Is a handover sound? The whole of it is looked at before any of it is used: the tree; that what
 * it preserves is RAM, in one block each, and none of what this kernel took for itself; that the
 * root FDT and every blob lie in it; and the payloads that we know, which their consumers would
 * trust: the live update orchestrator panics at what it dislikes.
 *
 * Nothing is written but the report, and no address is followed that was not checked.
 */
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/string.h>

#include <kho/core/kernel_info.h>
#include <kho/core/luo.h>
#include <kho/core/memfd.h>
#include <kho/core/reserve_mem.h>
#include <kho/core/sparse_memfd.h>

#include "kexec_handover_internal.h"

/* Fill in the report. Return: -@fault. */
int kho_verify_fault(struct kho_verify *v, int fault, int structure, u64 addr, u64 value, u64 limit,
		     const char *field)
{
	v->report = (struct khoc_report){fault, structure, -1, addr, value, limit, field};
	return -fault;
}

/* A check itself could not be made. */
static int no_memory(struct kho_verify *v, int structure, u64 addr)
{
	return kho_verify_fault(v, KHO_E_STATE, structure, addr, 0, 0, "no memory to check it");
}

/* ---- runs of all orders by address --------------------------------------- */

/* Fill the head of an order. Return: false if it has no run left. */
static bool advance(struct kho_merge *merge, unsigned int order)
{
	if (khoc_radix_iter_next(&merge->iter[order], &merge->head[order]))
		return true;
	merge->error = merge->error ?: khoc_radix_iter_error(&merge->iter[order]);
	return false;
}

void kho_merge_init(struct kho_merge *merge, const struct khoc_radix *tree)
{
	merge->nr = 0;
	merge->error = 0;
	for (unsigned int order = 0; order < KHO_NR_ORDERS; order++) {
		khoc_radix_iter_init(&merge->iter[order], tree, 0, tree->mem->size, order, order);
		if (advance(merge, order))
			merge->order[merge->nr++] = order;
	}
}

/* The next run by address; of those at one address any. Return: false behind the last. */
bool kho_merge_next(struct kho_merge *merge, struct khoc_run *run)
{
	unsigned int first = 0, order;

	if (!merge->nr)
		return false;
	for (unsigned int i = 1; i < merge->nr; i++)
		if (merge->head[merge->order[i]].pa < merge->head[merge->order[first]].pa)
			first = i;
	order = merge->order[first];
	*run = merge->head[order];
	if (!advance(merge, order))
		merge->order[first] = merge->order[--merge->nr];
	return true;
}

/* ---- tree ---------------------------------------------------------------- */

static int verify_nodes(struct kho_verify *v)
{
	const struct khoc_mem *mem = v->mem;
	struct khoc_radix_check check = {.data_lo = PAGE_SIZE, .data_hi = mem->size};
	size_t size = DIV_ROUND_UP((mem->node_hi - mem->node_lo) >> PAGE_SHIFT, 64) * 8;
	int err;

	check.seen = v->alloc(v, size);
	if (!check.seen)
		return no_memory(v, KHOC_S_RADIX_TABLE, v->tree.root_pa);
	err = khoc_radix_validate(&v->tree, &check, &v->report);
	v->free(v, check.seen, size);
	return err;
}

/* Where the mark of a block is, for a report. All nodes on the way have been looked at. */
static u64 mark_address(struct kho_verify *v, phys_addr_t phys, unsigned int order)
{
	unsigned int table = kho_abi_radix_table_log2(PAGE_SHIFT);
	unsigned int span = kho_abi_radix_bitmap_log2(PAGE_SHIFT);
	unsigned int level = kho_abi_radix_depth(PAGE_SHIFT) - 1;
	u64 key = khoc_key(PAGE_SHIFT, phys, order);
	u64 node = v->tree.root_pa;
	const u64 *words;

	for (; level; level--) {
		words = v->mem->ops->map(v->mem->ctx, node, PAGE_SIZE);
		if (!words)
			return node;
		node = words[key >> (span + (level - 1) * table) & ((1ULL << table) - 1)];
	}
	return node + (key & ((1ULL << span) - 1)) / 64 * 8;
}

/* Blocks of two sizes on the same pages would be restored twice. */
static int verify_blocks(struct kho_verify *v)
{
	struct kho_merge *merge = v->alloc(v, sizeof(*merge));
	struct khoc_run run;
	u64 end = 0;
	int err = 0;

	if (!merge)
		return no_memory(v, KHOC_S_RADIX_LEAF, v->tree.root_pa);
	kho_merge_init(merge, &v->tree);
	while (!err && kho_merge_next(merge, &run)) {
		if (run.pa < end)
			err = kho_verify_fault(v, KHO_E_OVERLAP, KHOC_S_RADIX_LEAF, 0, run.pa, end,
					       "blocks of two orders");
		else
			err = v->is_ram(v, run.pa, kho_run_size(&run));
		if (err) {
			v->report.level = 0;
			v->report.addr = mark_address(v, v->report.value, run.order);
		}
		end = run.pa + kho_run_size(&run);
	}
	if (!err && merge->error)
		err = kho_verify_fault(v, -merge->error, KHOC_S_RADIX_TABLE, v->tree.root_pa, 0, 0,
				       "walk");
	v->free(v, merge, sizeof(*merge));
	return err;
}

/* Are all of the bytes preserved? */
bool kho_verify_covered(const struct khoc_radix *tree, phys_addr_t phys, u64 size)
{
	struct khoc_block block;
	u64 step;

	for (; size; phys += step, size -= step) {
		if (!khoc_radix_lookup(tree, phys, &block))
			return false;
		step = min(size, block.pa + (PAGE_SIZE << block.order) - phys);
	}
	return true;
}

/* A bit for each page of the image. */
static size_t seen_size(const struct kho_verify *v)
{
	return DIV_ROUND_UP(PHYS_PFN(v->mem->size), 64) * 8;
}

/* ---- memory files -------------------------------------------------------- */

static noinline int verify_memfd_list(struct kho_verify *v, const struct khoc_memfd *memfd)
{
	const struct khoc_vmalloc_check check = {.data_hi = v->mem->size, .tree = &v->tree};
	struct khoc_memfd_folio folio;
	struct khoc_memfd_list list;
	int err;

	err = khoc_memfd_list(&list, memfd, &check, &v->report);
	while (!err)
		err = khoc_memfd_folio_next(&list, &folio, &v->report);
	return err == -ENOENT ? 0 : err;
}

static noinline int verify_memfd(struct kho_verify *v, const struct khoc_luo_file *file)
{
	struct khoc_memfd memfd;
	int err;

	if (!kho_verify_covered(&v->tree, file->data, sizeof(struct kho_abi_memfd)))
		return kho_verify_fault(v, KHO_E_NOT_PRESERVED, KHOC_S_LUO_FILE, file->pa,
					file->data, 0, "data");
	err = khoc_memfd_open(&memfd, v->mem, PAGE_SHIFT, file->data, &v->report);
	return err ?: verify_memfd_list(v, &memfd);
}

/* All such files' arrays are held against each other, too. */
static noinline int verify_sparse(struct kho_verify *v, const struct khoc_luo_file *luo_file)
{
	struct khoc_array_check check = {.data_lo = PAGE_SIZE, .data_hi = v->mem->size};
	struct khoc_sparse_memfd file;
	int err;

	if (!kho_verify_covered(&v->tree, luo_file->data, sizeof(struct kho_abi_sparse_memfd)))
		return kho_verify_fault(v, KHO_E_NOT_PRESERVED, KHOC_S_LUO_FILE, luo_file->pa,
					luo_file->data, 0, "data");
	if (!v->seen)
		v->seen = v->alloc(v, seen_size(v));
	if (!v->seen)
		return no_memory(v, KHOC_S_MEMFD, luo_file->data);
	check.seen = v->seen;
	err = khoc_sparse_memfd_open(&file, v->mem, PAGE_SHIFT, luo_file->data, &v->report);
	return err ?: khoc_sparse_memfd_validate(&file, &check, &v->tree, &v->report);
}

/* ---- live update --------------------------------------------------------- */

/* @session: its tokens; NULL: the names of the sessions */
static noinline int verify_unique(struct kho_verify *v, const struct khoc_luo *luo,
				  const struct khoc_luo_session *session, u64 nr)
{
	size_t size = nr * 2 * sizeof(u64);
	u64 *work;
	int err;

	if (nr < 2)
		return 0;
	work = v->alloc(v, size);
	if (!work)
		return no_memory(v, KHOC_S_LUO, luo->pa);
	if (session)
		err = khoc_luo_unique_tokens(luo, session, work, nr * 2, &v->report);
	else
		err = khoc_luo_unique_sessions(luo, work, nr * 2, &v->report);
	v->free(v, work, size);
	return err;
}

static noinline int verify_files(struct kho_verify *v, const struct khoc_luo *luo,
				 const struct khoc_luo_session *session)
{
	struct khoc_luo_records walk;
	struct khoc_luo_file file;
	int err;

	err = khoc_luo_files(&walk, luo, session, &v->tree, &v->report);
	while (!err) {
		err = khoc_luo_file_next(&walk, &file, &v->report);
		if (!err && !strcmp(file.compatible, KHO_ABI_MEMFD_COMPATIBLE))
			err = verify_memfd(v, &file);
		else if (!err && !strcmp(file.compatible, KHO_ABI_SPARSE_MEMFD_COMPATIBLE))
			err = verify_sparse(v, &file);
	}
	return err == -ENOENT ? verify_unique(v, luo, session, walk.nr) : err;
}

static noinline int verify_sessions(struct kho_verify *v, const struct khoc_luo *luo)
{
	struct khoc_luo_session session;
	struct khoc_luo_records walk;
	int err;

	err = khoc_luo_sessions(&walk, luo, &v->tree, &v->report);
	while (!err) {
		err = khoc_luo_session_next(&walk, &session, &v->report);
		if (!err)
			err = verify_files(v, luo, &session);
	}
	return err == -ENOENT ? verify_unique(v, luo, NULL, walk.nr) : err;
}

static noinline int verify_flbs(struct kho_verify *v, const struct khoc_luo *luo)
{
	struct khoc_luo_flbs walk;
	struct khoc_luo_flb flb;
	int err;

	err = khoc_luo_flbs(&walk, luo, &v->tree, &v->report);
	while (!err) {
		err = khoc_luo_flb_next(&walk, &flb, &v->report);
		if (!err)
			err = khoc_luo_flb_needed(&flb, &v->report);
	}
	return err == -ENOENT ? 0 : err;
}

static int verify_luo(struct kho_verify *v, const struct khoc_subtree *subtree)
{
	struct khoc_luo luo;
	int err;

	err = khoc_luo_open(&luo, v->mem, PAGE_SHIFT, subtree->data, subtree->size, &v->report);
	if (!err)
		err = verify_sessions(v, &luo);
	if (v->seen)
		v->free(v, v->seen, seen_size(v));
	v->seen = NULL;
	return err ?: verify_flbs(v, &luo);
}

/* ---- types of blocks ----------------------------------------------------- */

/* @mem, and then the trusted one: every node has been looked at. */
static noinline int verify_types(struct kho_verify *v, const struct khoc_subtree *subtree)
{
	const struct khoc_mem *mem = v->mem;
	struct khoc_radix_check check = {.data_lo = PAGE_SIZE, .data_hi = mem->size};
	size_t size = DIV_ROUND_UP((mem->node_hi - mem->node_lo) >> PAGE_SHIFT, 64) * 8;
	int err;

	if (!v->types)
		return 0;
	err = khoc_types_open(v->types, mem, PAGE_SHIFT, subtree->data, subtree->size, &v->report);
	if (err)
		return err;
	check.seen = v->alloc(v, size);
	if (!check.seen)
		return no_memory(v, KHOC_S_TYPES, subtree->data);
	err = khoc_types_validate(v->types, &check, &v->report);
	v->free(v, check.seen, size);
	if (!err)
		err = khoc_types_open(v->types, v->trusted, PAGE_SHIFT, subtree->data,
				      subtree->size, &v->report);
	v->typed = !err;
	return err;
}

/* ---- the others ---------------------------------------------------------- */

static noinline int verify_reserve_mem(struct kho_verify *v, const struct khoc_subtree *subtree)
{
	struct khoc_reserve_mem_region region;
	struct khoc_reserve_mem walk;
	int err;

	err = khoc_reserve_mem_open(&walk, v->mem, subtree->data, subtree->size, &v->report);
	while (!err) {
		err = khoc_reserve_mem_next(&walk, &region, &v->report);
		if (!err && !kho_verify_covered(&v->tree, region.start, region.size))
			err = kho_verify_fault(v, KHO_E_NOT_PRESERVED, KHOC_S_RESERVE_MEM,
					       region.pa, region.start, region.size, "start");
	}
	return err == -ENOENT ? 0 : err;
}

/* What the last kernel says of itself; what it wrote is judged by what is there. */
static noinline int verify_formats(struct kho_verify *v, const struct khoc_subtree *subtree)
{
	struct khoc_kernel_formats list;
	const void *blob = NULL;

	if (subtree->size && subtree->size <= PAGE_SIZE)
		blob = v->mem->ops->map(v->mem->ctx, subtree->data, subtree->size);
	if (!blob)
		return kho_verify_fault(v, KHO_E_RANGE, KHOC_S_FORMATS, subtree->data,
					subtree->size, PAGE_SIZE, KHO_ABI_ROOT_PROP_SIZE);
	return khoc_kernel_note(&list, blob, subtree->size, subtree->data, &v->report);
}

/* kexec-metadata is looked at where it is read; no address is in it. */
static const struct {
	const char *name;
	int (*verify)(struct kho_verify *v, const struct khoc_subtree *subtree);
} payloads[] = {
	{KHO_ABI_MEMBLOCK_NODE, verify_reserve_mem},
	{KHO_ABI_LUO_NODE, verify_luo},
	{KHO_ABI_KERNEL_NODE, verify_formats},
	{KHO_ABI_TYPES_NODE, verify_types},
};

/**
 * kho_verify_payloads() - the blobs of all subtrees: preserved, and what we know of them sound
 * @v: with a tree that was found sound
 *
 * Return: 0 or a fault.
 */
int kho_verify_payloads(struct kho_verify *v)
{
	struct khoc_subtree subtree;
	int pos = 0, err = 0;

	while (!err && !khoc_root_next(v->fdt, &pos, &subtree)) {
		if (!kho_verify_covered(&v->tree, subtree.data, subtree.size))
			return kho_verify_fault(v, KHO_E_NOT_PRESERVED, KHOC_S_SUBTREE, v->fdt_phys,
						subtree.data, subtree.size, KHO_ABI_ROOT_PROP_DATA);
		for (unsigned int i = 0; !err && i < ARRAY_SIZE(payloads); i++)
			if (!strcmp(subtree.name, payloads[i].name))
				err = payloads[i].verify(v, &subtree);
	}
	return err;
}

/**
 * kho_verify() - is a handover sound?
 * @v: see there
 *
 * Takes time in proportion to the tree's nodes and runs and to the payloads' records, whatever the
 * bytes are.
 *
 * Return: 0, with @v->tree; or a negative fault, with @v->report.
 */
int kho_verify(struct kho_verify *v)
{
	phys_addr_t root = khoc_root_tree(v->fdt);
	int err;

	err = khoc_radix_attach(&v->tree, v->mem, PAGE_SHIFT, root);
	if (err)
		return kho_verify_fault(v, -err, KHOC_S_ROOT_FDT, v->fdt_phys, root, v->mem->size,
					KHO_ABI_ROOT_PROP_MEMORY_MAP);
	err = verify_nodes(v);
	if (!err)
		err = khoc_radix_attach(&v->tree, v->trusted, PAGE_SHIFT, root);
	if (!err)
		err = verify_blocks(v);
	if (!err && !kho_verify_covered(&v->tree, v->fdt_phys, PAGE_SIZE))
		err = kho_verify_fault(v, KHO_E_NOT_PRESERVED, KHOC_S_ROOT_FDT, v->fdt_phys, 0, 0,
				       "");
	return err ?: kho_verify_payloads(v);
}
