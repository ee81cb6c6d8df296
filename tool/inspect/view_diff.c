/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * kho diff: two sources side by side.
 */
#include <string.h>

#include "json_out.h"
#include "views.h"

typedef unsigned long long ull;

/* Where the two are written to: text, or JSON. */
struct difference {
	const struct model *a, *b;
	FILE *out;
	struct json *json;
	bool contents; /* those of pages, too */
	bool any;
};

static void tell(struct difference *d, const char *change, const char *what, const char *name,
		 const char *detail)
{
	char text[512], more[512];

	d->any = true;
	if (d->json) {
		json_open_flat(d->json, NULL, '{');
		json_text(d->json, "change", change);
		json_text(d->json, "what", what);
		json_text(d->json, "name", name);
		json_text(d->json, "detail", detail);
		json_close(d->json, '}');
		return;
	}
	fprintf(d->out, "%s %s %s%s%s\n",
		!strcmp(change, "added")     ? "+"
		: !strcmp(change, "removed") ? "-"
					     : "!",
		what, clean(text, sizeof(text), name), *detail ? ": " : "",
		clean(more, sizeof(more), detail));
}

/* ---- subtrees, sessions, files: by name ---- */

static const struct subtree *find_subtree(const struct model *m, const char *name)
{
	const struct subtree *t = m->subtrees.at;

	for (size_t i = 0; i < m->subtrees.nr; i++)
		if (!strcmp(t[i].name, name))
			return &t[i];
	return NULL;
}

static void diff_subtrees(struct difference *d)
{
	const struct subtree *a = d->a->subtrees.at, *b = d->b->subtrees.at;
	char detail[128];

	for (size_t i = 0; i < d->a->subtrees.nr; i++) {
		const struct subtree *other = find_subtree(d->b, a[i].name);

		if (!other) {
			tell(d, "removed", "subtree", a[i].name, "");
			continue;
		}
		if (a[i].data == other->data && a[i].size == other->size &&
		    a[i].type_version == other->type_version && !strcmp(a[i].type, other->type))
			continue;
		snprintf(detail, sizeof(detail), "%llu bytes at %#llx, now %llu at %#llx",
			 (ull)a[i].size, (ull)a[i].data, (ull)other->size, (ull)other->data);
		tell(d, "changed", "subtree", a[i].name, detail);
	}
	for (size_t i = 0; i < d->b->subtrees.nr; i++)
		if (!find_subtree(d->a, b[i].name))
			tell(d, "added", "subtree", b[i].name, "");
}

static const char *session_of(const struct model *m, const struct file *f)
{
	return ((const struct session *)m->sessions.at)[f->session].name;
}

static const struct file *find_file(const struct model *m, const char *session, __u64 token)
{
	const struct file *f = m->files.at;

	for (size_t i = 0; i < m->files.nr; i++)
		if (f[i].token == token && !strcmp(session_of(m, &f[i]), session))
			return &f[i];
	return NULL;
}

static void tell_file(struct difference *d, const char *change, const struct model *m,
		      const struct file *f, const char *detail)
{
	char name[128];

	snprintf(name, sizeof(name), "%s/%#llx", session_of(m, f), (ull)f->token);
	tell(d, change, "file", name, detail);
}

static void diff_files(struct difference *d)
{
	const struct file *a = d->a->files.at, *b = d->b->files.at;
	char detail[128];

	for (size_t i = 0; i < d->a->files.nr; i++) {
		const struct file *other = find_file(d->b, session_of(d->a, &a[i]), a[i].token);

		if (!other) {
			tell_file(d, "removed", d->a, &a[i], "");
		} else if (a[i].data != other->data || a[i].memfd.size != other->memfd.size ||
			   a[i].memfd.nr_folios != other->memfd.nr_folios) {
			snprintf(detail, sizeof(detail), "%llu bytes, now %llu",
				 (ull)a[i].memfd.size, (ull)other->memfd.size);
			tell_file(d, "changed", d->a, &a[i], detail);
		}
	}
	for (size_t i = 0; i < d->b->files.nr; i++)
		if (!find_file(d->a, session_of(d->b, &b[i]), b[i].token))
			tell_file(d, "added", d->b, &b[i], "");
}

/* ---- pages ---- */

/* What of @m's extents is at @pa: NULL or the extent; *@to is lowered to where that ends. */
static const struct extent *at(const struct model *m, size_t *i, kho_pa_t pa, kho_pa_t *to)
{
	const struct extent *e = m->extents.at;

	while (*i < m->extents.nr && e[*i].pa + e[*i].len <= pa)
		++*i;
	if (*i == m->extents.nr)
		return NULL;
	if (e[*i].pa > pa) {
		*to = e[*i].pa < *to ? e[*i].pa : *to;
		return NULL;
	}
	*to = e[*i].pa + e[*i].len < *to ? e[*i].pa + e[*i].len : *to;
	return &e[*i];
}

