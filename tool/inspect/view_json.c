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
	json_open(j, "memory", '[');
	for (size_t i = 0; i < s->nr_ram; i++) {
		json_open_flat(j, NULL, '{');
		json_hex(j, "address", s->ram[i].pa);
		json_u64(j, "bytes", s->ram[i].len);
		json_close(j, '}');
	}
	json_close(j, ']');
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
	json_open(j, "candidates", '[');
	for (unsigned int i = 0; i < m->nr_candidates; i++) {
		const struct candidate *c = &m->candidates[i];

		json_open_flat(j, NULL, '{');
		json_hex(j, "address", c->pa);
		json_bool(j, "chosen", c->pa == m->root_pa);
		json_bool(j, "sound", c->sound);
		json_bool(j, "marks_itself", c->marks_itself);
		json_u64(j, "subtrees", c->nr_subtrees);
		json_u64(j, "count", c->count);
		json_close(j, '}');
	}
	json_close(j, ']');
	if (!m->have_metadata)
		return;
	json_open_flat(j, "metadata", '{');
	json_text(j, "release", m->metadata.release);
	json_u64(j, "count", m->metadata.count);
	json_close(j, '}');
}

static void put_subtrees(struct json *j, const struct model *m)
{
	const struct subtree *t = m->subtrees.at;
	char hex[HEX_MAX * 2 + 1];

	json_open(j, "subtrees", '[');
	for (size_t i = 0; i < m->subtrees.nr; i++, t++) {
		json_open_flat(j, NULL, '{');
		json_text(j, "name", t->name);
		json_hex(j, "address", t->data);
		json_u64(j, "bytes", t->size);
		json_bool(j, "preserved", t->preserved);
		json_text(j, "format", t->format);
		if (*t->type) {
			json_text(j, "type", t->type);
			json_u64(j, "type_version", t->type_version);
		}
		*hex = '\0';
		for (unsigned int k = 0; k < t->nr_hex; k++)
			snprintf(hex + k * 2, 3, "%02x", t->hex[k]);
		if (t->nr_hex)
			json_text(j, "hex", hex);
		json_close(j, '}');
	}
	json_close(j, ']');
}

static void put_runs(struct json *j, const struct model *m)
{
	const struct khoc_run *r = m->runs.at;

	json_open(j, "runs", '[');
	for (size_t i = 0; i < m->runs.nr; i++) {
		json_open_flat(j, NULL, '{');
		json_hex(j, "address", r[i].pa);
		json_u64(j, "order", r[i].order);
		json_u64(j, "blocks", r[i].nr);
		json_close(j, '}');
	}
	json_close(j, ']');
}

static void put_extents(struct json *j, const struct model *m)
{
	const struct extent *e = m->extents.at;

	json_open(j, "extents", '[');
	for (size_t i = 0; i < m->extents.nr; i++) {
		json_open_flat(j, NULL, '{');
		json_hex(j, "address", e[i].pa);
		json_u64(j, "pages", e[i].len >> m->source->shift);
		json_u64(j, "order", e[i].order);
		json_u64(j, "owner", e[i].owner);
		json_close(j, '}');
	}
	json_close(j, ']');
}

