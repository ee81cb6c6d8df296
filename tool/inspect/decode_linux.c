/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What Linux hands over: subtrees, and what hangs from those whose format is known.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kho/abi/block_types.h>
#include <kho/abi/kernel_info.h>
#include <kho/abi/slab.h>
#include <kho/abi/sparse_memfd.h>
#include <kho/core/block.h>
#include <libfdt.h>

#include "model.h"

#define BLOB_MAX (1U << 20) /* of a blob that is decoded */
#define TEST_NODE "kho_test" /* lib/test_kho.c of Linux */

/* ---- scattered memory ---- */

void decode_vmalloc(struct model *m, __u32 owner, const struct kho_abi_vmalloc *desc, kho_pa_t at)
{
	const struct khoc_vmalloc_check check = {.data_lo = m->source->header.data_pa,
						 .data_hi = m->source->mem.size,
						 .tree = whole_tree(m)};
	struct area area = {.first = desc->first,
			    .pages = desc->total_pages,
			    .order = desc->order,
			    .owner = owner};
	struct khoc_vmalloc_iter iter;
	struct khoc_vmalloc_part part;
	int err = khoc_vmalloc_iter_init(&iter, &m->source->mem, m->source->shift, desc, &check);

	while (!err && khoc_vmalloc_iter_next(&iter, &part)) {
		claim(m, owner, part.pa, page_size(m) << part.order, true);
		area.nr_blocks += !part.chunk;
		if (!spend(m, 1))
			break;
	}
	if (err && !iter.report.fault)
		iter.report.fault = -err;
	err = err ?: khoc_vmalloc_iter_error(&iter);
	/* A report about the descriptor has the field's offset alone. */
	if (err && iter.report.structure == KHOC_S_VMALLOC && iter.report.addr < sizeof(*desc))
		iter.report.addr += at;
	if (err)
		faults_add(&m->faults, &iter.report, "%s: its list of blocks",
			   owner_name(m, owner));
	area.sound = !err;
	list_add(&m->areas, &area, sizeof(area));
}

/* ---- live update ---- */

/* Neighbouring folios with the same fault are one fault. */
struct folio_faults {
	struct khoc_report first;
	__u64 from, to;
};

static void flush_folios(struct model *m, __u32 owner, struct folio_faults *f)
{
	if (f->first.fault && f->from == f->to)
		faults_add(&m->faults, &f->first, "%s: folio %llu", owner_name(m, owner),
			   (unsigned long long)f->from);
	else if (f->first.fault)
		faults_add(&m->faults, &f->first, "%s: folios %llu to %llu", owner_name(m, owner),
			   (unsigned long long)f->from, (unsigned long long)f->to);
	f->first.fault = 0;
}

static void bad_folio(struct model *m, __u32 owner, struct folio_faults *f,
		      const struct khoc_report *report, __u64 entry)
{
	if (f->first.fault == report->fault && f->first.field == report->field &&
	    entry == f->to + 1) {
		f->to = entry;
		return;
	}
	flush_folios(m, owner, f);
	*f = (struct folio_faults){*report, entry, entry};
}

