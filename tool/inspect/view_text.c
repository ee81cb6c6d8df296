/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * kho inspect, for people.
 */
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include <kho/abi/reserve_mem.h>
#include <kho/core/block_types.h>

#include "arena.h"
#include "views.h"

typedef unsigned long long ull;

const char *clean(char *to, size_t size, const char *from)
{
	size_t at = 0;

	for (; *from && at + 5 < size; from++) {
		if (*from >= ' ' && *from < 0x7f)
			to[at++] = *from;
		else
			at += (size_t)snprintf(to + at, size - at, "\\x%02x", (unsigned char)*from);
	}
	to[at] = '\0';
	return to;
}

const char *plural(__u64 nr)
{
	return nr == 1 ? "" : "s";
}

/* The same, in columns. */
static const char *pad(__u64 nr)
{
	return nr == 1 ? " " : "s";
}

const char *human(char *to, size_t size, __u64 bytes)
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	unsigned int unit = 0;
	__u64 whole = bytes, rest = 0;

	while (whole >= 1024 && unit < 6) {
		rest = whole % 1024;
		whole /= 1024;
		unit++;
	}
	if (unit)
		snprintf(to, size, "%llu.%llu %s", (ull)whole, (ull)(rest * 10 / 1024),
			 units[unit]);
	else
		snprintf(to, size, "%llu %s", (ull)whole, units[unit]);
	return to;
}

static void say_size(FILE *out, __u64 bytes)
{
	char text[32];

	fputs(human(text, sizeof(text), bytes), out);
}

static void say_name(FILE *out, const char *name)
{
	char text[512];

	fputs(clean(text, sizeof(text), name), out);
}

const char *machine_name(unsigned int machine)
{
	return machine == EM_X86_64    ? "x86-64"
	       : machine == EM_AARCH64 ? "arm64"
				       : "unknown machine";
}

const char *arena_state(const struct model *m)
{
	static const char *const names[] = {"?", "running", "granted", "stopped", "exec"};

	return names[m->state < sizeof(names) / sizeof(names[0]) ? m->state : 0];
}

__u64 source_bytes(const struct source *s)
{
	__u64 bytes = 0;

	for (size_t i = 0; i < s->nr_ram; i++)
		bytes += s->ram[i].len;
	return bytes;
}

/* ---- parts of the text ---- */

static void say_source(FILE *out, const struct model *m)
{
	const struct source *s = m->source;

	say_name(out, s->name);
	if (s->kind == SOURCE_ARENA) {
		fputs(": arena", out);
		if (s->pid)
			fprintf(out, " of process %d", (int)s->pid);
		fprintf(out, ", generation %llu, %s, ", (ull)m->generation, arena_state(m));
		say_size(out, s->mem.size);
		fputs(" of at most ", out);
		say_size(out, s->header.max_size);
		fputc('\n', out);
		return;
	}
	fprintf(out, ": memory of a machine, %s, pages of ", machine_name(s->machine));
	say_size(out, page_size(m));
	fputs(", ", out);
	say_size(out, source_bytes(s));
	fprintf(out, " in %zu range%s", s->nr_ram, plural(s->nr_ram));
	if (*s->release) {
		fputs(", Linux ", out);
		say_name(out, s->release);
	}
	fputc('\n', out);
}

/* Beside the one that is shown, which --fdt may have named. */
static const char *age_of(const struct model *m, const struct candidate *c)
{
	if (!c->marks_itself)
		return "not preserved in its own tree";
	if (!c->counted || !m->have_metadata)
		return "without a count of handovers in both";
	return c->count < m->metadata.count   ? "older by its count of handovers"
	       : c->count > m->metadata.count ? "newer by its count of handovers"
					      : "of the same count of handovers";
}

static void say_candidates(FILE *out, const struct model *m)
{
	char why[512];

	for (unsigned int i = 0; i < m->nr_candidates; i++) {
		const struct candidate *c = &m->candidates[i];

		if (c->pa == m->root_pa)
			continue;
		fprintf(out, "  another root FDT at %#llx: ", (ull)c->pa);
		if (!c->sound)
			fprintf(out, "damaged: %s\n",
				kho_report_text_(&c->report, why, sizeof(why)));
		else
			fprintf(out, "%u subtrees, %s\n", c->nr_subtrees, age_of(m, c));
	}
}