static void tell_pages(struct difference *d, kho_pa_t pa, kho_pa_t to, const struct extent *a,
		       const struct extent *b)
{
	const struct model *m = a ? d->a : d->b;
	char range[64], detail[300];

	snprintf(range, sizeof(range), "%#llx, %llu page%s", (ull)pa,
		 (ull)((to - pa) >> m->source->shift), plural((to - pa) >> m->source->shift));
	if (a && b)
		snprintf(detail, sizeof(detail), "%s, order %u, now %s, order %u",
			 owner_name(d->a, a->owner), a->order, owner_name(d->b, b->owner),
			 b->order);
	else
		snprintf(detail, sizeof(detail), "%s", owner_name(m, (a ?: b)->owner));
	tell(d, a && b ? "changed" : a ? "removed" : "added", "memory", range, detail);
}

/* Of one order and one owner in both? */
static bool alike(const struct difference *d, const struct extent *a, const struct extent *b)
{
	if (!a || !b)
		return a == b;
	return a->order == b->order &&
	       !strcmp(owner_name(d->a, a->owner), owner_name(d->b, b->owner));
}

/* ---- contents of what is preserved in both ---- */

#define AT_ONCE 65536U /* a multiple of every page size */

static void tell_contents(struct difference *d, kho_pa_t pa, kho_pa_t to, const struct extent *e)
{
	char range[64];
	__u64 pages = (to - pa) >> d->a->source->shift;

	if (pa == to)
		return;
	snprintf(range, sizeof(range), "%#llx, %llu page%s", (ull)pa, (ull)pages, plural(pages));
	tell(d, "changed", "contents", range, owner_name(d->a, e->owner));
}

/* Pages of [@pa, @end) that are there in both and not the same. */
static void diff_contents(struct difference *d, kho_pa_t pa, kho_pa_t end, const struct extent *e)
{
	static char x[AT_ONCE], y[AT_ONCE];
	__u64 page = page_size(d->a);
	kho_pa_t from = pa, to = pa; /* that differ, and were not told yet */

	for (; pa < end; pa += AT_ONCE) {
		__u64 len = end - pa < AT_ONCE ? end - pa : AT_ONCE;

		bool whole = !source_read(d->a->source, pa, x, len) &&
			     !source_read(d->b->source, pa, y, len);

		if (whole && !memcmp(x, y, len))
			continue;
		for (__u64 i = 0; i < len; i += page) {
			if (!whole && (source_read(d->a->source, pa + i, x + i, page) ||
				       source_read(d->b->source, pa + i, y + i, page)))
				continue;
			if (!memcmp(x + i, y + i, page))
				continue;
			if (to != pa + i) {
				tell_contents(d, from, to, e);
				from = pa + i;
			}
			to = pa + i + page;
		}
	}
	tell_contents(d, from, to, e);
}

/* [@start, @pa) is @a in the one and @b in the other. */
static void diff_range(struct difference *d, kho_pa_t start, kho_pa_t pa, const struct extent *a,
		       const struct extent *b)
{
	if (!alike(d, a, b))
		tell_pages(d, start, pa, a, b);
	else if (a && d->contents)
		diff_contents(d, start, pa, a);
}

static void diff_pages(struct difference *d)
{
	const struct extent *was_a = NULL, *was_b = NULL;
	kho_pa_t pa = 0, start = 0, to;
	size_t i = 0, j = 0;

	for (; i < d->a->extents.nr || j < d->b->extents.nr; pa = to) {
		const struct extent *a, *b;

		to = ~0ULL;
		a = at(d->a, &i, pa, &to);
		b = at(d->b, &j, pa, &to);
		if (a != was_a || b != was_b) {
			diff_range(d, start, pa, was_a, was_b);
			start = pa;
			was_a = a;
			was_b = b;
		}
		if (to == ~0ULL)
			break;
	}
}

/* ---- all ---- */

static void diff_words(struct difference *d)
{
	char detail[128];

	if (d->a->source->kind != d->b->source->kind)
		tell(d, "changed", "source", "kind", "an arena, and the memory of a machine");
	if (d->a->source->shift != d->b->source->shift)
		tell(d, "changed", "source", "page size", "");
	if (d->a->generation != d->b->generation) {
		snprintf(detail, sizeof(detail), "%llu, now %llu", (ull)d->a->generation,
			 (ull)d->b->generation);
		tell(d, "changed", "arena", "generation", detail);
	}
	if (d->a->have_metadata && d->b->have_metadata &&
	    d->a->metadata.count != d->b->metadata.count) {
		snprintf(detail, sizeof(detail), "%u, now %u", d->a->metadata.count,
			 d->b->metadata.count);
		tell(d, "changed", "metadata", "count of handovers", detail);
	}
	if (d->a->have_luo && d->b->have_luo &&
	    d->a->luo.liveupdate_num != d->b->luo.liveupdate_num)
		tell(d, "changed", "live update", "number", "");
}

bool view_diff(FILE *out, const struct model *a, const struct model *b, bool json, bool contents)
{
	struct json j = {.out = out};
	struct difference d = {
		.a = a, .b = b, .out = out, .json = json ? &j : NULL, .contents = contents};

	if (json) {
		json_open(&j, NULL, '{');
		json_text(&j, "schema", "kho-diff-1");
		json_text(&j, "first", a->source->name);
		json_text(&j, "second", b->source->name);
		json_open(&j, "changes", '[');
	}
	diff_words(&d);
	diff_subtrees(&d);
	diff_files(&d);
	d.contents = contents && a->source->shift == b->source->shift;
	diff_pages(&d);
	if (json) {
		json_close(&j, ']');
		json_close(&j, '}');
	}
	return d.any;
}