static void take_memfd(struct model *m, struct file *f, __u32 owner)
{
	struct folio_faults bad = {.first.fault = 0};
	struct khoc_vmalloc_check check = {.data_hi = m->source->mem.size, .tree = whole_tree(m)};
	struct khoc_memfd_folio folio;
	struct khoc_memfd_list list;
	struct khoc_report report;
	int err;

	f->is_memfd = true;
	err = khoc_memfd_open(&f->memfd, &m->source->mem, m->source->shift, f->data, &report);
	if (err)
		faults_add(&m->faults, &report, "%s", owner_name(m, owner));
	if (err == -KHO_E_RANGE && !f->memfd.nr_folios)
		return;
	claim(m, owner, f->data, sizeof(struct kho_abi_memfd), false);
	if (whole_tree(m) && !is_preserved(m, f->data, sizeof(struct kho_abi_memfd))) {
		report = report_unpreserved(KHOC_S_MEMFD, f->data, f->data, "header");
		faults_add(&m->faults, &report, "%s", owner_name(m, owner));
	}
	if (!f->memfd.nr_folios)
		return;
	decode_vmalloc(m, owner, &f->memfd.folios,
		       f->data + offsetof(struct kho_abi_memfd, folios));
	err = khoc_memfd_list(&list, &f->memfd, &check, &report);
	if (err)
		faults_add(&m->faults, &report, "%s", owner_name(m, owner));
	while ((err = khoc_memfd_folio_next(&list, &folio, &report)) != -ENOENT) {
		/* A fault of the list itself was told by decode_vmalloc(). */
		if (err && (folio.at || report.fault == KHO_E_TRUNCATED))
			bad_folio(m, owner, &bad, &report, folio.entry);
		if ((err && !folio.at) || !spend(m, 1))
			break;
		if (err)
			continue;
		f->nr_folios++;
		claim(m, owner, folio.pa, page_size(m) << folio.order, true);
	}
	flush_folios(m, owner, &bad);
}

static void take_file(struct model *m, const struct khoc_luo_file *from, __u32 session,
		      const char *name)
{
	struct file f = {.session = session, .token = from->token, .data = from->data};
	__u32 owner;

	snprintf(f.handler, sizeof(f.handler), "%s", from->compatible);
	owner = owner_add(m, OWNER_FILE, "session %.64s, file %#llx", name,
			  (unsigned long long)f.token);
	if (!strcmp(f.handler, KHO_ABI_MEMFD_COMPATIBLE))
		take_memfd(m, &f, owner);
	else if (!strcmp(f.handler, KHO_ABI_SPARSE_MEMFD_COMPATIBLE))
		decode_sparse(m, &f, owner);
	else if (f.data && f.data < m->source->mem.size && is_preserved(m, f.data, 1) &&
		 !is_heap(m, f.data))
		claim(m, owner, f.data, 1, false); /* its handler's: a pa more often than not */
	list_add(&m->files, &f, sizeof(f));
}

void take_blocks_of(struct model *m, struct block_set *set, const struct khoc_block_counts *counts,
		    bool alone)
{
	kho_pa_t pa = set->first;

	set->nr_blocks = counts->blocks;
	set->nr_records = counts->entries;
	for (__u64 i = 0; i < counts->blocks; i++) {
		const struct kho_abi_block *block = source_map(m->source, pa, sizeof(*block));

		if (!block)
			break;
		claim(m, set->owner, pa, page_size(m), alone);
		pa = block->next;
	}
	list_add(&m->sets, set, sizeof(*set));
}

/* Pages of a chain of blocks, as far as it is sound. */
static void claim_chain(struct model *m, __u32 owner, kho_pa_t head, __u64 record_size)
{
	struct block_set set = {.first = head, .owner = owner};
	struct khoc_block_chain chain = {&m->source->mem, m->source->shift, record_size, head, 0};
	struct khoc_block_counts counts = {0};
	int err;

	if (!head)
		return;
	err = khoc_block_check(&chain, whole_tree(m), &counts, NULL);
	set.sound = !err;
	if (!spend(m, err == -KHO_E_CYCLE ? KHO_ABI_BLOCKS_MAX : counts.blocks))
		return;
	take_blocks_of(m, &set, &counts, true);
}

static void check_unique(struct model *m, const struct khoc_luo_session *session, __u64 nr)
{
	__u64 *work;
	struct khoc_report report;
	int err;

	if (!nr || nr > m->source->file_size / 64)
		return;
	work = calloc(nr * 2, sizeof(*work));
	if (!work)
		return;
	err = session ? khoc_luo_unique_tokens(&m->luo, session, work, nr * 2, &report)
		      : khoc_luo_unique_sessions(&m->luo, work, nr * 2, &report);
	if (err == -KHO_E_DUPLICATE)
		faults_add(&m->faults, &report, "live update: %s %s",
			   session ? "tokens of session" : "names of sessions",
			   session ? session->name : "");
	free(work);
}