static void say_root(FILE *out, const struct model *m)
{
	const char *composite = m->have_root ? khoc_root_composite(m->root) : NULL;

	fprintf(out, "root FDT at %#llx", (ull)m->root_pa);
	if (m->have_root) {
		fputs(": ", out);
		say_name(out, composite ?: KHO_ABI_ROOT_COMPATIBLE);
		fprintf(out, ", tree at %#llx", (ull)khoc_root_tree(m->root));
	} else {
		fputs(": cannot be read", out);
	}
	fputc('\n', out);
	say_candidates(out, m);
	if (m->have_metadata && (m->metadata.count || *m->metadata.release)) {
		fprintf(out, "handover %u, by ", m->metadata.count);
		say_name(out, m->metadata.release);
		fputc('\n', out);
	}
	if (m->source->kind == SOURCE_ARENA && m->holder.futex)
		fprintf(out, "held by process %llu\n", (ull)m->holder.pid);
	if (m->nr_intents)
		fprintf(out, "%llu publication%s to be settled by the next program\n",
			(ull)m->nr_intents, plural(m->nr_intents));
}

static void say_hex(FILE *out, const __u8 *bytes, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i += 16) {
		fprintf(out, "    %04x ", i);
		for (unsigned int j = i; j < i + 16; j++)
			if (j < nr)
				fprintf(out, " %02x", bytes[j]);
			else
				fputs("   ", out);
		fputs("  ", out);
		for (unsigned int j = i; j < i + 16 && j < nr; j++)
			fputc(bytes[j] >= ' ' && bytes[j] < 0x7f ? bytes[j] : '.', out);
		fputc('\n', out);
	}
}

static void say_subtrees(FILE *out, const struct model *m)
{
	const struct subtree *t = m->subtrees.at;

	fprintf(out, "\n%zu subtree%s\n", m->subtrees.nr, plural(m->subtrees.nr));
	for (size_t i = 0; i < m->subtrees.nr; i++, t++) {
		fputs("  ", out);
		say_name(out, t->name);
		fprintf(out, " at %#llx, ", (ull)t->data);
		say_size(out, t->size);
		if (*t->type) {
			fputs(", root of type ", out);
			say_name(out, t->type);
			fprintf(out, ", version %u", t->type_version);
		} else {
			fprintf(out, ", %s", t->format ?: "unknown format");
		}
		fputs(t->preserved	? "\n"
		      : m->faults.blind ? ", preserved or not: not in the dump\n"
					: ", NOT PRESERVED\n",
		      out);
		say_hex(out, t->hex, t->nr_hex);
	}
}

static void say_preserved(FILE *out, const struct model *m)
{
	fputs("\npreserved: ", out);
	if (!m->have_tree) {
		fputs("the tree cannot be read\n", out);
		return;
	}
	fprintf(out, "%llu page%s, ", (ull)m->pages, plural(m->pages));
	say_size(out, m->pages << m->source->shift);
	fprintf(out, "; tree of %llu table%s and %llu %s\n", (ull)m->nr_tables,
		plural(m->nr_tables), (ull)m->nr_leaves, m->nr_leaves == 1 ? "leaf" : "leaves");
	if (m->faults.blind)
		fputs("  and more: parts of the tree are not in the dump\n", out);
	if (m->pages_in_gaps)
		fprintf(out, "  not in the dump: the bytes of %llu page%s\n", (ull)m->pages_in_gaps,
			plural(m->pages_in_gaps));
	if (m->runs_cut)
		fputs("  too many runs: what follows leaves some out\n", out);
	for (int order = 63; order >= 0; order--) {
		if (!m->order_blocks[order])
			continue;
		fprintf(out, "  order %2d: %10llu block%s of ", order, (ull)m->order_blocks[order],
			pad(m->order_blocks[order]));
		say_size(out, page_size(m) << order);
		fputc('\n', out);
	}
}

static void say_types(FILE *out, const struct model *m)
{
	if (*m->writes) {
		fputs("\nthe kernel writes ", out);
		say_name(out, m->writes);
		fputc('\n', out);
	}
	if (!m->have_types)
		return;
	fputs("\npreserved as\n", out);
	for (unsigned int i = 0; i < KHO_ABI_TYPES; i++)
		if (m->type_blocks[i])
			fprintf(out, "  %10llu block%s  %s\n", (ull)m->type_blocks[i],
				pad(m->type_blocks[i]), khoc_type_text(i));
}

static void say_owned(FILE *out, __u64 pages, const char *whose)
{
	if (pages)
		fprintf(out, "  %10llu page%s  %s\n", (ull)pages, pad(pages), whose);
}

