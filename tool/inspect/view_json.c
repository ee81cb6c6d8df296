/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * kho inspect --json; docs/inspect.md has the schema.
 */
#include <string.h>

#include <kho/core/block_types.h>

#include "json_out.h"
#include "views.h"

static const char *const owner_kinds[] = {
	[OWNER_NONE] = "nobody",
	[OWNER_ROOT] = "root",
	[OWNER_SUBTREE] = "subtree",
	[OWNER_LUO] = "live-update",
	[OWNER_SESSION] = "session",
	[OWNER_FILE] = "file",
	[OWNER_RESERVE_MEM] = "reserve_mem",
	[OWNER_VMALLOC] = "vmalloc",
	[OWNER_ARRAY] = "array",
	[OWNER_BLOCKS] = "block-set",
	[OWNER_SLABS] = "slabs",
	[OWNER_LARGE] = "large-object",
};

/* The members of the @i-th of a list. */
typedef void (*put_fn)(struct json *j, const struct model *m, size_t i);

/* @nr objects, each on a line of its own. */
static void put_list(struct json *j, const char *key, const struct model *m, size_t nr, put_fn put)
{
	json_open(j, key, '[');
	for (size_t i = 0; i < nr; i++) {
		json_open_flat(j, NULL, '{');
		put(j, m, i);
		json_close(j, '}');
	}
	json_close(j, ']');
}

static void put_ram(struct json *j, const struct model *m, size_t i)
{
	const struct span *ram = &m->source->ram[i];

	json_hex(j, "address", ram->pa);
	json_u64(j, "bytes", ram->len);
}

static void put_source(struct json *j, const struct model *m)
{
	const struct source *s = m->source;

	json_open(j, "source", '{');
	json_text(j, "name", s->name);
	json_text(j, "kind", s->kind == SOURCE_ARENA ? "arena" : "dump");
	json_bool(j, "live", s->live);
	json_u64(j, "page_size", page_size(m));
	json_u64(j, "bytes", source_bytes(s));
	if (s->kind == SOURCE_DUMP)
		json_text(j, "machine", machine_name(s->machine));
	if (*s->release)
		json_text(j, "release", s->release);
	if (s->pid)
		json_u64(j, "pid", (__u64)s->pid);
	put_list(j, "memory", m, s->nr_ram, put_ram);
	json_close(j, '}');
}

static void put_arena(struct json *j, const struct model *m)
{
	const struct kho_abi_arena_header *h = &m->source->header;
	char id[33];

	if (m->source->kind != SOURCE_ARENA)
		return;
	for (unsigned int i = 0; i < 16; i++)
		snprintf(id + i * 2, 3, "%02x", h->id[i]);
	json_open(j, "arena", '{');
	json_text(j, "id", id);
	json_u64(j, "generation", m->generation);
	json_text(j, "state", arena_state(m));
	json_hex(j, "base", h->base);
	json_u64(j, "max_bytes", h->max_size);
	json_u64(j, "holder", m->holder.futex ? m->holder.pid : 0);
	json_u64(j, "unsettled", m->nr_intents);
	json_close(j, '}');
}

static void put_candidate(struct json *j, const struct model *m, size_t i)
{
	const struct candidate *c = &m->candidates[i];

	json_hex(j, "address", c->pa);
	json_bool(j, "chosen", c->pa == m->root_pa);
	json_bool(j, "sound", c->sound);
	json_bool(j, "marks_itself", c->marks_itself);
	json_u64(j, "subtrees", c->nr_subtrees);
	json_u64(j, "count", c->count);
}

static void put_root(struct json *j, const struct model *m)
{
	json_open(j, "root", '{');
	json_hex(j, "address", m->root_pa);
	json_bool(j, "readable", m->have_root);
	if (m->have_root) {
		json_text(j, "compatible", khoc_root_composite(m->root) ?: KHO_ABI_ROOT_COMPATIBLE);
		json_hex(j, "tree", khoc_root_tree(m->root));
	}
	json_close(j, '}');
	put_list(j, "candidates", m, m->nr_candidates, put_candidate);
	if (!m->have_metadata)
		return;
	json_open_flat(j, "metadata", '{');
	json_text(j, "release", m->metadata.release);
	json_u64(j, "count", m->metadata.count);
	json_close(j, '}');
}

static void put_subtree(struct json *j, const struct model *m, size_t i)
{
	const struct subtree *t = (const struct subtree *)m->subtrees.at + i;
	char hex[HEX_MAX * 2 + 1] = "";

	json_text(j, "name", t->name);
	json_hex(j, "address", t->data);
	json_u64(j, "bytes", t->size);
	if (t->preserved || !m->faults.blind)
		json_bool(j, "preserved", t->preserved);
	else
		json_text(j, "preserved", NULL);
	json_text(j, "format", t->format);
	if (*t->type) {
		json_text(j, "type", t->type);
		json_u64(j, "type_version", t->type_version);
	}
	for (unsigned int k = 0; k < t->nr_hex; k++)
		snprintf(hex + k * 2, 3, "%02x", t->hex[k]);
	if (t->nr_hex)
		json_text(j, "hex", hex);
}