static void take_session(struct model *m, const struct khoc_luo_session *from)
{
	struct session session = {.nr_files = from->nr_files};
	__u32 index = (__u32)m->sessions.nr, owner;
	struct khoc_luo_records walk;
	struct khoc_luo_file file;
	struct khoc_report report;
	int err, sound;

	snprintf(session.name, sizeof(session.name), "%s", from->name);
	if (!list_add(&m->sessions, &session, sizeof(session)))
		return;
	owner = owner_add(m, OWNER_SESSION, "session %.64s", from->name);
	claim_chain(m, owner, from->files_pa, sizeof(struct kho_abi_luo_file));
	sound = khoc_luo_files(&walk, &m->luo, from, whole_tree(m), &report);
	/* In an arena it is stored behind, and whoever attaches counts anew. */
	if (sound == -KHO_E_RANGE && m->source->kind == SOURCE_ARENA &&
	    report.structure == KHOC_S_LUO_SESSION && !strcmp(report.field, "count")) {
		((struct session *)m->sessions.at)[index].nr_files = walk.nr;
		sound = 0;
	}
	if (sound)
		faults_add(&m->faults, &report, "session %.64s: its files", from->name);
	check_unique(m, from, walk.nr);
	while ((err = khoc_luo_file_next(&walk, &file, &report)) != -ENOENT) {
		/* What ends the chain was told already. */
		if (err && (file.pa ? sound != -KHO_E_CYCLE || file.index < walk.nr : !sound))
			faults_add(&m->faults, &report, "session %.64s: file %llu", from->name,
				   (unsigned long long)file.index);
		/* Behind a fault of the chain, which may go round, nothing counts. */
		if ((err && !file.pa) || !spend(m, 4) ||
		    (sound == -KHO_E_CYCLE && file.index >= walk.nr))
			break;
		take_file(m, &file, index, from->name);
	}
}

static void take_flbs(struct model *m, __u32 owner)
{
	struct khoc_luo_flbs walk;
	struct khoc_luo_flb flb;
	struct khoc_report report;
	int err = khoc_luo_flbs(&walk, &m->luo, whole_tree(m), &report);

	if (err)
		faults_add(&m->faults, &report, "live update: data of files (FLB)");
	if (m->luo.flbs_pa)
		claim(m, owner, m->luo.flbs_pa, page_size(m), true);
	while ((err = khoc_luo_flb_next(&walk, &flb, &report)) != -ENOENT) {
		/* In an arena the counts are taken anew by whoever attaches. */
		if (!err && m->source->kind != SOURCE_ARENA)
			err = khoc_luo_flb_needed(&flb, &report);
		if (err)
			faults_add(&m->faults, &report, "live update: FLB %llu",
				   (unsigned long long)flb.index);
		list_add(&m->flbs, &flb, sizeof(flb));
	}
}

static void decode_luo(struct model *m, const struct subtree *t)
{
	struct khoc_luo_records walk;
	struct khoc_luo_session session;
	struct khoc_report report;
	int err = khoc_luo_open(&m->luo, &m->source->mem, m->source->shift, t->data, t->size,
				&report);
	__u32 owner;
	int sound;

	if (err)
		faults_add(&m->faults, &report, "live update");
	if (err && err != -KHO_E_INCOMPATIBLE)
		return;
	m->have_luo = true;
	owner = owner_add(m, OWNER_LUO, "live update");
	claim_chain(m, owner, m->luo.sessions_pa, sizeof(struct kho_abi_luo_session));
	sound = khoc_luo_sessions(&walk, &m->luo, whole_tree(m), &report);
	if (sound)
		faults_add(&m->faults, &report, "live update: its sessions");
	check_unique(m, NULL, walk.nr);
	while ((err = khoc_luo_session_next(&walk, &session, &report)) != -ENOENT) {
		if (err && (session.pa ? sound != -KHO_E_CYCLE || session.index < walk.nr : !sound))
			faults_add(&m->faults, &report, "live update: session %llu",
				   (unsigned long long)session.index);
		if ((err && !session.pa) || !spend(m, 5) ||
		    (sound == -KHO_E_CYCLE && session.index >= walk.nr))
			break;
		take_session(m, &session);
	}
	take_flbs(m, owner);
}