static void say_owners(FILE *out, const struct model *m)
{
	const struct owner *o = m->owners.at;

	fputs("\nwhose it is\n", out);
	for (size_t i = 1; i < m->owners.nr; i++)
		say_owned(out, o[i].pages, o[i].name);
	say_owned(out, o[NO_OWNER].pages,
		  m->source->kind == SOURCE_ARENA ? "no name leads there: its program knows"
						  : "nobody's that is known");
}

static void say_file(FILE *out, const struct file *f)
{
	fprintf(out, "    file %#llx: ", (ull)f->token);
	say_name(out, f->handler);
	if (!f->is_memfd) {
		fprintf(out, ", data %#llx\n", (ull)f->data);
		return;
	}
	fputs(", ", out);
	say_size(out, f->memfd.size);
	fprintf(out, ", %llu folio%s, position %llu", (ull)f->memfd.nr_folios,
		plural(f->memfd.nr_folios), (ull)f->memfd.pos);
	if (f->memfd.seals)
		fprintf(out, ", seals %#x", f->memfd.seals);
	if (f->nr_folios != f->memfd.nr_folios)
		fprintf(out, ", %llu DAMAGED", (ull)(f->memfd.nr_folios - f->nr_folios));
	fputc('\n', out);
}

static void say_luo(FILE *out, const struct model *m)
{
	const struct session *s = m->sessions.at;
	const struct file *f = m->files.at;
	const struct khoc_luo_flb *flb = m->flbs.at;
	size_t at = 0;

	if (!m->have_luo)
		return;
	fputs("\nlive update: ", out);
	say_name(out, m->luo.compatible);
	fprintf(out, ", number %llu, %zu session%s, %zu file%s\n", (ull)m->luo.liveupdate_num,
		m->sessions.nr, plural(m->sessions.nr), m->files.nr, plural(m->files.nr));
	for (size_t i = 0; i < m->sessions.nr; i++) {
		fputs("  session ", out);
		say_name(out, s[i].name);
		fprintf(out, ", %llu file%s\n", (ull)s[i].nr_files, plural(s[i].nr_files));
		for (; at < m->files.nr && f[at].session == i; at++)
			say_file(out, &f[at]);
	}
	for (size_t i = 0; i < m->flbs.nr; i++) {
		fputs("  FLB ", out);
		say_name(out, flb[i].name);
		fprintf(out, ": data %#llx, for %llu file%s\n", (ull)flb[i].data, (ull)flb[i].count,
			plural(flb[i].count));
	}
}

static void say_structures(FILE *out, const struct model *m)
{
	const struct khoc_reserve_mem_region *r = m->reserved.at;
	const struct area *a = m->areas.at;
	const struct block_set *b = m->sets.at;
	const struct array_info *y = m->arrays.at;

	if (m->reserved.nr + m->areas.nr + m->sets.nr + m->arrays.nr)
		fputs("\nstructures\n", out);
	for (size_t i = 0; i < m->reserved.nr; i++) {
		fputs("  reserve_mem ", out);
		say_name(out, r[i].name);
		fprintf(out, " at %#llx, ", (ull)r[i].start);
		say_size(out, r[i].size);
		fputc('\n', out);
	}
	for (size_t i = 0; i < m->areas.nr; i++)
		fprintf(out,
			"  vmalloc list at %#llx: %llu page%s in %llu block%s of order %u%s: %s\n",
			(ull)a[i].first, (ull)a[i].pages, plural(a[i].pages), (ull)a[i].nr_blocks,
			plural(a[i].nr_blocks), a[i].order, a[i].sound ? "" : ", DAMAGED",
			owner_name(m, a[i].owner));
	for (size_t i = 0; i < m->sets.nr; i++)
		fprintf(out, "  block set at %#llx: %llu block%s, %llu record%s%s: %s\n",
			(ull)b[i].first, (ull)b[i].nr_blocks, plural(b[i].nr_blocks),
			(ull)b[i].nr_records, plural(b[i].nr_records),
			b[i].sound ? "" : ", DAMAGED", owner_name(m, b[i].owner));
	for (size_t i = 0; i < m->arrays.nr; i++)
		fprintf(out, "  array at %#llx: %llu %s, %llu page%s%s: %s\n", (ull)y[i].at,
			(ull)y[i].entries, y[i].entries == 1 ? "entry" : "entries", (ull)y[i].pages,
			plural(y[i].pages), y[i].sound ? "" : ", DAMAGED",
			owner_name(m, y[i].owner));
}