static void put_preserved(struct json *j, const struct model *m, bool blocks)
{
	json_open(j, "preserved", '{');
	json_bool(j, "readable", m->have_tree);
	json_bool(j, "complete", !m->runs_cut);
	json_u64(j, "pages", m->pages);
	json_u64(j, "bytes", m->pages << m->source->shift);
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
		put_runs(j, m);
		put_extents(j, m);
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

static void put_owners(struct json *j, const struct model *m)
{
	const struct owner *o = m->owners.at;

	json_open(j, "owners", '[');
	for (size_t i = 0; i < m->owners.nr; i++) {
		json_open_flat(j, NULL, '{');
		json_u64(j, "owner", i);
		json_text(j, "kind", owner_kinds[o[i].kind]);
		json_text(j, "name", o[i].name);
		json_u64(j, "pages", o[i].pages);
		json_close(j, '}');
	}
	json_close(j, ']');
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

static void put_luo(struct json *j, const struct model *m)
{
	const struct session *s = m->sessions.at;
	const struct khoc_luo_flb *flb = m->flbs.at;
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
	json_open(j, "flbs", '[');
	for (size_t i = 0; i < m->flbs.nr; i++) {
		json_open_flat(j, NULL, '{');
		json_text(j, "name", flb[i].name);
		json_hex(j, "data", flb[i].data);
		json_u64(j, "count", flb[i].count);
		json_close(j, '}');
	}
	json_close(j, ']');
	json_close(j, '}');
}

static void put_lists(struct json *j, const struct model *m)
{
	const struct khoc_reserve_mem_region *r = m->reserved.at;
	const struct area *a = m->areas.at;
	const struct block_set *b = m->sets.at;
	const struct array_info *y = m->arrays.at;

	json_open(j, "reserve_mem", '[');
	for (size_t i = 0; i < m->reserved.nr; i++) {
		json_open_flat(j, NULL, '{');
		json_text(j, "name", r[i].name);
		json_hex(j, "address", r[i].start);
		json_u64(j, "bytes", r[i].size);
		json_close(j, '}');
	}
	json_close(j, ']');
	json_open(j, "vmalloc", '[');
	for (size_t i = 0; i < m->areas.nr; i++) {
		json_open_flat(j, NULL, '{');
		json_hex(j, "address", a[i].first);
		json_u64(j, "pages", a[i].pages);
		json_u64(j, "order", a[i].order);
		json_u64(j, "blocks", a[i].nr_blocks);
		json_bool(j, "sound", a[i].sound);
		json_u64(j, "owner", a[i].owner);
		json_close(j, '}');
	}
	json_close(j, ']');
	json_open(j, "block_sets", '[');
	for (size_t i = 0; i < m->sets.nr; i++) {
		json_open_flat(j, NULL, '{');
		json_hex(j, "address", b[i].first);
		json_u64(j, "blocks", b[i].nr_blocks);
		json_u64(j, "records", b[i].nr_records);
		json_bool(j, "sound", b[i].sound);
		json_u64(j, "owner", b[i].owner);
		json_close(j, '}');
	}
	json_close(j, ']');
	json_open(j, "arrays", '[');
	for (size_t i = 0; i < m->arrays.nr; i++) {
		json_open_flat(j, NULL, '{');
		json_hex(j, "address", y[i].at);
		json_u64(j, "entries", y[i].entries);
		json_u64(j, "pages", y[i].pages);
		json_bool(j, "sound", y[i].sound);
		json_u64(j, "owner", y[i].owner);
		json_close(j, '}');
	}
	json_close(j, ']');
}

static void put_heap(struct json *j, const struct model *m)
{
	const struct slabs *s = m->slabs.at;

	json_open(j, "slabs", '[');
	for (size_t i = 0; i < m->slabs.nr; i++) {
		json_open_flat(j, NULL, '{');
		json_u64(j, "object_bytes", s[i].object_size);
		json_text(j, "cache", s[i].cache ? s[i].cache_name : NULL);
		json_u64(j, "slabs", s[i].nr_slabs);
		json_u64(j, "damaged", s[i].nr_bad);
		json_u64(j, "live", s[i].live);
		json_u64(j, "reserved", s[i].reserved);
		json_u64(j, "free", s[i].free + s[i].freed);
		json_u64(j, "owner", s[i].owner);
		json_close(j, '}');
	}
	json_close(j, ']');
	json_open_flat(j, "large_objects", '{');
	json_u64(j, "objects", m->nr_large);
	json_u64(j, "bytes", m->large_bytes);
	json_close(j, '}');
}

static void put_faults(struct json *j, const struct model *m)
{
	json_open(j, "faults", '[');
	for (size_t i = 0; i < m->faults.nr; i++) {
		const struct fault *f = &m->faults.list[i];

		json_open(j, NULL, '{');
		json_text(j, "of", f->what);
		json_text(j, "structure", khoc_structure_text(f->report.structure));
		json_text(j, "field", f->report.field);
		json_hex(j, "address", f->report.addr);
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
}

void view_json(FILE *out, const struct model *m, bool blocks)
{
	struct json j = {.out = out};

	json_open(&j, NULL, '{');
	json_text(&j, "schema", "kho-inspect-1");
	put_source(&j, m);
	put_arena(&j, m);
	put_root(&j, m);
	put_subtrees(&j, m);
	put_preserved(&j, m, blocks);
	put_types(&j, m);
	put_owners(&j, m);
	put_luo(&j, m);
	put_lists(&j, m);
	put_heap(&j, m);
	put_faults(&j, m);
	json_close(&j, '}');
}

void view_json_faults(FILE *out, const struct model *m)
{
	struct json j = {.out = out};

	json_open(&j, NULL, '{');
	json_text(&j, "schema", "kho-verify-1");
	put_source(&j, m);
	json_bool(&j, "sound", !m->faults.nr && !m->faults.lost);
	put_faults(&j, m);
	json_close(&j, '}');
}