static void put_run(struct json *j, const struct model *m, size_t i)
{
	const struct khoc_run *r = (const struct khoc_run *)m->runs.at + i;

	json_hex(j, "address", r->pa);
	json_u64(j, "order", r->order);
	json_u64(j, "blocks", r->nr);
}

static void put_extent(struct json *j, const struct model *m, size_t i)
{
	const struct extent *e = (const struct extent *)m->extents.at + i;

	json_hex(j, "address", e->pa);
	json_u64(j, "pages", e->len >> m->source->shift);
	json_u64(j, "order", e->order);
	json_u64(j, "owner", e->owner);
}

static void put_preserved(struct json *j, const struct model *m, bool blocks)
{
	json_open(j, "preserved", '{');
	json_bool(j, "readable", m->have_tree);
	json_bool(j, "complete", !m->runs_cut && !m->faults.blind);
	json_u64(j, "pages", m->pages);
	json_u64(j, "bytes", m->pages << m->source->shift);
	json_u64(j, "pages_not_in_dump", m->pages_in_gaps);
	json_u64(j, "tables", m->nr_tables);
	json_u64(j, "leaves", m->nr_leaves);
	json_open(j, "orders", '[');
	for (unsigned int order = 0; order < 64; order++) {
		if (!m->order_blocks[order])
			continue;
		json_open_flat(j, NULL, '{');
		json_u64(j, "order", order);
		json_u64(j, "blocks", m->order_blocks[order]);
		json_close(j, '}');
	}
	json_close(j, ']');
	if (blocks) {
		put_list(j, "runs", m, m->runs.nr, put_run);
		put_list(j, "extents", m, m->extents.nr, put_extent);
	}
	json_close(j, '}');
}

static void put_types(struct json *j, const struct model *m)
{
	if (*m->writes)
		json_text(j, "kernel_writes", m->writes);
	if (!m->have_types)
		return;
	json_open(j, "types", '[');
	for (unsigned int i = 0; i < KHO_ABI_TYPES; i++) {
		if (!m->type_blocks[i])
			continue;
		json_open_flat(j, NULL, '{');
		json_text(j, "type", khoc_type_text(i));
		json_u64(j, "blocks", m->type_blocks[i]);
		json_close(j, '}');
	}
	json_close(j, ']');
}

static void put_owner(struct json *j, const struct model *m, size_t i)
{
	const struct owner *o = (const struct owner *)m->owners.at + i;

	json_u64(j, "owner", i);
	json_text(j, "kind", owner_kinds[o->kind]);
	json_text(j, "name", o->name);
	json_u64(j, "pages", o->pages);
}

static void put_memfd(struct json *j, const struct file *f)
{
	json_u64(j, "bytes", f->memfd.size);
	json_u64(j, "position", f->memfd.pos);
	json_u64(j, "seals", f->memfd.seals);
	json_u64(j, "folios", f->memfd.nr_folios);
	json_u64(j, "sound_folios", f->nr_folios);
}

static void put_files(struct json *j, const struct model *m, size_t session, size_t *at)
{
	const struct file *f = m->files.at;

	json_open(j, "files", '[');
	for (; *at < m->files.nr && f[*at].session == session; ++*at) {
		json_open_flat(j, NULL, '{');
		json_hex(j, "token", f[*at].token);
		json_text(j, "handler", f[*at].handler);
		json_hex(j, "data", f[*at].data);
		if (f[*at].is_memfd)
			put_memfd(j, &f[*at]);
		json_close(j, '}');
	}
	json_close(j, ']');
}

static void put_flb(struct json *j, const struct model *m, size_t i)
{
	const struct khoc_luo_flb *flb = (const struct khoc_luo_flb *)m->flbs.at + i;

	json_text(j, "name", flb->name);
	json_hex(j, "data", flb->data);
	json_u64(j, "count", flb->count);
}

static void put_luo(struct json *j, const struct model *m)
{
	const struct session *s = m->sessions.at;
	size_t at = 0;

	if (!m->have_luo)
		return;
	json_open(j, "live_update", '{');
	json_text(j, "compatible", m->luo.compatible);
	json_u64(j, "number", m->luo.liveupdate_num);
	json_open(j, "sessions", '[');
	for (size_t i = 0; i < m->sessions.nr; i++) {
		json_open(j, NULL, '{');
		json_text(j, "name", s[i].name);
		json_u64(j, "nr_files", s[i].nr_files);
		put_files(j, m, i, &at);
		json_close(j, '}');
	}
	json_close(j, ']');
	put_list(j, "flbs", m, m->flbs.nr, put_flb);
	json_close(j, '}');
}

