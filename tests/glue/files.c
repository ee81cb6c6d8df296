/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Memory files of kernel.h, and the test of their handler, kho_memfd.c: files with holes are handed over
 * from boot to boot, with what was written after they were preserved.
 */
#include <linux/kho/array.h>
#include <linux/kho/preserve.h>

#include <kho/abi/sparse_memfd.h>

#include "files.h"
#include "kernel.h"

/* ---- files ---------------------------------------------------------------------- */

static void die(const char *what)
{
	printf("%s\n", what);
	abort();
}

/* All files' folios: where one is. */
static struct file *files[16];

static struct glue_place *place_of(const struct folio *folio)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(files); i++)
		for (struct glue_place *at = files[i] ? files[i]->f_mapping->i_pages : NULL;
		     at && at->folio; at++)
			if (at->folio == folio)
				return at;
	die("a folio in no file");
	return NULL;
}

struct file *memfd_alloc_file(const char *name, unsigned int flags)
{
	struct address_space *mapping = calloc(1, sizeof(*mapping));
	struct inode *inode = calloc(1, sizeof(*inode));
	struct file *file = calloc(1, sizeof(*file));

	inode->i_mapping = mapping;
	*file = (struct file){.f_mapping = mapping, .inode = inode};
	for (unsigned int i = 0; i < ARRAY_SIZE(files); i++) {
		if (!files[i]) {
			files[i] = file;
			return file;
		}
	}
	die("too many files");
	return NULL;
}

void fput(struct file *file)
{
	for (struct glue_place *at = file->f_mapping->i_pages; at->folio; at++) {
		if (at->folio->page.pins || at->folio->page.locked)
			die("a folio of a file that is closed is in use");
		folio_put(at->folio);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(files); i++)
		if (files[i] == file)
			files[i] = NULL;
	free(file->f_mapping);
	free(file->inode);
	free(file);
}

/* The first place at or behind @index, or the end. */
static struct glue_place *place_at(struct glue_place *pages, u64 index)
{
	while (pages->folio && pages->index + folio_nr_pages(pages->folio) <= index)
		pages++;
	return pages;
}

void *xa_find(struct glue_place (*pages)[64], unsigned long *index, unsigned long last, int mark)
{
	struct glue_place *at = place_at(*pages, *index);

	if (!at->folio || at->index > last)
		return NULL;
	*index = max(*index, at->index);
	return at->folio;
}

int shmem_add_to_page_cache(struct folio *folio, struct address_space *mapping, u64 index,
			    void *expected, gfp_t gfp)
{
	struct glue_place *at = place_at(mapping->i_pages, index), *end = at;

	if (!folio->page.locked || !IS_ALIGNED(index, (u64)folio_nr_pages(folio)))
		die("a folio that is not locked, or not aligned");
	if (at->folio && at->index < index + folio_nr_pages(folio))
		return -EEXIST;
	while (end->folio)
		end++;
	if (end + 1 >= mapping->i_pages + ARRAY_SIZE(mapping->i_pages))
		die("too many folios");
	memmove(at + 1, at, (char *)end - (char *)at);
	*at = (struct glue_place){index, folio};
	folio->page.count++;
	folio->index = index;
	return 0;
}

void filemap_remove_folio(struct folio *folio)
{
	struct glue_place *at = place_of(folio);

	do {
		at[0] = at[1];
	} while ((++at)->folio);
	folio_put(folio);
}

int shmem_inode_acct_blocks(struct inode *inode, long pages)
{
	inode->blocks += pages;
	return 0;
}

bool shmem_recalc_inode(struct inode *inode, long alloced, long swapped)
{
	inode->alloced += alloced;
	return true;
}

/* One folio that is there: more is not asked for, and holes are not to be filled. */
long memfd_pin_folios(struct file *file, loff_t start, loff_t end, struct folio **folios,
		      unsigned int max, pgoff_t *offset)
{
	struct glue_place *at = place_at(file->f_mapping->i_pages, start >> PAGE_SHIFT);

	if (start != end || max != 1 || (u64)end >= file->inode->size)
		die("pins what it should not");
	if (!at->folio || at->index > (u64)start >> PAGE_SHIFT)
		die("fills a hole");
	at->folio->page.pins++;
	*folios = at->folio;
	*offset = 0;
	return 1;
}