/* ---- the rest ---- */

static void decode_reserve_mem(struct model *m, const struct subtree *t)
{
	static struct khoc_reserve_mem walk;
	struct khoc_reserve_mem_region region;
	struct khoc_report report;
	int err = khoc_reserve_mem_open(&walk, &m->source->mem, t->data, t->size, &report);

	if (err) {
		faults_add(&m->faults, &report, "reserve_mem");
		return;
	}
	while ((err = khoc_reserve_mem_next(&walk, &region, &report)) != -ENOENT) {
		if (err)
			faults_add(&m->faults, &report, "reserve_mem: region %s",
				   region.pa ? region.name : "?");
		if (err && !region.pa)
			break;
		if (err)
			continue;
		list_add(&m->reserved, &region, sizeof(region));
		claim(m, owner_add(m, OWNER_RESERVE_MEM, "reserve_mem %s", region.name),
		      region.start, region.size, true);
		if (!whole_tree(m) || is_preserved(m, region.start, region.size))
			continue;
		report =
			report_unpreserved(KHOC_S_RESERVE_MEM, region.start, region.size, "region");
		faults_add(&m->faults, &report, "reserve_mem: region %s", region.name);
	}
}

static void decode_metadata(struct model *m, const struct subtree *t)
{
	struct khoc_report report;
	int err = khoc_metadata_read(&m->metadata, &m->source->mem, t->data, t->size, &report);

	m->have_metadata = !err;
	if (err)
		faults_add(&m->faults, &report, "kexec-metadata");
}

/* An array of addresses, each with an order in its low bits. */
static void claim_test_folios(struct model *m, __u32 owner, const struct kho_abi_vmalloc *desc)
{
	struct khoc_vmalloc_iter iter;
	struct khoc_vmalloc_part part;

	if (khoc_vmalloc_iter_init(&iter, &m->source->mem, m->source->shift, desc, NULL))
		return;
	while (khoc_vmalloc_iter_next(&iter, &part)) {
		__u64 size = page_size(m) << part.order;
		const __u64 *word = part.chunk ? NULL : source_map(m->source, part.pa, size);

		for (__u64 i = 0; word && i < size / 8; i++) {
			unsigned int order = word[i] & (page_size(m) - 1);

			if (word[i] && order < 20 && spend(m, 1))
				claim(m, owner, word[i] - order, page_size(m) << order, false);
		}
	}
}

/* What Linux's own test leaves: an FDT that names a list of folios. */
static void decode_test(struct model *m, const struct subtree *t)
{
	const struct kho_abi_vmalloc *at;
	struct kho_abi_vmalloc desc;
	__u64 size = t->size < BLOB_MAX ? t->size : BLOB_MAX;
	const void *fdt = size ? source_map(m->source, t->data, size) : NULL;
	int node, len;
	__u32 owner;

	if (!fdt || fdt_check_full(fdt, size))
		return;
	node = fdt_path_offset(fdt, "/data");
	at = node < 0 ? NULL : fdt_getprop(fdt, node, "folios_info", &len);
	if (!at || len != sizeof(desc))
		return;
	memcpy(&desc, at, sizeof(desc));
	if (!desc.first)
		return;
	owner = owner_add(m, OWNER_SUBTREE, "subtree %s: its folios", t->name);
	decode_vmalloc(m, owner, &desc, t->data + (__u64)((const char *)at - (const char *)fdt));
	claim_test_folios(m, owner, &desc);
}

/* ---- subtrees ---- */