static void put_region(struct json *j, const struct model *m, size_t i)
{
	const struct khoc_reserve_mem_region *r =
		(const struct khoc_reserve_mem_region *)m->reserved.at + i;

	json_text(j, "name", r->name);
	json_hex(j, "address", r->start);
	json_u64(j, "bytes", r->size);
}

static void put_area(struct json *j, const struct model *m, size_t i)
{
	const struct area *a = (const struct area *)m->areas.at + i;

	json_hex(j, "address", a->first);
	json_u64(j, "pages", a->pages);
	json_u64(j, "order", a->order);
	json_u64(j, "blocks", a->nr_blocks);
	json_bool(j, "sound", a->sound);
	json_u64(j, "owner", a->owner);
}

static void put_block_set(struct json *j, const struct model *m, size_t i)
{
	const struct block_set *b = (const struct block_set *)m->sets.at + i;

	json_hex(j, "address", b->first);
	json_u64(j, "blocks", b->nr_blocks);
	json_u64(j, "records", b->nr_records);
	json_bool(j, "sound", b->sound);
	json_u64(j, "owner", b->owner);
}

static void put_array(struct json *j, const struct model *m, size_t i)
{
	const struct array_info *y = (const struct array_info *)m->arrays.at + i;

	json_hex(j, "address", y->at);
	json_u64(j, "entries", y->entries);
	json_u64(j, "pages", y->pages);
	json_bool(j, "sound", y->sound);
	json_u64(j, "owner", y->owner);
}

static void put_slabs(struct json *j, const struct model *m, size_t i)
{
	const struct slabs *s = (const struct slabs *)m->slabs.at + i;

	json_u64(j, "object_bytes", s->object_size);
	json_text(j, "cache", s->cache ? s->cache_name : NULL);
	json_u64(j, "slabs", s->nr_slabs);
	json_u64(j, "damaged", s->nr_bad);
	json_u64(j, "live", s->live);
	json_u64(j, "reserved", s->reserved);
	json_u64(j, "free", s->free + s->freed);
	json_u64(j, "owner", s->owner);
}

static void put_structures(struct json *j, const struct model *m)
{
	put_list(j, "reserve_mem", m, m->reserved.nr, put_region);
	put_list(j, "vmalloc", m, m->areas.nr, put_area);
	put_list(j, "block_sets", m, m->sets.nr, put_block_set);
	put_list(j, "arrays", m, m->arrays.nr, put_array);
	put_list(j, "slabs", m, m->slabs.nr, put_slabs);
	json_open_flat(j, "large_objects", '{');
	json_u64(j, "objects", m->nr_large);
	json_u64(j, "bytes", m->large_bytes);
	json_close(j, '}');
}

static void put_where(struct json *j, const struct fault *f)
{
	json_text(j, "of", f->what);
	json_text(j, "structure", khoc_structure_text(f->report.structure));
	json_text(j, "field", f->report.field);
	json_hex(j, "address", f->report.addr);
}

static void put_faults(struct json *j, const struct model *m)
{
	json_open(j, "faults", '[');
	for (size_t i = 0; i < m->faults.nr; i++) {
		const struct fault *f = &m->faults.list[i];

		json_open(j, NULL, '{');
		put_where(j, f);
		if (f->report.level >= 0)
			json_u64(j, "level", (__u64)f->report.level);
		json_u64(j, "fault", (__u64)f->report.fault);
		json_text(j, "reason", khoc_fault_text(f->report.fault));
		json_hex(j, "found", f->report.value);
		json_hex(j, "limit", f->report.limit);
		json_text(j, "remedy", report_remedy(&f->report));
		json_close(j, '}');
	}
	json_close(j, ']');
	json_u64(j, "faults_left_out", m->faults.lost);
	json_open(j, "not_in_dump", '[');
	for (size_t i = 0; i < m->gaps.nr; i++) {
		const struct fault *f = &m->gaps.list[i];

		json_open_flat(j, NULL, '{');
		put_where(j, f);
		json_hex(j, "missing", f->report.value);
		json_close(j, '}');
	}
	json_close(j, ']');
}

void view_json(FILE *out, const struct model *m, bool blocks)
{
	struct json j = {.out = out};

	json_open(&j, NULL, '{');
	json_text(&j, "schema", "kho-inspect-1");
	put_source(&j, m);
	put_arena(&j, m);
	put_root(&j, m);
	put_list(&j, "subtrees", m, m->subtrees.nr, put_subtree);
	put_preserved(&j, m, blocks);
	put_types(&j, m);
	put_list(&j, "owners", m, m->owners.nr, put_owner);
	put_luo(&j, m);
	put_structures(&j, m);
	put_faults(&j, m);
	json_close(&j, '}');
}

void view_json_faults(FILE *out, const struct model *m)
{
	struct json j = {.out = out};

	json_open(&j, NULL, '{');
	json_text(&j, "schema", "kho-verify-1");
	put_source(&j, m);
	json_bool(&j, "sound", !m->faults.nr && !m->faults.lost && !m->gaps.nr);
	put_faults(&j, m);
	json_close(&j, '}');
}
