/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * kho map: the memory as a picture of characters. A character is a piece of memory; how much of it is
 * preserved says the character, the largest order of its blocks the colour.
 */
#include <stdlib.h>
#include <string.h>

#include "views.h"

typedef unsigned long long ull;

#define ROWS 24 /* about so many, of all memory */
#define ROWS_MAX 2000 /* memory with many gaps */
#define GUTTER 16 /* columns of an address */

unsigned int class_of(const struct model *m, unsigned int order)
{
	unsigned int shift = m->source->shift + order;

	return !order	     ? CLASS_PAGE
	       : shift < 21  ? CLASS_SMALL
	       : shift == 21 ? CLASS_HUGE
	       : shift < 30  ? CLASS_LARGE
			     : CLASS_GIANT;
}

const char *class_name(unsigned int class)
{
	static const char *const names[] = {"single pages", "blocks below 2 MiB", "blocks of 2 MiB",
					    "blocks below 1 GiB", "blocks of 1 GiB and more"};

	return names[class];
}

kho_pa_t next_row(const struct model *m, kho_pa_t pa, __u64 row)
{
	const struct source *s = m->source;
	size_t i = source_ram_at(s, pa);

	if (i == s->nr_ram)
		return NO_ROW;
	return (s->ram[i].pa > pa ? s->ram[i].pa : pa) / row * row;
}

void cells_fill(const struct model *m, kho_pa_t pa, __u64 len, struct cell *cells, size_t nr)
{
	const struct extent *e = m->extents.at;
	size_t at = span_behind(e, m->extents.nr, sizeof(*e), pa);

	for (size_t i = 0; i < nr; i++, pa += len) {
		struct cell *c = &cells[i];
		__u64 most = 0;

		*c = (struct cell){.pa = pa, .len = len};
		for (; at < m->extents.nr && e[at].pa < pa + len; at++) {
			kho_pa_t lo = e[at].pa > pa ? e[at].pa : pa;
			kho_pa_t end = e[at].pa + e[at].len;
			kho_pa_t hi = end < pa + len ? end : pa + len;

			c->preserved += hi - lo;
			c->order = e[at].order > c->order ? e[at].order : c->order;
			if (hi - lo > most) {
				most = hi - lo;
				c->owner = e[at].owner;
			}
			if (end > pa + len)
				break;
		}
	}
}

/* ---- the terminal ---- */

static const char *const colours[NR_CLASSES] = {"\033[36m", "\033[32m", "\033[33m", "\033[35m",
						"\033[31m"};
static const char *const shades[] = {"\u2591", "\u2592", "\u2593", "\u2588"};

static void put_cell(FILE *out, const struct model *m, const struct cell *c, bool colour)
{
	if (!source_is_ram(m->source, c->pa, 1) && !c->preserved) {
		fputc(' ', out);
	} else if (!c->preserved) {
		fputs("\u00b7", out);
	} else {
		__u64 part = c->preserved >= c->len ? 3 : c->preserved * 4 / c->len;

		fprintf(out, "%s%s%s", colour ? colours[class_of(m, c->order)] : "", shades[part],
			colour ? "\033[0m" : "");
	}
}

/* Bytes of a cell: a power of two of pages, so that all memory has about ROWS rows. */
static __u64 scale(const struct model *m, unsigned int per_row)
{
	__u64 bytes = source_bytes(m->source), cell = page_size(m);

	while (cell * per_row * ROWS < bytes)
		cell *= 2;
	return cell;
}

static void put_legend(FILE *out, const struct model *m, __u64 cell, bool colour)
{
	__u64 sums[NR_CLASSES] = {0};
	const struct extent *e = m->extents.at;
	char text[32];

	for (size_t i = 0; i < m->extents.nr; i++)
		sums[class_of(m, e[i].order)] += e[i].len;
	fprintf(out, "\na character is %s: \u00b7 nothing of it is preserved, ",
		human(text, sizeof(text), cell));
	fputs("\u2591 \u2592 \u2593 up to a quarter, half, all but some, \u2588 all\n", out);
	for (unsigned int i = 0; i < NR_CLASSES; i++)
		if (sums[i])
			fprintf(out, "%s\u2588%s %s: %s\n", colour ? colours[i] : "",
				colour ? "\033[0m" : "", class_name(i),
				human(text, sizeof(text), sums[i]));
	fprintf(out, "%s preserved of ", human(text, sizeof(text), m->pages << m->source->shift));
	fprintf(out, "%s\n", human(text, sizeof(text), source_bytes(m->source)));
}

void view_map(FILE *out, const struct model *m, unsigned int width, bool colour)
{
	unsigned int per_row = 8, rows = 0;
	__u64 cell, row;
	kho_pa_t pa, end;
	struct cell *cells;

	while (per_row * 2 + GUTTER <= width)
		per_row *= 2;
	cells = calloc(per_row, sizeof(*cells));
	if (!cells)
		return;
	cell = scale(m, per_row);
	row = cell * per_row;
	pa = next_row(m, 0, row);
	for (end = pa; pa < m->source->mem.size && rows < ROWS_MAX; pa = next_row(m, end, row)) {
		if (pa != end)
			fprintf(out, "%*s\n", GUTTER, "...");
		fprintf(out, "%*llx  ", GUTTER - 2, (ull)pa);
		cells_fill(m, pa, cell, cells, per_row);
		for (unsigned int i = 0; i < per_row && cells[i].pa < m->source->mem.size; i++)
			put_cell(out, m, &cells[i], colour);
		fputc('\n', out);
		end = pa + row;
		rows++;
	}
	if (pa < m->source->mem.size)
		fprintf(out, "%*s and more\n", GUTTER, "...");
	free(cells);
	put_legend(out, m, cell, colour);
}