/* Formats that are known, by the name of their subtree. @max: of blobs that are decoded. */
static const struct known {
	const char *node, *format;
	void (*decode)(struct model *m, const struct subtree *t);
	__u64 max;
} formats[] = {
	{KHO_ABI_METADATA_NODE, "kexec-metadata version 1", decode_metadata, ~0ULL},
	{KHO_ABI_LUO_NODE, KHO_ABI_LUO_COMPATIBLE, decode_luo, BLOB_MAX},
	{KHO_ABI_MEMBLOCK_NODE, KHO_ABI_MEMBLOCK_COMPATIBLE, decode_reserve_mem, BLOB_MAX},
	{TEST_NODE, "kho-test-v1", decode_test, BLOB_MAX},
	{KHO_ABI_TYPES_NODE, KHO_ABI_TYPES_COMPATIBLE, decode_types, BLOB_MAX},
	{KHO_ABI_SLABS_NODE, "slab-v1, between kernels", decode_slabs, BLOB_MAX},
	{KHO_ABI_KERNEL_NODE, "a kernel's list of formats", decode_formats, BLOB_MAX},
};

/* NULL: none that is known. */
static const struct known *known_as(const char *name)
{
	for (unsigned int i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
		if (!strcmp(name, formats[i].node))
			return &formats[i];
	return NULL;
}

static void take_start(struct model *m, struct subtree *t, const struct khoc_subtree *s)
{
	t->nr_hex = s->size < HEX_MAX ? (unsigned int)s->size : HEX_MAX;
	if (t->nr_hex && source_read(m->source, s->data, t->hex, t->nr_hex))
		t->nr_hex = 0;
}

/* In an arena, cells of named roots and the metadata lie before what is handed out. */
static bool is_fixed(const struct model *m, kho_pa_t pa)
{
	return m->source->kind == SOURCE_ARENA && pa < m->source->header.data_pa;
}

/* A folio that begins with the blob is the blob's to its end. */
static void claim_blob(struct model *m, const struct khoc_subtree *s)
{
	__u32 owner = owner_add(m, OWNER_SUBTREE, "subtree %s", s->name);
	struct khoc_block block;

	if (is_heap(m, s->data))
		return; /* an object among others */
	if (m->have_tree && khoc_radix_lookup(&m->tree, s->data, &block) &&
	    block.pa == (s->data & ~(page_size(m) - 1)) && s->size < page_size(m) << block.order)
		claim(m, owner, block.pa, page_size(m) << block.order, false);
	else
		claim(m, owner, s->data, s->size, false);
}

static void take_subtree(struct model *m, const struct khoc_subtree *s)
{
	struct khoc_report report =
		report_unpreserved(KHOC_S_SUBTREE, s->data, s->size, KHO_ABI_ROOT_PROP_DATA);
	struct subtree t = {.data = s->data, .size = s->size, .type_version = s->type_version};
	const struct known *known = s->type ? NULL : known_as(s->name);

	snprintf(t.name, sizeof(t.name), "%s", s->name);
	if (s->type)
		snprintf(t.type, sizeof(t.type), "%s", s->type);
	t.preserved = is_fixed(m, s->data) || is_preserved(m, s->data, s->size);
	if (known)
		t.format = known->format;
	else if (!s->type)
		take_start(m, &t, s);
	if (!s->type)
		claim_blob(m, s);
	if (!t.preserved && whole_tree(m) && s->size)
		faults_add(&m->faults, &report, "subtree %s", t.name);
	list_add(&m->subtrees, &t, sizeof(t));
}

void decode_subtrees(struct model *m)
{
	struct khoc_subtree s;
	int pos = 0;

	while (!khoc_root_next(m->root, &pos, &s))
		take_subtree(m, &s);
}

void decode_linux(struct model *m)
{
	size_t nr = m->subtrees.nr;

	for (size_t i = 0; i < nr; i++) {
		const struct subtree *t = (const struct subtree *)m->subtrees.at + i;
		const struct known *known = t->format ? known_as(t->name) : NULL;

		if (known && t->size < known->max)
			known->decode(m, t);
	}
}