void unpin_folio(struct folio *folio)
{
	if (!folio->page.pins--)
		die("unpinned twice");
}

static struct liveupdate_file_handler *handler;

int liveupdate_register_file_handler(struct liveupdate_file_handler *which)
{
	handler = which;
	return 0;
}

/* ---- the test --------------------------------------------------------------------- */

#define NR_FILES 4
#define WRITES 6
#define NONE ~0ULL

/* Folios as they are written; the last @late after the file was preserved. */
static const struct {
	u64 size;
	unsigned int late;
	struct {
		u64 index;
		unsigned int order;
	} write[WRITES];
} plan[NR_FILES] = {
	{1ULL << 40, 2, {{0, 0}, {16, 2}, {12, 1}, {0xfffffff, 0}, {8, 2}, {0x1234560, 4}}},
	{0x3011, 0, {{3, 0}, {1, 0}, {NONE, 0}, {NONE, 0}, {NONE, 0}, {NONE, 0}}},
	{1ULL << 62, 0, {{NONE, 0}, {NONE, 0}, {NONE, 0}, {NONE, 0}, {NONE, 0}, {NONE, 0}}},
	{0, 0, {{NONE, 0}, {NONE, 0}, {NONE, 0}, {NONE, 0}, {NONE, 0}, {NONE, 0}}},
};

struct record {
	u64 data[NR_FILES];
	u64 unwanted;
	u64 damaged;
};

static void fill(struct folio *folio, u64 index)
{
	u64 *word = folio_address(folio);

	for (u64 i = 0; i < folio_size(folio) / 8; i++)
		word[i] = index * 1000003 + i;
	folio_mark_uptodate(folio);
}

static bool is_filled(struct folio *folio, u64 index)
{
	const u64 *word = folio_address(folio);

	for (u64 i = 0; i < folio_size(folio) / 8; i++)
		if (word[i] != index * 1000003 + i)
			return false;
	return folio->page.uptodate && folio->page.dirty;
}

static void write_some(struct file *file, unsigned int nr, unsigned int from, unsigned int to)
{
	for (; from < to; from++) {
		struct folio *folio;

		if (plan[nr].write[from].index == NONE)
			continue;
		folio = folio_alloc(GFP_KERNEL, plan[nr].write[from].order);
		folio_lock(folio);
		shmem_add_to_page_cache(folio, file->f_mapping, plan[nr].write[from].index, NULL,
					0);
		fill(folio, plan[nr].write[from].index);
		folio_unlock(folio);
		folio_put(folio);
	}
}

static struct file *new_file(unsigned int nr, unsigned int to)
{
	struct file *file = memfd_alloc_file("", 0);

	file->inode->size = plan[nr].size;
	file->f_pos = nr + 7;
	file->seals = F_SEAL_GROW;
	write_some(file, nr, 0, to);
	return file;
}

/* Preserved, changed, and frozen for the jump. */
static u64 hand_over(struct liveupdate_file_op_args *args, unsigned int nr, struct file *file,
		     struct kho_vm_tally *tally)
{
	*args = (struct liveupdate_file_op_args){.handler = handler, .file = file};
	kho_vm_expect(tally, !handler->ops->preserve(args) && file->inode->frozen, "preserve %u",
		      nr);
	write_some(file, nr, WRITES - plan[nr].late, WRITES);
	file->f_pos = nr + 11;
	kho_vm_expect(tally, !handler->ops->freeze(args), "freeze %u", nr);
	kho_vm_expect(tally, !handler->ops->freeze(args), "freeze %u twice", nr);
	return args->serialized_data;
}

static u64 preserved_pages(void)
{
	struct kho_counts counts;

	kho_preserved_count(0, GLUE_PAGES << PAGE_SHIFT, &counts);
	return counts.pages;
}