static void say_heap(FILE *out, const struct model *m)
{
	const struct slabs *s = m->slabs.at;

	if (m->slabs.nr + m->nr_large)
		fputs("\nheap\n", out);
	for (size_t i = 0; i < m->slabs.nr; i++) {
		fprintf(out, "  %6llu slab%s of %5u bytes: %llu live, %llu free",
			(ull)s[i].nr_slabs, pad(s[i].nr_slabs), s[i].object_size, (ull)s[i].live,
			(ull)(s[i].free + s[i].freed));
		if (s[i].reserved)
			fprintf(out, ", %llu handed out", (ull)s[i].reserved);
		if (s[i].cache) {
			fputs(", cache ", out);
			say_name(out, s[i].cache_name);
		}
		fputs(s[i].nr_bad ? ", DAMAGED\n" : "\n", out);
	}
	if (m->nr_large) {
		fprintf(out, "  %6llu large object%s: ", (ull)m->nr_large, plural(m->nr_large));
		say_size(out, m->large_bytes);
		fputc('\n', out);
	}
}

static void say_blocks(FILE *out, const struct model *m)
{
	const struct khoc_run *r = m->runs.at;

	fputs("\nblocks\n", out);
	for (size_t i = 0; i < m->runs.nr; i++)
		fprintf(out, "  %#llx: %llu of order %u\n", (ull)r[i].pa, (ull)r[i].nr, r[i].order);
}

static void say_nobody(FILE *out, const struct model *m)
{
	const struct extent *e = m->extents.at;
	unsigned int left = 20;

	for (size_t i = 0; i < m->extents.nr; i++) {
		if (e[i].owner != NO_OWNER)
			continue;
		if (left == 20)
			fputs("\nnobody's\n", out);
		if (!left--) {
			fputs("  ... (--json --blocks has all)\n", out);
			break;
		}
		fprintf(out, "  %#llx, %llu page%s\n", (ull)e[i].pa,
			(ull)(e[i].len >> m->source->shift), plural(e[i].len >> m->source->shift));
	}
}

void view_faults(FILE *out, const struct model *m)
{
	__u64 nr = m->faults.nr + m->faults.lost;
	char text[512];

	fprintf(out, "%llu fault%s\n", (ull)nr, plural(nr));
	for (size_t i = 0; i < m->faults.nr; i++) {
		const struct fault *f = &m->faults.list[i];

		fputs("  ", out);
		say_name(out, f->what);
		fprintf(out, "\n    %s\n    -> %s\n",
			kho_report_text_(&f->report, text, sizeof(text)),
			report_remedy(&f->report));
	}
	if (m->faults.lost)
		fprintf(out, "  and %zu more\n", m->faults.lost);
}

void view_gaps(FILE *out, const struct model *m)
{
	__u64 nr = m->gaps.nr + m->gaps.lost;
	char text[64];

	fprintf(out, "%llu structure%s not in the dump\n", (ull)nr, nr == 1 ? " is" : "s are");
	for (size_t i = 0; i < m->gaps.nr; i++) {
		const struct fault *f = &m->gaps.list[i];

		fputs("  ", out);
		say_name(out, f->what);
		if (f->report.addr >> 12 == f->report.value >> 12)
			*text = '\0';
		else
			snprintf(text, sizeof(text), " at %#llx", (ull)f->report.addr);
		fprintf(out, "\n    %s: %s%s: nothing from %#llx on\n",
			khoc_structure_text(f->report.structure), f->report.field, text,
			(ull)f->report.value);
	}
	if (m->gaps.lost)
		fprintf(out, "  and %zu more\n", m->gaps.lost);
	fputs("  no fault of the handover: take the dump with all pages (makedumpfile -d 0)\n",
	      out);
}

void view_text(FILE *out, const struct model *m, bool blocks)
{
	say_source(out, m);
	say_root(out, m);
	if (m->have_root) {
		say_subtrees(out, m);
		say_preserved(out, m);
		say_types(out, m);
	}
	if (m->pages)
		say_owners(out, m);
	say_luo(out, m);
	say_structures(out, m);
	say_heap(out, m);
	say_nobody(out, m);
	if (blocks)
		say_blocks(out, m);
	if (m->gaps.nr) {
		fputc('\n', out);
		view_gaps(out, m);
	}
	if (m->faults.nr) {
		fputc('\n', out);
		view_faults(out, m);
	}
}
