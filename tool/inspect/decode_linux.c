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
#include <kho/core/compat.h>
#include <libfdt.h>

#include "model.h"

#define BLOB_MAX (1U << 20) /* of a blob that is decoded */
#define TEST_NODE "kho_test" /* lib/test_kho.c of Linux */

/* ---- subtrees ---- */

static const char *const known[] = {KHO_ABI_METADATA_NODE, KHO_ABI_LUO_NODE,
				    KHO_ABI_MEMBLOCK_NODE, TEST_NODE,
				    KHO_ABI_TYPES_NODE,	   KHO_ABI_SLABS_NODE,
				    KHO_ABI_KERNEL_NODE};
static const char *const formats[] = {"kexec-metadata version 1",  KHO_ABI_LUO_COMPATIBLE,
				      KHO_ABI_MEMBLOCK_COMPATIBLE, "kho-test-v1",
				      KHO_ABI_TYPES_COMPATIBLE,	   "slab-v1, between kernels",
				      "a kernel's list of formats"};

static void name_format(struct model *m, struct subtree *t, const struct khoc_subtree *s)
{
	for (unsigned int i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (!s->type && !strcmp(t->name, known[i]))
			t->format = formats[i];
	if (t->format || s->type)
		return;
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
	struct khoc_report report = {.fault = KHO_E_NOT_PRESERVED,
				     .structure = KHOC_S_SUBTREE,
				     .level = -1,
				     .addr = s->data,
				     .value = s->size,
				     .field = KHO_ABI_ROOT_PROP_DATA};
	struct subtree t = {.data = s->data, .size = s->size, .type_version = s->type_version};

	snprintf(t.name, sizeof(t.name), "%s", s->name);
	if (s->type)
		snprintf(t.type, sizeof(t.type), "%s", s->type);
	t.preserved = is_fixed(m, s->data) || is_preserved(m, s->data, s->size);
	name_format(m, &t, s);
	if (!s->type)
		claim_blob(m, s);
	if (!t.preserved && m->have_tree && s->size)
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

/* ---- scattered memory ---- */

void decode_vmalloc(struct model *m, __u32 owner, const struct kho_abi_vmalloc *desc, kho_pa_t at)
{
	const struct khoc_vmalloc_check check = {.data_lo = m->source->header.data_pa,
						 .data_hi = m->source->mem.size,
						 .tree = m->have_tree ? &m->tree : NULL};
	struct area area = {.first = desc->first,
			    .at = at,
			    .pages = desc->total_pages,
			    .order = desc->order,
			    .flags = desc->flags,
			    .owner = owner};
	struct khoc_vmalloc_iter iter;
	struct khoc_vmalloc_part part;
	int err = khoc_vmalloc_iter_init(&iter, &m->source->mem, m->source->shift, desc, &check);

	while (!err && khoc_vmalloc_iter_next(&iter, &part)) {
		claim(m, owner, part.pa, page_size(m) << part.order, true);
		*(part.chunk ? &area.nr_chunks : &area.nr_blocks) += 1;
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
	struct khoc_vmalloc_check check = {.data_hi = m->source->mem.size,
					   .tree = m->have_tree ? &m->tree : NULL};
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
	if (m->have_tree && !is_preserved(m, f->data, sizeof(struct kho_abi_memfd))) {
		report = (struct khoc_report){.fault = KHO_E_NOT_PRESERVED,
					      .structure = KHOC_S_MEMFD,
					      .level = -1,
					      .addr = f->data,
					      .value = f->data,
					      .field = "header"};
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
	struct file f = {
		.session = session, .token = from->token, .data = from->data, .pa = from->pa};
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

/* Pages of a chain of blocks, as far as it is sound. */
static void claim_chain(struct model *m, __u32 owner, kho_pa_t head, __u64 record_size)
{
	struct block_set set = {.first = head, .record_size = record_size, .owner = owner};
	struct khoc_block_chain chain = {&m->source->mem, m->source->shift, record_size, head, 0};
	struct khoc_block_counts counts = {0};
	kho_pa_t pa = head;
	int err;

	if (!head)
		return;
	err = khoc_block_check(&chain, m->have_tree ? &m->tree : NULL, &counts, NULL);
	set.sound = !err;
	if (!spend(m, err == -KHO_E_CYCLE ? KHO_ABI_BLOCKS_MAX : counts.blocks))
		return;
	set.nr_blocks = counts.blocks;
	set.nr_records = counts.entries;
	for (__u64 i = 0; i < counts.blocks; i++) {
		const struct kho_abi_block *block = source_map(m->source, pa, sizeof(*block));

		if (!block)
			break;
		claim(m, owner, pa, page_size(m), true);
		pa = block->next;
	}
	list_add(&m->sets, &set, sizeof(set));
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
	struct session session = {.pa = from->pa, .nr_files = from->nr_files};
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
	sound = khoc_luo_files(&walk, &m->luo, from, m->have_tree ? &m->tree : NULL, &report);
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
	int err = khoc_luo_flbs(&walk, &m->luo, m->have_tree ? &m->tree : NULL, &report);

	if (err)
		faults_add(&m->faults, &report, "live update: data of files (FLB)");
	if (m->luo.flbs_pa)
		claim(m, owner, m->luo.flbs_pa, page_size(m), true);
	while ((err = khoc_luo_flb_next(&walk, &flb, &report)) != -ENOENT) {
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
	sound = khoc_luo_sessions(&walk, &m->luo, m->have_tree ? &m->tree : NULL, &report);
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
		if (!m->have_tree || is_preserved(m, region.start, region.size))
			continue;
		report = (struct khoc_report){.fault = KHO_E_NOT_PRESERVED,
					      .structure = KHOC_S_RESERVE_MEM,
					      .level = -1,
					      .addr = region.start,
					      .value = region.size,
					      .field = "region"};
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

/* The parts that a handover says it is made of: are they those that are decoded here? */
static void check_parts(struct model *m)
{
	static const struct khoc_compat_reads reads[] = {
		{"kho", 4, 4, true},	  {"arena", 1, 1, false},    {"array", 1, 1, false},
		{"block", 1, 1, false},	  {"luo", 5, 5, false},	     {"memblock", 1, 1, false},
		{"memfd", 2, 2, false},	  {"radix", 1, 1, false},    {"session", 1, 1, false},
		{"slab", 1, 1, false},	  {"sparsefd", 1, 1, false}, {"types", 1, 1, false},
		{"vmalloc", 1, 1, false},
	};
	const char *parts = m->have_root ? khoc_root_composite(m->root) : NULL;
	struct khoc_compat_why why;
	struct khoc_report report;
	char text[256];

	if (!parts || !khoc_compat_match(parts, strlen(parts) + 1, reads,
					 sizeof(reads) / sizeof(reads[0]), &why))
		return;
	report = (struct khoc_report){KHO_E_INCOMPATIBLE, KHOC_S_ROOT_FDT, -1,		m->root_pa,
				      why.version,	  why.max,	   "compatible"};
	faults_add(&m->faults, &report, "root: %s", khoc_compat_text(&why, text, sizeof(text)));
}

void decode_linux(struct model *m)
{
	static void (*const decoders[])(struct model * m, const struct subtree *t) = {
		decode_metadata, decode_luo,   decode_reserve_mem, decode_test,
		decode_types,	 decode_slabs, decode_formats};
	size_t nr = m->subtrees.nr;

	check_parts(m);
	for (size_t i = 0; i < nr; i++) {
		const struct subtree *t = (const struct subtree *)m->subtrees.at + i;

		for (unsigned int j = 0; j < sizeof(known) / sizeof(known[0]); j++)
			if (t->format == formats[j] &&
			    (t->size < BLOB_MAX || decoders[j] == decode_metadata))
				decoders[j](m, t);
	}
}