static void first_boot(struct record *record, struct kho_vm_tally *tally)
{
	struct liveupdate_file_op_args args;
	struct file *file;

	for (unsigned int nr = 0; nr < NR_FILES; nr++) {
		u64 before = preserved_pages();

		file = new_file(nr, WRITES - plan[nr].late);
		hand_over(&args, nr, file, tally);
		handler->ops->unpreserve(&args);
		kho_vm_expect(tally, preserved_pages() == before && !file->inode->frozen,
			      "file %u: not all unpreserved", nr);
		fput(file);
		file = new_file(nr, WRITES - plan[nr].late);
		record->data[nr] = hand_over(&args, nr, file, tally);
	}
	record->unwanted = hand_over(&args, 1, new_file(1, WRITES), tally);
	record->damaged = hand_over(&args, 0, new_file(0, WRITES - 2), tally);
	/* A folio of four pages, at a page that is no multiple of four. */
	kho_array_set(args.private_data, 25, kho_array_get(args.private_data, 16));
	kho_array_erase(args.private_data, 16);
}

static struct file *retrieved(u64 data, unsigned int nr, struct kho_vm_tally *tally)
{
	struct liveupdate_file_op_args args = {.handler = handler, .serialized_data = data};
	unsigned int i, folios = 0, pages = 0;
	struct glue_place *at;

	if (!kho_vm_expect(tally, !handler->ops->retrieve(&args), "retrieve %u", nr))
		return NULL;
	for (at = args.file->f_mapping->i_pages; at->folio; at++)
		folios++;
	for (i = 0; i < WRITES; i++) {
		if (plan[nr].write[i].index == NONE)
			continue;
		folios--;
		pages += 1 << plan[nr].write[i].order;
		at = place_at(args.file->f_mapping->i_pages, plan[nr].write[i].index);
		kho_vm_expect(tally,
			      at->folio && at->index == plan[nr].write[i].index &&
				      folio_order(at->folio) == plan[nr].write[i].order &&
				      is_filled(at->folio, at->index) && at->folio->page.count == 1,
			      "file %u, folio %u", nr, i);
	}
	kho_vm_expect(
		tally,
		!folios && args.file->inode->blocks == pages && args.file->inode->alloced == pages,
		"file %u: %u folios too many, %ld pages", nr, folios, args.file->inode->blocks);
	kho_vm_expect(tally,
		      args.file->inode->size == plan[nr].size && args.file->seals == F_SEAL_GROW &&
			      args.file->f_pos == nr + 11,
		      "file %u: size, seals or position", nr);
	return args.file;
}

static void first_checks(struct record *record, struct kho_vm_tally *tally)
{
	struct liveupdate_file_op_args args = {.handler = handler};
	u64 before = preserved_pages();

	args.serialized_data = record->unwanted;
	handler->ops->finish(&args);
	kho_vm_expect(tally, preserved_pages() == before, "unwanted: still preserved");
	args.serialized_data = record->damaged;
	kho_vm_expect(tally, handler->ops->retrieve(&args) == -EINVAL, "damaged: retrieved");
	kho_vm_expect(tally, preserved_pages() == before, "damaged: still preserved");
	for (unsigned int i = 0; i < ARRAY_SIZE(files); i++)
		kho_vm_expect(tally, !files[i], "damaged: a file is left");
}

int kho_vm_memfd(const struct kho_vm_request *request, struct kho_vm_tally *tally)
{
	struct record *record = kho_vm_record("glue_memfd");
	struct liveupdate_file_op_args args;
	struct file *file;

	if (IS_ERR(record))
		return PTR_ERR(record);
	glue_param_parse_sparse("sparse");
	if (glue_initcall() || !handler)
		return -EINVAL;
	if (!request->hop)
		first_boot(record, tally);
	else if (request->hop == 1)
		first_checks(record, tally);
	for (unsigned int nr = 0; request->hop && nr < NR_FILES; nr++) {
		file = retrieved(record->data[nr], nr, tally);
		if (file && request->last)
			fput(file);
		else if (file)
			record->data[nr] = hand_over(&args, NR_FILES - 1, file, tally);
		if (file && !request->last)
			((struct kho_abi_sparse_memfd *)phys_to_virt(record->data[nr]))->pos =
				nr + 11;
	}
	if (request->last)
		kho_vm_record_free(record);
	return 0;
}
